package tier_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket"
	"github.com/morrowmq/morrow/tier/bucket/buckettest"
)

// TestLocalCopyStaysUntilTheRepairSucceeds: a damaged object replaces nothing. If the store takes no
// other in its place at the moment, the last whole copy is not evicted meanwhile, and the repair is
// tried again without another scrub.
func TestLocalCopyStaysUntilTheRepairSucceeds(t *testing.T) {
	inWorld(t, func(w *world) {
		w.log.fill(6)
		w.start()
		w.settle()
		w.bucket.Damage(w.segmentKeys()[3])
		w.bucket.Add(buckettest.Rule{Ops: buckettest.OpPut, Key: ".segment", Fault: buckettest.Refuse, Err: bucket.ErrThrottled, Times: buckettest.Forever})
		v, err := w.p.Scrub(w.t.Context(), tier.VerifyOptions{Deep: true})
		if err != nil || len(v.Damaged) != 1 || v.Repaired != 0 {
			w.t.Fatalf("%+v, %v", v, err)
		}
		for range 2 {
			w.log.evict(w.p.Confirmed())
			if local := w.log.Offsets().LocalStart; local != 15 {
				w.t.Fatalf("local data begins at %d, and 15 to 19 are nowhere else", local)
			}
			w.p.Notify()
			time.Sleep(time.Minute)
		}
		if w.p.Err() == nil {
			w.t.Error("nobody is told that the repair fails")
		}
		w.bucket.Heal()
		w.settle()
		w.confirmedAll()
		if a := w.tier.Alarms(); len(a) != 0 {
			w.t.Errorf("alarms %+v", a)
		}
		if v, err = w.p.Scrub(w.t.Context(), tier.VerifyOptions{Deep: true}); err != nil || len(v.Damaged) != 0 {
			w.t.Errorf("again: %+v, %v", v, err)
		}
		w.noOrphans()
	})
}

// TestScrubTellsOfADamagedPage: what a page names cannot be found without it. That is damage as much
// as a lost segment, and no reason not to look at the rest.
func TestScrubTellsOfADamagedPage(t *testing.T) {
	tier.SetPageEntries(t, 2)
	inWorld(t, func(w *world) {
		w.log.fill(9)
		w.start()
		w.settle()
		var pages []string
		for _, key := range w.bucket.Keys(dir) {
			if strings.HasSuffix(key, ".page") {
				pages = append(pages, key)
			}
		}
		segments := w.segmentKeys()
		back := []func(){w.bucket.Take(pages[1]), w.bucket.Take(segments[8])}
		v, err := w.p.Scrub(w.t.Context(), tier.VerifyOptions{})
		if err != nil || len(v.Damaged) != 2 || v.Repaired != 1 || v.Damaged[0].Key != pages[1] || v.Damaged[1].Key != segments[8] {
			w.t.Errorf("%+v, %v", v, err)
		}
		if a := w.tier.Alarms(); len(a) != 1 || a[0].Name != "damage" || !strings.Contains(a[0].Text, pages[1]) {
			w.t.Errorf("alarms %+v", a)
		}
		for _, put := range back {
			put()
		}
		if v, err := w.p.Scrub(w.t.Context(), tier.VerifyOptions{}); err != nil || len(v.Damaged) != 0 || v.Objects != 9 {
			w.t.Errorf("again: %+v, %v", v, err)
		}
	})
}

// TestWhatAReaderMeetsIsLookedAt at once: it is repaired where the log still has the segment, and an
// alarm where it does not; and its readers, who try again and again, have it read once.
func TestWhatAReaderMeetsIsLookedAt(t *testing.T) {
	inWorld(t, func(w *world) {
		w.log.fill(6)
		w.start()
		w.settle()
		w.log.evict(15)
		keys := w.segmentKeys()
		w.bucket.Damage(keys[1]) // local no more
		w.bucket.Damage(keys[4])
		back := w.bucket.Take(keys[2])
		w.log.evict(15)
		for _, offset := range []int64{5, 10, 20} {
			if _, err := w.read(tier.ReadRequest{Offset: offset, MaxBytes: 1 << 20}); !errors.Is(err, tier.ErrCorrupt) && !errors.Is(err, tier.ErrLost) {
				w.t.Fatalf("read at %d: %v: the test is void", offset, err)
			}
		}
		time.Sleep(time.Second)
		w.checkReadAt(20, 100)
		alarmed := func(key string) {
			w.t.Helper()
			if a := w.tier.Alarms(); len(a) != 1 || a[0].Name != "damage" || !strings.Contains(a[0].Text, key) {
				w.t.Errorf("alarms %+v", a)
			}
		}
		alarmed(keys[1])
		looks := w.bucket.Add(buckettest.Rule{Ops: buckettest.OpHead, Key: keys[2], Times: buckettest.Forever})
		for range 100 {
			if _, err := w.read(tier.ReadRequest{Offset: 10, MaxBytes: 1 << 20}); err == nil {
				w.t.Fatal("what is not there was read")
			}
			time.Sleep(time.Second)
		}
		if n := w.bucket.Fired(looks); n > 0 {
			w.t.Errorf("it was looked at %d times again", n)
		}
		w.bucket.Heal()
		w.bucket.Damage(keys[1])
		back()
		w.checkReadAt(5, 100)
		w.checkReadAt(10, 100)
		if v, err := w.p.Scrub(w.t.Context(), tier.VerifyOptions{Deep: true}); err != nil || len(v.Damaged) != 0 {
			w.t.Errorf("afterwards: %+v, %v", v, err)
		}
		if a := w.tier.Alarms(); len(a) != 0 {
			w.t.Errorf("alarms %+v", a)
		}
		w.settle()
		w.noOrphans()
	})
}
