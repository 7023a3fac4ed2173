package delay

import "github.com/prometheus/client_golang/prometheus"

// metrics are the dispatcher's own; what belongs to a topic is read from its schedules and lines at scrape.
type metrics struct {
	clockSteps prometheus.Counter
	failures   prometheus.Counter
	turns      prometheus.Histogram
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		clockSteps: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "morrow_delay_clock_steps_total",
			Help: "How often the wall clock was seen to jump, which makes delayed records late or due at once.",
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "morrow_delay_failures_total",
			Help: "Attempts to deliver that failed; each is repeated until it succeeds.",
		}),
		turns: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "morrow_delay_turn_seconds",
			Help:    "Time to read and append one window of due records of a partition.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 4, 9),
		}),
	}
	if r != nil {
		r.MustRegister(m.clockSteps, m.failures, m.turns)
	}
	return m
}
