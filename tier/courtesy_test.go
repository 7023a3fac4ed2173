package tier_test

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/morrowmq/morrow/tier"
)

// producers write to the broker's logs, in virtual time, at a rate that can be changed.
type producers struct {
	perSecond atomic.Int64
	written   atomic.Int64
}

func (p *producers) run(stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(10 * time.Millisecond):
			p.written.Add(p.perSecond.Load() / 100)
		}
	}
}

// inBusyWorld runs a test beside producers, with uploads spread over ten seconds and eight segments
// of a MiB to be uploaded.
func inBusyWorld(t *testing.T, perSecond int64, run func(w *world, p *producers)) {
	t.Helper()
	tier.SetPoliteRate(t, 100<<10)
	inWorld(t, func(w *world) {
		p := &producers{}
		p.perSecond.Store(perSecond)
		stop := make(chan struct{})
		defer close(stop)
		go p.run(stop)
		w.option = func(o *tier.Options) { o.Spread, o.Appended = 10*time.Second, p.written.Load }
		w.start()
		time.Sleep(5 * time.Second) // the store is admitted
		for range 8 {
			w.log.add(slices.Repeat([]batch{{size: 1 << 18}}, 4)...)
		}
		w.p.Notify()
		run(w, p)
	})
}

// until is how long it takes until everything is confirmed.
func (w *world) until() time.Duration {
	w.t.Helper()
	began := time.Now()
	for w.p.Confirmed() != w.log.Offsets().End {
		if time.Since(began) > 10*time.Minute {
			w.t.Fatalf("not confirmed: %v", w.p.Err())
		}
		time.Sleep(20 * time.Millisecond)
	}
	return time.Since(began)
}

func TestUploadsAreSpreadWhileLogsAreWrittenTo(t *testing.T) {
	inBusyWorld(t, 50<<20, func(w *world, _ *producers) {
		if d := w.until(); d < 8*time.Second || d > 15*time.Second {
			t.Errorf("took %v, want about 10 s", d)
		}
	})
}

func TestUploadsAreNotHeldBackByLogsAtRest(t *testing.T) {
	for _, perSecond := range []int64{0, 100 << 10} {
		inBusyWorld(t, perSecond, func(w *world, _ *producers) {
			if d := w.until(); d > time.Second {
				t.Errorf("took %v at %d bytes/s", d, perSecond)
			}
		})
	}
}

func TestUploadsCatchUpWhenProducersPause(t *testing.T) {
	inBusyWorld(t, 50<<20, func(w *world, p *producers) {
		time.Sleep(3 * time.Second)
		if w.p.Confirmed() == w.log.Offsets().End {
			t.Fatal("nothing was held back")
		}
		p.perSecond.Store(0)
		if d := w.until(); d > 2*time.Second {
			t.Errorf("took %v once producers paused", d)
		}
	})
}

func TestSpreadCanBeSwitchedOff(t *testing.T) {
	inBusyWorld(t, 50<<20, func(w *world, _ *producers) {
		time.Sleep(3 * time.Second)
		w.tier.SetSpread(0)
		if d := w.until(); d > 2*time.Second {
			t.Errorf("took %v without a spread", d)
		}
	})
}

// TestLagIsBoundedUnderConstantLoad: uploads fall behind by the spread and then keep up, whatever
// the producers' rate.
func TestLagIsBoundedUnderConstantLoad(t *testing.T) {
	inBusyWorld(t, 50<<20, func(w *world, _ *producers) {
		largest := int64(0)
		for range 90 { // a MiB per second, for a minute and a half
			w.log.add(slices.Repeat([]batch{{size: 1 << 18}}, 4)...)
			w.p.Notify()
			time.Sleep(time.Second)
			lag, err := w.p.Lag()
			if err != nil {
				t.Fatal(err)
			}
			largest = max(largest, lag.Bytes)
		}
		if mib := largest >> 20; mib > 8+20 {
			t.Errorf("%d MiB behind, at a MiB per second and spread over 10 s, with 8 MiB at the beginning", mib)
		}
	})
}
