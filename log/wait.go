package log

import "context"

// waiter waits for the high watermark.
type waiter struct {
	end  int64
	done chan struct{} // 1-buffered
}

// Wait blocks until the high watermark is at or above end. It returns the log's
// failure if it goes offline first, and ctx's error if that ends first.
func (l *Log) Wait(ctx context.Context, end int64) error {
	l.mu.Lock()
	if err := l.Failure(); err != nil || l.hw >= end {
		reached := l.hw >= end
		l.mu.Unlock()
		if reached {
			return nil
		}
		return err
	}
	w, ok := l.set.waiters.Get().(*waiter)
	if !ok {
		w = &waiter{done: make(chan struct{}, 1)}
	}
	w.end = end
	l.waiters = append(l.waiters, w)
	l.mu.Unlock()

	select {
	case <-w.done:
	case <-ctx.Done():
		if l.dropWaiter(w) {
			l.set.waiters.Put(w)
			return ctx.Err()
		}
		<-w.done // it was being woken
	}
	l.set.waiters.Put(w)
	l.mu.Lock()
	reached := l.hw >= end
	l.mu.Unlock()
	if reached {
		return nil
	}
	return l.Failure()
}

// dropWaiter forgets a waiter; false means that it was woken already.
func (l *Log) dropWaiter(w *waiter) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, x := range l.waiters {
		if x == w {
			l.waiters = append(l.waiters[:i], l.waiters[i+1:]...)
			return true
		}
	}
	return false
}

// Subscribe has wake, which should be 1-buffered, receive whenever the visible end or the last stable
// offset moved, or the log went offline. An append of hidden batches only wakes nobody.
func (l *Log) Subscribe(wake chan<- struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.subs == nil {
		l.subs = make(map[chan<- struct{}]struct{})
	}
	l.subs[wake] = struct{}{}
}

// Unsubscribe ends a subscription. One more wake-up may be under way.
func (l *Log) Unsubscribe(wake chan<- struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.subs, wake)
}

// wakeLocked wakes the waiters the high watermark has reached, and subscribers if there is more to read.
func (l *Log) wakeLocked(readable bool) {
	failed := l.failure.Load() != nil
	waiting := l.waiters[:0]
	for _, w := range l.waiters {
		if failed || w.end <= l.hw {
			w.done <- struct{}{}
		} else {
			waiting = append(waiting, w)
		}
	}
	clear(l.waiters[len(waiting):])
	l.waiters = waiting
	if !readable {
		return
	}
	for wake := range l.subs {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}

func (l *Log) wakeAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wakeLocked(true)
}
