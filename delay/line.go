package delay

import (
	"context"
	"errors"
	"slices"
	"time"
)

const (
	// minWindow is how many records the first window of a burst holds, so that its delivery begins at once; each
	// following one may be four times as large, up to maxWindow, so that what lies together is read together.
	minWindow = 1 << 10
	maxWindow = 256 << 10
	// windowBytes is about how much a window may hold; and how much may be on its way to the disk.
	windowBytes = 32 << 20
	// maxUncommitted is how many appends may be on their way to the disk.
	maxUncommitted = 32
	// lease is how long a turn may last before another partition gets one too.
	lease = 100 * time.Millisecond

	minBackoff = 50 * time.Millisecond
	maxBackoff = 5 * time.Second
)

// appended is a delivery that may not be committed yet.
type appended struct {
	end   int64
	bytes int
}

// run delivers until nothing is due, and makes the line idle then.
func (l *Line) run(ctx context.Context) {
	var backoff time.Duration
	window := minWindow
	for ctx.Err() == nil {
		more, err := l.turn(ctx, window)
		if err == nil {
			err = l.await(ctx)
		}
		if err != nil {
			backoff = min(max(minBackoff, 2*backoff), maxBackoff)
			l.pause(ctx, backoff, err)
			window = minWindow
			continue
		}
		l.resumed()
		if !more {
			return
		}
		backoff, window = 0, min(4*window, maxWindow)
	}
}

// await holds the line back while too much of what it appended is not committed.
func (l *Line) await(ctx context.Context) error {
	committed := l.schedule.committed()
	bytes := 0
	l.appended = slices.DeleteFunc(l.appended, func(a appended) bool { return a.end <= committed })
	for _, a := range l.appended {
		bytes += a.bytes
	}
	for len(l.appended) > 0 && (len(l.appended) > maxUncommitted || bytes > windowBytes) {
		oldest := l.appended[0]
		if err := l.target.Wait(ctx, oldest.end); err != nil {
			return err
		}
		bytes -= oldest.bytes
		l.appended = l.appended[1:]
	}
	return nil
}

// turn delivers one window, when it is this line's turn.
func (l *Line) turn(ctx context.Context, window int) (more bool, err error) {
	turns := l.d.express
	if window > minWindow {
		turns = l.d.bulk
	}
	var w *workspace
	select {
	case w = <-turns:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	expired := time.AfterFunc(lease, func() { turns <- new(workspace) })
	began := time.Now()
	more, err = l.deliver(ctx, w, window)
	l.d.metrics.turns.Observe(time.Since(began).Seconds())
	if expired.Stop() {
		turns <- w
	}
	return more, err
}

// deliver takes a window of due records and appends what it can of it. What it cannot returns to the schedule.
func (l *Line) deliver(ctx context.Context, w *workspace, window int) (more bool, err error) {
	f, more := l.schedule.Take(l.d.now(), window, windowBytes)
	if f == nil {
		return more, nil
	}
	defer l.schedule.Return(f)
	defer w.forget()
	missing := w.gather(ctx, l.target, &l.shelf, f.Entries)
	d := Delivery{flight: f}
	d.changes = l.schedule.remaining(f, w.gone)
	for i := 0; i < len(f.Entries); {
		next, err := w.build(&d, i, l.d.now())
		if err != nil {
			return true, err
		}
		if len(d.Batches) == 0 {
			break
		}
		end, err := l.target.Deliver(ctx, &d)
		switch {
		case errors.Is(err, ErrChanged):
			d.changes = l.schedule.remaining(f, w.gone)
			continue
		case errors.Is(err, ErrEarly):
			// The clock went back: what is left is due another time.
			return false, nil
		case err != nil:
			return true, err
		}
		l.lateness.observe(f.Entries[d.first:d.next], w.gone[d.first:d.next], l.d.now())
		l.appended = append(l.appended, appended{end, len(d.Batches[0])})
		i = next
	}
	return more, missing
}

// pause waits before the next try, and remembers why.
func (l *Line) pause(ctx context.Context, backoff time.Duration, err error) {
	if ctx.Err() != nil {
		return
	}
	l.d.metrics.failures.Inc()
	l.d.mu.Lock()
	first := l.stopped == nil
	l.stopped = err
	l.d.mu.Unlock()
	if first {
		l.log.Error("delayed records cannot be delivered; trying again until they can", "err", err)
	}
	t := time.NewTimer(backoff)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// resumed notes that all is well again.
func (l *Line) resumed() {
	l.d.mu.Lock()
	was := l.stopped
	l.stopped = nil
	l.d.mu.Unlock()
	if was != nil {
		l.log.Info("delivering delayed records again")
	}
}
