package tier_test

import (
	"testing"
	"time"

	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket/buckettest"
)

// TestBrokerThatIsRestartedOftenSweepsNevertheless: when the bucket was last looked through is remembered.
func TestBrokerThatIsRestartedOftenSweepsNevertheless(t *testing.T) {
	inWorld(t, func(w *world) {
		w.option = func(o *tier.Options) { o.SweepEvery = 6 * time.Hour }
		sweeps := 0
		for range 10 {
			w.start()
			w.wait(2 * time.Hour)
			if !w.tier.Status().SweptAt.IsZero() {
				sweeps++
			}
			w.stop()
		}
		if sweeps != 3 {
			w.t.Errorf("%d sweeps in 20 hours", sweeps)
		}
	})
}

// TestSweepThatFailedIsTriedAgainSoon: a store that is away just then costs no round.
func TestSweepThatFailedIsTriedAgainSoon(t *testing.T) {
	inWorld(t, func(w *world) {
		w.option = func(o *tier.Options) { o.SweepEvery = 24 * time.Hour }
		w.start()
		w.wait(23 * time.Hour)
		w.bucket.Add(buckettest.Rule{Ops: buckettest.OpList, Fault: buckettest.Refuse})
		w.wait(90 * time.Minute)
		if s := w.tier.Status(); s.SweptErr == nil {
			w.t.Fatalf("%+v", s)
		}
		w.wait(time.Hour)
		if s := w.tier.Status(); s.SweptErr != nil || time.Since(s.SweptAt) > time.Hour {
			w.t.Errorf("%+v", s)
		}
	})
}
