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
	limit *semaphore.Weighted
	large *semaphore.Weighted // what frames above largeFrame have of limit
	most  int64               // the weight of large
	wants atomic.Int64        // frames that wait
	gauge interface{ Add(float64) }
	pools [frameClasses]sync.Pool
}

// frame is one buffer handed out. Invariant: its bytes are counted from before
// buf is allocated until release.
type frame struct {
	mem    *memory
	buf    []byte
	pooled *[]byte // what goes back to its pool; nil if buf does not
}

func newMemory(limitBytes int64, gauge interface{ Add(float64) }) *memory {
	most := limitBytes - limitBytes/4
	return &memory{limit: semaphore.NewWeighted(limitBytes), large: semaphore.NewWeighted(most), most: most, gauge: gauge}
}

// take waits until size bytes are free and makes f a frame of that length, with
// undefined content. Only a recycled frame goes back to a pool when it is
// released; the others are left to the garbage collector, so that a slice of
// one kept by mistake is at worst a leak. take fails only when ctx ends.
func (m *memory) take(ctx context.Context, f *frame, size int, recycled bool) error {
	if size > largeFrame {
		if err := m.acquire(ctx, m.large, min(int64(size), m.most)); err != nil {
			return err
		}
	}
	if err := m.acquire(ctx, m.limit, int64(size)); err != nil {
		if size > largeFrame {
			m.large.Release(min(int64(size), m.most))
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

func (m *memory) acquire(ctx context.Context, from *semaphore.Weighted, n int64) error {
	if from.TryAcquire(n) {
		return nil
	}
	m.wants.Add(1)
	defer m.wants.Add(-1)
	return from.Acquire(ctx, n)
}

// wanted reports whether frames wait for memory that others have.
func (m *memory) wanted() bool { return m.wants.Load() > 0 }

// release gives the frame back. Nothing may use its buffer afterwards.
func (f *frame) release() {
	size := len(f.buf)
	if f.pooled != nil {
		class, _ := frameClass(size)
		f.mem.pools[class].Put(f.pooled)
	}
	f.buf, f.pooled = nil, nil
	f.mem.gauge.Add(-float64(size))
	f.mem.limit.Release(int64(size))
	if size > largeFrame {
		f.mem.large.Release(min(int64(size), f.mem.most))
	}
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
