package tier_test

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket"
	"github.com/morrowmq/morrow/tier/bucket/buckettest"
)

// diverged has a broker whose bucket another one has used meanwhile, with a copy of its data
// directory: after n segments that both have, each has written three of its own, in the same epoch.
func diverged(w *world, n int) (tw *twins, c *world) {
	w.t.Helper()
	ownMarker(w, 0)
	tw = &twins{world: w, rnd: rand.New(rand.NewPCG(1, 1))}
	tw.copies = []*world{w}
	w.log.fill(n)
	w.start()
	w.settle()
	w.stop()
	c = tw.copyOf(w)
	tw.copies = append(tw.copies, c)
	ownMarker(c, 1)
	c.epoch++
	c.start()
	for range 3 { // as many records, so that only whose they are tells them apart
		c.log.add(batch{records: 3, size: 200, epoch: c.epoch})
		w.log.add(batch{records: 3, size: 300, epoch: c.epoch})
	}
	c.p.Notify()
	c.settle()
	c.confirmedAll()
	c.stop()
	w.epoch += 2
	w.start()
	w.settleZombie()
	if err := w.p.Err(); !errors.Is(err, tier.ErrDiverged) || w.p.Confirmed() != tier.NoOffset {
		w.t.Fatalf("%v, confirmed %d: the test is void", err, w.p.Confirmed())
	}
	return tw, c
}

// TestStoppedPartitionGoesOnFromItsLog: what the other one has uploaded is told, and given up only
// when that is asked for; a sweep removes it, on record.
func TestStoppedPartitionGoesOnFromItsLog(t *testing.T) {
	inCluster(t, func(w *world) {
		_, c := diverged(w, 4)
		before, _ := w.manifest()
		g, err := w.p.Resume(w.t.Context(), false)
		if err != nil || g.From != 20 || g.To != c.log.end || len(g.Segments) != 3 || g.Bytes == 0 {
			w.t.Fatalf("%+v, %v", g, err)
		}
		w.settleZombie()
		if m, _ := w.manifest(); m.Version != before.Version || !errors.Is(w.p.Err(), tier.ErrDiverged) {
			w.t.Fatalf("it was only asked, and now the manifest is %+v, %v", m, w.p.Err())
		}
		if _, err := w.p.Resume(w.t.Context(), true); err != nil {
			w.t.Fatal(err)
		}
		if err := w.p.Err(); err != nil {
			w.t.Errorf("afterwards: %v", err)
		}
		w.wait(time.Second) // no failure puts it off any more
		w.confirmedAll()
		w.settle()
		w.confirmedAll()
		if _, err := w.p.Resume(w.t.Context(), true); !errors.Is(err, tier.ErrNotDiverged) {
			w.t.Errorf("a second time: %v", err)
		}
		w.log.evict(w.log.end)
		if got, want := w.consume(0, 500), w.log.bytesOf(0, w.log.end, true); string(got) != string(want) {
			w.t.Error("other bytes")
		}
		c.epoch = w.epoch + 1
		c.start()
		c.settleZombie()
		if err := c.p.Err(); !errors.Is(err, tier.ErrDiverged) || c.p.Confirmed() != tier.NoOffset {
			w.t.Errorf("the other one afterwards: %v, confirmed %d", err, c.p.Confirmed())
		}
		c.stop()
		w.wait(25 * time.Minute)
		if s, err := w.tier.Sweep(w.t.Context(), tier.SweepOptions{}); err != nil || s.Orphans != 3 {
			w.t.Errorf("swept %+v, %v", s, err)
		}
	})
}

// TestPartitionGoesOnThoughTheStoreFails: at each request of it, or the power. Nothing is taken for
// confirmed that is not, and another try succeeds, in this life or the next.
func TestPartitionGoesOnThoughTheStoreFails(t *testing.T) {
	for name, c := range map[string]struct {
		fault                buckettest.Fault
		restarts, powerFails bool
	}{
		"refused":                          {fault: buckettest.Refuse},
		"refused, and begun again":         {fault: buckettest.Refuse, restarts: true},
		"done, and not heard":              {fault: buckettest.LoseReply},
		"done, not heard, and begun again": {fault: buckettest.LoseReply, restarts: true},
		"the power fails before":           {fault: buckettest.Refuse, restarts: true, powerFails: true},
		"done, and the power fails":        {fault: buckettest.LoseReply, restarts: true, powerFails: true},
	} {
		n := 0
		for failed := true; failed && !t.Failed(); n++ {
			inCluster(t, func(w *world) {
				tw, _ := diverged(w, 2)
				rule := buckettest.Rule{Under: dir, After: n, Fault: c.fault, Err: bucket.ErrUnknown}
				if c.powerFails {
					rule.Do = func() { w.crash(tw.rnd) }
				}
				id := w.bucket.Add(rule)
				_, err := w.p.Resume(w.t.Context(), true)
				failed = w.bucket.Fired(id) > 0
				w.bucket.Heal()
				if !c.powerFails {
					w.boundHolds()
				}
				if c.restarts {
					tw.restart(w)
				}
				tw.holds(0)
				w.settleZombie()
				tw.holds(0)
				if errors.Is(w.p.Err(), tier.ErrDiverged) {
					if _, err := w.p.Resume(w.t.Context(), true); err != nil {
						w.t.Errorf("%s, request %d: another try: %v", name, n, err)
					}
				} else if w.p.Err() != nil {
					w.t.Errorf("%s, request %d: %v, then %v", name, n, err, w.p.Err())
				}
				w.settle()
				w.confirmedAll()
			})
		}
		if n < 4 {
			t.Errorf("%s: %d requests, the test is void", name, n)
		}
	}
}

