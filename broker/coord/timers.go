package coord

import (
	"container/heap"
	"time"
)

// Timers holds the deadlines of one state machine: at most one per key. It is
// data, not machinery: the state asks for what is due, and its shard asks when
// to look. The zero value is empty and ready to use. Not safe for concurrent use.
type Timers[K comparable] struct {
	byKey map[K]*timer[K]
	heap  timerHeap[K]
	seq   uint64
}

type timer[K comparable] struct {
	key   K
	at    time.Time
	seq   uint64 // equal deadlines fire in the order they were set
	index int    // in the heap
}

// Set makes key due at the given time, replacing an earlier deadline of it.
func (t *Timers[K]) Set(key K, at time.Time) {
	t.seq++
	if e, ok := t.byKey[key]; ok {
		e.at, e.seq = at, t.seq
		heap.Fix(&t.heap, e.index)
		return
	}
	if t.byKey == nil {
		t.byKey = map[K]*timer[K]{}
	}
	e := &timer[K]{key: key, at: at, seq: t.seq}
	t.byKey[key] = e
	heap.Push(&t.heap, e)
}

// Cancel removes the deadline of key, if it has one.
func (t *Timers[K]) Cancel(key K) {
	if e, ok := t.byKey[key]; ok {
		heap.Remove(&t.heap, e.index)
		delete(t.byKey, key)
	}
}

// At returns the deadline of key.
func (t *Timers[K]) At(key K) (at time.Time, ok bool) {
	e, ok := t.byKey[key]
	if !ok {
		return time.Time{}, false
	}
	return e.at, true
}

// Next is the earliest deadline; the zero time when there is none.
func (t *Timers[K]) Next() time.Time {
	if len(t.heap) == 0 {
		return time.Time{}
	}
	return t.heap[0].at
}

// Pop removes and returns the key that is due longest at now.
func (t *Timers[K]) Pop(now time.Time) (key K, ok bool) {
	if len(t.heap) == 0 || t.heap[0].at.After(now) {
		return key, false
	}
	e := heap.Pop(&t.heap).(*timer[K])
	delete(t.byKey, e.key)
	return e.key, true
}

// Len is the number of deadlines set.
func (t *Timers[K]) Len() int { return len(t.heap) }

type timerHeap[K comparable] []*timer[K]

func (h timerHeap[K]) Len() int { return len(h) }

func (h timerHeap[K]) Less(i, j int) bool {
	if h[i].at.Equal(h[j].at) {
		return h[i].seq < h[j].seq
	}
	return h[i].at.Before(h[j].at)
}

func (h timerHeap[K]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *timerHeap[K]) Push(x any) {
	e := x.(*timer[K])
	e.index = len(*h)
	*h = append(*h, e)
}

func (h *timerHeap[K]) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return e
}
