package config

import (
	"slices"
	"time"
)

// TopicConfig is the configuration in force for one topic, parsed. It is
// immutable and shared: callers must not modify its slices.
type TopicConfig struct {
	// Compact and Delete are the cleanup policies. With neither, everything is
	// kept.
	Compact, Delete bool

	CompressionType  string // "producer", "uncompressed" or a codec's name
	CompressionLevel int    // of CompressionType, where that has levels

	SegmentBytes       int64
	SegmentMs          int64
	SegmentJitterMs    int64
	SegmentIndexBytes  int64
	IndexIntervalBytes int64
	Preallocate        bool
	FileDeleteDelayMs  int64

	RetentionBytes int64 // -1: no bound
	RetentionMs    int64 // -1: no bound

	FlushMessages int64
	FlushMs       int64

	MaxMessageBytes      int64
	LogAppendTime        bool // message.timestamp.type
	TimestampBeforeMaxMs int64
	TimestampAfterMaxMs  int64

	DeleteRetentionMs      int64
	MinCompactionLagMs     int64
	MaxCompactionLagMs     int64
	MinCleanableDirtyRatio float64

	MinInsyncReplicas     int
	UncleanLeaderElection bool

	RemoteStorageEnable   bool
	RemoteCopyDisable     bool
	RemoteDeleteOnDisable bool

	// The share of the retention kept locally, with -2 already replaced. -1: no
	// bound. Invariant: never more than the whole.
	LocalRetentionBytes int64
	LocalRetentionMs    int64

	DelayEnable     bool
	DelayDialects   []string
	DelayDefaultMs  int64
	DelayMaxMs      int64
	DelayMaxPending int64 // -1: no bound
	DelayLevels     []time.Duration
}

// ResolveTopic returns the configuration of a topic with the given overrides
// on a broker with the given layers.
func ResolveTopic(l Layers, topic Values) TopicConfig {
	r := resolveTopic(l, topic)
	c := TopicConfig{
		Compact: slices.Contains(r.List("cleanup.policy"), "compact"),
		Delete:  slices.Contains(r.List("cleanup.policy"), "delete"),

		CompressionType:  r.String("compression.type"),
		CompressionLevel: compressionLevel(r),

		SegmentBytes:       r.Int("segment.bytes"),
		SegmentMs:          r.Int("segment.ms"),
		SegmentJitterMs:    r.Int("segment.jitter.ms"),
		SegmentIndexBytes:  r.Int("segment.index.bytes"),
		IndexIntervalBytes: r.Int("index.interval.bytes"),
		Preallocate:        r.Bool("preallocate"),
		FileDeleteDelayMs:  r.Int("file.delete.delay.ms"),

		RetentionBytes: r.Int("retention.bytes"),
		RetentionMs:    r.Int("retention.ms"),

		FlushMessages: r.Int("flush.messages"),
		FlushMs:       r.Int("flush.ms"),

		MaxMessageBytes:      r.Int("max.message.bytes"),
		LogAppendTime:        r.String("message.timestamp.type") == "LogAppendTime",
		TimestampBeforeMaxMs: r.Int("message.timestamp.before.max.ms"),
		TimestampAfterMaxMs:  r.Int("message.timestamp.after.max.ms"),

		DeleteRetentionMs:      r.Int("delete.retention.ms"),
		MinCompactionLagMs:     r.Int("min.compaction.lag.ms"),
		MaxCompactionLagMs:     r.Int("max.compaction.lag.ms"),
		MinCleanableDirtyRatio: r.Float("min.cleanable.dirty.ratio"),

		MinInsyncReplicas:     int(r.Int("min.insync.replicas")),
		UncleanLeaderElection: r.Bool("unclean.leader.election.enable"),

		RemoteStorageEnable:   r.Bool("remote.storage.enable"),
		RemoteCopyDisable:     r.Bool("remote.log.copy.disable"),
		RemoteDeleteOnDisable: r.Bool("remote.log.delete.on.disable"),

		DelayEnable:     r.Bool("delay.enable"),
		DelayDialects:   r.List("delay.dialects"),
		DelayDefaultMs:  r.Int("delay.default.ms"),
		DelayMaxMs:      r.Int("delay.max.ms"),
		DelayMaxPending: r.Int("delay.max.pending"),
	}
	c.LocalRetentionBytes = localShare(r.Int("local.retention.bytes"), c.RetentionBytes)
	c.LocalRetentionMs = localShare(r.Int("local.retention.ms"), c.RetentionMs)
	c.DelayLevels, _ = parseDelayLevels(r.String("delay.levels")) // checked when it was set
	return c
}

func compressionLevel(r *Resolved) int {
	name := "compression." + r.String("compression.type") + ".level"
	if !hasKey(topicTable, name) {
		return 0
	}
	return int(r.Int(name))
}

// localShare returns how much of a retention stays local. A local value that
// exceeds the whole, which a later change of the broker's default can bring
// about, counts as the whole.
func localShare(local, whole int64) int64 {
	if local == -2 || (whole != -1 && (local == -1 || local > whole)) {
		return whole
	}
	return local
}

func hasKey(t *table, name string) bool {
	_, ok := t.index[name]
	return ok
}
