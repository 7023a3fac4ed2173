package tier

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/morrowmq/morrow/tier/bucket"
)

// stats counts what one partition asked of the bucket. The words are Kafka's (KIP-405, KIP-963).
type stats struct {
	copyRequests, copyErrors, copyBytes    atomic.Int64
	fetchRequests, fetchErrors, fetchBytes atomic.Int64
	deleteRequests, deleteErrors           atomic.Int64
	scrubbed, repaired                     atomic.Int64
}

// collector reads the live partitions at every scrape, so that no series outlives its topic.
type collector struct{ t *Tier }

// topicGauge is one family with a series per topic.
type topicGauge struct {
	desc  *prometheus.Desc
	value func(*topicSums) float64
}

// topicSums adds up the partitions of a topic.
type topicSums struct {
	counts []int64 // by counters
	lag    Lag
	span   Span

	garbageSegments int
	garbageBytes    int64
	metadata        int
	failing         int
	stopped         int
	damaged         int
}

func topicDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("morrow_tier_"+name, help, []string{"topic"}, nil)
}

func gauge(name, help string, value func(*topicSums) float64) topicGauge {
	return topicGauge{topicDesc(name, help), value}
}

// counters are the families that count what topics asked of the bucket.
var counters = []struct {
	desc *prometheus.Desc
	of   func(*stats) *atomic.Int64
}{
	{topicDesc("copy_requests_total", "Segments that were begun to be copied to the bucket (Kafka: RemoteCopyRequestsPerSec)."), func(s *stats) *atomic.Int64 { return &s.copyRequests }},
	{topicDesc("copy_errors_total", "Copies that failed and are repeated (Kafka: RemoteCopyErrorsPerSec)."), func(s *stats) *atomic.Int64 { return &s.copyErrors }},
	{topicDesc("copy_bytes_total", "Bytes copied and confirmed (Kafka: RemoteCopyBytesPerSec)."), func(s *stats) *atomic.Int64 { return &s.copyBytes }},
	{topicDesc("fetch_requests_total", "Reads from the bucket for consumers (Kafka: RemoteFetchRequestsPerSec)."), func(s *stats) *atomic.Int64 { return &s.fetchRequests }},
	{topicDesc("fetch_errors_total", "Reads from the bucket that failed (Kafka: RemoteFetchErrorsPerSec)."), func(s *stats) *atomic.Int64 { return &s.fetchErrors }},
	{topicDesc("fetch_bytes_total", "Bytes read from the bucket for consumers (Kafka: RemoteFetchBytesPerSec)."), func(s *stats) *atomic.Int64 { return &s.fetchBytes }},
	{topicDesc("delete_requests_total", "Segments deleted from the bucket (Kafka: RemoteDeleteRequestsPerSec)."), func(s *stats) *atomic.Int64 { return &s.deleteRequests }},
	{topicDesc("delete_errors_total", "Deletions that failed and are repeated (Kafka: RemoteDeleteErrorsPerSec)."), func(s *stats) *atomic.Int64 { return &s.deleteErrors }},
	{topicDesc("scrubbed_segments_total", "Segments that were looked at for damage."), func(s *stats) *atomic.Int64 { return &s.scrubbed }},
	{topicDesc("repaired_segments_total", "Damaged segments that were stored anew from the local copy."), func(s *stats) *atomic.Int64 { return &s.repaired }},
}

// gauges are the families that tell how topics stand.
var gauges = []topicGauge{
	gauge("copy_lag_bytes", "Bytes of closed segments not confirmed in the bucket (Kafka: RemoteCopyLagBytes).",
		func(s *topicSums) float64 { return float64(s.lag.Bytes) }),
	gauge("copy_lag_segments", "Closed segments not confirmed in the bucket (Kafka: RemoteCopyLagSegments).",
		func(s *topicSums) float64 { return float64(s.lag.Segments) }),
	gauge("delete_lag_bytes", "Bytes that expired and are not deleted yet (Kafka: RemoteDeleteLagBytes).",
		func(s *topicSums) float64 { return float64(s.garbageBytes) }),
	gauge("delete_lag_segments", "Segments that expired and are not deleted yet (Kafka: RemoteDeleteLagSegments).",
		func(s *topicSums) float64 { return float64(s.garbageSegments) }),
	gauge("remote_size_bytes", "Bytes of confirmed segments (Kafka: RemoteLogSizeBytes).",
		func(s *topicSums) float64 { return float64(s.span.Bytes) }),
	gauge("remote_segments", "Confirmed segments (Kafka: RemoteLogMetadataCount).",
		func(s *topicSums) float64 { return float64(s.metadata) }),
	gauge("failing_partitions", "Partitions whose last step failed.",
		func(s *topicSums) float64 { return float64(s.failing) }),
	gauge("stopped_partitions", "Partitions whose last step failed in a way that time does not heal: a person has to look.",
		func(s *topicSums) float64 { return float64(s.stopped) }),
	gauge("damaged_segments", "Segments that the last scrub found damaged and could not repair.",
		func(s *topicSums) float64 { return float64(s.damaged) }),
}

