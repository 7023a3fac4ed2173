package protocol

import (
	"context"
	"math/bits"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

// memory hands out the buffers request frames are read into, and bounds how
// many bytes of them are out at a time. Waiters are served in order, so a large
// frame is not starved by small ones; and large frames, of which a few that
// arrive slowly could take everything, leave a quarter to the small ones. It is
// safe for concurrent use.
type memory struct {
	all   *budget
	large *budget // what frames above largeFrame have of all
	gauge interface{ Add(float64) }
	pools [frameClasses]sync.Pool

	giving sync.Mutex // held while it is decided whether a frame is given up
}

// budget is a number of bytes that frames have a part of while they are out.
type budget struct {
	limit int64
	free  *semaphore.Weighted
	// Bytes that frames have, that frames wait for, and what of the former is about to be released.
	// They are changed in such an order that missing is never above the truth.
	taken, wanted, leaving atomic.Int64
}

// frame is one buffer handed out. Invariant: its bytes are counted from before
// buf is allocated until release.
type frame struct {
	mem     *memory
	buf     []byte
	pooled  *[]byte // what goes back to its pool; nil if buf does not
	givenUp bool
}

func newMemory(limitBytes int64, gauge interface{ Add(float64) }) *memory {
	return &memory{all: newBudget(limitBytes), large: newBudget(limitBytes - limitBytes/4), gauge: gauge}
}

func newBudget(limitBytes int64) *budget {
	return &budget{limit: limitBytes, free: semaphore.NewWeighted(limitBytes)}
}

// take waits until size bytes are free and makes f a frame of that length, with
// undefined content. Only a recycled frame goes back to a pool when it is
// released; the others are left to the garbage collector, so that a slice of
// one kept by mistake is at worst a leak. take fails only when ctx ends.
func (m *memory) take(ctx context.Context, f *frame, size int, recycled bool) error {
	if size > largeFrame {
		if err := m.large.take(ctx, m.large.share(size)); err != nil {
			return err
		}
	}
	if err := m.all.take(ctx, int64(size)); err != nil {
		if size > largeFrame {
			m.large.release(m.large.share(size))
		}
		return err
	}
	m.gauge.Add(float64(size))
	f.mem = m
	class, capacity := frameClass(size)
	if !recycled || class >= frameClasses {
		f.buf = make([]byte, size)
		return nil
	}
	var ok bool
	if f.pooled, ok = m.pools[class].Get().(*[]byte); !ok {
		buf := make([]byte, capacity)
		f.pooled = &buf
	}
	f.buf = (*f.pooled)[:size]
	return nil
}

// giveUp reports whether a large frame, of which not all has arrived, is to be given up for the
// sake of others that wait: its memory is needed even after what has been given up before. The
// caller is to release it then.
func (m *memory) giveUp(f *frame) bool {
	m.giving.Lock()
	defer m.giving.Unlock()
	if m.all.missing() <= 0 && m.large.missing() <= 0 {
		return false
	}
	f.givenUp = true
	m.all.leaving.Add(int64(len(f.buf)))
	m.large.leaving.Add(m.large.share(len(f.buf)))
	return true
}

// release gives the frame back. Nothing may use its buffer afterwards.
func (f *frame) release() {
	m, size := f.mem, len(f.buf)
	if f.pooled != nil {
		class, _ := frameClass(size)
		m.pools[class].Put(f.pooled)
	}
	m.gauge.Add(-float64(size))
	m.all.release(int64(size))
	if size > largeFrame {
		m.large.release(m.large.share(size))
	}
	if f.givenUp {
		m.all.leaving.Add(-int64(size))
		m.large.leaving.Add(-m.large.share(size))
	}
	f.buf, f.pooled, f.givenUp = nil, nil, false
}

// share is what a frame of that size takes, which it gets even if it is larger than all there is.
func (b *budget) share(size int) int64 { return min(int64(size), b.limit) }

func (b *budget) take(ctx context.Context, n int64) error {
	if !b.free.TryAcquire(n) {
		b.wanted.Add(n)
		err := b.free.Acquire(ctx, n)
		b.wanted.Add(-n)
		if err != nil {
			return err
		}
	}
	b.taken.Add(n)
	return nil
}

func (b *budget) release(n int64) {
	b.taken.Add(-n)
	b.free.Release(n)
}

// missing is how many bytes must be released, beyond those about to be, for all that wait to have theirs.
func (b *budget) missing() int64 {
	wanted := b.wanted.Load()
	if wanted == 0 {
		return 0
	}
	return wanted + b.taken.Load() - b.leaving.Load() - b.limit
}

// Frames come in four sizes per power of two, from 4 KiB to 128 MiB: a buffer is
// at most a quarter larger than its frame.
const (
	minClassBits = 12
	maxClassBits = 27
	frameClasses = (maxClassBits-minClassBits)*4 + 1
)

// frameClass returns the index and the buffer size of the smallest class that
// holds size bytes. The index is frameClasses or more if none does.
func frameClass(size int) (class, capacity int) {
	if size <= 1<<minClassBits {
		return 0, 1 << minClassBits
	}
	high := bits.Len(uint(size-1)) - 1 // 2^high < size <= 2^(high+1)
	step := 1 << (high - 2)
	quarters := (size - 1<<high + step - 1) / step // 1 to 4
	return (high-minClassBits)*4 + quarters, 1<<high + quarters*step
}
