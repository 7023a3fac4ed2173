package log

import (
	"math"
	"time"
)

// TimestampType says whose clock a record's timestamp comes from (message.timestamp.type).
type TimestampType int8

const (
	CreateTime    TimestampType = iota // the producer's
	LogAppendTime                      // the broker's, at the append
)

// Config is the part of a topic's configuration that concerns its logs, under Kafka's names.
// Durations are in ms.
type Config struct {
	SegmentBytes       int64 // a segment rolls before it grows larger
	SegmentMs          int64 // a segment rolls when its first record is this old
	SegmentJitterMs    int64 // … or up to this much sooner, at random
	SegmentIndexBytes  int64 // a segment rolls when its index is full
	IndexIntervalBytes int64
	Preallocate        bool

	TimestampType TimestampType

	Delete              bool  // cleanup.policy has delete
	Compact             bool  // cleanup.policy has compact
	RetentionMs         int64 // -1: for ever
	RetentionBytes      int64 // -1: no bound
	LocalRetentionMs    int64 // -2: as RetentionMs
	LocalRetentionBytes int64 // -2: as RetentionBytes

	DeleteRetentionMs      int64 // tombstones stay for so long once they are cleaned
	MinCompactionLagMs     int64
	MaxCompactionLagMs     int64
	MinCleanableDirtyRatio float64

	// FlushMessages is how many records may be acknowledged before they are durable. At 1, the default, every
	// acknowledgement waits for the disk. Above, the synced end and with it the high watermark run ahead
	// of the disk by up to that many records, or what was appended in the last FlushMs: a power
	// loss may take them, a crash of the process does not.
	FlushMessages int64
	FlushMs       int64

	ProducerIDExpirationMs int64 // producer.id.expiration.ms
}

// DefaultConfig is Kafka's, but for FlushMessages.
func DefaultConfig() Config {
	return Config{
		SegmentBytes:           1 << 30,
		SegmentMs:              7 * 24 * time.Hour.Milliseconds(),
		SegmentIndexBytes:      10 << 20,
		IndexIntervalBytes:     4096,
		Delete:                 true,
		RetentionMs:            7 * 24 * time.Hour.Milliseconds(),
		RetentionBytes:         -1,
		LocalRetentionMs:       -2,
		LocalRetentionBytes:    -2,
		DeleteRetentionMs:      24 * time.Hour.Milliseconds(),
		MaxCompactionLagMs:     math.MaxInt64,
		MinCleanableDirtyRatio: 0.5,
		FlushMessages:          1,
		FlushMs:                math.MaxInt64,
		ProducerIDExpirationMs: 24 * time.Hour.Milliseconds(),
	}
}

// loose reports whether appends are acknowledged before they are durable.
func (c *Config) loose() bool { return c.FlushMessages > 1 }

// local is the retention of the local segments of a tiered log.
func (c *Config) local() (ms, bytes int64) {
	ms, bytes = c.LocalRetentionMs, c.LocalRetentionBytes
	if ms == -2 {
		ms = c.RetentionMs
	}
	if bytes == -2 {
		bytes = c.RetentionBytes
	}
	return ms, bytes
}

// withDefaults replaces what was left zero and cannot be.
func (c Config) withDefaults() Config {
	d := DefaultConfig()
	for _, f := range []struct {
		v *int64
		d int64
	}{
		{&c.SegmentBytes, d.SegmentBytes}, {&c.SegmentMs, d.SegmentMs}, {&c.SegmentIndexBytes, d.SegmentIndexBytes},
		{&c.IndexIntervalBytes, d.IndexIntervalBytes}, {&c.FlushMessages, d.FlushMessages}, {&c.FlushMs, d.FlushMs},
		{&c.ProducerIDExpirationMs, d.ProducerIDExpirationMs},
	} {
		if *f.v <= 0 {
			*f.v = f.d
		}
	}
	return c
}

// forever is an offset above all others.
const forever = math.MaxInt64
