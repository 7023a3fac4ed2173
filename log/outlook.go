package log

import (
	"time"

	"github.com/morrowmq/morrow/log/segment"
)

// Outlook is what the log will do by itself, as things stand.
type Outlook struct {
	LocalStart int64 // after the next [Log.Retain]
	// Active is the open segment. It closes before it outgrows MaxBytes, and after Until, ms,
	// though nothing is appended; math.MaxInt64: it need not. A record whose timestamp is late
	// enough closes it sooner.
	Active   segment.Info
	MaxBytes int64
	Until    int64
}

// Outlook tells what Retain with a floor would do at a time, and what closes the active segment.
func (l *Log) Outlook(now time.Time, f Floor) Outlook {
	l.mu.Lock()
	defer l.mu.Unlock()
	cfg, active := l.config.Load(), l.activeLocked().Info()
	return Outlook{
		LocalStart: l.segments[l.planRetentionLocked(now, f).gone].Base(),
		Active:     active, MaxBytes: cfg.SegmentBytes, Until: l.idleUntilLocked(cfg, &active),
	}
}
