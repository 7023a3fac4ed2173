package delay

import (
	"slices"
	"sync"
)

// LatenessBounds are the upper bounds, in milliseconds and inclusive, of the buckets of [Lateness].
var LatenessBounds = [...]int64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 60_000, 600_000, 3_600_000}

// Lateness is a histogram of how long after their due time records were appended.
type Lateness struct {
	// Buckets counts by LatenessBounds; the last one is what exceeds them all.
	Buckets [len(LatenessBounds) + 1]uint64
	Count   uint64
	// Sum in milliseconds.
	Sum int64
}

// Add adds what another histogram observed.
func (l *Lateness) Add(other Lateness) {
	for i, n := range other.Buckets {
		l.Buckets[i] += n
	}
	l.Count += other.Count
	l.Sum += other.Sum
}

// latenessRecorder is a Lateness that may be read while it is written. One Observe per append, not per record.
type latenessRecorder struct {
	mu sync.Mutex
	h  Lateness
}

// observe notes that entries were appended at now. They are in order of due, so the latest come first.
func (r *latenessRecorder) observe(entries []Entry, gone []bool, now int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	bucket := len(LatenessBounds)
	for i, e := range entries {
		if gone[i] {
			continue
		}
		late := now - e.Due
		for bucket > 0 && late <= LatenessBounds[bucket-1] {
			bucket--
		}
		r.h.Buckets[bucket]++
		r.h.Count++
		r.h.Sum += late
	}
}

func (r *latenessRecorder) snapshot() Lateness {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.h
}

// Quantile returns an upper bound, in milliseconds, of the share q of the lateness; -1 if nothing
// was observed, and the highest bound if it is beyond that.
func (l Lateness) Quantile(q float64) int64 {
	if l.Count == 0 {
		return -1
	}
	rank, seen := q*float64(l.Count), uint64(0)
	i := slices.IndexFunc(l.Buckets[:], func(n uint64) bool {
		seen += n
		return float64(seen) >= rank
	})
	if i < 0 || i >= len(LatenessBounds) {
		i = len(LatenessBounds) - 1
	}
	return LatenessBounds[i]
}
