package group

import "github.com/prometheus/client_golang/prometheus"

// metrics counts what happened, and reads from the shards what is. No series
// carries the name of a group or topic; lag per group and topic is computed from
// [Coordinator.Offsets] by whoever knows the logs.
type metrics struct {
	commits    prometheus.Counter
	expired    prometheus.Counter
	rebalances *prometheus.CounterVec // by protocol

	coordinator              *Coordinator
	groups, members, offsets *prometheus.Desc
}

func newMetrics(c *Coordinator, reg prometheus.Registerer) *metrics {
	m := &metrics{
		coordinator: c,
		commits: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "morrow_group_offset_commits_total",
			Help: "Offsets committed, those within transactions when they are sent.",
		}),
		expired: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "morrow_group_offsets_expired_total",
			Help: "Offsets removed because their retention was over or their topic was gone.",
		}),
		rebalances: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "morrow_group_rebalances_total",
			Help: "Rebalances started: join phases of classic groups, epochs of consumer and share groups.",
		}, []string{"protocol"}),
		groups:  prometheus.NewDesc("morrow_groups", "Groups coordinated by this broker.", []string{"protocol", "state"}, nil),
		members: prometheus.NewDesc("morrow_group_members", "Members of the groups coordinated by this broker.", []string{"protocol"}, nil),
		offsets: prometheus.NewDesc("morrow_group_offsets", "Committed offsets kept by this broker.", nil, nil),
	}
	for _, p := range []string{protocolClassic, protocolConsumer, protocolShare} {
		m.rebalances.WithLabelValues(p)
	}
	reg.MustRegister(m.commits, m.expired, m.rebalances, m)
	return m
}

// Describe implements [prometheus.Collector].
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- m.groups
	ch <- m.members
	ch <- m.offsets
}

// Collect implements [prometheus.Collector].
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	type kind struct{ protocol, state string }
	groups := map[kind]int{}
	members := map[string]int{protocolClassic: 0, protocolConsumer: 0, protocolShare: 0}
	for g := range m.coordinator.Groups() {
		groups[kind{g.Protocol, g.State}]++
		members[g.Protocol] += g.Members
	}
	for k, n := range groups {
		ch <- prometheus.MustNewConstMetric(m.groups, prometheus.GaugeValue, float64(n), k.protocol, k.state)
	}
	for protocol, n := range members {
		ch <- prometheus.MustNewConstMetric(m.members, prometheus.GaugeValue, float64(n), protocol)
	}
	ch <- prometheus.MustNewConstMetric(m.offsets, prometheus.GaugeValue, float64(m.coordinator.countOffsets()))
}
