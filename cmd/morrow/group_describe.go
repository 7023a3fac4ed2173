package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// groupDescription is a group with its members and how far it came.
type groupDescription struct {
	groupRow
	Assignor    string      `json:"assignor"`
	Epoch       int32       `json:"epoch"` // -1 for classic groups
	Coordinator int32       `json:"coordinator"`
	Members     []memberRow `json:"members"`
	Lag         int64       `json:"lag"` // of all partitions
	Partitions  []lagRow    `json:"partitions"`
}

// memberRow is a member of a group.
type memberRow struct {
	Member     string   `json:"member"`
	Instance   string   `json:"instance,omitempty"` // group.instance.id of a static member
	Client     string   `json:"client"`
	Host       string   `json:"host"`
	Epoch      int32    `json:"epoch"` // -1 for classic groups
	Partitions []string `json:"partitions"`
}

// name is what people call a member.
func (m *memberRow) name() string { return cmp.Or(m.Instance, m.Member) }

// lagRow is a partition that a group has committed or is assigned. Numbers that are not known are -1.
type lagRow struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Committed int64  `json:"committed"`
	End       int64  `json:"end"`
	Lag       int64  `json:"lag"`
	Member    string `json:"member,omitempty"`
	Client    string `json:"client,omitempty"`
	Host      string `json:"host,omitempty"`
	Error     string `json:"error,omitempty"`

	name string // of the member, for people
}

func newGroupDescribe(c *client) *cobra.Command {
	return &cobra.Command{
		Use:   "describe GROUP...",
		Short: "Show members, committed offsets and lag",
		Long: `Show members, committed offsets and lag of groups of all types. LAG is the offsets
between what is committed, or the first record if nothing is, and the last record; delayed
records that are not due yet are no lag. Of a share group, COMMITTED is the first offset it
has not finished, and LAG leaves out what it has finished beyond; see morrow group inflight.

With -o json: an array of {group, type, protocol_type, state, assignor, epoch, coordinator,
members: [{member, instance, client, host, epoch, partitions}], lag,
partitions: [{topic, partition, committed, end, lag, member, client, host, error}]}.`,
		Example: `  morrow group describe billing
  morrow group describe billing -o json | jq '.[0].lag'`,
		Args:              wantArgs(1, -1),
		ValidArgsFunction: c.complete(0, -1, groupNames),
		RunE: c.run(func(ctx context.Context, cmd *cobra.Command, cl *cluster, args []string) error {
			out, err := describeGroups(ctx, cl, args)
			if err != nil {
				return err
			}
			return printAs(cmd.OutOrStdout(), c.output, out, func(w io.Writer) { printGroups(w, out) })
		}),
	}
}

// describeGroups describes groups of all types. Share groups are asked for first, then those of the
// newer protocol; what is neither must be classic.
func describeGroups(ctx context.Context, cl *cluster, names []string) ([]groupDescription, error) {
	share, err := shareGroups(ctx, cl, names)
	if err != nil {
		return nil, err
	}
	consumer, err := cl.DescribeConsumerGroups(ctx, names...)
	if err != nil {
		return nil, err
	}
	var others []string
	for _, name := range names {
		if _, ok := share[name]; ok {
			continue
		}
		if g, ok := consumer[name]; !ok || errors.Is(g.Err, kerr.GroupIDNotFound) || errors.Is(g.Err, kerr.UnsupportedVersion) {
			others = append(others, name)
		}
	}
	classic := kadm.DescribedGroups{}
	if len(others) > 0 {
		if classic, err = cl.DescribeGroups(ctx, others...); err != nil {
			return nil, err
		}
	}
	out := []groupDescription{}
	var errs []error
	for _, name := range names {
		var d groupDescription
		if g, ok := share[name]; ok {
			d, err = g, nil
		} else if g, ok := classic[name]; ok {
			d, err = describeClassic(g)
		} else {
			d, err = describeConsumer(consumer[name])
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("group %s: %w", name, err))
		}
		out = append(out, d)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return out, addLag(ctx, cl, out)
}

func describeClassic(g kadm.DescribedGroup) (groupDescription, error) {
	if g.State == "Dead" && g.Err == nil {
		g.Err = kerr.GroupIDNotFound // how brokers before 4.0 say it
	}
	d := groupDescription{
		groupRow: groupRow{g.Group, "classic", g.ProtocolType, g.State},
		Assignor: g.Protocol, Epoch: -1, Coordinator: g.Coordinator.NodeID, Members: []memberRow{}, Partitions: []lagRow{},
	}
	for _, m := range g.Members {
		r := memberRow{Member: m.MemberID, Client: m.ClientID, Host: strings.TrimPrefix(m.ClientHost, "/"), Epoch: -1, Partitions: []string{}}
		if m.InstanceID != nil {
			r.Instance = *m.InstanceID
		}
		if a, ok := m.Assigned.AsConsumer(); ok {
			for _, t := range a.Topics {
				d.assign(&r, t.Topic, t.Partitions)
			}
		}
		d.Members = append(d.Members, r)
	}
	return d, explained(g.Err, "")
}

