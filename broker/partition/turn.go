package partition

import (
	"context"
	"sync"
)

// turn is who may use a partition's keeper: one at a time. What takes long borrows it, and gives it back when its context ends.
type turn struct {
	slot chan struct{} // full while the turn is taken

	mu sync.Mutex
	// interrupt ends the context of who borrowed the turn; nil if nobody did.
	interrupt context.CancelFunc // guarded by mu
	// urgent counts who waits, and is let go first.
	urgent int // guarded by mu
}

func newTurn() *turn { return &turn{slot: make(chan struct{}, 1)} }

// take takes the turn, and reports whether it did; end must follow. If somebody has it, that is not done, unless it is urgent: then
// whoever borrowed it is told to end, and waited for.
func (t *turn) take(ctx context.Context, urgent bool) bool {
	if t.try() {
		return true
	}
	if !urgent {
		return false
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
	select {
	case t.slot <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// lend takes the turn if nobody has it or waits for it; end must follow if it did. The context ends with ctx, at end, and when the turn is
// needed urgently.
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
