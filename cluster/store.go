package cluster

import (
	"context"
	"sync"
	"sync/atomic"
)

// Store keeps the metadata of the cluster durably and lets everybody read it.
// All methods may be called from any goroutine.
type Store interface {
	// Image returns the latest metadata. It is never nil, and immutable.
	Image() *Image

	// Watch returns a channel that receives after every change of the image; a
	// change during a pending wake-up adds none, so the receiver calls Image
	// and compares. It is signalled once at the start. cancel ends it; the
	// channel is never closed.
	Watch() (changed <-chan struct{}, cancel func())

	// Apply decides a command on the latest metadata, commits what it changes
	// and publishes it. When it returns, the change is on stable storage, and
	// the returned image, as well as every later Image(), holds it. A refusal
	// is an *Error, or a *BatchError for commands of several items; with any
	// other error the outcome is unknown until the store is opened again.
	// The image returned with a refusal is the one it was decided on. A command
	// with ValidateOnly changes nothing and returns the image as it would be.
	// If ctx ends while the command waits for its turn, it is not applied.
	Apply(ctx context.Context, c Command) (*Image, error)

	// ProducerIDs reserves n ids, first to first+n-1, on stable storage. They
	// are handed out once, ever.
	ProducerIDs(ctx context.Context, n int64) (first int64, err error)
}

// Feed publishes images to readers and watchers: the reading half of a Store.
// The zero value is not ready; call Publish before anything else.
type Feed struct {
	image atomic.Pointer[Image]

	mu       sync.Mutex
	watchers map[chan struct{}]struct{} // guarded by mu
}

// Image returns the image published last.
func (f *Feed) Image() *Image { return f.image.Load() }

// Publish makes img the latest image and wakes all watchers. It never blocks.
func (f *Feed) Publish(img *Image) {
	f.image.Store(img)
	f.mu.Lock()
	defer f.mu.Unlock()
	for ch := range f.watchers {
		wake(ch)
	}
}

// Watch implements Store.
func (f *Feed) Watch() (changed <-chan struct{}, cancel func()) {
	ch := make(chan struct{}, 1)
	wake(ch)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.watchers == nil {
		f.watchers = map[chan struct{}]struct{}{}
	}
	f.watchers[ch] = struct{}{}
	return ch, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.watchers, ch)
	}
}

func wake(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
