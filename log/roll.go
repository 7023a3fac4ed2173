package log

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/segment"
)

// fit makes sure that the active segment takes bytes up to the offset end, and rolls if it does not. What is larger than
// segment.bytes gets a segment of its own; Kafka refuses it.
func (l *Log) fit(cfg *Config, bytes, end int64, now time.Time) error {
	if bytes > segment.MaxBytes {
		return fmt.Errorf("%w: %d bytes at once", ErrTooLarge, bytes)
	}
	l.mu.Lock()
	active := l.activeLocked()
	l.mu.Unlock()
	info := active.Info()
	if info.Size == 0 {
		return nil
	}
	first := l.scratch[0].MaxTimestamp()
	switch {
	case info.Size+bytes > cfg.SegmentBytes,
		!active.Room(bytes, end, int(cfg.SegmentIndexBytes)),
		l.aged(cfg, active, first, now):
		return l.roll()
	}
	return nil
}

// aged reports whether a segment's first record is too old for the next one to join it: by the records'
// timestamps, as in Kafka, so that an import of old records is cut up by their time.
func (l *Log) aged(cfg *Config, s *segment.Segment, timestamp int64, now time.Time) bool {
	age := now.UnixMilli() - s.Info().Created
	if first := s.FirstTimestamp(); first >= 0 && timestamp >= 0 {
		age = timestamp - first
	}
	return age > cfg.SegmentMs-l.jitterMs
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

// rollIdle closes the active segment if it has lain there for longer than segments may live, although nothing was appended.
func (l *Log) rollIdle(now time.Time) error {
	l.mu.Lock()
	created := l.activeLocked().Info().Created
	l.mu.Unlock()
	if created < 0 || now.UnixMilli()-created <= l.config.Load().SegmentMs {
		return nil
	}
	return l.Roll()
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
			return fmt.Errorf("%w: %w", ErrNoSpace, err)
		}
		return l.fail(err)
	}
	old.Seal()
	l.mu.Lock()
	l.segments = append(l.segments[:len(l.segments):len(l.segments)], s)
	l.mu.Unlock()
	l.drawJitter(cfg)
	l.checkpoint(old)
	return nil
}

func preallocated(cfg *Config) int64 {
	if cfg.Preallocate {
		return cfg.SegmentBytes
	}
	return 0
}

func (l *Log) drawJitter(cfg *Config) {
	l.jitterMs = 0
	if j := min(cfg.SegmentJitterMs, cfg.SegmentMs); j > 0 {
		l.jitterMs = rand.Int64N(j)
	}
}

func (l *Log) segmentOptions() segment.Options {
	return segment.Options{
		FS: l.set.fsys, Handles: l.set.handles, Dir: l.dir,
		IndexIntervalBytes: int(l.config.Load().IndexIntervalBytes),
	}
}
