package schedules

import (
	"cmp"
	"math"
	"net/url"
	"slices"

	"github.com/morrowmq/morrow/broker/partition"
	"github.com/morrowmq/morrow/delay"
)

// Topics sums up every topic that can delay. Its cost does not depend on how much is pending.
func (a *API) Topics() Topics {
	now := a.now().UnixMilli()
	sums := make(map[string]*sum)
	for p := range a.partitions.All {
		t := p.Topic()
		if t.Rules == nil {
			continue
		}
		s := sums[t.Name]
		if s == nil {
			s = &sum{topic: Topic{Topic: t.Name}, next: math.MaxInt64}
			sums[t.Name] = s
		}
		s.add(p, now)
	}
	answer := Topics{Topics: []Topic{}}
	for _, s := range sums {
		answer.Topics = append(answer.Topics, s.result())
	}
	slices.SortFunc(answer.Topics, func(x, y Topic) int { return cmp.Compare(x.Topic, y.Topic) })
	return answer
}

// sum adds up the partitions of a topic.
type sum struct {
	topic    Topic
	next     int64
	lateness delay.Lateness
}

func (s *sum) add(p *partition.Partition, now int64) {
	t := &s.topic
	t.Partitions++
	if sources, err := p.ScheduleSources(); err == nil {
		for _, src := range sources {
			if src.Stopped != nil {
				t.StoppedSources++
			}
		}
	}
	st, ok := p.ScheduleStats(now)
	if !ok {
		t.Loading++
		return
	}
	t.Pending += st.Pending
	t.Overdue += st.Overdue
	t.Undecided += st.Undecided
	t.Bytes += st.Bytes
	t.Runs += st.Runs
	t.Spilled += st.Spilled
	t.Delivered += st.Delivered
	t.Cancelled += st.Cancelled
	t.Replaced += st.Replaced
	s.next = min(s.next, st.NextDue)
	if l, ok := p.Lateness(); ok {
		s.lateness.Add(l)
	}
}

func (s *sum) result() Topic {
	t := s.topic
	t.NextDueMs = due(s.next)
	t.Lateness.Count = s.lateness.Count
	if s.lateness.Count > 0 {
		t.Lateness.P50Ms, t.Lateness.P99Ms = s.lateness.Quantile(0.5), s.lateness.Quantile(0.99)
	}
	return t
}

// due is a due time as it is sent: absent if there is none.
func due(ms int64) *int64 {
	if ms == math.MaxInt64 {
		return nil
	}
	return &ms
}

// Sources lists where the delayed records of a topic come from, by the parameters of the route.
func (a *API) Sources(topic string, q url.Values) (answer Sources, err error) {
	parts, err := a.topic(topic, q)
	if err != nil {
		return answer, err
	}
	answer = Sources{Topic: topic, Sources: []Source{}}
	for _, p := range parts {
		states, err := p.ScheduleSources()
		if err != nil {
			return answer, err
		}
		for _, st := range states {
			s := Source{Partition: p.Number(), Pending: st.Pending, NextDueMs: due(st.NextDue)}
			if st.Run >= 0 {
				s.Run = &st.Run
			}
			if st.Stopped != nil {
				s.Stopped = st.Stopped.Error()
			}
			answer.Sources = append(answer.Sources, s)
		}
	}
	return answer, nil
}
