package tier

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// queue hands partitions with work to workers, each to one worker at a time, not before its due time.
type queue struct {
	mu    sync.Mutex
	items dueHeap
	wake  chan struct{} // 1-buffered: something became due earlier than a worker knows
}

// slot is where a partition stands in the queue. Guarded by queue.mu.
type slot struct {
	queued  bool
	due     time.Time
	index   int
	running bool
	again   bool // became due while running
	backOff bool // due is when a failure may be tried again
	gone    bool
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

// add makes a partition due at once, or at the time its last failure put it off to.
func (q *queue) add(p *Partition, now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := &p.slot
	switch {
	case s.gone, s.queued && s.backOff:
	case s.queued:
		if now.Before(s.due) {
			s.due = now
			heap.Fix(&q.items, s.index)
			q.signal()
		}
	case s.running:
		s.again = true
	default:
		q.pushLocked(p, now)
	}
}

// retry makes a partition due at once, though a failure has put it off: what failed was put right.
func (q *queue) retry(p *Partition, now time.Time) {
	q.mu.Lock()
	p.slot.backOff = false
	q.mu.Unlock()
	q.add(p, now)
}

func (q *queue) pushLocked(p *Partition, due time.Time) {
	p.slot.queued, p.slot.due = true, due
	heap.Push(&q.items, p)
	q.signal()
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take waits for a partition that is due and gives it to the caller, who returns it with done.
func (q *queue) take(ctx context.Context, now func() time.Time) (*Partition, error) {
	for {
		p, wait := q.pop(now())
		if p != nil {
			return p, nil
		}
		if err := q.sleep(ctx, wait); err != nil {
			return nil, err
		}
	}
}

// pop is the partition that is due next, nil if none is: then the first will be after wait, which is
// negative if there is none at all.
func (q *queue) pop(now time.Time) (p *Partition, wait time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) == 0 {
		return nil, -1
	}
	if wait = q.items[0].slot.due.Sub(now); wait > 0 {
		return nil, wait
	}
	p = heap.Pop(&q.items).(*Partition)
	p.slot.queued, p.slot.running, p.slot.again = false, true, false
	if len(q.items) > 0 {
		q.signal() // for the next worker
	}
	return p, 0
}

// sleep waits for a signal, or for wait if it is not negative.
func (q *queue) sleep(ctx context.Context, wait time.Duration) error {
	var timer <-chan time.Time
	if wait >= 0 {
		timer = time.After(wait)
	}
	select {
	case <-q.wake:
	case <-timer:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// done ends a worker's turn with p. It is due again after delay, or when there is news, which a
// failure puts off. A negative delay waits for news alone.
func (q *queue) done(p *Partition, now time.Time, delay time.Duration, failed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := &p.slot
	s.running = false
	s.backOff = failed
	if s.gone || delay < 0 && !s.again {
		return
	}
	if s.again && !failed {
		delay = 0
	}
	q.pushLocked(p, now.Add(max(delay, 0)))
}

// remove takes a partition out for good.
func (q *queue) remove(p *Partition) {
	q.mu.Lock()
	defer q.mu.Unlock()
	p.slot.gone = true
	if p.slot.queued {
		heap.Remove(&q.items, p.slot.index)
		p.slot.queued = false
	}
}

type dueHeap []*Partition

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].slot.due.Before(h[j].slot.due) }
func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].slot.index, h[j].slot.index = i, j
}

func (h *dueHeap) Push(x any) {
	p := x.(*Partition)
	p.slot.index = len(*h)
	*h = append(*h, p)
}

func (h *dueHeap) Pop() any {
	old := *h
	p := old[len(old)-1]
	*h = old[:len(old)-1]
	return p
}
