package log

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	segmentSync   prometheus.Observer
	journalSync   prometheus.Observer
	journalBytes  prometheus.Counter
	appendedBytes atomic.Int64
	failures      prometheus.Counter

	damagedSnapshots prometheus.Counter

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
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		if r != nil {
			r.MustRegister(c)
		}
		return c
	}
	m.journalBytes = counter("morrow_log_journal_bytes_total", "Bytes written to the commit journal.")
	m.failures = counter("morrow_log_failures_total", "Logs that went offline, or could not be opened, because of a failed write, a failed sync or corruption.")
	m.damagedSnapshots = counter("morrow_log_damaged_snapshots_total", "Producer snapshots at the start of a log that were found damaged: what they told of producers was found out from the batches that remain.")
	m.compactions = counter("morrow_log_compactions_total", "Times a log was cleaned, or that was tried.")
	m.compactRead = counter("morrow_log_compaction_read_bytes_total", "Bytes of record batches read to clean logs.")
	m.compactWritten = counter("morrow_log_compaction_written_bytes_total", "Bytes of record batches written to clean logs.")
	m.compactReclaimed = counter("morrow_log_compaction_reclaimed_bytes_total", "Bytes that cleaned segments are smaller than before.")
	if r != nil {
		r.MustRegister(syncs, prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "morrow_log_appended_bytes_total",
			Help: "Bytes of record batches appended to logs.",
		}, func() float64 { return float64(m.appendedBytes.Load()) }))
	}
	return m
}

func (m *metrics) compacted(c *Compacted) {
	m.compactions.Inc()
	m.compactRead.Add(float64(c.Read))
	m.compactWritten.Add(float64(c.Written))
	m.compactReclaimed.Add(float64(max(0, c.Before-c.After)))
}
