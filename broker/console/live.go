package console

import (
	"cmp"
	"slices"
	"time"

	"github.com/morrowmq/morrow/broker/group"
	"github.com/morrowmq/morrow/broker/partition"
	"github.com/morrowmq/morrow/broker/share"
	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/cluster/config"
)

// Live is the broker of this process. All fields are needed.
type Live struct {
	Build      string
	Started    time.Time
	Ready      func() error
	Image      func() *cluster.Image
	Partitions *partition.Table
	Members    *group.Coordinator
	Shares     *share.Coordinator
	Now        func() time.Time
}

// Version implements Broker.
func (l *Live) Version() string { return l.Build }

// Standing implements Broker.
func (l *Live) Standing() Standing {
	img := l.Image()
	s := Standing{Node: img.Node(), Cluster: img.ClusterID(), Started: l.Started, NotReady: l.Ready()}
	if u, err := l.Partitions.Usage(); err == nil {
		s.DiskFree, s.DiskTotal = u.Free, u.Total
	}
	return s
}

// Topics implements Broker.
func (l *Live) Topics() []Topic {
	img := l.Image()
	all := make([]Topic, 0, img.TopicCount())
	for _, t := range img.Topics() {
		sum, _ := l.look(t)
		all = append(all, sum)
	}
	slices.SortFunc(all, func(x, y Topic) int { return cmp.Compare(x.Name, y.Name) })
	return all
}

// look describes a topic and its partitions.
func (l *Live) look(t *cluster.Topic) (sum Topic, parts []Partition) {
	sum = Topic{Name: t.Name, Internal: t.Internal || t.IsSchedule(), Partitions: len(t.Partitions)}
	now := l.Now().UnixMilli()
	for n := range t.Partitions {
		p := l.partition(t, int32(n), now)
		if p.Err != nil {
			sum.Missing++
		}
		sum.Records += p.Records()
		sum.Bytes += p.Bytes
		parts = append(parts, p)
	}
	return sum, parts
}

func (l *Live) partition(t *cluster.Topic, number int32, now int64) Partition {
	shown := Partition{Number: number}
	p, err := l.Partitions.Get(t.ID, number)
	if err != nil {
		shown.Err = err
		return shown
	}
	o := p.Log().Offsets()
	shown.Err, shown.LeaderEpoch, shown.Bytes = p.Log().Failure(), p.LeaderEpoch(), p.Log().Size()
	shown.Start, shown.End, shown.LocalStart = o.LogStart, o.VisibleEnd, o.LocalStart
	if p.Topic().Rules != nil {
		s, loaded := p.ScheduleStats(now)
		shown.Pending, shown.Overdue, shown.Loading = s.Pending, s.Overdue, !loaded
	}
	return shown
}

// Topic implements Broker.
func (l *Live) Topic(name string) *TopicDetail {
	img := l.Image()
	t, ok := img.Topic(name)
	if !ok {
		return nil
	}
	d := &TopicDetail{Delays: !t.Internal && !t.IsSchedule()}
	d.Topic, d.Parts = l.look(t)
	for _, e := range config.DescribeTopic(img.Layers(img.Node()), img.Overrides(t)) {
		if e.Source == config.SourceDefault {
			continue
		}
		s := Setting{Name: e.Name, Source: sourceNames[e.Source]}
		if e.Value != nil {
			s.Value = *e.Value
		}
		d.Settings = append(d.Settings, s)
	}
	return d
}

// sourceNames say to people where a config comes from.
var sourceNames = map[config.Source]string{
	config.SourceDynamicTopic: "topic", config.SourceDynamicBroker: "broker, altered", config.SourceDynamicDefaultBroker: "all brokers, altered",
	config.SourceStaticBroker: "broker's configuration",
}
