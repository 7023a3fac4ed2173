package partition

import (
	"context"
	"sync/atomic"
	"time"
)

// rooms is the room for delayed records: for all of them, and for those in transactions that are not
// over, which cannot be moved out of memory. The zero value has room.
type rooms struct {
	all, staged room
}

// lacking is the room that there is not for a batch, nil if there is.
func (r *rooms) lacking(transactional bool) *room {
	switch {
	case transactional && r.staged.crowded():
		return &r.staged
	case r.all.crowded():
		return &r.all
	}
	return nil
}

// room says whether there is memory for more delayed records. It is safe for concurrent use. The
// zero value has room.
type room struct {
	// full is nil while there is room; else it is closed when there is again.
	full atomic.Pointer[chan struct{}]
}

func (r *room) crowded() bool { return r.full.Load() != nil }

// set reports whether it changed anything.
func (r *room) set(crowded bool) (changed bool) {
	if crowded {
		c := make(chan struct{})
		return r.full.CompareAndSwap(nil, &c)
	}
	full := r.full.Load()
	if full == nil || !r.full.CompareAndSwap(full, nil) {
		return false
	}
	close(*full)
	return true
}

// wait returns when there is room, when it has waited for so long, or when ctx ends.
func (r *room) wait(ctx context.Context, patience time.Duration) {
	full := r.full.Load()
	if full == nil {
		return
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-*full:
	case <-timer.C:
	case <-ctx.Done():
	}
}
