package delay

import (
	"errors"
	"testing"
	"time"
)

// TestStopsInABurstAreOneOutage: a source that stops and goes on all the time, since each of its
// reads takes a little too long, is told once; one that stays stopped is told too.
func TestStopsInABurstAreOneOutage(t *testing.T) {
	var s stop
	now := time.Unix(1_800_000_000, 0)
	failed := errors.New("away")
	lines := ""
	fail := func() {
		if s.fail(failed, now); s.news(now) {
			lines += "stopped "
		}
	}
	resume := func() {
		if s.resume(now) {
			lines += "goes on "
		}
	}
	want := func(what string) {
		t.Helper()
		if lines != what {
			t.Errorf("%q, expected %q", lines, what)
		}
		lines = ""
	}
	for range 100 {
		fail()
		now = now.Add(time.Second)
		resume()
		now = now.Add(time.Second)
	}
	want("stopped goes on ")
	for range 30 {
		fail()
		now = now.Add(time.Second)
	}
	want("stopped ")
	resume()
	want("goes on ")
	now = now.Add(2 * calm)
	fail()
	want("stopped ")
}