// TestPartitionThatNeedsTheBucketStaysStopped: the other one has removed what this log has nowhere else.
func TestPartitionThatNeedsTheBucketStaysStopped(t *testing.T) {
	for name, c := range map[string]struct {
		evicted int64 // from the local log, before the other one was there
		deleted int64 // by the other one
		goesOn  bool
	}{
		"all is here, and removed there":      {0, 10, false}, // else it would count as uploaded
		"here alone is what was not uploaded": {10, 10, false},
		"all that is not here is there":       {10, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			inCluster(t, func(w *world) {
				tw, other := diverged(w, 4)
				w.log.evict(c.evicted)
				if c.deleted > 0 {
					w.stop()
					w.epoch += 2
					other.epoch = w.epoch - 1
					other.log.deleteRecords(c.deleted)
					tw.restart(other)
					other.settle()
					other.stop()
					tw.restart(w)
					w.settleZombie()
				}
				before, _ := w.manifest()
				_, err := w.p.Resume(w.t.Context(), true)
				if c.goesOn {
					if err != nil {
						w.t.Error(err)
					}
					w.settle()
					w.confirmedAll()
					return
				}
				if m, _ := w.manifest(); !errors.Is(err, tier.ErrOnlyRemote) || m.Version != before.Version || w.p.Confirmed() != tier.NoOffset {
					w.t.Errorf("%v, confirmed %d, version %d after %d", err, w.p.Confirmed(), m.Version, before.Version)
				}
				w.log = other.log // for the last look at the bucket
			})
		})
	}
}

// TestWhatWasGivenUpIsNotTakenBack: of two brokers one went on alone, and the other one has what was
// given up nowhere else.
func TestWhatWasGivenUpIsNotTakenBack(t *testing.T) {
	inCluster(t, func(w *world) {
		ownMarker(w, 0)
		tw := &twins{world: w, rnd: rand.New(rand.NewPCG(2, 2)), copies: []*world{w}}
		w.log.fill(4)
		w.start()
		w.settle()
		c := tw.copyOf(w)
		ownMarker(c, 1)
		tw.restart(w)
		w.log.fill(2)
		w.settle()
		w.confirmedAll()
		w.log.evict(w.log.end)
		w.stop()
		c.epoch = w.epoch + 1
		c.start()
		tw.write(c)
		c.settleZombie()
		if g, err := c.p.Resume(w.t.Context(), true); err != nil || g.From != 20 || len(g.Segments) != 2 {
			w.t.Fatalf("%+v, %v", g, err)
		}
		c.settle()
		c.confirmedAll()
		c.stop()
		w.epoch = c.epoch + 1
		w.start()
		w.settleZombie()
		if _, err := w.p.Resume(w.t.Context(), true); !errors.Is(err, tier.ErrOnlyRemote) || w.p.Confirmed() != tier.NoOffset {
			w.t.Errorf("%v, confirmed %d", err, w.p.Confirmed())
		}
		w.log = c.log // for the last look at the bucket
	})
}

// TestResumeForgetsWhatARestoreHasLeftOut: another broker was restored from the bucket, and this one
// still has the records that were lost to that.
func TestResumeForgetsWhatARestoreHasLeftOut(t *testing.T) {
	inCluster(t, func(w *world) {
		w.log.fill(4)
		w.start()
		w.settle()
		w.stop()
		w.log.fill(2)
		r, err := tier.Restore(w.calm(), w.bucket, cluster, orders.Topic, 3, tier.RestoreOptions{Epoch: w.epoch + 1, Gap: 1000, Now: time.Now()})
		if err != nil {
			w.t.Fatal(err)
		}
		if m, _ := w.manifest(); len(m.Lost) != 1 || m.Lost[0] != (tier.OffsetRange{From: r.End, To: r.Next}) {
			w.t.Fatalf("the restore lost %v", m.Lost)
		}
		w.epoch += 2
		w.start()
		w.settleZombie()
		if _, err := w.p.Segments(w.calm()); err != nil { // now it knows the manifest of the other
			w.t.Fatal(err)
		}
		nothing := func() {
			w.t.Helper()
			if lost, err := w.p.Lost(w.t.Context()); err != nil || len(lost) > 0 {
				w.t.Errorf("lost %v, %v", lost, err)
			}
		}
		nothing()
		if _, err := w.p.Resume(w.t.Context(), true); err != nil {
			w.t.Fatal(err)
		}
		w.wait(time.Second)
		w.confirmedAll()
		if m, _ := w.manifest(); len(m.Lost) > 0 {
			w.t.Errorf("the manifest says that %v is lost", m.Lost)
		}
		nothing()
	})
}
