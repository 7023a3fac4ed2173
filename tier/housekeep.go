package tier

import (
	"context"
	"errors"
	"time"
)

// housekeep looks for orphans and for damage, now and then, until ctx ends.
func (t *Tier) housekeep(ctx context.Context) error {
	sweepDue, scrubDue := t.now().Add(t.sweepEvery), t.now().Add(t.scrubEvery)
	for {
		next := sweepDue
		if scrubDue.Before(next) {
			next = scrubDue
		}
		select {
		case <-time.After(next.Sub(t.now())):
		case <-ctx.Done():
			return ctx.Err()
		}
		if now := t.now(); !now.Before(sweepDue) {
			t.sweepOnce(ctx)
			sweepDue = t.now().Add(t.sweepEvery)
		}
		if now := t.now(); !now.Before(scrubDue) {
			t.scrubAll(ctx)
			scrubDue = t.now().Add(t.scrubEvery)
		}
	}
}

func (t *Tier) sweepOnce(ctx context.Context) {
	s, err := t.Sweep(ctx, SweepOptions{})
	if ctx.Err() != nil {
		return
	}
	t.swept.Store(&sweptAt{t.now(), s, err})
	if err != nil {
		t.logger.Warn("tier: the sweep ended early", "err", err)
		return
	}
	t.logger.Info("tier: swept the bucket", "objects", s.Objects, "orphans", s.Orphans, "bytes", s.OrphanBytes, "uploads", s.Uploads, "records", s.Records)
}

// sweptAt is a sweep that has ended.
type sweptAt struct {
	at     time.Time
	result Swept
	err    error
}

// scrubAll verifies all open partitions, one after the other.
func (t *Tier) scrubAll(ctx context.Context) {
	o := VerifyOptions{Deep: t.scrubRate > 0, BytesPerSecond: t.scrubRate, ObjectsPerSecond: scrubObjectsPerSecond}
	for _, p := range t.all() {
		_, err := p.Scrub(ctx, o)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !errors.Is(err, ErrClosed) {
			t.logger.Warn("tier: scrubbing ended early", "partition", p.id.String(), "err", err)
		}
	}
}

// scrubObjectsPerSecond is how many objects the scrubber asks for: a tenth of what any store bears.
const scrubObjectsPerSecond = 20
