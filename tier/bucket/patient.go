package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// patient is a bucket whose requests may take as long as they need, so long as they get on. A
// deadline would not do: how long a large body takes depends on its size, the network and the rate
// limit. A request that gets nowhere for the idle time ends with ErrUnknown.
type patient struct {
	Bucket
	idle time.Duration
}

// requestIdle is how long a store may leave a request alone.
const requestIdle = 60 * time.Second

// Patient is b with a watchdog: a store that stalls does not hold its caller for ever. Being
// patient twice is being patient once.
func Patient(b Bucket) Bucket { return patient{Underlying(b), requestIdle} }

var errIdle = errors.New("no progress")

// Put implements [Bucket]. Progress is every read of the body.
func (b patient) Put(ctx context.Context, key string, body Body, o PutOptions) (Object, error) {
	ctx, w := watch(ctx, b.idle)
	defer w.stop()
	body.At = watchedReaderAt{body.At, w}
	if pace := body.Pace; pace != nil {
		body.Pace = func(ctx context.Context, n int) error {
			w.pause()
			defer w.progress()
			return pace(ctx, n)
		}
	}
	obj, err := b.Bucket.Put(ctx, key, body, o)
	return obj, w.cause("put", key, err)
}

// Head implements [Bucket].
func (b patient) Head(ctx context.Context, key string) (Object, error) {
	ctx, w := watch(ctx, b.idle)
	defer w.stop()
	obj, err := b.Bucket.Head(ctx, key)
	return obj, w.cause("head", key, err)
}

// Get implements [Bucket]. Progress is every byte that arrives; a reader that does not read is not watched.
func (b patient) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, Object, error) {
	ctx, w := watch(ctx, b.idle)
	r, obj, err := b.Bucket.Get(ctx, key, off, n)
	if err != nil {
		w.stop()
		return nil, Object{}, w.cause("get", key, err)
	}
	w.pause()
	return &watchedStream{r, w, key}, obj, nil
}

// List implements [Bucket]. Progress is every object.
func (b patient) List(ctx context.Context, prefix string, visit func(Object) error) error {
	ctx, w := watch(ctx, b.idle)
	defer w.stop()
	err := b.Bucket.List(ctx, prefix, func(o Object) error {
		w.pause()
		defer w.progress()
		return visit(o)
	})
	return w.cause("list", prefix, err)
}

// Delete implements [Bucket]. Progress is every so many objects.
func (b patient) Delete(ctx context.Context, keys ...string) error {
	for len(keys) > 0 {
		n := min(len(keys), deletesAtOnce)
		if err := b.delete(ctx, keys[:n]); err != nil {
			return err
		}
		keys = keys[n:]
	}
	return nil
}

func (b patient) delete(ctx context.Context, keys []string) error {
	ctx, w := watch(ctx, b.idle)
	defer w.stop()
	return w.cause("delete", keys[0], b.Bucket.Delete(ctx, keys...))
}

// Underlying is a [Patient] bucket without its watchdog. What a bucket can do besides what every one
// can, such as [S3.StaleUploads], is asked of that.
func Underlying(b Bucket) Bucket {
	if p, ok := b.(patient); ok {
		return p.Bucket
	}
	return b
}

// watchdog ends a context after a time without progress.
type watchdog struct {
	idle   time.Duration
	ctx    context.Context
	cancel context.CancelCauseFunc

	mu    sync.Mutex // guards timer
	timer *time.Timer
}

func watch(ctx context.Context, idle time.Duration) (context.Context, *watchdog) {
	w := &watchdog{idle: idle}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	w.timer = time.AfterFunc(idle, func() { w.cancel(fmt.Errorf("%w for %v", errIdle, idle)) })
	return w.ctx, w
}

// progress starts the idle time anew.
func (w *watchdog) progress() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer.Reset(w.idle)
}

// pause stops the idle time until there is progress: it is not the store that is slow.
func (w *watchdog) pause() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer.Stop()
}

func (w *watchdog) stop() {
	w.pause()
	w.cancel(nil)
}

// cause says so if it was the watchdog that ended a request.
func (w *watchdog) cause(op, key string, err error) error {
	if err == nil || !errors.Is(context.Cause(w.ctx), errIdle) {
		return err
	}
	return &Error{Op: op, Key: key, Kind: ErrUnknown, Err: context.Cause(w.ctx)}
}

type watchedReaderAt struct {
	r io.ReaderAt
	w *watchdog
}

func (r watchedReaderAt) ReadAt(b []byte, pos int64) (int, error) {
	r.w.progress()
	return r.r.ReadAt(b, pos)
}

type watchedStream struct {
	io.ReadCloser
	w   *watchdog
	key string
}

func (s *watchedStream) Read(b []byte) (int, error) {
	s.w.progress()
	n, err := s.ReadCloser.Read(b)
	s.w.pause()
	if err != nil && !errors.Is(err, io.EOF) {
		err = s.w.cause("get", s.key, err)
	}
	return n, err
}

func (s *watchedStream) Close() error {
	s.w.stop()
	return s.ReadCloser.Close()
}

const (
	// headTimeout bounds the question that decides an outcome.
	headTimeout = 30 * time.Second
	// lastWord is what is left of it once the caller is not to wait any more: a broker that stops
	// waits for no store that does not answer.
	lastWord = 2 * time.Second
)

// OwnTime is for a request that ends something: the question what became of a Put, which may have
// used up the caller's time, or tidying up. It goes on when ctx ends, but only for lastWord.
func OwnTime(ctx context.Context) (context.Context, context.CancelFunc) {
	own, cancel := context.WithTimeout(context.WithoutCancel(ctx), headTimeout)
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(lastWord):
			cancel()
		case <-own.Done():
		}
	})
	return own, func() { stop(); cancel() }
}
