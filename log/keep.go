package log

import (
	"context"
	"fmt"
	"time"
)

// keepInterval is how often the set looks after its logs: the facts on disk are at most about that old.
const keepInterval = 500 * time.Millisecond

// keep looks after the logs until ctx ends.
func (s *Set) keep(ctx context.Context) {
	t := time.NewTicker(keepInterval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			s.Keep(s.now())
		}
	}
}

// Keep does what is due for every log at the given time: facts, checkpoints, roll of idle segments,
// forgetting of producers. Run calls it all the time.
func (s *Set) Keep(now time.Time) {
	s.watchSpace()
	for _, l := range s.all() {
		if l.Failure() == nil {
			l.keep(now)
		}
	}
}

// keep does what is due for one log. Errors took the log offline and were logged, or concern a cache.
func (l *Log) keep(now time.Time) {
	_ = l.rollIdle(now)
	l.mu.Lock()
	facts := l.factsDirty
	unsynced := l.durableEnd < l.end
	due := l.recovery.size >= checkpointBytes
	waiting := len(l.recovery.pending) > 0
	if cfg := l.config.Load(); now.UnixMilli() >= l.expireAt {
		l.producers.Expire(now.UnixMilli() - cfg.ProducerIDExpirationMs)
		l.expireAt = now.Add(expireInterval).UnixMilli()
	}
	l.mu.Unlock()
	if unsynced && l.config.Load().loose() {
		l.set.commits.enqueue(l)
	}
	switch {
	case due:
		_ = l.Checkpoint()
	case waiting:
		_ = l.storeCheckpoints()
	}
	if facts {
		_ = l.storeFacts(false)
	}
}

// expireInterval is how often producers are looked through for expired ones (Kafka:
// producer.id.expiration.check.interval.ms).
const expireInterval = 10 * time.Minute

// spend notes that bytes are about to be written, and looks at the disk again when they add up: the
// reserve must not be gone before the next look.
func (s *Set) spend(bytes int64) {
	if s.reserve > 0 && s.spent.Add(bytes) > s.reserve/8 {
		s.watchSpace()
	}
}

// watchSpace compares the free space with the reserve.
func (s *Set) watchSpace() {
	if s.reserve <= 0 {
		return
	}
	s.spent.Store(0)
	u, err := s.fsys.Usage(s.dir)
	if err != nil {
		return
	}
	full := u.Free < s.reserve
	if s.full.Swap(full) == full {
		return
	}
	if full {
		s.logger.Warn("disk is nearly full, appends of clients are refused: less is free than disk.reserve.bytes", "dir", s.dir, "free", u.Free, "reserve", s.reserve)
	} else {
		s.logger.Info("disk has space again", "dir", s.dir, "free", u.Free)
	}
}

// Full reports whether less than the reserve was free when the disk was looked at last: what can
// wait is not to be written now.
func (l *Log) Full() bool { return l.set.full.Load() }

// fullInterval is how often the log says that the disk is full: producers try again many times a second.
const fullInterval = time.Minute

// noSpace is the error for a write that the file system had no room for.
func (s *Set) noSpace(err error) error {
	now := s.now().UnixMilli()
	if last := s.saidFull.Load(); (last == 0 || now-last >= fullInterval.Milliseconds() || now < last) && s.saidFull.CompareAndSwap(last, now) {
		s.logger.Warn("the disk is full, an append was refused", "dir", s.dir, "err", err)
	}
	return fmt.Errorf("%w: %w", ErrNoSpace, err)
}
