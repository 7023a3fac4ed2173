package log

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/segment"
)

// fit makes sure that the active segment takes bytes up to the offset end, and rolls if it does
// not. What is larger than segment.bytes gets a segment of its own; Kafka refuses it.
func (l *Log) fit(cfg *Config, bytes, end int64, now time.Time) error {
	if bytes > segment.MaxBytes {
		return fmt.Errorf("%w: %d bytes at once", ErrTooLarge, bytes)
	}
	l.mu.Lock()
	active, maxAge := l.activeLocked(), cfg.SegmentMs-l.jitterMs
	l.mu.Unlock()
	info := active.Info()
	if info.Size == 0 {
		return nil
	}
	first := l.scratch[0].MaxTimestamp()
	switch {
	case info.Size+bytes > cfg.SegmentBytes,
		!active.Room(bytes, end, int(cfg.SegmentIndexBytes)),
		age(active, first, now) > maxAge:
		return l.roll()
	}
	return nil
}

// age is how much older than the next record a segment's first one is, ms: by the records'
// timestamps, as in Kafka, so that an import of old records is cut up by their time.
func age(s *segment.Segment, timestamp int64, now time.Time) int64 {
	if first := s.FirstTimestamp(); first >= 0 && timestamp >= 0 {
		return timestamp - first
	}
	return now.UnixMilli() - s.Info().Created
}

// Roll closes the active segment, unless it is empty: what is appended next begins a new one.
func (l *Log) Roll() error {
	l.appendMu.Lock()
	defer l.appendMu.Unlock()
	if err := l.Failure(); err != nil {
		return err
	}
	return l.roll()
}

// rollIdle closes the active segment if it has lain there for longer than segments may live,
// although nothing was appended.
func (l *Log) rollIdle(now time.Time) error {
	l.mu.Lock()
	active := l.activeLocked().Info()
	until := l.idleUntilLocked(l.config.Load(), &active)
	l.mu.Unlock()
	if active.Size == 0 || now.UnixMilli() <= until {
		return nil
	}
	return l.Roll()
}

// idleUntilLocked is the last moment, ms, at which the active segment may stay open although
// nothing is appended; math.MaxInt64: it may for ever.
func (l *Log) idleUntilLocked(cfg *Config, active *segment.Info) int64 {
	created, maxAge := l.openedAt, cfg.SegmentMs-l.jitterMs
	if active.Created >= 0 {
		created = active.Created // not known after a crash
	}
	if maxAge > math.MaxInt64-created {
		return math.MaxInt64
	}
	return created + maxAge
}

// roll begins a new segment under appendMu. Its name is durable before anything in it is acknowledged.
func (l *Log) roll() error {
	l.mu.Lock()
	old, end := l.activeLocked(), l.end
	l.mu.Unlock()
	if old.Size() == 0 {
		return nil
	}
	cfg := l.config.Load()
	s, err := segment.Create(l.segmentOptions(), end, preallocated(cfg))
	if err != nil {
		if vfs.IsFull(err) {
			return l.set.noSpace(err)
		}
		return l.fail(err)
	}
	old.Seal()
	l.mu.Lock()
	l.segments = append(l.segments[:len(l.segments):len(l.segments)], s)
	l.jitterMs = jitter(cfg)
	l.mu.Unlock()
	l.checkpoint(old)
	return nil
}

func preallocated(cfg *Config) int64 {
	if cfg.Preallocate {
		return cfg.SegmentBytes
	}
	return 0
}

// jitter draws how much sooner than others a segment rolls, so that those that began together do
// not end together.
func jitter(cfg *Config) int64 {
	if j := min(cfg.SegmentJitterMs, cfg.SegmentMs); j > 0 {
		return rand.Int64N(j)
	}
	return 0
}

func (l *Log) segmentOptions() segment.Options {
	return segment.Options{
		FS: l.set.fsys, Handles: l.set.handles, Dir: l.dir,
		IndexIntervalBytes: int(l.config.Load().IndexIntervalBytes),
	}
}
