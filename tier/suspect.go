package tier

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/morrowmq/morrow/tier/bucket"
)

// A reader that meets damage gets an error, and so does the next. Whoever can do something about it
// should not hear of it from the next scrub, a week later: the object is looked at closely at once,
// repaired if the log still has the segment, and is an alarm if not.

const (
	// lookAgain is how long what was looked at is not looked at again: its readers try all the time.
	lookAgain = 10 * time.Minute
	// maxSuspects bounds what waits for a look.
	maxSuspects = 100
)

// suspect is a segment that a reader could not make sense of, or did not find.
type suspect struct {
	p *Partition
	e Entry
}

// suspects are to be looked at. Safe for concurrent use.
type suspects struct {
	wake chan struct{} // holds one element while there are any

	mu     sync.Mutex
	list   []suspect
	lately map[Token]time.Time // when those were taken into the list that are not to be taken again yet
}

func newSuspects() *suspects {
	return &suspects{wake: make(chan struct{}, 1), lately: map[Token]time.Time{}}
}

// add takes one in unless it was taken in a short time ago.
func (s *suspects) add(x suspect, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for token, at := range s.lately {
		if ago := now.Sub(at); ago < 0 || ago >= lookAgain {
			delete(s.lately, token)
		}
	}
	if _, known := s.lately[x.e.Token]; known || len(s.lately) >= maxSuspects {
		return
	}
	s.lately[x.e.Token] = now
	s.list = append(s.list, x)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// take returns those that wait.
func (s *suspects) take() []suspect {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.list
	s.list = nil
	return list
}

// suspect has a segment looked at if err, of reading it, may mean that it is damaged.
func (p *Partition) suspect(e *Entry, err error) {
	if errors.Is(err, ErrCorrupt) || errors.Is(err, bucket.ErrNotFound) {
		p.tier.suspects.add(suspect{p, *e}, p.tier.now())
	}
}

// lookAtSuspects reads what readers have complained of. What cannot be read now they will complain
// of again.
func (t *Tier) lookAtSuspects(ctx context.Context) {
	for _, s := range t.suspects.take() {
		if err := s.p.look(ctx, s.e); err != nil && ctx.Err() == nil && !errors.Is(err, ErrClosed) && !errors.Is(err, errStopped) {
			t.logger.Warn("tier: a segment that may be damaged cannot be looked at", "partition", s.p.id.String(), "base", s.e.Base, "err", err)
		}
	}
}

// look is Scrub for one segment.
func (p *Partition) look(ctx context.Context, e Entry) error {
	v := newVerifier(p.tier.bucket, p.catalog.dir, VerifyOptions{Deep: true, BytesPerSecond: p.tier.scrubRate})
	err := v.entries(ctx, []Entry{e}, p.repair)
	p.count(v.result)
	if len(v.result.Damaged) > 0 {
		_ = p.inTurn(ctx, func(context.Context) error { // as in keepResult
			p.scrubbed.Store(p.scrubbed.Load().with(v.result.Damaged))
			return nil
		})
	}
	return err
}

// with is the same look, with more damage.
func (s *scrubbed) with(damaged []Damage) *scrubbed {
	var more scrubbed // there may have been no look yet
	if s != nil {
		more = *s
	}
	more.result.Damaged = append([]Damage(nil), more.result.Damaged...)
	for _, d := range damaged {
		more.result.add(d)
	}
	return &more
}
