package protocol

import (
	"context"
	"math/bits"
	"sync"

	"golang.org/x/sync/semaphore"
)

// memory hands out the buffers request frames are read into, and bounds how
// many bytes of them are out at a time. Waiters are served in order, so a large
// frame is not starved by small ones. It is safe for concurrent use.
type memory struct {
	limit *semaphore.Weighted
	gauge interface{ Add(float64) }
	pools [frameClasses]sync.Pool
}

// frame is one buffer handed out. Invariant: its bytes are counted from before
// buf is allocated until release.
type frame struct {
	buf    []byte
	mem    *memory
	size   int64
	pooled bool
}

func newMemory(limitBytes int64, gauge interface{ Add(float64) }) *memory {
	return &memory{limit: semaphore.NewWeighted(limitBytes), gauge: gauge}
}

// take waits until size bytes are free and returns a frame of that length, with
// undefined content. Only a recycled frame goes back to a pool when it is
// released; the others are left to the garbage collector, so that a slice of
// them kept by mistake is at worst a leak. take fails only when ctx ends.
func (m *memory) take(ctx context.Context, size int, recycled bool) (*frame, error) {
	if err := m.limit.Acquire(ctx, int64(size)); err != nil {
		return nil, err
	}
	m.gauge.Add(float64(size))
	f := &frame{mem: m, size: int64(size), pooled: recycled}
	class, capacity := frameClass(size)
	if !recycled || class >= frameClasses {
		f.buf, f.pooled = make([]byte, size), false
		return f, nil
	}
	if p, ok := m.pools[class].Get().(*[]byte); ok {
		f.buf = (*p)[:size]
	} else {
		f.buf = make([]byte, size, capacity)
	}
	return f, nil
}

// release gives the frame back. Nothing may use its buffer afterwards.
func (f *frame) release() {
	m := f.mem
	if f.pooled {
		buf := f.buf
		class, _ := frameClass(len(buf))
		m.pools[class].Put(&buf)
	}
	f.buf = nil
	m.gauge.Add(-float64(f.size))
	m.limit.Release(f.size)
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
