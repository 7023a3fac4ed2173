package tier_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket/buckettest"
)

// orphan stores an object that no manifest names.
func (w *world) orphan(base int) string {
	key := fmt.Sprintf("%s%020d-%010d-%s.segment", dir, base, 0, tier.NewToken())
	w.replaceObject(key, []byte("left behind"))
	return key
}

// sweepLog returns what sweeps have recorded, by key.
func (w *world) sweepLog() map[string]tier.SweptEntry {
	w.t.Helper()
	records, err := tier.SweepLog(w.calm(), w.bucket, cluster, 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	all := map[string]tier.SweptEntry{}
	for _, r := range records {
		if r.Err != nil { // the store has kept half of it
			if !errors.Is(r.Err, tier.ErrCorrupt) || r.Time == 0 {
				w.t.Errorf("record %+v", r)
			}
			continue
		}
		if r.By == "" || r.Time == 0 || r.GraceMs == 0 {
			w.t.Errorf("record %+v", r)
		}
		for _, x := range r.Deleted {
			all[x.Key] = x
		}
	}
	return all
}

func TestSweepRecordsWhatItDeletes(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.settle()
		keys := []string{w.orphan(1), w.orphan(2)}
		stored := time.Now().UnixMilli()
		time.Sleep(30 * time.Minute)
		for _, o := range []tier.SweepOptions{{DryRun: true}, {}} {
			if s, err := w.tier.Sweep(w.t.Context(), o); err != nil || s.Orphans != 2 {
				w.t.Fatalf("%+v, %v", s, err)
			}
			if got := w.sweepLog(); len(got) > 0 && o.DryRun {
				w.t.Errorf("a dry run records %v", got)
			}
		}
		for _, key := range keys {
			if got, want := w.sweepLog()[key], (tier.SweptEntry{Key: key, Bytes: 11, Stored: stored, Why: "no manifest names this segment"}); got != want {
				w.t.Errorf("recorded %+v, want %+v", got, want)
			}
		}
		w.orphan(3)
		time.Sleep(30 * time.Minute)
		if _, err := w.tier.Sweep(w.t.Context(), tier.SweepOptions{}); err != nil {
			w.t.Fatal(err)
		}
		last, err := w.tier.SweepLog(w.t.Context(), 1)
		if err != nil || len(last) != 1 || len(last[0].Deleted) != 1 || last[0].Time != time.Now().UnixMilli() {
			w.t.Errorf("the last record: %+v, %v", last, err)
		}
	})
}

// TestSweepForgetsWhatIsOld: records of sweeps stay for a year, whatever else is under their prefix
// stays for ever.
func TestSweepForgetsWhatIsOld(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.log.fill(1)
		w.settle()
		w.stop()
		w.orphan(1)
		w.replaceObject(cluster+"/sweeps/notes.txt", []byte("not ours"))
		const day = 24 * time.Hour
		for _, c := range []struct {
			after   time.Duration
			dry     bool
			records int
			left    int
		}{{3 * day, false, 0, 2}, {364 * day, false, 0, 2}, {2 * day, true, 1, 2}, {0, false, 1, 1}, {0, false, 0, 1}} {
			time.Sleep(c.after)
			s, err := tier.SweepOffline(w.t.Context(), w.bucket, cluster, "test", tier.SweepOptions{DryRun: c.dry})
			if left := w.bucket.Keys(cluster + "/sweeps/"); err != nil || s.Records != c.records || len(left) != c.left {
				w.t.Errorf("%+v: %+v, %v, left %v", c, s, err, left)
			}
		}
	})
}

// TestSweepTellsOrphansApart: where the lists that are compared with the manifest begin and end
// makes no difference, pages or not, garbage or not.
func TestSweepTellsOrphansApart(t *testing.T) {
	for _, n := range []int{1, 2, 3, 7, 1000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			inWorld(t, func(w *world) {
				tier.SetPageEntries(t, 3)
				tier.SetSweptAtOnce(t, n)
				w.start()
				w.settle()
				w.log.fill(20) // offsets 0 to 99
				w.p.Notify()
				w.settle()
				var want []string
				for base := -1; base < 105; base += 4 {
					want = append(want, w.orphan(max(0, base)))
				}
				time.Sleep(30 * time.Minute)
				w.bucket.Add(buckettest.Rule{Ops: buckettest.OpDelete, Fault: buckettest.Refuse, Times: buckettest.Forever}) // garbage stays
				w.log.deleteRecords(42)
				w.p.Notify()
				w.wait(2 * time.Minute)
				if s := w.p.Status(); s.Start != 40 || s.Garbage != 8 {
					w.t.Fatalf("%+v", s)
				}
				var found []string
				_, err := w.tier.Sweep(w.t.Context(), tier.SweepOptions{DryRun: true, Found: func(o tier.Orphan) { found = append(found, o.Key) }})
				w.must(err)
				slices.Sort(want)
				if !slices.Equal(found, want) {
					w.t.Errorf("found %v, want %v", found, want)
				}
				w.bucket.Heal()
			})
		})
	}
}