func describeConsumer(g kadm.DescribedConsumerGroup) (groupDescription, error) {
	d := groupDescription{
		groupRow: groupRow{g.Group, "consumer", "consumer", g.State},
		Assignor: g.AssignorName, Epoch: g.Epoch, Coordinator: g.Coordinator.NodeID, Members: []memberRow{}, Partitions: []lagRow{},
	}
	for _, m := range g.Members {
		r := memberRow{Member: m.MemberID, Client: m.ClientID, Host: strings.TrimPrefix(m.ClientHost, "/"), Epoch: m.MemberEpoch, Partitions: []string{}}
		if m.InstanceID != nil {
			r.Instance = *m.InstanceID
		}
		for _, t := range m.Assignment.Sorted() {
			d.assign(&r, t.Topic, t.Partitions)
		}
		d.Members = append(d.Members, r)
	}
	return d, explained(g.Err, "")
}

// assign notes that a member has partitions of a topic.
func (d *groupDescription) assign(m *memberRow, topic string, partitions []int32) {
	for _, p := range partitions {
		m.Partitions = append(m.Partitions, fmt.Sprintf("%s-%d", topic, p))
		l := d.partition(topic, p)
		l.Member, l.Client, l.Host, l.name = m.Member, m.Client, m.Host, m.name()
	}
}

// partition returns the row of a partition, which it adds if there is none. It is valid until the
// next one is added.
func (d *groupDescription) partition(topic string, p int32) *lagRow {
	for i := range d.Partitions {
		if l := &d.Partitions[i]; l.Topic == topic && l.Partition == p {
			return l
		}
	}
	d.Partitions = append(d.Partitions, lagRow{Topic: topic, Partition: p, Committed: -1, End: -1, Lag: -1})
	return &d.Partitions[len(d.Partitions)-1]
}

// addLag adds what the groups have committed, and compares that with the ends of the partitions.
func addLag(ctx context.Context, cl *cluster, groups []groupDescription) error {
	topics := kadm.TopicsSet{}
	for i := range groups {
		d := &groups[i]
		for _, l := range d.Partitions {
			topics.Add(l.Topic, l.Partition)
		}
		if d.Type == "share" {
			continue // its lag is the broker's to tell
		}
		committed, err := cl.FetchOffsets(ctx, d.Group)
		if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
			return fmt.Errorf("group %s: %w", d.Group, explained(err, ""))
		}
		for _, o := range committed.Sorted() {
			if o.Err == nil && o.At >= 0 {
				d.partition(o.Topic, o.Partition).Committed = o.At
			}
		}
		for _, l := range d.Partitions {
			topics.Add(l.Topic, l.Partition)
		}
	}
	if len(topics) == 0 {
		return nil
	}
	starts, err := cl.ListStartOffsets(ctx, topics.Topics()...)
	if err != nil {
		return err
	}
	ends, err := cl.ListEndOffsets(ctx, topics.Topics()...)
	if err != nil {
		return err
	}
	for i := range groups {
		groups[i].compare(starts, ends)
	}
	return nil
}

func (d *groupDescription) compare(starts, ends kadm.ListedOffsets) {
	for i := range d.Partitions {
		l := &d.Partitions[i]
		start, okStart := starts.Lookup(l.Topic, l.Partition)
		end, okEnd := ends.Lookup(l.Topic, l.Partition)
		switch {
		case !okStart || !okEnd:
			l.Error = "partition does not exist"
		case start.Err != nil || end.Err != nil:
			l.Error = explained(cmp.Or(end.Err, start.Err), "").Error()
		case d.Type == "share":
			l.End = end.Offset
		default:
			l.End = end.Offset
			l.Lag = max(0, l.End-max(l.Committed, start.Offset))
			d.Lag += l.Lag
		}
	}
	slices.SortFunc(d.Partitions, func(a, b lagRow) int {
		return cmp.Or(strings.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
}

func printGroups(w io.Writer, groups []groupDescription) {
	for i, g := range groups {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "group:\t%s\ntype:\t%s\nstate:\t%s\n", g.Group, g.Type, g.State)
		if g.Assignor != "" {
			fmt.Fprintf(w, "assignor:\t%s\n", g.Assignor)
		}
		fmt.Fprintf(w, "members:\t%d\nlag:\t%d\n", len(g.Members), g.Lag)
		printMembers(w, g.Members)
		printLags(w, g.Partitions)
	}
}

func printMembers(w io.Writer, members []memberRow) {
	if len(members) == 0 {
		return
	}
	fmt.Fprintln(w)
	row(w, "MEMBER", "CLIENT", "HOST", "PARTITIONS")
	for _, m := range members {
		row(w, m.name(), m.Client, m.Host, len(m.Partitions))
	}
}

func printLags(w io.Writer, lags []lagRow) {
	if len(lags) == 0 {
		return
	}
	fmt.Fprintln(w)
	row(w, "TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "MEMBER")
	for _, l := range lags {
		if l.Error != "" {
			row(w, l.Topic, l.Partition, known(l.Committed), l.Error)
			continue
		}
		row(w, l.Topic, l.Partition, known(l.Committed), known(l.End), known(l.Lag), l.name)
	}
}
