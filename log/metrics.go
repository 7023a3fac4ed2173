package log

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	segmentSync   prometheus.Observer
	journalSync   prometheus.Observer
	journalBytes  prometheus.Counter
	appendedBytes prometheus.Counter
	failures      prometheus.Counter

	compactions, compactRead, compactWritten, compactReclaimed prometheus.Counter
}

// newMetrics registers the metrics of a set; with a nil registerer they are counted and not shown.
func newMetrics(r prometheus.Registerer) *metrics {
	syncs := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "morrow_log_sync_seconds",
		Help:    "Time one sync of a log file took, by what was synced.",
		Buckets: prometheus.ExponentialBuckets(50e-6, 2, 18),
	}, []string{"file"})
	m := &metrics{
		segmentSync: syncs.WithLabelValues("segment"),
		journalSync: syncs.WithLabelValues("journal"),
	}
	journal := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "morrow_log_journal_bytes_total",
		Help: "Bytes written to the commit journal.",
	})
	appended := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "morrow_log_appended_bytes_total",
		Help: "Bytes of record batches appended to logs.",
	})
	failures := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "morrow_log_failures_total",
		Help: "Logs that went offline, or could not be opened, because of a failed write, a failed sync or corruption.",
	})
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "morrow_log_compaction" + name, Help: help})
		if r != nil {
			r.MustRegister(c)
		}
		return c
	}
	m.compactions = counter("s_total", "Times a log was cleaned, or that was tried.")
	m.compactRead = counter("_read_bytes_total", "Bytes of record batches read to clean logs.")
	m.compactWritten = counter("_written_bytes_total", "Bytes of record batches written to clean logs.")
	m.compactReclaimed = counter("_reclaimed_bytes_total", "Bytes that cleaned segments are smaller than before.")
	m.journalBytes, m.appendedBytes, m.failures = journal, appended, failures
	if r != nil {
		r.MustRegister(syncs, journal, appended, failures)
	}
	return m
}

func (m *metrics) compacted(c *Compacted) {
	m.compactions.Inc()
	m.compactRead.Add(float64(c.Read))
	m.compactWritten.Add(float64(c.Written))
	m.compactReclaimed.Add(float64(max(0, c.Before-c.After)))
}
