// Package flight loads things once, however many want them at the same time, and goes on with it
// when those who asked have given up: what is loaded is what the next one wants.
//
// Goroutines: one for each load, owned by a [Lifetime], which whoever opens the component ends. A
// [Group] has one lock, for which loads are under way; it is not held while one runs.
package flight

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
)

// Lifetime owns the goroutines that go on when the caller who started them gives up: loads whose
// result the next caller wants.
type Lifetime struct {
	over   error // of what is asked for afterwards
	ctx    context.Context
	cancel context.CancelFunc

	mu     sync.Mutex
	closed bool // guarded by mu
	wg     sync.WaitGroup
}

// NewLifetime begins one. What wants to start when it has ended gets the error over.
func NewLifetime(over error) *Lifetime {
	ctx, cancel := context.WithCancel(context.Background())
	return &Lifetime{over: over, ctx: ctx, cancel: cancel}
}

// Start runs do in a goroutine of its own. It reports false if the lifetime is over.
func (l *Lifetime) Start(do func(context.Context)) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.wg.Go(func() { do(l.ctx) })
	return true
}

// End cancels what is under way and waits for it.
func (l *Lifetime) End() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.cancel()
	l.wg.Wait()
}

// Contain makes a panic an error: a bug in the work for one must not stop that for others, nor
// pass silently.
func Contain(do func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v\n%s", ErrPanic, r, debug.Stack())
		}
	}()
	return do()
}

// ErrPanic is the error of what has panicked.
var ErrPanic = errors.New("panic")