// TestSweepDeletesNothingItHasNotRecorded fails each request of a sweep in every way. What is gone
// is in the log; once the store works, all is.
func TestSweepDeletesNothingItHasNotRecorded(t *testing.T) {
	for _, f := range []buckettest.Fault{buckettest.Refuse, buckettest.LoseReply, buckettest.Late, buckettest.Truncate, buckettest.Vanish} {
		for n, fired := 0, true; fired; n++ {
			inWorld(t, func(w *world) {
				w.start()
				w.settle()
				keys := []string{w.orphan(1), w.orphan(2), w.orphan(3)}
				time.Sleep(30 * time.Minute)
				rule := w.bucket.Add(buckettest.Rule{Ops: buckettest.OpAll, After: n, Fault: f})
				_, err := w.tier.Sweep(w.t.Context(), tier.SweepOptions{})
				fired = w.bucket.Fired(rule) > 0
				w.bucket.DeliverLate()
				w.bucket.Heal()
				left, recorded := w.bucket.Keys(dir), w.sweepLog()
				for _, key := range keys {
					if _, ok := recorded[key]; !ok && !slices.Contains(left, key) {
						w.t.Errorf("request %d, %v: %s is gone and not recorded (%v)", n, f, key, err)
					}
				}
				if _, err := w.tier.Sweep(w.t.Context(), tier.SweepOptions{}); err != nil {
					w.t.Error(err)
				}
				for _, key := range keys {
					if slices.Contains(w.bucket.Keys(dir), key) {
						w.t.Errorf("request %d, %v: %s is still there", n, f, key)
					}
				}
			})
			if t.Failed() {
				return
			}
		}
	}
}

// TestSweepAndScrubBesideUploadsAndRetention has all four at work at once, on a store that fails in
// every way, with orphans and late requests. Nothing that a manifest names is ever swept, nothing
// is called damaged that is not, and in the end all is uploaded, readable, and nothing is left
// over. (Scenario 58)
func TestSweepAndScrubBesideUploadsAndRetention(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				besides(w, rand.New(rand.NewPCG(seed, 58)))
				w.stop()
				w.checkBucket()
			})
		})
	}
}

func besides(w *world, rnd *rand.Rand) {
	tier.SetPageEntries(w.t, 3)
	tier.SetSweptAtOnce(w.t, 1+rnd.IntN(7))
	w.log.fill(10)
	w.start()
	w.settle()
	var wg sync.WaitGroup
	over := make(chan struct{})
	during := func(pause time.Duration, do func()) {
		wg.Go(func() {
			for {
				do()
				select {
				case <-over:
					return
				case <-time.After(pause):
				}
			}
		})
	}
	for range 2 { // by itself and by hand
		during(7*time.Minute, func() {
			_, _ = w.tier.Sweep(w.t.Context(), tier.SweepOptions{Found: w.notNamed})
		})
	}
	during(11*time.Minute, func() {
		v, _ := w.p.Scrub(w.t.Context(), tier.VerifyOptions{Deep: true})
		for _, d := range v.Damaged {
			w.t.Errorf("%s is called damaged: %v", d.Key, d.Err)
		}
	})
	for range 60 {
		// No damage here: what is damaged may be called so.
		faults := []buckettest.Fault{buckettest.Refuse, buckettest.LoseReply, buckettest.Late, buckettest.Truncate, buckettest.Vanish}
		ops := []buckettest.Op{buckettest.OpPut, buckettest.OpHead, buckettest.OpGet, buckettest.OpList, buckettest.OpDelete}
		w.bucket.Add(buckettest.Rule{Ops: ops[rnd.IntN(len(ops))], After: rnd.IntN(20), Times: 1 + rnd.IntN(3), Fault: faults[rnd.IntN(len(faults))]})
		w.log.fill(1)
		w.p.Notify()
		w.orphan(rnd.IntN(1000))
		if rnd.IntN(2) == 0 {
			w.log.deleteRecords(max(0, w.log.Offsets().End-30-int64(rnd.IntN(30))))
			w.p.Notify()
		}
		if rnd.IntN(5) == 0 {
			w.bucket.DeliverLate()
		}
		time.Sleep(time.Duration(rnd.IntN(300)) * time.Second)
	}
	close(over)
	wg.Wait()
	w.bucket.Heal()
	w.bucket.DeliverLate()
	w.settle()
	w.confirmedAll()
	w.noOrphans()
	start := w.p.Status().Start
	if got, want := w.consume(start, 1<<20), w.log.bytesOf(start, w.log.end, true); !bytes.Equal(got, want) {
		w.t.Errorf("%d bytes instead of %d", len(got), len(want))
	}
	if n := len(w.sweepLog()); n < 60 {
		w.t.Errorf("%d deletions are recorded", n)
	}
}

// notNamed fails if the manifest in the bucket names an orphan.
func (w *world) notNamed(o tier.Orphan) {
	m, err := w.readManifest()
	if err != nil {
		return // half of one, just now
	}
	err = m.EachSegment(w.calm(), w.bucket, func(e *tier.Entry) error {
		if m.Key(e) == o.Key {
			w.t.Errorf("%s is named by the manifest and swept", o.Key)
		}
		return nil
	})
	if err != nil && !strings.Contains(err.Error(), "page") {
		w.t.Errorf("manifest: %v", err)
	}
}

// TestTombstoneOutlivesWhatLandsLate: another request may land as late as the one that was just found.
func TestTombstoneOutlivesWhatLandsLate(t *testing.T) {
	inWorld(t, func(w *world) {
		w.log.fill(2)
		w.start()
		w.settle()
		late, data := w.segmentKeys()[0], w.object(w.segmentKeys()[0])
		w.must(w.p.Stop(w.t.Context()))
		w.must(w.tier.DeleteTopic(orders.Topic, orders.Name))
		time.Sleep(time.Hour)
		w.replaceObject(late, data)
		topic := fmt.Sprintf("%s/%s/", cluster, orders.Topic)
		for _, want := range []int{1, 0} {
			time.Sleep(time.Hour)
			if _, err := w.tier.Sweep(w.t.Context(), tier.SweepOptions{}); err != nil {
				w.t.Fatal(err)
			}
			if keys := w.bucket.Keys(topic); len(keys) != want || want == 1 && keys[0] != topic+"deleted" {
				w.t.Fatalf("after a sweep there are %v", keys)
			}
		}
	})
}
