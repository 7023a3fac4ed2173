package tier_test

import (
	"errors"
	"testing"
	"time"

	"github.com/morrowmq/morrow/tier/bucket"
	"github.com/morrowmq/morrow/tier/tiertest"
)

// TestStopDoesNotWaitForTheStore: whatever has just been asked of a store that does not answer,
// also what is asked to learn how something ended and what tidies up, a broker that stops gives up
// after a moment.
func TestStopDoesNotWaitForTheStore(t *testing.T) {
	for name, silent := range map[string]tiertest.Rule{
		"first request":         {},
		"tidying up of a probe": {Ops: tiertest.OpDelete, Under: cluster + "/probe-"},
		"owner marker":          {Ops: tiertest.OpHead, Key: "/owner"},
		"segment":               {Ops: tiertest.OpPut, Key: ".segment"},
		"is the segment there":  {Ops: tiertest.OpHead, Key: ".segment"},
		"is the manifest there": {Ops: tiertest.OpHead, Key: "/manifest"},
		"which manifest is it":  {Ops: tiertest.OpGet, Key: "/manifest", After: 1},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				switch name {
				case "tidying up of a probe":
					w.bucket.Add(tiertest.Rule{Ops: tiertest.OpPut, Under: cluster + "/probe-", Fault: tiertest.Refuse})
				case "which manifest is it":
					w.bucket.Add(tiertest.Rule{Ops: tiertest.OpPut, Key: "/manifest", Fault: tiertest.LoseReply})
				}
				silent.Fault, silent.Times = tiertest.Stall, tiertest.Forever
				rule := w.bucket.Add(silent)
				w.log.fill(2)
				w.start()
				time.Sleep(10 * time.Second)
				if w.bucket.Fired(rule) == 0 {
					w.t.Fatal("the store has not been silent: the test is void")
				}
				asked := time.Now()
				w.stop()
				if took := time.Since(asked); took > 5*time.Second {
					w.t.Errorf("took %v", took)
				}
				w.bucket.Heal()
				w.start()
				w.settle()
				w.confirmedAll()
			})
		})
	}
}

// TestStepEndsWhenTheManifestIsNotToBeHad: none of its kinds of work can do without, and each would
// wait as long for a store that is down.
func TestStepEndsWhenTheManifestIsNotToBeHad(t *testing.T) {
	inWorld(t, func(w *world) {
		down := w.bucket.Add(tiertest.Rule{Ops: tiertest.OpGet, Key: "/manifest", Fault: tiertest.Refuse, Times: tiertest.Forever})
		w.log.fill(2)
		w.start()
		time.Sleep(10 * time.Minute)
		before := w.bucket.Fired(down)
		time.Sleep(time.Hour)
		if asked := w.bucket.Fired(down) - before; asked == 0 || asked > 240 { // a step every 15 to 30 s
			w.t.Errorf("asked %d times in an hour", asked)
		}
		if err := w.p.Err(); !errors.Is(err, bucket.ErrUnknown) {
			w.t.Errorf("the partition says %v", err)
		}
		w.bucket.Heal()
		w.settle()
		w.confirmedAll()
	})
}
