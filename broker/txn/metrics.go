package txn

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts what happened, and reads from the shards what is. No series
// carries a transactional id.
type metrics struct {
	ended    *prometheus.CounterVec // by outcome
	timedOut prometheus.Counter

	coordinator    *Coordinator
	states, oldest *prometheus.Desc
}

func newMetrics(c *Coordinator, reg prometheus.Registerer) *metrics {
	m := &metrics{
		coordinator: c,
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "morrow_transactions_ended_total",
			Help: "Transactions whose markers are all written, by outcome.",
		}, []string{"outcome"}),
		timedOut: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "morrow_transactions_timed_out_total",
			Help: "Transactions aborted because they lasted longer than their producer's transaction.timeout.ms.",
		}),
		states: prometheus.NewDesc("morrow_transactional_ids", "Transactional ids coordinated by this broker, by the state of their last transaction.", []string{"state"}, nil),
		oldest: prometheus.NewDesc("morrow_transaction_oldest_open_seconds", "Age of the oldest transaction that is open or whose markers are not all written; 0 if there is none.", nil, nil),
	}
	for _, commit := range []bool{true, false} {
		m.ended.WithLabelValues(outcome(commit))
	}
	reg.MustRegister(m.ended, m.timedOut, m)
	return m
}

func outcome(commit bool) string {
	if commit {
		return "commit"
	}
	return "abort"
}

func (m *metrics) completed(s state) { m.ended.WithLabelValues(outcome(s.commits())).Inc() }

// Describe implements [prometheus.Collector].
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- m.states
	ch <- m.oldest
}

// Collect implements [prometheus.Collector].
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	var count [len(stateNames)]int
	now := m.coordinator.now()
	first := now.UnixMilli()
	for _, shard := range m.coordinator.shards.Led() {
		shard.View(func(s *machine) {
			for _, t := range s.transactions {
				count[t.state]++
				if t.state == ongoing || t.state.decided() {
					first = min(first, t.startMs)
				}
			}
		})
	}
	for s, n := range count {
		ch <- prometheus.MustNewConstMetric(m.states, prometheus.GaugeValue, float64(n), state(s).String())
	}
	age := now.Sub(time.UnixMilli(first))
	ch <- prometheus.MustNewConstMetric(m.oldest, prometheus.GaugeValue, max(age.Seconds(), 0))
}
