package group

import "github.com/prometheus/client_golang/prometheus"

// metrics counts what happened. What is, the collector reads from the shards.
type metrics struct {
	commits    prometheus.Counter
	expired    prometheus.Counter
	rebalances *prometheus.CounterVec // by protocol
}

func newMetrics(c *Coordinator, reg prometheus.Registerer) *metrics {
	m := &metrics{
		commits: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "morrow_group_offset_commits_total",
			Help: "Offsets committed.",
		}),
		expired: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "morrow_group_offsets_expired_total",
			Help: "Offsets removed because their retention was over.",
		}),
		rebalances: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "morrow_group_rebalances_total",
			Help: "Rebalances started.",
		}, []string{"protocol"}),
	}
	reg.MustRegister(m.commits, m.expired, m.rebalances)
	return m
}
