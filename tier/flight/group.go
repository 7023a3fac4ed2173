package flight

import (
	"context"
	"errors"
	"sync"
)

// Group makes sure that a thing is loaded once, however many want it at the same time.
type Group[K comparable, V any] struct {
	life *Lifetime
	mu   sync.Mutex
	all  map[K]*flight[V] // guarded by mu
}

// flight is one load of one key.
type flight[V any] struct {
	landed chan struct{}
	value  V // valid when landed is closed, as is err
	err    error
}

// ErrBrokenOff is the error of keys of a run behind one that could not be loaded. Nothing is known
// against them.
var ErrBrokenOff = errors.New("loading broke off before")

// NewGroup returns a group of no flights, whose loads live as long as life at most.
func NewGroup[K comparable, V any](life *Lifetime) *Group[K, V] {
	return &Group[K, V]{life: life, all: map[K]*flight[V]{}}
}

// Get waits for the load of key, which it begins unless one is under way. A caller whose ctx ends
// leaves; the load goes on.
func (g *Group[K, V]) Get(ctx context.Context, key K, load func(context.Context) (V, error)) (V, error) {
	var none V
	if err := ctx.Err(); err != nil {
		return none, err
	}
	fl := g.begin(key, load)
	select {
	case <-fl.landed:
		return fl.value, fl.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// BeginRun starts one load of several keys, without waiting: of the leading ones that nobody loads.
// load lands each of them in order; what it leaves in the air lands with its error.
func (g *Group[K, V]) BeginRun(keys []K, load func(ctx context.Context, n int, land func(V, error)) error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var run []*flight[V]
	for _, key := range keys {
		if g.all[key] != nil {
			break
		}
		fl := &flight[V]{landed: make(chan struct{})}
		g.all[key] = fl
		run = append(run, fl)
	}
	landed := 0
	land := func(value V, err error) {
		fl := run[landed]
		fl.value, fl.err = value, err
		g.mu.Lock()
		delete(g.all, keys[landed])
		g.mu.Unlock()
		close(fl.landed)
		landed++
	}
	started := len(run) == 0 || g.life.Start(func(ctx context.Context) {
		err := Contain(func() error { return load(ctx, len(run), land) })
		for landed < len(run) {
			var none V
			land(none, err)
		}
	})
	if !started {
		for i, fl := range run {
			delete(g.all, keys[i])
			fl.err = g.life.over
			close(fl.landed)
		}
	}
}

// begin starts the load of key unless one is under way, and does not wait.
func (g *Group[K, V]) begin(key K, load func(context.Context) (V, error)) *flight[V] {
	g.mu.Lock()
	defer g.mu.Unlock()
	if fl := g.all[key]; fl != nil {
		return fl
	}
	fl := &flight[V]{landed: make(chan struct{})}
	g.all[key] = fl
	started := g.life.Start(func(ctx context.Context) {
		fl.err = Contain(func() (err error) {
			fl.value, err = load(ctx)
			return err
		})
		g.mu.Lock()
		delete(g.all, key)
		g.mu.Unlock()
		close(fl.landed)
	})
	if !started {
		delete(g.all, key)
		fl.err = g.life.over
		close(fl.landed)
	}
	return fl
}
