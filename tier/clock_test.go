package tier_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/morrowmq/morrow/tier"
)

// TestClockThatWasAheadHoldsNothingUp: what was noted while the clock was a year ahead does not wait
// for that year. (Scenario 61)
func TestClockThatWasAheadHoldsNothingUp(t *testing.T) {
	inWorld(t, func(w *world) {
		var skew atomic.Int64
		w.option = func(o *tier.Options) {
			o.Now = func() time.Time { return time.Now().Add(time.Duration(skew.Load())) }
		}
		skew.Store(int64(365 * 24 * time.Hour))
		w.log.fill(4)
		w.start()
		w.settle()
		skew.Store(0)
		if err := w.log.Advance(0, 2); err != nil {
			w.t.Fatal(err)
		}
		w.p.Notify()
		w.settle()
		if m, _ := w.manifest(); m.ReportedStart != 2 {
			w.t.Errorf("the bucket knows of a log start of %d, it is 2", m.ReportedStart)
		}
		skew.Store(int64(365 * 24 * time.Hour))
		w.log.deleteRecords(5)
		w.p.Notify()
		time.Sleep(time.Second) // the first is garbage now
		skew.Store(0)
		w.log.deleteRecords(10)
		w.p.Notify()
		w.settle()
		if keys := w.segmentKeys(); len(keys) != 2 {
			w.t.Errorf("objects of deleted records are still there: %v", keys)
		}
		w.log.fill(1)
		w.p.Notify()
		w.settle()
		w.confirmedAll()
	})
}
