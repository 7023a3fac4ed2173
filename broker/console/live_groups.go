package console

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/cluster"
)

// Groups implements Broker.
func (l *Live) Groups() []Group {
	lags := l.lags("")
	var all []Group
	for g := range l.Members.Groups() {
		all = append(all, Group{ID: g.Group, Protocol: g.Protocol, State: g.State, Members: g.Members, Lags: lags[g.Group]})
	}
	slices.SortFunc(all, func(x, y Group) int { return cmp.Compare(x.ID, y.ID) })
	return all
}

// lags sums up, by group and topic, what groups have not read: of all groups, or unless id is empty of one.
func (l *Live) lags(id string) map[string][]Lag {
	type key struct{ group, topic string }
	sums := make(map[key]*Lag)
	of := func(group, topic string) *Lag {
		k := key{group, topic}
		if sums[k] == nil {
			sums[k] = &Lag{Topic: topic}
		}
		return sums[k]
	}
	for o := range l.Members.Offsets() {
		if id != "" && o.Group != id {
			continue
		}
		s := of(o.Group, o.Topic)
		s.Partitions++
		if end := l.end(o.TopicID, o.Partition); end >= 0 {
			s.Records += max(end-o.Offset, 0)
		}
	}
	img := l.Image()
	for _, st := range l.Shares.Statuses(id) {
		t, ok := img.TopicByID(st.Topic)
		if !ok {
			continue // deleted, and soon forgotten
		}
		s := of(st.Group, t.Name)
		s.Partitions++
		s.InFlight += st.Acquired
		if end := l.end(st.Topic, st.Partition); end >= 0 {
			s.Records += st.Lag(end)
		}
	}
	lags := make(map[string][]Lag)
	for k, s := range sums {
		lags[k.group] = append(lags[k.group], *s)
	}
	for _, list := range lags {
		slices.SortFunc(list, func(x, y Lag) int { return cmp.Compare(x.Topic, y.Topic) })
	}
	return lags
}

// end is the end of a partition that consumers see, -1 if it is not known.
func (l *Live) end(topic cluster.TopicID, number int32) int64 {
	p, err := l.Partitions.Get(topic, number)
	if err != nil {
		return -1
	}
	return p.Log().Offsets().VisibleEnd
}

// Group implements Broker.
func (l *Live) Group(ctx context.Context, id string) (*GroupDetail, error) {
	for g := range l.Members.Groups() {
		if g.Group != id {
			continue
		}
		d := &GroupDetail{Group: Group{ID: id, Protocol: g.Protocol, State: g.State, Members: g.Members, Lags: l.lags(id)[id]}, Positions: l.positions(id)}
		var err error
		switch g.Protocol {
		case "consumer", "share":
			d.List, err = l.assignedMembers(ctx, id)
		default:
			d.List, err = l.classicMembers(ctx, id)
		}
		return d, err
	}
	return nil, nil
}

func (l *Live) positions(id string) []Position {
	var all []Position
	for o := range l.Members.Offsets() {
		if o.Group != id {
			continue
		}
		p := Position{Topic: o.Topic, Partition: o.Partition, Offset: o.Offset, End: l.end(o.TopicID, o.Partition)}
		if p.End >= 0 {
			p.Lag = max(p.End-p.Offset, 0)
		}
		all = append(all, p)
	}
	slices.SortFunc(all, func(x, y Position) int {
		return cmp.Or(cmp.Compare(x.Topic, y.Topic), cmp.Compare(x.Partition, y.Partition))
	})
	return all
}

// assignedMembers lists members whose partitions the coordinator assigns.
func (l *Live) assignedMembers(ctx context.Context, id string) (list []Member, err error) {
	members, err := l.Members.Members(ctx, id)
	for _, m := range members {
		shown := Member{ID: m.ID, Client: m.ClientID, Host: host(m.Host)}
		for _, topic := range slices.Sorted(maps.Keys(m.Assigned)) {
			shown.Assigned = append(shown.Assigned, assigned(topic, m.Assigned[topic]))
		}
		list = append(list, shown)
	}
	return list, err
}

// classicMembers lists members whose assignments are between clients. Those of consumers can be read.
func (l *Live) classicMembers(ctx context.Context, id string) (list []Member, err error) {
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Version = 6 // with messages
	req.Groups = []string{id}
	for _, g := range l.Members.DescribeGroups(ctx, req).Groups {
		if err := refusal(g.ErrorCode, g.ErrorMessage); err != nil {
			return nil, err
		}
		for _, m := range g.Members {
			shown := Member{ID: m.MemberID, Client: m.ClientID, Host: host(m.ClientHost)}
			var a kmsg.ConsumerMemberAssignment
			if g.ProtocolType == "consumer" && a.ReadFrom(m.MemberAssignment) == nil {
				for _, t := range a.Topics {
					shown.Assigned = append(shown.Assigned, assigned(t.Topic, t.Partitions))
				}
			}
			list = append(list, shown)
		}
	}
	return list, nil
}

// refusal is the error of an answer of Kafka's protocol, nil if it has none.
func refusal(code int16, message *string) error {
	switch {
	case code == 0:
		return nil
	case message != nil && *message != "":
		return errors.New(*message)
	default:
		return fmt.Errorf("the coordinator answers with error code %d", code)
	}
}

// maxAssigned is how many partitions of a topic are named.
const maxAssigned = 32

// assigned writes partitions of a topic.
func assigned(topic string, numbers []int32) string {
	numbers = slices.Sorted(slices.Values(numbers))
	var s strings.Builder
	s.WriteString(text(topic) + " ")
	for i, n := range numbers {
		if i == maxAssigned {
			return s.String() + fmt.Sprintf(" and %d more", len(numbers)-i)
		}
		if i > 0 {
			s.WriteString(", ")
		}
		s.WriteString(strconv.Itoa(int(n)))
	}
	return s.String()
}

// host is where a member is, without the slash that Kafka puts before it.
func host(s string) string { return strings.TrimPrefix(s, "/") }
