package bench

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// Histogram counts durations in buckets whose width is at most 1/128 of their value. The zero value
// is empty and ready. Observe is safe for concurrent use; the other methods see some of the
// observations made meanwhile.
//
//	bucket 0 … 255             1 ns each
//	256 + 128e … 256 + 128e+127    2^(e+1) ns each, from 2^(e+8) ns
type Histogram struct {
	counts [256 + 128*32]atomic.Int64
	count  atomic.Int64
	max    atomic.Int64 // ns
}

// Observe counts d; a negative one counts as 0. What exceeds about 18 minutes is counted as that.
func (h *Histogram) Observe(d time.Duration) {
	ns := max(int64(d), 0)
	h.counts[bucketOf(uint64(ns))].Add(1)
	h.count.Add(1)
	for {
		old := h.max.Load()
		if ns <= old || h.max.CompareAndSwap(old, ns) {
			return
		}
	}
}

// Count is how many durations were observed.
func (h *Histogram) Count() int64 { return h.count.Load() }

// Max is the longest, exactly.
func (h *Histogram) Max() time.Duration { return time.Duration(h.max.Load()) }

// Quantile returns a duration that a share q of the observations do not exceed, rounded up to the
// end of its bucket; 0 if there are none.
func (h *Histogram) Quantile(q float64) time.Duration {
	rank := int64(q*float64(h.Count()) + 0.999999)
	seen := int64(0)
	for i := range h.counts {
		if seen += h.counts[i].Load(); seen >= max(rank, 1) {
			return min(time.Duration(bucketEnd(i)), h.Max())
		}
	}
	return h.Max()
}

func bucketOf(ns uint64) int {
	if ns < 256 {
		return int(ns)
	}
	e := bits.Len64(ns) - 9 // ns is in [2^(e+8), 2^(e+9))
	i := 256 + 128*e + int(ns>>(e+1)) - 128
	return min(i, 256+128*32-1)
}

// bucketEnd is the highest value of a bucket.
func bucketEnd(i int) uint64 {
	if i < 256 {
		return uint64(i)
	}
	e, sub := (i-256)/128, uint64((i-256)%128)
	return (sub+129)<<(e+1) - 1
}
