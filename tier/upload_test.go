package tier_test

import (
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket/buckettest"
)

func TestClosedSegmentsAreConfirmed(t *testing.T) {
	inWorld(t, func(w *world) {
		w.log.fill(20)
		w.bucket.Add(buckettest.Rule{Delay: time.Second}) // no answer before settle
		w.start()
		if got := w.p.Confirmed(); got != tier.NoOffset {
			w.t.Fatalf("confirmed %d before the bucket was asked", got)
		}
		w.settle()
		w.confirmedAll()
		w.log.fill(1) // scenario 19: the last rolled segment after traffic stops
		w.p.Notify()
		w.settle()
		w.confirmedAll()
	})
}

// TestNewsIsNotLeftWaiting: a partition with nothing to do is looked at now and then; a closed
// segment is uploaded at once.
func TestNewsIsNotLeftWaiting(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.settle()
		for range 5 {
			w.log.fill(20)
			w.p.Notify()
			time.Sleep(time.Second)
			w.confirmedAll()
		}
	})
}

// TestUploadSweep fails every single request in every way that a store or a network can, one at a
// time, and lets the tier go on. Whatever happens, nothing unconfirmed is called confirmed, in the
// end everything is, and no orphan stays. (Scenarios 2, 3, 5-10, 62; D2)
func TestUploadSweep(t *testing.T) {
	tier.SetPageEntries(t, 3)
	for _, f := range []buckettest.Fault{
		buckettest.Refuse, buckettest.LoseReply, buckettest.Late, buckettest.Truncate, buckettest.Vanish, buckettest.Stall, buckettest.Short, buckettest.Flip,
	} {
		t.Run(f.String(), func(t *testing.T) {
			for n, fired := 0, true; fired; n++ {
				synctest.Test(t, func(t *testing.T) { fired = sweepUpload(t, buckettest.Rule{Fault: f, After: n, Times: 1 + n%3}) })
			}
		})
	}
}

func sweepUpload(t *testing.T, r buckettest.Rule) bool {
	w := newWorld(t)
	w.log.fill(10)
	rule := w.bucket.Add(r)
	w.start()
	defer w.stop()
	w.settle()
	w.bucket.DeliverLate()
	w.log.fill(1)
	w.p.Notify()
	w.settle()
	fired := w.bucket.Fired(rule) > 0
	w.bucket.Heal()
	w.settle()
	if t.Failed() {
		return false
	}
	func() {
		defer func() {
			if t.Failed() {
				t.Logf("after %+v", r)
			}
		}()
		w.confirmedAll()
		w.noOrphans()
	}()
	return fired
}

// TestBoundThatCouldNotBeWrittenIsWrittenLater: the disk is full in the moment in which a commit is to
// be remembered, and no other follows, since nothing more can be produced until something is evicted.
func TestBoundThatCouldNotBeWrittenIsWrittenLater(t *testing.T) {
	inWorld(t, func(w *world) {
		w.log.fill(1)
		w.start()
		w.settle()
		var full []vfs.RuleID
		w.line.before = func(op, key string) {
			if op == "put" && key == dir+"manifest" && len(full) == 0 {
				full = append(full, w.fault.Add(vfs.Rule{Name: "*.state*", Times: vfs.Forever, Err: syscall.ENOSPC}))
			}
		}
		w.log.fill(1)
		w.p.Notify()
		w.settle()
		if len(full) == 0 || w.p.Confirmed() != 5 {
			w.t.Fatalf("void: confirmed %d", w.p.Confirmed())
		}
		if w.p.Err() == nil {
			w.t.Error("nobody is told that the disk is full")
		}
		w.fault.End(full[0])
		w.settle()
		w.confirmedAll()
	})
}

// TestUploadThatTookTooLongIsBegunAnew: when it ends, a sweep may take its object for an orphan.
func TestUploadThatTookTooLongIsBegunAnew(t *testing.T) {
	inWorld(t, func(w *world) {
		var first string
		w.before = func(op, key string) {
			if op == "put" && strings.HasSuffix(key, ".segment") && first == "" {
				first = key
			}
		}
		w.option = func(o *tier.Options) { o.CopyRate = 4 << 10 }
		w.log.add(batch{size: 4 << 20})
		w.start()
		for len(w.segmentKeys()) == 0 {
			time.Sleep(time.Second)
		}
		w.tier.SetRates(0, 0)
		w.settle()
		w.confirmedAll()
		m, _ := w.manifest()
		if m.Key(&m.Tail[0]) == first {
			w.t.Error("an object was committed that was a quarter of an hour on its way")
		}
		w.noOrphans()
	})
}
