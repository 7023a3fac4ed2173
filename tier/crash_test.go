package tier_test

import (
	"errors"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket/buckettest"
)

// TestCrashSweep cuts the power before every single write to disk, and before and after every
// single request to the bucket, and starts again from what is left, as the same leader or as the
// next. (Scenarios 1-4, 34; rules R2, R4)
func TestCrashSweep(t *testing.T) {
	tier.SetPageEntries(t, 3)
	for _, c := range []struct {
		name  string
		crash func(w *world, n int, rnd *rand.Rand) (fired func() bool)
	}{
		{"at a disk write", func(w *world, n int, rnd *rand.Rand) func() bool {
			id := w.fault.Add(vfs.Rule{After: n, Do: func() { w.crash(rnd) }})
			return func() bool { return w.fault.Fired(id) > 0 }
		}},
		{"before a request", func(w *world, n int, rnd *rand.Rand) func() bool {
			r := w.bucket.Add(buckettest.Rule{After: n, Fault: buckettest.Late, Do: func() { w.crash(rnd) }})
			return func() bool { return w.bucket.Fired(r) > 0 }
		}},
		{"after a request", func(w *world, n int, rnd *rand.Rand) func() bool {
			r := w.bucket.Add(buckettest.Rule{After: n, Fault: buckettest.LoseReply, Do: func() { w.crash(rnd) }})
			return func() bool { return w.bucket.Fired(r) > 0 }
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for n, fired := 0, true; fired && !t.Failed(); n++ {
				synctest.Test(t, func(t *testing.T) {
					rnd := rand.New(rand.NewPCG(uint64(n), 0))
					w := newWorld(t)
					w.log.fill(10)
					w.start()
					happened := c.crash(w, n, rnd)
					w.settle()
					fired = happened()
					w.stop()
					w.bucket.Heal()
					w.epoch += int32(n % 2)
					w.liveOn()
					if t.Failed() {
						t.Logf("crashed at step %d", n)
					}
				})
			}
		})
	}
}

// liveOn starts again after a crash and expects that nothing was lost and nothing stays behind.
func (w *world) liveOn() {
	w.t.Helper()
	w.start()
	defer w.stop()
	w.bucket.DeliverLate()
	w.checkBound()
	w.settle()
	w.goesOn()
}

// goesOn checks that what comes next is uploaded like all before, and that nothing else lies in the bucket.
func (w *world) goesOn() {
	w.t.Helper()
	w.log.fill(2)
	w.p.Notify()
	w.settle()
	w.confirmedAll()
	w.noOrphans()
}

// TestLostStateFilesLoseNothing: the files about uploads are only a memory. Without them nothing
// local may be deleted until the bucket was asked.
func TestLostStateFilesLoseNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		w.log.fill(5)
		w.start()
		w.settle()
		w.stop()
		if err := w.disk.RemoveAll("/tier"); err != nil {
			w.t.Fatal(err)
		}
		w.bucket.Add(buckettest.Rule{Fault: buckettest.Refuse, Times: buckettest.Forever})
		w.epoch++
		w.start()
		w.wait(time.Minute)
		if got := w.p.Confirmed(); got != tier.NoOffset {
			w.t.Fatalf("confirmed %d without having asked the bucket", got)
		}
		w.bucket.Heal()
		w.wait(time.Minute)
		var owned *tier.OwnedError
		if got := w.p.Confirmed(); got != tier.NoOffset || !errors.As(w.tier.Admitted(), &owned) {
			w.t.Fatalf("a new installation is not told that another one was here a moment ago: %v", w.tier.Admitted())
		}
		w.settle() // nobody has seen the old owner for long enough
		w.confirmedAll()
	})
}

// TestBoundSurvivesRestart: the same leader may go on deleting what was confirmed while the bucket
// is away; another must ask it first (R9).
func TestBoundSurvivesRestart(t *testing.T) {
	inWorld(t, func(w *world) {
		w.log.fill(5)
		w.start()
		w.settle()
		w.confirmedAll()
		for epoch, want := range []int64{w.log.end, tier.NoOffset} {
			w.stop()
			w.bucket.Heal()
			w.bucket.Add(buckettest.Rule{Fault: buckettest.Refuse, Times: buckettest.Forever})
			w.epoch = int32(epoch)
			w.start()
			w.settle()
			if got := w.p.Confirmed(); got != want {
				w.t.Fatalf("epoch %d: confirmed %d, want %d", epoch, got, want)
			}
		}
		w.bucket.Heal()
		w.settle()
		w.confirmedAll()
	})
}
