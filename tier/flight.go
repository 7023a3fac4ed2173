package tier

import (
	"context"
	"sync"
)

// lifetime owns the goroutines that go on when the caller who started them gives up: loads whose
// result the next caller wants. It ends with the Tier.
type lifetime struct {
	ctx    context.Context
	cancel context.CancelFunc

	mu     sync.Mutex
	closed bool // guarded by mu
	wg     sync.WaitGroup
}

func newLifetime() *lifetime {
	ctx, cancel := context.WithCancel(context.Background())
	return &lifetime{ctx: ctx, cancel: cancel}
}

// start runs do in a goroutine of its own. It reports false if the lifetime is over.
func (l *lifetime) start(do func(context.Context)) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.wg.Go(func() { do(l.ctx) })
	return true
}

// end cancels what is under way and waits for it.
func (l *lifetime) end() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.cancel()
	l.wg.Wait()
}

// flights makes sure that a thing is loaded once, however many want it at the same time.
type flights[K comparable, V any] struct {
	life *lifetime
	mu   sync.Mutex
	all  map[K]*flight[V] // guarded by mu
}

type flight[V any] struct {
	landed chan struct{}
	value  V // valid when landed is closed, as is err
	err    error
}

func newFlights[K comparable, V any](life *lifetime) *flights[K, V] {
	return &flights[K, V]{life: life, all: map[K]*flight[V]{}}
}

// get waits for the load of key, which it begins unless one is under way. A caller whose ctx ends
// leaves; the load goes on.
func (f *flights[K, V]) get(ctx context.Context, key K, load func(context.Context) (V, error)) (V, error) {
	var none V
	if err := ctx.Err(); err != nil {
		return none, err
	}
	fl := f.begin(key, load)
	select {
	case <-fl.landed:
		return fl.value, fl.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// beginRun starts one load of several keys, without waiting: of the leading ones that nobody loads.
// load lands each of them in order; what it leaves in the air lands with its error.
func (f *flights[K, V]) beginRun(keys []K, load func(ctx context.Context, n int, land func(V, error)) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var run []*flight[V]
	for _, key := range keys {
		if f.all[key] != nil {
			break
		}
		fl := &flight[V]{landed: make(chan struct{})}
		f.all[key] = fl
		run = append(run, fl)
	}
	landed := 0
	land := func(value V, err error) {
		fl := run[landed]
		fl.value, fl.err = value, err
		f.mu.Lock()
		delete(f.all, keys[landed])
		f.mu.Unlock()
		close(fl.landed)
		landed++
	}
	started := len(run) == 0 || f.life.start(func(ctx context.Context) {
		err := contained(func() error { return load(ctx, len(run), land) })
		for landed < len(run) {
			var none V
			land(none, err)
		}
	})
	if !started {
		for i, fl := range run {
			delete(f.all, keys[i])
			fl.err = ErrClosed
			close(fl.landed)
		}
	}
}

// begin starts the load of key unless one is under way, and does not wait.
func (f *flights[K, V]) begin(key K, load func(context.Context) (V, error)) *flight[V] {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl := f.all[key]; fl != nil {
		return fl
	}
	fl := &flight[V]{landed: make(chan struct{})}
	f.all[key] = fl
	started := f.life.start(func(ctx context.Context) {
		fl.err = contained(func() (err error) {
			fl.value, err = load(ctx)
			return err
		})
		f.mu.Lock()
		delete(f.all, key)
		f.mu.Unlock()
		close(fl.landed)
	})
	if !started {
		delete(f.all, key)
		fl.err = ErrClosed
		close(fl.landed)
	}
	return fl
}
