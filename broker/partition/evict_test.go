package partition

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/cluster/config"
	"github.com/morrowmq/morrow/tier/bucket/buckettest"
)

// localRuns counts the runs whose records are wholly on the local disk, and the others.
func (l *ledger) localRuns() (here, gone int) {
	l.w.Helper()
	p := l.w.partition(l.name)
	for _, r := range p.schedule.ReadLate(l.w.clock().UnixMilli(), 0) {
		if _, err := p.scheduleLog().log.BatchAt(r.From, nil); err == nil {
			here++
		} else if isTiered(err) {
			gone++
		} else {
			l.w.Fatal(err)
		}
	}
	return here, gone
}

// spills has n records moved to a run of their own, a few times.
func (l *ledger) spills(times, n int, by time.Duration) {
	l.w.Helper()
	for range times {
		l.schedule(n, by)
		l.run(75 * time.Minute)
	}
}

// TestSmallRunsStayLocalUntilTheyAreMerged: they are merged without the store, and what has become
// of them is evicted.
func TestSmallRunsStayLocalUntilTheyAreMerged(t *testing.T) {
	tiered(t, func(t *testing.T, w *world) {
		l, _ := w.underway()
		l.spills(7, 10, 18*time.Hour)
		if here, gone := l.localRuns(); here < 5 || gone > 0 {
			t.Fatalf("%d small runs are local, %d are not", here, gone)
		}
		reads := w.bucket.Add(buckettest.Rule{Ops: buckettest.OpGet, Key: ".segment", Times: buckettest.Forever, Fault: buckettest.Refuse})
		l.spills(6, 10, 18*time.Hour)
		if here, gone := l.localRuns(); here+gone > 8 {
			t.Fatalf("%d runs: they were not merged", here+gone)
		}
		if n := w.bucket.Fired(reads); n > 0 {
			t.Errorf("the merge asked the store %d times for what should be here", n)
		}
		if _, gone := l.localRuns(); gone == 0 {
			t.Error("the merged run was not evicted")
		}
		w.bucket.Heal()
		l.run(19 * time.Hour)
		l.done()
	})
}

// TestMergeOfEvictedRunsWaitsForTheStore: it is tried less and less often, told less and less
// often, shown by a metric, and carried out soon after the store is back. Spills go on meanwhile.
func TestMergeOfEvictedRunsWaitsForTheStore(t *testing.T) {
	tiered(t, func(t *testing.T, w *world) {
		l, _ := w.underway()
		l.spills(8, 50, 18*time.Hour)
		if here, gone := l.localRuns(); gone < 6 {
			t.Fatalf("%d runs are local, %d are not: the test is void", here, gone)
		}
		p := w.partition("orders")
		down := w.bucket.Add(buckettest.Rule{Times: buckettest.Forever, Fault: buckettest.Refuse})
		l.spills(4, 50, 18*time.Hour)
		spills, merges := p.Setbacks()
		if spills > 0 || merges < 3 || merges > 40 {
			t.Errorf("in five hours %d spills and %d merges failed", spills, merges)
		}
		if st := w.stats(p); st.Runs < 10 || st.Spilled != l.waiting() {
			t.Errorf("%+v, %d wait: the test is void", st, l.waiting())
		}
		if n := strings.Count(w.lines.String(), "looking after a schedule failed"); n < 1 || n > 6 {
			t.Errorf("%d warnings", n)
		}
		if w.bucket.Fired(down) == 0 {
			t.Error("nobody asked the store: the test is void")
		}
		w.bucket.Heal()
		l.run(40 * time.Minute)
		if _, merges := p.Setbacks(); merges > 0 || w.stats(p).Runs > 8 {
			t.Errorf("the store is back: %d failures, %+v", merges, w.stats(p))
		}
		if !strings.Contains(w.lines.String(), "looking after a schedule works again") {
			t.Error("nobody is told that it works again")
		}
		l.run(19 * time.Hour)
		l.done()
	})
}

// TestTopicTakenOutOfTheTierKeepsWhatIsLocal: what lies in both places is read on from the disk,
// and goes to the tier again later.
func TestTopicTakenOutOfTheTierKeepsWhatIsLocal(t *testing.T) {
	tiered(t, func(t *testing.T, w *world) {
		w.d1("orders")
		w.start()
		p := w.partition("orders")
		var want []string
		for n := range 10 {
			if n == 5 {
				sleepMinutes(120) // those before are in the tier only
			}
			value := fmt.Sprint("value ", n)
			if w.rolled(p, plain(value)); n >= 5 {
				want = append(want, fmt.Sprint(n, ":", value))
			}
		}
		sleepMinutes(10)
		if o := p.log.Offsets(); p.confirmed() < 9 || o.LocalStart == 0 || o.LocalStart > 5 {
			t.Fatalf("confirmed to %d, local from %d: the test is void", p.confirmed(), o.LocalStart)
		}
		for _, on := range []string{"false", "true"} {
			w.store.must(cluster.SetTopicConfig{Topic: "orders", Edit: cluster.ConfigEdit{Replace: config.Values{
				"remote.storage.enable": on, "remote.log.delete.on.disable": "true", "local.retention.ms": "3600000", "retention.ms": "-1",
			}}})
			w.follow()
			sleepMinutes(10)
			if got := w.visible(p, p.log.Offsets().LogStart); !slices.Equal(got, want) {
				t.Errorf("with tiering switched to %s %q can be read, expected %q", on, got, want)
			}
		}
		if _, isTiered := p.RemoteSize(); !isTiered || p.confirmed() < 9 {
			t.Errorf("confirmed to %d when tiering is on again", p.confirmed())
		}
	})
}
