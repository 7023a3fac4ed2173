package bench

import (
	"context"
	"time"
)

// pace spaces out sends evenly. It is not safe for concurrent use.
type pace struct {
	interval time.Duration // 0: no limit
	due      time.Time     // of the next send
	woke     time.Time     // when next last returned from sleep
}

// newPace lets perSecond sends pass, or any number if that is 0.
func newPace(perSecond float64, now time.Time) *pace {
	p := &pace{due: now, woke: now}
	if perSecond > 0 {
		p.interval = time.Duration(float64(time.Second) / perSecond)
	}
	return p
}

// next waits until the next send is due and returns the time its latency counts from: when it was
// due, but not before next woke from its last sleep, since an imprecise timer is no fault of the
// server's. It returns early when ctx ends.
func (p *pace) next(ctx context.Context) time.Time {
	now := time.Now()
	if p.interval == 0 {
		return now
	}
	due := p.due
	p.due = due.Add(p.interval)
	if wait := due.Sub(now); wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
		p.woke = time.Now()
	}
	if due.Before(p.woke) {
		return p.woke
	}
	return due
}