var (
	lagSecondsDesc = prometheus.NewDesc("morrow_tier_copy_lag_seconds", "How long the oldest closed segment has been waiting for its confirmation.", []string{"topic"}, nil)
	atRiskDesc     = prometheus.NewDesc("morrow_tier_unconfirmed_seconds", "Age of the oldest records that are not confirmed in the bucket: how far back a restore would lose something.", []string{"topic"}, nil)
	diskFullDesc   = prometheus.NewDesc("morrow_tier_disk_full_seconds", "In how long the disk is full if the bucket stays away, at the pace of what waits for it. +Inf if nothing waits, or if that is more than a year.", nil, nil)
	admittedDesc   = prometheus.NewDesc("morrow_tier_store_usable", "1 if the store has passed the probe and belongs to this cluster.", nil, nil)
	cacheDesc      = prometheus.NewDesc("morrow_tier_cache_chunks_total", "Chunks asked of the chunk cache.", []string{"result"}, nil)
	cacheBytesDesc = prometheus.NewDesc("morrow_tier_cache_bytes", "Bytes in the chunk cache.", []string{"where"}, nil)
	deletionsDesc  = prometheus.NewDesc("morrow_tier_topic_deletions", "Deleted topics whose objects are not gone from the bucket yet.", nil, nil)
	deletionDesc   = prometheus.NewDesc("morrow_tier_topic_deletion_seconds", "How long ago the first of them was deleted; 0 if there is none.", nil, nil)
	sweptDesc      = prometheus.NewDesc("morrow_tier_swept_objects_total", "Orphaned objects deleted.", nil, nil)
	abortsDesc     = prometheus.NewDesc("morrow_tier_abort_errors_total", "Multipart uploads that failed and could not be given up at once. A later sweep ends them.", nil, nil)
	groupsDesc     = prometheus.NewDesc("morrow_tier_group_offsets_seconds", "Age of the copy of what groups have committed: how far back a restore would set them. Without one since the start: how long that has been tried; infinite until there is something to copy.", nil, nil)
	sweepAgeDesc   = prometheus.NewDesc("morrow_tier_sweep_age_seconds", "Time since the bucket was last looked through for orphans, to the end; if it never was, since this data directory has had a tier.", nil, nil)
	scrubAgeDesc   = prometheus.NewDesc("morrow_tier_scrub_age_seconds", "Time since all remote segments were last looked at for damage, to the end; if they never were, since this data directory has had a tier.", nil, nil)
	sweptBytesDesc = prometheus.NewDesc("morrow_tier_swept_bytes_total", "Bytes of orphaned objects deleted.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range counters {
		ch <- m.desc
	}
	for _, m := range gauges {
		ch <- m.desc
	}
	for _, d := range []*prometheus.Desc{lagSecondsDesc, atRiskDesc, diskFullDesc, admittedDesc, cacheDesc, cacheBytesDesc, deletionsDesc, deletionDesc, sweptDesc, sweptBytesDesc, abortsDesc, groupsDesc, sweepAgeDesc, scrubAgeDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	topics := c.topics()
	var lag Lag
	for _, name := range slices.Sorted(maps.Keys(topics)) {
		s := topics[name]
		lag.add(s.lag)
		for i, m := range counters {
			ch <- prometheus.MustNewConstMetric(m.desc, prometheus.CounterValue, float64(s.counts[i]), name)
		}
		for _, m := range gauges {
			ch <- prometheus.MustNewConstMetric(m.desc, prometheus.GaugeValue, m.value(s), name)
		}
		ch <- prometheus.MustNewConstMetric(lagSecondsDesc, prometheus.GaugeValue, c.t.since(s.lag.Since).Seconds(), name)
		ch <- prometheus.MustNewConstMetric(atRiskDesc, prometheus.GaugeValue, c.t.since(s.lag.AtRisk).Seconds(), name)
	}
	usable := 0.0
	if c.t.Admitted() == nil {
		usable = 1
	}
	full := math.Inf(1)
	if in, ok := c.t.diskFull(lag); ok {
		full = in.Seconds()
	}
	ch <- prometheus.MustNewConstMetric(diskFullDesc, prometheus.GaugeValue, full)
	c.collectDeletions(ch)
	hits, misses, memory, disk := c.t.chunks.Counts()
	ch <- prometheus.MustNewConstMetric(admittedDesc, prometheus.GaugeValue, usable)
	ch <- prometheus.MustNewConstMetric(cacheDesc, prometheus.CounterValue, float64(hits), "hit")
	ch <- prometheus.MustNewConstMetric(cacheDesc, prometheus.CounterValue, float64(misses), "miss")
	ch <- prometheus.MustNewConstMetric(cacheBytesDesc, prometheus.GaugeValue, float64(memory), "memory")
	ch <- prometheus.MustNewConstMetric(cacheBytesDesc, prometheus.GaugeValue, float64(disk), "disk")
	ch <- prometheus.MustNewConstMetric(sweptDesc, prometheus.CounterValue, float64(c.t.sweptOrphans.Load()))
	groups := math.Inf(1)
	if at := cmp.Or(c.t.groupsAt.Load(), c.t.groupsTried.Load()); at > 0 {
		groups = c.t.since(time.UnixMilli(at)).Seconds()
	}
	ch <- prometheus.MustNewConstMetric(groupsDesc, prometheus.GaugeValue, groups)
	ch <- prometheus.MustNewConstMetric(sweepAgeDesc, prometheus.GaugeValue, c.t.since(time.UnixMilli(c.t.chores.swept.Load())).Seconds())
	ch <- prometheus.MustNewConstMetric(scrubAgeDesc, prometheus.GaugeValue, c.t.since(time.UnixMilli(c.t.chores.scrubbed.Load())).Seconds())
	ch <- prometheus.MustNewConstMetric(sweptBytesDesc, prometheus.CounterValue, float64(c.t.sweptBytes.Load()))
	aborts := int64(0) // a directory has none
	if b, ok := bucket.Underlying(c.t.bucket).(interface{ AbortErrors() int64 }); ok {
		aborts = b.AbortErrors()
	}
	ch <- prometheus.MustNewConstMetric(abortsDesc, prometheus.CounterValue, float64(aborts))
}

func (c collector) collectDeletions(ch chan<- prometheus.Metric) {
	deletions, waiting := c.t.deletions.all(), time.Duration(0)
	if len(deletions) > 0 {
		waiting = c.t.since(deletions[0].Since)
	}
	ch <- prometheus.MustNewConstMetric(deletionsDesc, prometheus.GaugeValue, float64(len(deletions)))
	ch <- prometheus.MustNewConstMetric(deletionDesc, prometheus.GaugeValue, waiting.Seconds())
}

// since is how long ago something was; 0 if it was never.
func (t *Tier) since(at time.Time) time.Duration {
	if at.IsZero() {
		return 0
	}
	return max(0, t.now().Sub(at))
}

// earlier is the earlier of two times, of which a zero one does not count.
func earlier(x, y time.Time) time.Time {
	if x.IsZero() || !y.IsZero() && y.Before(x) {
		return y
	}
	return x
}

// topics sums up the open partitions by topic name.
func (c collector) topics() map[string]*topicSums {
	topics := map[string]*topicSums{}
	for _, p := range c.t.all() {
		s := topics[p.id.Name]
		if s == nil {
			s = &topicSums{counts: make([]int64, len(counters))}
			topics[p.id.Name] = s
		}
		s.add(p)
	}
	return topics
}

func (s *topicSums) add(p *Partition) {
	for i, m := range counters {
		s.counts[i] += m.of(&p.stats).Load()
	}
	if l, err := p.Lag(); err == nil {
		s.lag.add(l)
	}
	v := p.view.Load()
	if v.err != nil {
		s.failing++
		if stopped(v.err) {
			s.stopped++
		}
	}
	if m := v.manifest; m != nil {
		sum := m.Summary()
		s.span.Bytes += sum.Bytes
		s.metadata += sum.Segments
		for i := range m.Garbage {
			s.garbageSegments += m.Garbage[i].Segments
			s.garbageBytes += m.Garbage[i].Bytes
		}
	}
	if sc := p.scrubbed.Load(); sc != nil {
		s.damaged += len(sc.result.Damaged) - sc.result.Repaired
	}
}
