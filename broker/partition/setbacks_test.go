package partition

import (
	"slices"
	"testing"
	"time"
)

func TestSetbacksAreTriedAndToldLessAndLess(t *testing.T) {
	var s setbacks
	now := time.Unix(0, 0)
	var told []int
	var waits []time.Duration
	for n := 1; n <= 100; n++ {
		if s.wait(now) {
			t.Fatalf("try %d must wait", n)
		}
		wait, tell := s.failed(now, time.Minute, 16*time.Minute)
		if waits = append(waits, wait); tell {
			told = append(told, n)
		}
		if !s.wait(now.Add(wait - 1)) {
			t.Fatalf("try %d would come early", n+1)
		}
		now = now.Add(wait)
	}
	if want := []int{1, 2, 4, 8, 16, 32, 64}; !slices.Equal(told, want) {
		t.Errorf("told of %v", told)
	}
	if want := []time.Duration{1, 2, 4, 8, 16, 16}; !slices.EqualFunc(waits[:6], want, func(x, y time.Duration) bool { return x == y*time.Minute }) {
		t.Errorf("waits: %v", waits)
	}
	if n := s.over(); n != 100 || s.wait(now) || s.count.Load() != 0 {
		t.Errorf("%d failures ended", n)
	}
}
