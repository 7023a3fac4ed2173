package tier_test

import (
	"errors"
	"testing"
	"time"

	"github.com/morrowmq/morrow/tier/bucket"
	"github.com/morrowmq/morrow/tier/bucket/buckettest"
)

// TestStopDoesNotWaitForTheStore: whatever has just been asked of a store that does not answer,
// also what is asked to learn how something ended and what tidies up, a broker that stops gives up
// after a moment.
func TestStopDoesNotWaitForTheStore(t *testing.T) {
	for name, silent := range map[string]buckettest.Rule{
		"first request":         {},
		"tidying up of a probe": {Ops: buckettest.OpDelete, Under: cluster + "/probe-"},
		"owner marker":          {Ops: buckettest.OpHead, Key: "/owner"},
		"segment":               {Ops: buckettest.OpPut, Key: ".segment"},
		"is the segment there":  {Ops: buckettest.OpHead, Key: ".segment"},
		"is the manifest there": {Ops: buckettest.OpHead, Key: "/manifest"},
		"which manifest is it":  {Ops: buckettest.OpGet, Key: "/manifest", After: 1},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				switch name {
				case "tidying up of a probe":
					w.bucket.Add(buckettest.Rule{Ops: buckettest.OpPut, Under: cluster + "/probe-", Fault: buckettest.Refuse})
				case "which manifest is it":
					w.bucket.Add(buckettest.Rule{Ops: buckettest.OpPut, Key: "/manifest", Fault: buckettest.LoseReply})
				}
				silent.Fault, silent.Times = buckettest.Stall, buckettest.Forever
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
		down := w.bucket.Add(buckettest.Rule{Ops: buckettest.OpGet, Key: "/manifest", Fault: buckettest.Refuse, Times: buckettest.Forever})
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

// TestDeletedPartitionDoesNotWaitForTheStore: who stops a partition, since its topic is deleted, has
// other topics to see to, whether the store is silent or an upload is slow.
func TestDeletedPartitionDoesNotWaitForTheStore(t *testing.T) {
	for name, during := range map[string]func(w *world){
		"silent": func(w *world) {
			w.bucket.Add(buckettest.Rule{Ops: buckettest.OpPut | buckettest.OpHead, Under: dir, Fault: buckettest.Stall, Times: buckettest.Forever})
		},
		"slow": func(w *world) { w.tier.SetRates(1<<10, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.start()
				w.settle()
				during(w)
				w.log.add(batch{size: 4 << 20})
				w.p.Notify()
				time.Sleep(20 * time.Second)
				asked := time.Now()
				if err := w.p.Stop(w.t.Context()); err != nil {
					w.t.Error(err)
				}
				if took := time.Since(asked); took > 5*time.Second {
					w.t.Errorf("took %v", took)
				}
			})
		})
	}
}
