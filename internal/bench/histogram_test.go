package bench

import (
	"math"
	"testing"
	"time"
)

func TestQuantilesAreWithinABucket(t *testing.T) {
	var h Histogram
	for i := range 10_000 {
		h.Observe(time.Duration(i+1) * 37 * time.Microsecond)
	}
	for _, q := range []float64{0.0001, 0.01, 0.5, 0.99, 0.999, 1} {
		want := q * 10_000 * float64(37*time.Microsecond)
		if got := float64(h.Quantile(q)); got < want || got > want*1.01 {
			t.Errorf("quantile %v is %v, want %v", q, time.Duration(got), time.Duration(want))
		}
	}
	if h.Count() != 10_000 || h.Max() != 370*time.Millisecond {
		t.Errorf("count %d, max %v", h.Count(), h.Max())
	}
}

func TestQuantileOfNothing(t *testing.T) {
	var h Histogram
	if got := h.Quantile(0.99); got != 0 {
		t.Errorf("quantile is %v", got)
	}
}

func TestQuantileOfOne(t *testing.T) {
	var h Histogram
	h.Observe(time.Second)
	if got := h.Quantile(0.5); got != time.Second {
		t.Errorf("median of one second is %v", got)
	}
}

func TestBucketsFollowEachOther(t *testing.T) {
	for i := range len(Histogram{}.counts) - 1 {
		end := bucketEnd(i)
		if bucketOf(end) != i || bucketOf(end+1) != i+1 {
			t.Fatalf("bucket %d ends at %d, which is in %d, and the next value in %d", i, end, bucketOf(end), bucketOf(end+1))
		}
	}
	if got := bucketOf(math.MaxInt64); got != len(Histogram{}.counts)-1 {
		t.Errorf("the longest duration is in bucket %d", got)
	}
}
