package compact

import (
	"fmt"
	"math"
	"testing"

	"github.com/morrowmq/morrow/log/segment"
)

// closed is segments of 10 offsets and 100 bytes each, a minute apart.
func closed(n int) (all []segment.Info) {
	for i := range int64(n) {
		all = append(all, segment.Info{
			Base: i * 10, End: i*10 + 10, Size: 100, HiddenBytes: 20,
			MaxTimestamp: i*60_000 + 59_000, FirstTime: i * 60_000, MaxReceived: segment.None,
		})
	}
	return all
}

// timeless is segments whose records have no time, written a minute apart.
func timeless(n int) []segment.Info {
	all := closed(n)
	for i := range all {
		all[i].Written, all[i].MaxTimestamp, all[i].FirstTime = all[i].MaxTimestamp, segment.None, segment.None
	}
	return all
}

func TestPlan(t *testing.T) {
	policy := Policy{MaxLagMs: math.MaxInt64, MinDirtyRatio: 0.5}
	hour := int64(3_600_000)
	for _, test := range []struct {
		name   string
		state  State
		policy Policy
		want   string // from, to, clean, dirty, due
	}{
		{"nothing", State{Stable: 100}, policy, "0 0 0 0 false"},
		{"all is dirty", State{Segments: closed(3), Stable: 100}, policy, "0 30 0 300 true"},
		{"as much as is clean", State{Segments: closed(4), Clean: 20, Seen: 20, Stable: 100}, policy, "20 40 200 200 false"},
		{"more than is clean", State{Segments: closed(5), Clean: 20, Seen: 20, Stable: 100}, policy, "20 50 200 300 true"},
		{"not all of a segment is clean", State{Segments: closed(2), Clean: 13, Seen: 13, Stable: 100}, policy, "13 20 100 100 false"},
		{"an open transaction", State{Segments: closed(3), Stable: 25}, policy, "0 20 0 200 true"},
		{"the log begins above what is clean", State{Segments: closed(5)[3:], Clean: 20, Seen: 20, Stable: 100}, policy, "30 50 0 200 true"},
		{"too young", State{Segments: closed(3), Stable: 100, Now: 4 * 60_000}, Policy{MinLagMs: 2 * 60_000, MaxLagMs: hour}, "0 20 0 200 true"},
		{"too young by when they were written", State{Segments: timeless(3), Stable: 100, Now: 4 * 60_000}, Policy{MinLagMs: 2 * 60_000, MaxLagMs: hour}, "0 20 0 200 true"},
		{"old enough", State{Segments: closed(3), Stable: 100, Now: hour}, Policy{MinLagMs: 60_000, MaxLagMs: hour, MinDirtyRatio: 1}, "0 30 0 300 false"},
		{"too old", State{Segments: closed(3), Stable: 100, Now: hour + 1}, Policy{MaxLagMs: hour, MinDirtyRatio: 1}, "0 30 0 300 true"},
		{"old, but clean", State{Segments: closed(3), Clean: 30, Seen: 30, Stable: 100, Now: 2 * hour}, Policy{MaxLagMs: hour}, "30 30 300 0 false"},
		{"a delivery had to stay", State{Segments: closed(3), Clean: 7, Seen: 30, SeenGate: 7, Gate: 7, Stable: 100}, policy, "7 30 300 0 false"},
		{"and need not any more", State{Segments: closed(3), Clean: 7, Seen: 30, SeenGate: 7, Gate: 25, Stable: 100}, policy, "7 30 260 40 false"},
	} {
		p := NewPlan(test.state, test.policy)
		if got := fmt.Sprint(p.From, p.To, p.CleanBytes, p.DirtyBytes, p.Due); got != test.want {
			t.Errorf("%s: plan is %s, expected %s", test.name, got, test.want)
		}
	}
}

func TestPickTakesTheLateAndThenTheDirtiest(t *testing.T) {
	plans := []Plan{
		{CleanBytes: 1, DirtyBytes: 9, Late: -1},
		{CleanBytes: 50, DirtyBytes: 50, Late: -1, Due: true},
		{CleanBytes: 20, DirtyBytes: 80, Late: -1, Due: true},
		{CleanBytes: 90, DirtyBytes: 10, Late: 1, Due: true},
	}
	for _, want := range []int{3, 2, 1, -1} {
		if got := Pick(plans); got != want {
			t.Fatalf("picked %d, expected %d", got, want)
		}
		if want >= 0 {
			plans[want].Due = false
		}
	}
}
