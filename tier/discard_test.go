package tier_test

import (
	"testing"

	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket/buckettest"
)

// TestDiscardThatLandsLateFindsNothingEvicted: the manifest without segments was sent, nobody heard of
// it any more, and tiering is switched on again. Whatever becomes of that manifest, what the log has
// evicted since is remote.
func TestDiscardThatLandsLateFindsNothingEvicted(t *testing.T) {
	inWorld(t, func(w *world) {
		w.log.fill(6)
		w.start()
		w.settle()
		w.log.evict(15)
		on := tier.Config{Copy: true, RetentionMs: -1, RetentionBytes: -1}
		late := w.bucket.Add(buckettest.Rule{Ops: buckettest.OpPut, Key: "/manifest", Fault: buckettest.Late, Do: func() { w.configure(on) }})
		// The store takes nothing more for a while.
		w.bucket.Add(buckettest.Rule{Ops: buckettest.OpPut, Fault: buckettest.Refuse, Times: buckettest.Forever})
		w.configure(tier.Config{Discard: true, RetentionMs: -1, RetentionBytes: -1})
		w.settle()
		if w.bucket.Fired(late) == 0 {
			w.t.Fatal("void: no manifest was on its way")
		}
		w.log.evict(w.p.Confirmed())
		evicted := w.log.Offsets().LocalStart
		w.bucket.DeliverLate()
		w.bucket.Heal()
		w.log.fill(1)
		w.p.Notify()
		w.settle()
		if m, _ := w.manifest(); m.Start > w.log.Offsets().Start || m.End < evicted {
			w.t.Fatalf("the log begins at %d, local data at %d, and remote are offsets %d to %d", w.log.Offsets().Start, evicted, m.Start, m.End)
		}
	})
}
