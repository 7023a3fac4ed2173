package broker

import (
	"math"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/morrowmq/morrow/broker/partition"
	"github.com/morrowmq/morrow/delay"
	"github.com/morrowmq/morrow/protocol/api"
)

// collector describes what exists at the moment of a scrape. It keeps no series: what is labelled by topic
// or group is read from the partitions and groups that live, so nothing outlives its topic (P5).
type collector struct {
	b        *broker
	handlers *api.API

	info, sessions, offline, diskFree, diskTotal                  *prometheus.Desc
	partitions                                                    *prometheus.Desc
	logBytes, logSegments, logStart, logEnd                       *prometheus.Desc
	pending, overdue, pendingBytes, nextDue, delivered, cancelled *prometheus.Desc
	undecided, runs, spilled, stopped, lateness                   *prometheus.Desc
	untended, crowded                                             *prometheus.Desc
	committed, lag                                                *prometheus.Desc
	share                                                         shareDescs
	dirtyRatio, uncleanable, uncleaned, sinceCleaned              *prometheus.Desc
}

func newCollector(b *broker, handlers *api.API) *collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("morrow_"+name, help, labels, nil)
	}
	return &collector{
		b: b, handlers: handlers,
		share:        newShareDescs(desc),
		info:         desc("build_info", "Always 1; the labels say what runs.", "version", "cluster"),
		sessions:     desc("fetch_sessions", "Fetch sessions kept (KIP-227)."),
		offline:      desc("partitions_offline", "Partitions that a storage failure took offline; /readyz names them."),
		diskFree:     desc("disk_free_bytes", "Free space where the data directory lies."),
		diskTotal:    desc("disk_total_bytes", "Size of the file system where the data directory lies."),
		partitions:   desc("topic_partitions", "Partitions of a topic on this broker.", "topic"),
		logBytes:     desc("log_size_bytes", "Bytes of a partition's segments on this broker's disk.", "topic", "partition"),
		logSegments:  desc("log_segments", "Segments of a partition on this broker's disk.", "topic", "partition"),
		logStart:     desc("log_start_offset", "First offset a consumer can read.", "topic", "partition"),
		logEnd:       desc("log_end_offset", "Offset after the last record a consumer can read; records waiting for their due time are not counted.", "topic", "partition"),
		pending:      desc("schedule_pending_records", "Delayed records that have not been delivered or cancelled.", "topic"),
		overdue:      desc("schedule_overdue_records", "Delayed records that are due and not delivered yet.", "topic"),
		pendingBytes: desc("schedule_pending_bytes", "Size of the delayed records that are pending.", "topic"),
		nextDue:      desc("schedule_next_due_timestamp_seconds", "When the next delayed record is due; absent if none is pending.", "topic"),
		delivered:    desc("schedule_delivered_records_total", "Delayed records delivered since the broker started.", "topic"),
		undecided:    desc("schedule_undecided_records", "Delayed records in transactions that are not over.", "topic"),
		runs:         desc("schedule_runs", "Runs that hold delayed records out of memory.", "topic"),
		spilled:      desc("schedule_spilled_records", "Pending delayed records that are in runs.", "topic"),
		stopped:      desc("schedule_stopped_sources", "Partitions' logs and runs from which nothing is delivered at the moment, because a payload is missing, an append fails, or the log cannot be read.", "topic"),
		untended:     desc("schedule_failing_partitions", "Partitions whose last spill, or last merge or deletion of runs, failed; it is tried again.", "topic", "task"),
		crowded:      desc("delay_crowded_seconds_total", "Time for which delayed records had to wait, because those pending in memory took more than delay.index.memory."),
		lateness:     desc("schedule_lateness_seconds", "How long after their due time records were appended, since the broker started.", "topic"),
		committed:    desc("group_committed_offset", "Offset a group has committed.", "group", "topic", "partition"),
		lag:          desc("group_lag_records", "Offsets between a group's commit and the end a consumer can read; records waiting for their due time are no lag.", "group", "topic", "partition"),
		dirtyRatio:   desc("log_dirty_ratio", "Share of a compacted topic's bytes that can be cleaned and are not: the highest of its partitions.", "topic"),
		uncleanable:  desc("log_uncleanable_partitions", "Partitions of a compacted topic that are not cleaned any more, because their logs cannot be read.", "topic"),
		uncleaned:    desc("log_compaction_failing_partitions", "Partitions of a compacted topic that could not be cleaned when that was last tried, for want of space or because their segments changed; it is tried again.", "topic"),
		sinceCleaned: desc("log_last_cleaned_seconds", "Time since a compacted topic was cleaned: the longest of its partitions that ever were. Absent if none was.", "topic"),
		cancelled:    desc("schedule_cancelled_records_total", "Delayed records cancelled or replaced since the broker started.", "topic"),
	}
}

