package config

import (
	"slices"
	"time"
)

// TopicConfig is the configuration in force for one topic, parsed. It is
// immutable and shared: callers must not modify its slices.
type TopicConfig struct {
	// Compact and Delete are the cleanup policies; at least one is set.
	Compact, Delete bool

	CompressionType  string // "producer", "uncompressed" or a codec's name
	CompressionLevel int    // of CompressionType, where it has levels

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

	MaxMessageBytes    int64
	LogAppendTime      bool // message.timestamp.type
	TimestampBeforeMax int64
	TimestampAfterMax  int64

	DeleteRetentionMs      int64
	MinCompactionLagMs     int64
	MaxCompactionLagMs     int64
	MinCleanableDirtyRatio float64

	MinInsyncReplicas     int
	UncleanLeaderElection bool

	RemoteStorageEnable bool
	RemoteCopyDisable   bool
	RemoteDeleteDisable bool  // remote.log.delete.on.disable
	LocalRetentionBytes int64 // -1: no bound; -2 is already replaced by RetentionBytes
	LocalRetentionMs    int64 // -1: no bound; -2 is already replaced by RetentionMs

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
	if topic == nil {
		topic = Values{}
	}
	r := resolve(topicTable, l, topic, SourceDynamicTopic)
	c := TopicConfig{
		Compact: slices.Contains(r.List("cleanup.policy"), "compact"),
		Delete:  slices.Contains(r.List("cleanup.policy"), "delete"),

		CompressionType: r.String("compression.type"),

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

		MaxMessageBytes:    r.Int("max.message.bytes"),
		LogAppendTime:      r.String("message.timestamp.type") == "LogAppendTime",
		TimestampBeforeMax: r.Int("message.timestamp.before.max.ms"),
		TimestampAfterMax:  r.Int("message.timestamp.after.max.ms"),

		DeleteRetentionMs:      r.Int("delete.retention.ms"),
		MinCompactionLagMs:     r.Int("min.compaction.lag.ms"),
		MaxCompactionLagMs:     r.Int("max.compaction.lag.ms"),
		MinCleanableDirtyRatio: r.Float("min.cleanable.dirty.ratio"),

		MinInsyncReplicas:     int(r.Int("min.insync.replicas")),
		UncleanLeaderElection: r.Bool("unclean.leader.election.enable"),

		RemoteStorageEnable: r.Bool("remote.storage.enable"),
		RemoteCopyDisable:   r.Bool("remote.log.copy.disable"),
		RemoteDeleteDisable: r.Bool("remote.log.delete.on.disable"),
		LocalRetentionBytes: r.Int("local.retention.bytes"),
		LocalRetentionMs:    r.Int("local.retention.ms"),

		DelayEnable:     r.Bool("delay.enable"),
		DelayDialects:   r.List("delay.dialects"),
		DelayDefaultMs:  r.Int("delay.default.ms"),
		DelayMaxMs:      r.Int("delay.max.ms"),
		DelayMaxPending: r.Int("delay.max.pending"),
	}
	if name := "compression." + c.CompressionType + ".level"; hasKey(topicTable, name) {
		c.CompressionLevel = int(r.Int(name))
	}
	if c.LocalRetentionBytes == -2 {
		c.LocalRetentionBytes = c.RetentionBytes
	}
	if c.LocalRetentionMs == -2 {
		c.LocalRetentionMs = c.RetentionMs
	}
	c.DelayLevels, _ = parseDelayLevels(r.String("delay.levels"))
	return c
}

func hasKey(t *table, name string) bool {
	_, ok := t.index[name]
	return ok
}
