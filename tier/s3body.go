package tier

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// watchdog ends a request that sends nothing for a while. A deadline would not do: how long a large body takes
// depends on its size, the network and the rate limit.
type watchdog struct {
	idle   time.Duration
	cancel context.CancelCauseFunc
	ctx    context.Context

	mu    sync.Mutex
	timer *time.Timer
}

var errIdle = errors.New("no progress")

func watch(ctx context.Context, idle time.Duration) (context.Context, *watchdog) {
	w := &watchdog{idle: idle}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	w.timer = time.AfterFunc(idle, func() {
		w.cancel(fmt.Errorf("%w for %v", errIdle, idle))
	})
	return w.ctx, w
}

// progress starts the idle time anew.
func (w *watchdog) progress() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer.Reset(w.idle)
}

func (w *watchdog) stop() {
	w.timer.Stop()
	w.cancel(nil)
}

// cause is err, with the watchdog's word for it if it was the watchdog that ended the request.
func (w *watchdog) cause(err error) error {
	if c := context.Cause(w.ctx); c != nil && errors.Is(c, errIdle) {
		return errors.Join(c, err)
	}
	return err
}

// reader is a range of a body as the HTTP client wants it: it can be rewound for another try.
func (w *watchdog) reader(ctx context.Context, body Body, pos, n int64) io.ReadSeeker {
	return &bodyReader{r: io.NewSectionReader(body.At, pos, n), ctx: ctx, pace: body.Pace, watch: w}
}

type bodyReader struct {
	r     *io.SectionReader
	ctx   context.Context
	pace  func(context.Context, int) error
	watch *watchdog
}

func (r *bodyReader) Seek(offset int64, whence int) (int64, error) { return r.r.Seek(offset, whence) }

func (r *bodyReader) Read(b []byte) (int, error) {
	n, err := r.r.Read(b)
	if n > 0 && r.pace != nil {
		r.watch.progress() // waiting for the rate limit is not idleness
		if perr := r.pace(r.ctx, n); perr != nil {
			return n, perr
		}
	}
	r.watch.progress()
	return n, err
}