// Describe implements prometheus.Collector. Sending nothing makes the collector unchecked, which
// dynamic labels want.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	to := scrape{out}
	c.collectBroker(to)
	for name, t := range c.collectPartitions(to) {
		c.collectTopic(to, name, t)
	}
	c.collectShares(to)
	c.collectGroups(to)
}

// scrape is where the values of one scrape go.
type scrape struct{ out chan<- prometheus.Metric }

func (s scrape) gauge(d *prometheus.Desc, v float64, labels ...string) {
	s.out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (s scrape) counter(d *prometheus.Desc, v float64, labels ...string) {
	s.out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
}

func (c *collector) collectBroker(to scrape) {
	to.gauge(c.info, 1, c.b.cfg.Version, c.b.store.Image().ClusterID())
	to.gauge(c.sessions, float64(c.handlers.FetchSessions()))
	to.gauge(c.offline, float64(len(c.b.partitions.Offline())))
	to.counter(c.crowded, c.b.partitions.Crowded().Seconds())
	if u, err := c.b.partitions.Usage(); err == nil {
		to.gauge(c.diskFree, float64(u.Free))
		to.gauge(c.diskTotal, float64(u.Total))
	}
}

// collectPartitions tells of every partition, and returns what those of each topic add up to.
func (c *collector) collectPartitions(to scrape) map[string]*topicTotals {
	topics := make(map[string]*topicTotals)
	for p := range c.b.partitions.All {
		topic := p.Topic()
		labels := []string{topic.Name, strconv.Itoa(int(p.Number()))}
		o := p.Log().Offsets()
		to.gauge(c.logBytes, float64(p.Log().Size()), labels...)
		to.gauge(c.logSegments, float64(len(p.Log().Segments())), labels...)
		to.gauge(c.logStart, float64(o.LogStart), labels...)
		to.gauge(c.logEnd, float64(o.VisibleEnd), labels...)
		t := topics[topic.Name]
		if t == nil {
			t = &topicTotals{nextDue: math.MaxInt64}
			topics[topic.Name] = t
		}
		t.add(p, c.b.cfg.Now().UnixMilli())
	}
	return topics
}

func (c *collector) collectTopic(to scrape, name string, t *topicTotals) {
	to.gauge(c.partitions, float64(t.partitions), name)
	if t.compacted {
		to.gauge(c.dirtyRatio, t.dirtyRatio, name)
		to.gauge(c.uncleanable, float64(t.uncleanable), name)
		to.gauge(c.uncleaned, float64(t.uncleaned), name)
	}
	if !t.cleaned.IsZero() {
		to.gauge(c.sinceCleaned, max(0, c.b.cfg.Now().Sub(t.cleaned).Seconds()), name)
	}
	if t.scheduled || t.stopped > 0 { // those of which nothing else is known, too
		to.gauge(c.stopped, float64(t.stopped), name)
	}
	if !t.scheduled {
		return
	}
	to.gauge(c.pending, float64(t.pending), name)
	to.gauge(c.overdue, float64(t.overdue), name)
	to.gauge(c.pendingBytes, float64(t.bytes), name)
	to.counter(c.delivered, float64(t.delivered), name)
	to.counter(c.cancelled, float64(t.cancelled), name)
	to.gauge(c.undecided, float64(t.undecided), name)
	to.gauge(c.runs, float64(t.runs), name)
	to.gauge(c.spilled, float64(t.spilled), name)
	to.gauge(c.untended, float64(t.unspilled), name, "spill")
	to.gauge(c.untended, float64(t.unmerged), name, "merge")
	if t.lateness.Count > 0 { // nearly half of what a broker of many topics shows would be its empty buckets
		to.out <- latenessHistogram(c.lateness, t.lateness, name)
	}
	if t.nextDue != math.MaxInt64 {
		to.gauge(c.nextDue, float64(t.nextDue)/1000, name)
	}
}

func (c *collector) collectGroups(to scrape) {
	for o := range c.b.groups.Offsets() {
		labels := []string{o.Group, o.Topic, strconv.Itoa(int(o.Partition))}
		to.gauge(c.committed, float64(o.Offset), labels...)
		if p, err := c.b.partitions.Get(o.TopicID, o.Partition); err == nil {
			to.gauge(c.lag, float64(max(p.Log().Offsets().VisibleEnd-o.Offset, 0)), labels...)
		}
	}
}

// topicTotals adds up a topic's partitions.
type topicTotals struct {
	partitions                    int
	scheduled                     bool
	pending, overdue, bytes       int64
	delivered, cancelled, nextDue int64
	undecided, spilled            int64
	runs, stopped                 int
	unspilled, unmerged           int
	lateness                      delay.Lateness

	compacted   bool
	dirtyRatio  float64
	uncleanable int
	uncleaned   int
	cleaned     time.Time // the earliest of those that were
}

func (t *topicTotals) add(p *partition.Partition, now int64) {
	t.partitions++
	t.addCompaction(p)
	sources, _ := p.ScheduleSources() // none of a topic that never delays, or that is still loading
	for _, src := range sources {
		if src.Stopped != nil {
			t.stopped++
		}
	}
	s, ok := p.ScheduleStats(now)
	if !ok {
		return
	}
	t.scheduled = true
	t.pending += s.Pending
	t.overdue += s.Overdue
	t.bytes += s.Bytes
	t.delivered += s.Delivered
	t.cancelled += s.Cancelled + s.Replaced
	t.nextDue = min(t.nextDue, s.NextDue)
	t.undecided += s.Undecided
	t.runs += s.Runs
	t.spilled += s.Spilled
	spills, merges := p.Setbacks()
	if spills > 0 {
		t.unspilled++
	}
	if merges > 0 {
		t.unmerged++
	}
	if l, ok := p.Lateness(); ok {
		t.lateness.Add(l)
	}
}

func (t *topicTotals) addCompaction(p *partition.Partition) {
	c, ok := p.Compaction()
	if !ok {
		return
	}
	t.compacted = true
	t.dirtyRatio = max(t.dirtyRatio, c.DirtyRatio)
	if c.Uncleanable != nil {
		t.uncleanable++
	}
	if c.Failures > 0 {
		t.uncleaned++
	}
	if !c.CleanedAt.IsZero() && (t.cleaned.IsZero() || c.CleanedAt.Before(t.cleaned)) {
		t.cleaned = c.CleanedAt
	}
}

// latenessHistogram is what partitions have counted, as Prometheus wants it: cumulative, in seconds.
func latenessHistogram(d *prometheus.Desc, l delay.Lateness, labels ...string) prometheus.Metric {
	buckets := make(map[float64]uint64, len(delay.LatenessBounds))
	seen := uint64(0)
	for i, bound := range delay.LatenessBounds {
		seen += l.Buckets[i]
		buckets[float64(bound)/1000] = seen
	}
	return prometheus.MustNewConstHistogram(d, l.Count, float64(l.Sum)/1000, buckets, labels...)
}
