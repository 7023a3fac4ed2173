package partition

import (
	"context"
	"sync"
	"sync/atomic"
)

// turn is who may use a partition's keeper: one at a time. What may be stuck borrows it, and gives
// it back when its context ends; a merge has it for a moment, again and again.
type turn struct {
	slot chan struct{} // full while the turn is taken
	// brief says that who has the turn has it for a moment.
	brief atomic.Bool

	mu sync.Mutex
	// interrupt ends the context of who borrowed the turn; nil if nobody did.
	interrupt context.CancelFunc // guarded by mu
	// urgent counts who waits, and is let go first.
	urgent int // guarded by mu
}

func newTurn() *turn { return &turn{slot: make(chan struct{}, 1)} }

// take takes the turn, and reports whether it did; end must follow. If somebody has it for longer
// than a moment, that is not done, unless it is urgent: then whoever borrowed it is told to end,
// and waited for.
func (t *turn) take(ctx context.Context, urgent bool) bool {
	if t.try() {
		return true
	}
	if !urgent {
		return t.brief.Load() && t.wait(ctx) == nil
	}
	t.mu.Lock()
	t.recall()
	t.urgent++
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		t.urgent--
		t.mu.Unlock()
	}()
	return t.wait(ctx) == nil
}

// briefly takes the turn, whoever has it first, for a call that takes a moment.
func (t *turn) briefly(ctx context.Context, do func() error) error {
	if err := t.wait(ctx); err != nil {
		return err
	}
	defer t.end()
	t.brief.Store(true)
	defer t.brief.Store(false)
	return do()
}

// wait takes the turn when those have had it who came before.
func (t *turn) wait(ctx context.Context) error {
	select {
	case t.slot <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// lend takes the turn if nobody has it or waits for it; end must follow if it did. The context ends
// with ctx, at end, and when the turn is needed urgently.
func (t *turn) lend(ctx context.Context) (lent context.Context, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.urgent > 0 || !t.try() {
		return nil, false
	}
	lent, t.interrupt = context.WithCancel(ctx)
	return lent, true
}

// end gives the turn to who waits for it.
func (t *turn) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.recall()
	<-t.slot
}

func (t *turn) try() bool {
	select {
	case t.slot <- struct{}{}:
		return true
	default:
		return false
	}
}

// recall ends the context of who borrowed the turn. The caller has mu.
func (t *turn) recall() {
	if t.interrupt != nil {
		t.interrupt()
		t.interrupt = nil
	}
}
