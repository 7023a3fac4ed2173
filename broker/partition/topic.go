package partition

import (
	"fmt"
	"math"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/cluster/config"
	"github.com/morrowmq/morrow/delay"
	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/log/record"
)

// Topic is what a partition needs to know of its topic, worked out once per change of the metadata.
// It is immutable.
type Topic struct {
	Name     string
	ID       cluster.TopicID
	Internal bool
	// Schedule marks a schedule topic: it holds the runs of another.
	Schedule bool
	// ScheduleID is the topic that holds this one's runs, ScheduleOf the one whose runs this one
	// holds; zero if there is none.
	ScheduleID, ScheduleOf cluster.TopicID
	Partitions             int32 // how many there are
	Config                 *config.TopicConfig
	// Overrides are what is set on the topic itself.
	Overrides config.Values
	// Rules are the delay headers to look for, nil for topics that never delay.
	Rules *delay.Rules

	// steering are the rules for what operators send: see Partition.Steer. Nil like Rules.
	steering             *delay.Rules
	producerExpirationMs int64
}

// newTopic takes configs that cannot be used for a bug: what their definitions refuse counts as not set.
func newTopic(t *cluster.Topic, producerExpirationMs int64) *Topic {
	c := t.Resolved()
	topic := &Topic{
		Name: t.Name, ID: t.ID, Internal: t.Internal, Schedule: t.IsSchedule(), ScheduleID: t.Schedule, ScheduleOf: t.ScheduleOf, Partitions: int32(len(t.Partitions)),
		Config: c, Overrides: t.Config, producerExpirationMs: producerExpirationMs,
	}
	if t.Internal {
		return topic
	}
	topic.Rules = mustParse(delay.RulesConfig{
		Enable:          c.DelayEnable,
		Dialects:        c.DelayDialects,
		DefaultMs:       min(c.DelayDefaultMs, c.DelayMaxMs), // they can be set one by one
		MaxMs:           c.DelayMaxMs,
		MaxPending:      c.DelayMaxPending,
		Levels:          c.DelayLevels,
		MaxMessageBytes: int32(c.MaxMessageBytes),
	})
	topic.steering = mustParse(delay.RulesConfig{
		Enable: true, Dialects: []string{string(delay.Morrow)}, Levels: c.DelayLevels,
		MaxMs: c.DelayMaxMs, MaxPending: -1, MaxMessageBytes: math.MaxInt32,
	})
	return topic
}

func mustParse(c delay.RulesConfig) *delay.Rules {
	r, err := delay.ParseRules(c)
	if err != nil {
		panic(fmt.Sprintf("partition: config was accepted and cannot be used: %v", err))
	}
	return r
}

func (t *Topic) logConfig() log.Config {
	c := t.Config
	timestamps := log.CreateTime
	if c.LogAppendTime {
		timestamps = log.LogAppendTime
	}
	return log.Config{
		SegmentBytes:           c.SegmentBytes,
		SegmentMs:              segmentMs(c),
		SegmentJitterMs:        c.SegmentJitterMs,
		SegmentIndexBytes:      c.SegmentIndexBytes,
		IndexIntervalBytes:     c.IndexIntervalBytes,
		Preallocate:            c.Preallocate,
		TimestampType:          timestamps,
		Delete:                 c.Delete,
		Compact:                c.Compact,
		RetentionMs:            c.RetentionMs,
		RetentionBytes:         c.RetentionBytes,
		LocalRetentionMs:       c.LocalRetentionMs,
		LocalRetentionBytes:    c.LocalRetentionBytes,
		FlushMessages:          c.FlushMessages,
		FlushMs:                c.FlushMs,
		DeleteRetentionMs:      c.DeleteRetentionMs,
		MinCompactionLagMs:     c.MinCompactionLagMs,
		MaxCompactionLagMs:     c.MaxCompactionLagMs,
		MinCleanableDirtyRatio: c.MinCleanableDirtyRatio,
		ProducerIDExpirationMs: t.producerExpirationMs,
	}
}

// segmentMs is how old a segment may become. Only closed ones are compacted, so the maximum lag
// bounds it, as in Kafka.
func segmentMs(c *config.TopicConfig) int64 {
	if c.Compact {
		return min(c.SegmentMs, c.MaxCompactionLagMs)
	}
	return c.SegmentMs
}

// checkOptions are the topic's demands of a batch received at now, in milliseconds.
func (t *Topic) checkOptions(now int64) record.CheckOptions {
	o := record.CheckOptions{
		KeyRequired:   t.Config.Compact,
		LogAppendTime: t.Config.LogAppendTime,
		Now:           now,
		BeforeMax:     t.Config.TimestampBeforeMaxMs,
		AfterMax:      t.Config.TimestampAfterMaxMs,
	}
	if t.Internal {
		o.BeforeMax, o.AfterMax = math.MaxInt64, math.MaxInt64
	}
	return o
}

// codec is the compression the topic wants, and whether that is another than the producer's.
func (t *Topic) codec(producers record.Codec) (c record.Codec, other bool) {
	switch t.Config.CompressionType {
	case "uncompressed":
		c = record.None
	case "gzip":
		c = record.Gzip
	case "snappy":
		c = record.Snappy
	case "lz4":
		c = record.LZ4
	case "zstd":
		c = record.Zstd
	default:
		return producers, false
	}
	return c, c != producers
}
