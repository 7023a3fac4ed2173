package tier_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket"
	"github.com/morrowmq/morrow/tier/bucket/buckettest"
)

// TestSegmentVanishesWhileBeingUploaded: deleted or rewritten at any request, truncated while it is
// being sent (a leader truncates nothing that is replicated, but a test may). What is committed is
// in the log, or was when it was committed. (Scenarios 13, 14, 15)
func TestSegmentVanishesWhileBeingUploaded(t *testing.T) {
	for _, c := range []struct {
		name, at string
		change   func(l *fakeLog)
	}{
		{"deleted", "", func(l *fakeLog) { l.start = 20; l.segments = l.segments[4:] }},
		{"truncated", ".segment", func(l *fakeLog) { l.segments, l.end, l.all = l.segments[:2], 10, slices.Clone(l.all[:4]) }},
		{"rewritten", "", func(l *fakeLog) {
			for i := range l.segments {
				l.segments[i].Generation++
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for n := range 30 {
				inWorld(t, func(w *world) {
					w.log.fill(6)
					w.bucket.Add(buckettest.Rule{Key: c.at, After: n, Do: func() {
						w.log.mu.Lock()
						defer w.log.mu.Unlock()
						if m, ok := w.manifest(); c.at == "" || !ok || m.End <= 10 {
							c.change(w.log)
						}
					}})
					w.start()
					w.settle()
					w.goesOn()
				})
			}
		})
	}
}

// TestDamagedLocalSegmentIsNotUploaded: it stays, and an alarm says where it is damaged. (Scenarios 12, 6)
func TestDamagedLocalSegmentIsNotUploaded(t *testing.T) {
	inWorld(t, func(w *world) {
		w.log.fill(4)
		good := slices.Clone(w.log.segments[2].data)
		w.log.segments[2].data[500] ^= 1
		w.start()
		w.settle()
		if !errors.Is(w.p.Err(), tier.ErrCorrupt) || w.p.Confirmed() != 0 && w.p.Confirmed() != 10 {
			w.t.Fatalf("%v, confirmed %d", w.p.Err(), w.p.Confirmed())
		}
		w.log.mu.Lock()
		w.log.segments[2].data = good
		w.log.mu.Unlock()
		w.settle()
		w.confirmedAll()
	})
}

// TestPanicInAStepIsContained: the task goes on, and the others never stopped. (Scenario 17)
func TestPanicInAStepIsContained(t *testing.T) {
	for n := range int32(20) {
		inWorld(t, func(w *world) {
			w.log.fill(3)
			var calls atomic.Int32
			bug := func() {
				if calls.Add(1) == n {
					panic("a bug")
				}
			}
			w.log.opened = func(tier.LocalSegment) { bug() }
			w.log.read = bug
			w.start()
			w.settle()
			w.confirmedAll()
		})
	}
}

// TestSegmentsOfAllSizes: nothing in it, one record, several blocks. (Scenario 18)
func TestSegmentsOfAllSizes(t *testing.T) {
	inWorld(t, func(w *world) {
		w.log.add(batch{})
		w.log.add(slices.Repeat([]batch{{size: 1 << 20}}, 5)...)
		w.log.mu.Lock() // everything in it was compacted away
		w.log.segments = append(w.log.segments, fakeSegment{LocalSegment: tier.LocalSegment{Base: w.log.end, End: w.log.end + 4}})
		w.log.end += 4
		w.log.mu.Unlock()
		w.log.add(batch{size: 10})
		w.start()
		w.settle()
		w.confirmedAll()
		w.log.evict(w.log.end)
		if got, want := w.consume(0, 1<<20), w.log.bytesOf(0, w.log.end, true); !bytes.Equal(got, want) {
			w.t.Fatalf("%d bytes instead of %d", len(got), len(want))
		}
	})
}

// TestThousandsOfSegments: pages, and a bounded manifest.
func TestThousandsOfSegments(t *testing.T) {
	tier.SetPageEntries(t, 32)
	inWorld(t, func(w *world) {
		w.uploaded(func(l *fakeLog) {
			for range 1000 {
				l.add(batch{size: 10})
			}
		})
		m, _ := w.manifest()
		if len(m.Pages) != 30 || len(m.Tail) != 40 || m.Summary().Segments != 1000 {
			w.t.Fatalf("%d pages, %d entries, %+v", len(m.Pages), len(m.Tail), m.Summary())
		}
		for _, offset := range []int64{0, 31, 32, 500, 999} {
			w.checkReadAt(offset, 10)
		}
		w.noOrphans()
	})
}

// TestTopicIsDeletedForGood: during an upload, while the bucket is down, across restarts; a request
// that lands late is swept. (Scenario 53; P5)
func TestTopicIsDeletedForGood(t *testing.T) {
	for n, fired := 0, true; fired; n++ {
		inWorld(t, func(w *world) {
			w.log.fill(5)
			w.start()
			w.settle()
			w.log.fill(5)
			w.p.Notify()
			rule := w.bucket.Add(buckettest.Rule{After: n, Fault: buckettest.Late, Times: 1 + n%4})
			time.Sleep(time.Duration(n%3) * 10 * time.Millisecond)
			if err := w.p.Stop(w.t.Context()); err != nil {
				w.t.Fatal(err)
			}
			if err := w.tier.DeleteTopic(orders.Topic, orders.Name); err != nil {
				w.t.Fatal(err)
			}
			if n%2 == 1 {
				w.stop()
				again := tier.PartitionID{Topic: tier.TopicID{9}, Name: orders.Name, Partition: 3} // the same name, at once
				old := orders
				orders = again
				defer func() { orders = old }()
				w.log = newFakeLog(w.t)
				w.start()
			}
			time.Sleep(10 * time.Minute)
			w.bucket.DeliverLate()
			fired = w.bucket.Fired(rule) > 0
			w.bucket.Heal()
			for range 3 {
				time.Sleep(30 * time.Minute)
				if _, err := w.tier.Sweep(w.t.Context(), tier.SweepOptions{}); err != nil {
					w.t.Fatal(err)
				}
			}
			topic := fmt.Sprintf("%s/%s/", cluster, tier.TopicID{1, 2, 3})
			if keys := w.bucket.Keys(topic); len(keys) != 0 {
				w.t.Fatalf("failing request %d: left: %v", n, keys)
			}
			if names, err := w.disk.List("/tier"); err != nil || slices.ContainsFunc(names, func(s string) bool { return strings.HasPrefix(s, "010203") }) {
				w.t.Fatalf("left on disk: %v, %v", names, err)
			}
		})
		fired = fired && !t.Failed()
	}
}

// TestTopicThatWasNeverSentLeavesNothing: no tombstone, whatever request fails, and across restarts.
func TestTopicThatWasNeverSentLeavesNothing(t *testing.T) {
	for n, fired := 0, true; fired; n++ {
		inWorld(t, func(w *world) {
			w.configure(tier.Config{RetentionMs: -1, RetentionBytes: -1})
			w.log.fill(5)
			w.start()
			w.settle()
			rule := w.bucket.Add(buckettest.Rule{After: n, Fault: buckettest.Refuse})
			w.must(w.p.Stop(w.t.Context()))
			w.must(w.tier.DeleteTopic(orders.Topic, orders.Name))
			if n%2 == 1 {
				w.stop()
				orders.Topic[0]++
				defer func() { orders.Topic[0]-- }()
				w.start()
			}
			w.settle()
			fired = w.bucket.Fired(rule) > 0
			topic := fmt.Sprintf("%s/%s/", cluster, tier.TopicID{1, 2, 3})
			for _, r := range w.bucket.Requests() {
				if strings.HasPrefix(r, "put "+topic) {
					w.t.Errorf("failing request %d: %s", n, r)
				}
			}
			if names, err := w.disk.List("/tier/deletions"); err != nil || len(names) != 0 {
				w.t.Errorf("failing request %d: still to be deleted: %v, %v", n, names, err)
			}
		})
		fired = fired && !t.Failed()
	}
}

// TestTopicIsDeletedDuringItsFirstRequest: the step that is under way has not written down yet that
// it is going to send something. The deletion waits for it, and nothing stays. (Scenario 53)
func TestTopicIsDeletedDuringItsFirstRequest(t *testing.T) {
	inWorld(t, func(w *world) {
		w.log.fill(5)
		deleted := false
		w.before = func(op, key string) {
			if op == "get" && key == dir+"manifest" && !deleted {
				deleted = true
				w.must(w.tier.DeleteTopic(orders.Topic, orders.Name))
				time.Sleep(10 * time.Second) // less than a request may take
			}
		}
		w.start()
		time.Sleep(10 * time.Minute)
		if keys := w.bucket.Keys(dir); !deleted || len(keys) != 0 {
			w.t.Errorf("deleted: %t, left: %v", deleted, keys)
		}
		if names, err := w.disk.List("/tier/deletions"); err != nil || len(names) != 0 {
			w.t.Errorf("still to be deleted: %v, %v", names, err)
		}
	})
}

// TestFirstRequestOfADeletedTopicLandsLate: an earlier life sent it, and the bucket has nothing of
// the topic when that is deleted. What lands afterwards is swept. (Scenario 53)
func TestFirstRequestOfADeletedTopicLandsLate(t *testing.T) {
	inWorld(t, func(w *world) {
		late := w.bucket.Add(buckettest.Rule{Ops: buckettest.OpPut, Under: dir, Fault: buckettest.Late})
		w.before = func(op, key string) {
			if w.bucket.Fired(late) > 0 {
				w.crash(nil)
			}
		}
		w.start()
		time.Sleep(time.Second)
		w.stop()
		old := orders
		orders = tier.PartitionID{Topic: tier.TopicID{9}, Name: orders.Name, Partition: 3}
		defer func() { orders = old }()
		w.before = nil
		w.start()
		w.must(w.tier.DeleteTopic(old.Topic, old.Name))
		time.Sleep(10 * time.Minute)
		w.bucket.DeliverLate()
		topic := fmt.Sprintf("%s/%s/", cluster, old.Topic)
		if keys := w.bucket.Keys(topic + "3/"); len(keys) != 1 {
			w.t.Fatalf("landed: %v", keys)
		}
		for range 3 {
			time.Sleep(30 * time.Minute)
			_, err := w.tier.Sweep(w.t.Context(), tier.SweepOptions{})
			w.must(err)
		}
		if keys := w.bucket.Keys(topic); len(keys) != 0 {
			w.t.Errorf("left: %v", keys)
		}
	})
}

// TestDeletionThatTheStoreRefusesIsTold: in the status, an alarm and the metrics, after a restart
// too, until it is done.
func TestDeletionThatTheStoreRefusesIsTold(t *testing.T) {
	inWorld(t, func(w *world) {
		registry := prometheus.NewPedanticRegistry()
		w.option = func(o *tier.Options) { o.Registerer = registry }
		old := orders
		defer func() { orders = old }()
		w.log.fill(5)
		w.start()
		w.settle()
		w.bucket.Add(buckettest.Rule{Ops: buckettest.OpDelete, Under: dir, Fault: buckettest.Refuse, Times: buckettest.Forever, Err: bucket.ErrDenied})
		since := time.Now()
		w.must(w.tier.DeleteTopic(old.Topic, old.Name))
		told := func(when string, want bool) {
			w.t.Helper()
			var count, age float64
			families, err := registry.Gather()
			w.must(err)
			for _, f := range families {
				switch f.GetName() {
				case "morrow_tier_topic_deletions":
					count = f.GetMetric()[0].GetGauge().GetValue()
				case "morrow_tier_topic_deletion_seconds":
					age = f.GetMetric()[0].GetGauge().GetValue()
				}
			}
			s := w.tier.Status()
			if !want {
				if len(s.Deletions) != 0 || len(s.Alarms) != 0 || count != 0 || age != 0 {
					w.t.Errorf("%s: %+v, %v, metrics %v and %v", when, s.Deletions, s.Alarms, count, age)
				}
				return
			}
			if len(s.Deletions) != 1 || s.Deletions[0].Topic != old.Topic || s.Deletions[0].Name != old.Name ||
				!s.Deletions[0].Since.Equal(since.Truncate(time.Millisecond)) || !errors.Is(s.Deletions[0].Err, bucket.ErrDenied) {
				w.t.Errorf("%s: %+v", when, s.Deletions)
			}
			if a := s.Alarms; len(a) != 1 || a[0].Name != "deletion_failing" || a[0].Subject != old.Name ||
				!strings.HasPrefix(a[0].Text, "what it has in the bucket cannot be deleted: ") || !strings.Contains(a[0].Text, "access denied by the store: injected (check the credentials") {
				w.t.Errorf("%s: %+v", when, a)
			}
			if count != 1 || age < time.Since(since).Seconds()-0.001 {
				w.t.Errorf("%s: %v deletions for %vs", when, count, age)
			}
		}
		time.Sleep(10 * time.Minute)
		told("while it is refused", true)
		w.stop()
		orders = tier.PartitionID{Topic: tier.TopicID{9}, Name: old.Name, Partition: 3}
		w.log = newFakeLog(w.t)
		w.start()
		if d := w.tier.Status().Deletions; len(d) != 1 || d[0].Name != old.Name || d[0].Err != nil {
			w.t.Errorf("just started: %+v", d)
		}
		time.Sleep(10 * time.Minute)
		told("after a restart", true)
		w.bucket.Heal()
		time.Sleep(10 * time.Minute)
		told("when it is done", false)
	})
}

// TestTopicIsDeletedWhileTieringIsOff: its objects go once it is switched on. Where there never was
// a tier nothing is recorded.
func TestTopicIsDeletedWhileTieringIsOff(t *testing.T) {
	inWorld(t, func(w *world) {
		w.must(tier.RecordDeletion(w.disk, "/tier", orders.Topic, orders.Name, time.Now()))
		if _, err := w.disk.Stat("/tier"); !errors.Is(err, fs.ErrNotExist) {
			w.t.Errorf("without a tier: %v", err)
		}
		w.log.fill(5)
		w.start()
		w.settle()
		w.stop()
		old := orders
		defer func() { orders = old }()
		w.must(tier.RecordDeletion(w.disk, "/tier", old.Topic, old.Name, time.Now()))
		orders = tier.PartitionID{Topic: tier.TopicID{9}, Name: old.Name, Partition: 3}
		w.log = newFakeLog(w.t)
		w.start()
		if d := w.tier.Status().Deletions; len(d) != 1 || d[0].Name != old.Name {
			w.t.Errorf("just started: %+v", d)
		}
		time.Sleep(10 * time.Minute)
		if keys := w.bucket.Keys(dir); len(keys) != 0 {
			w.t.Errorf("left: %v", keys)
		}
	})
}

// TestSweepDryRunAndGrace: only what is old enough and named by nobody; a dry run removes nothing. (Rule R10)
func TestSweepDryRunAndGrace(t *testing.T) {
	inWorld(t, func(w *world) {
		w.log.fill(3)
		w.start()
		w.settle()
		orphan := dir + "00000000000000000015-0000000000-" + tier.NewToken().String() + ".segment"
		stranger := dir + "notes.txt"
		w.replaceObject(orphan, []byte("left behind"))
		w.replaceObject(stranger, []byte("not ours"))
		sweep := func(o tier.SweepOptions) tier.Swept {
			s, err := w.tier.Sweep(w.t.Context(), o)
			if err != nil {
				w.t.Fatal(err)
			}
			return s
		}
		if s := sweep(tier.SweepOptions{}); s.Orphans != 0 {
			w.t.Fatalf("within the grace period: %+v", s)
		}
		for _, short := range []time.Duration{-time.Hour, time.Minute, 20*time.Minute - time.Millisecond} {
			var refused *tier.GraceError
			if _, err := w.tier.Sweep(w.t.Context(), tier.SweepOptions{Grace: short}); !errors.As(err, &refused) || refused.Least != 20*time.Minute {
				w.t.Errorf("%s: %v", short, err)
			}
		}
		time.Sleep(30 * time.Minute)
		var found []string
		if s := sweep(tier.SweepOptions{DryRun: true, Found: func(o tier.Orphan) { found = append(found, o.Key) }}); s.Orphans != 1 || !slices.Equal(found, []string{orphan}) {
			w.t.Fatalf("dry run: %+v, %v", s, found)
		}
		var owned *tier.OwnedError
		if _, err := tier.SweepOffline(w.calm(), w.bucket, cluster, "sweep", tier.SweepOptions{}); !errors.As(err, &owned) {
			w.t.Fatalf("beside a broker: %v", err)
		}
		if s := sweep(tier.SweepOptions{}); s.Orphans != 1 || s.OrphanBytes != 11 {
			w.t.Fatalf("sweep: %+v", s)
		}
		if keys := w.bucket.Keys(dir); slices.Contains(keys, orphan) || !slices.Contains(keys, stranger) {
			w.t.Fatalf("left: %v", keys)
		}
		w.replaceObject(orphan, []byte("left behind"))
		w.stop()
		time.Sleep(25 * time.Hour)
		var refused *tier.GraceError
		if _, err := tier.SweepOffline(w.calm(), w.bucket, cluster, "sweep", tier.SweepOptions{Grace: 11 * time.Hour}); !errors.As(err, &refused) {
			w.t.Errorf("with little grace: %v", err)
		}
		for _, o := range []tier.SweepOptions{{DryRun: true}, {}} {
			if s, err := tier.SweepOffline(w.calm(), w.bucket, cluster, "sweep", o); err != nil || s.Orphans != 1 {
				w.t.Fatalf("without a broker, %+v: %+v, %v", o, s, err)
			}
		}
		if slices.Contains(w.bucket.Keys(dir), orphan) {
			w.t.Fatal("the orphan is still there")
		}
		w.start()
		w.settle()
		w.confirmedAll() // it has not been kept from the bucket
	})
}

// TestScrubFindsAndRepairs: lost and damaged objects are stored anew from the local log while it
// has them, and reported when it has not. (Scenarios 11, 58)
func TestScrubFindsAndRepairs(t *testing.T) {
	tier.SetPageEntries(t, 2)
	inWorld(t, func(w *world) {
		w.log.fill(8)
		w.start()
		w.settle()
		keys := w.segmentKeys()
		if err := w.bucket.Delete(w.calm(), keys[0], keys[6]); err != nil {
			w.t.Fatal(err)
		}
		w.bucket.Damage(keys[2])
		w.bucket.Damage(keys[5])
		w.log.evict(10)
		m, _ := w.manifest()
		v, err := tier.Verify(w.calm(), w.bucket, m, tier.VerifyOptions{})
		if err != nil || len(v.Damaged) != 2 || !errors.Is(v.Damaged[0].Err, tier.ErrLost) {
			w.t.Fatalf("asking: %+v, %v", v, err)
		}
		v, err = w.p.Scrub(w.t.Context(), tier.VerifyOptions{Deep: true})
		if err != nil || v.Objects != 8 || len(v.Damaged) != 4 || v.Repaired != 3 {
			w.t.Fatalf("reading: %+v, %v", v, err)
		}
		if a := w.tier.Alarms(); len(a) != 1 || a[0].Name != "damage" || !strings.Contains(a[0].Text, keys[0]) {
			w.t.Fatalf("alarms %+v", a)
		}
		v, err = w.p.Scrub(w.t.Context(), tier.VerifyOptions{Deep: true})
		if err != nil || len(v.Damaged) != 1 || v.Damaged[0].Key != keys[0] {
			w.t.Fatalf("again: %+v, %v", v, err)
		}
		w.checkReadAt(10, 100)
		w.checkReadAt(25, 100)
		w.log.deleteRecords(5)
		w.p.Notify()
		w.settle()
		w.noOrphans()
	})
}

// TestScrubBesideRetentionAndUploads gives no false alarm. (Scenario 58)
func TestScrubBesideRetentionAndUploads(t *testing.T) {
	tier.SetPageEntries(t, 2)
	inWorld(t, func(w *world) {
		w.log.fill(30)
		w.start()
		w.settle()
		w.bucket.Add(buckettest.Rule{Ops: buckettest.OpHead | buckettest.OpGet, Delay: time.Second, Times: buckettest.Forever})
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 20 {
				if v, err := w.p.Scrub(w.t.Context(), tier.VerifyOptions{Deep: true}); err != nil || len(v.Damaged) > 0 {
					w.t.Errorf("%+v, %v", v, err)
				}
			}
		}()
		for start := int64(5); start < 140; start += 5 {
			w.log.deleteRecords(start)
			w.log.fill(1)
			w.p.Notify()
			time.Sleep(25 * time.Second)
		}
		<-done
		w.settle()
	})
}

// TestRestoreFromTheBucketAlone: disk and log are lost. What was confirmed comes back, and no
// offset is given out twice. (Scenario 55)
func TestRestoreFromTheBucketAlone(t *testing.T) {
	inWorld(t, func(w *world) {
		w.configure(tier.Config{Copy: true, RetentionMs: -1, RetentionBytes: -1, Topic: map[string]string{"cleanup.policy": "delete", "x": "y"}})
		w.epoch = 3
		w.log.fill(5)
		w.start()
		w.settle()
		w.stop()
		lost := w.log
		topics, err := tier.Inventory(w.calm(), w.bucket, cluster)
		if err != nil || len(topics) != 1 || topics[0].Name != "orders" || topics[0].Config["x"] != "y" || topics[0].Deleted || len(topics[0].Partitions) != 1 {
			w.t.Fatalf("inventory %+v, %v", topics, err)
		}
		o := tier.RestoreOptions{Epoch: 3, AtLeast: 40, Gap: 1000, Now: time.Now()}
		if _, err := tier.Restore(w.calm(), w.bucket, cluster, orders.Topic, 3, o); !errors.Is(err, tier.ErrFenced) {
			w.t.Fatalf("restored in the epoch of the lost leader: %v", err)
		}
		o.Epoch = 4
		r, err := tier.Restore(w.calm(), w.bucket, cluster, orders.Topic, 3, o)
		want := tier.Restored{Next: 1040, End: 25, VisibleEnd: 25, Snapshot: snapshotAt(25), Epochs: []tier.EpochStart{{Epoch: 0, Start: 0}, {Epoch: 4, Start: 1040}}}
		if err != nil || !reflect.DeepEqual(r, want) {
			w.t.Fatalf("restored %+v, %v", r, err)
		}
		w.disk, w.epoch = vfs.NewMem(), o.Epoch+1
		w.log = newFakeLog(w.t)
		w.log.all, w.log.end = lost.all, r.Next
		w.log.dropped = [][2]int64{{25, r.Next}}
		w.log.fill(2)
		w.start()
		w.settle()
		w.confirmedAll()
		if got, want := w.consume(0, 1<<20), w.log.bytesOf(0, w.log.end, true); !bytes.Equal(got, want) {
			w.t.Fatalf("%d bytes instead of %d", len(got), len(want))
		}
		w.noOrphans()
	})
}

// TestRestoreGivesUpALastSegmentOnlyIfItMay: without the last segment it is not known which
// transactions were open. What came before it comes back if the loss is accepted.
func TestRestoreGivesUpALastSegmentOnlyIfItMay(t *testing.T) {
	for _, harm := range []string{"missing", "damaged"} {
		inWorld(t, func(w *world) {
			tier.SetPageEntries(w.t, 2)
			w.log.fill(7)
			w.start()
			w.settle()
			w.stop()
			keys := w.bucket.Keys("")
			segments := slices.DeleteFunc(keys, func(key string) bool { return !strings.HasSuffix(key, ".segment") })
			for _, key := range segments[1:] {
				o, err := w.bucket.Head(w.calm(), key)
				if err != nil {
					w.t.Fatal(err)
				}
				w.bucket.Take(key)
				if harm == "missing" {
					continue
				}
				if _, err := w.bucket.Put(w.calm(), key, bucket.BytesBody(w.bucket.Checksum(), make([]byte, o.Size)), bucket.PutOptions{IfNoneMatch: true}); err != nil {
					w.t.Fatal(err)
				}
			}
			o := tier.RestoreOptions{Epoch: 10, Gap: 1000, Now: time.Now()}
			if _, err := tier.Restore(w.calm(), w.bucket, cluster, orders.Topic, 3, o); !errors.Is(err, tier.ErrLastSegment) {
				w.t.Fatalf("%s: %v", harm, err)
			}
			o.AcceptLoss = true
			r, err := tier.Restore(w.calm(), w.bucket, cluster, orders.Topic, 3, o)
			if err != nil || r.End != 5 || r.Next != 1035 || r.VisibleEnd != 5 || len(r.GivenUp) != 6 || r.GivenUp[5].Base != 5 || string(r.Snapshot) != string(snapshotAt(5)) {
				w.t.Fatalf("%s: restored %+v, %v", harm, r, err)
			}
			m, err := tier.ReadManifest(w.calm(), w.bucket, cluster, orders.Topic, 3)
			if err != nil || m.Summary().Segments != 1 || m.End != r.Next {
				w.t.Fatalf("%s: %+v, %v", harm, m, err)
			}
		})
	}
}

// TestRestoreBeginsWhereTheGateHeld: pending records were moved to a run, and the log began anew
// behind them, but the run was not in the bucket yet. A schedule that is rebuilt from there needs
// the records themselves, so the restored log begins with them. (Scenario 55)
func TestRestoreBeginsWhereTheGateHeld(t *testing.T) {
	inWorld(t, func(w *world) {
		w.log.fill(4)
		w.start()
		w.settle()
		w.log.mu.Lock()
		w.log.gate = 7
		w.log.segments = w.log.segments[3:]
		w.log.start, w.log.reported = 15, 15
		w.log.mu.Unlock()
		w.log.fill(1)
		w.p.Notify()
		w.settle()
		w.stop()
		if m, _ := w.manifest(); m.LogStart != 15 || m.Start != 5 {
			w.t.Fatalf("manifest from %d, log from %d: the test is void", m.Start, m.LogStart)
		}
		r, err := tier.Restore(w.calm(), w.bucket, cluster, orders.Topic, 3, tier.RestoreOptions{Epoch: 1, Gap: 1000, Now: time.Now()})
		if err != nil || r.Start != 5 || r.ReportedStart != 15 {
			w.t.Fatalf("restored %+v, %v", r, err)
		}
		w.log.dropped = [][2]int64{{25, r.Next}}
	})
}

// TestUploadRateIsLimited, in bytes per second over all partitions (KIP-956).
func TestUploadRateIsLimited(t *testing.T) {
	inWorld(t, func(w *world) {
		w.option = func(o *tier.Options) { o.CopyRate = 100 << 10 }
		w.log.add(slices.Repeat([]batch{{size: 1 << 20}}, 6)...)
		w.start()
		time.Sleep(45 * time.Second)
		if got := w.p.Confirmed(); got > 0 {
			w.t.Fatalf("confirmed %d too early", got)
		}
		time.Sleep(20 * time.Second)
		w.confirmedAll()
		w.log.add(slices.Repeat([]batch{{size: 1 << 20}}, 6)...)
		w.tier.SetRates(0, 0)
		w.p.Notify()
		time.Sleep(time.Second)
		w.confirmedAll()
	})
}

// TestErrorsAreSortedIntoWaitingAndAlarm (scenario 65)
func TestErrorsAreSortedIntoWaitingAndAlarm(t *testing.T) {
	for kind, word := range map[error]string{
		bucket.ErrThrottled: "limits requests", bucket.ErrDenied: "check the credentials", bucket.ErrConfig: "check bucket, region",
		bucket.ErrFull: "make room", bucket.ErrUnknown: "see whether the store runs",
	} {
		inWorld(t, func(w *world) {
			w.log.fill(1)
			w.start()
			w.settle()
			w.bucket.Add(buckettest.Rule{Key: ".segment", Ops: buckettest.OpPut, Fault: buckettest.Refuse, Err: kind, Times: buckettest.Forever})
			w.log.fill(1)
			w.p.Notify()
			w.settle()
			if a := w.tier.Alarms(); len(a) != 1 || !strings.Contains(a[0].Text, word) {
				w.t.Errorf("%v: alarms %+v", kind, a)
			}
			w.bucket.Heal()
			w.settle()
			w.confirmedAll()
		})
	}
}

// TestStoreThatIsUnfitIsRefused: nothing is uploaded, and the sentence says which check failed; a
// store that is down is asked again.
func TestStoreThatIsUnfitIsRefused(t *testing.T) {
	inWorld(t, func(w *world) {
		w.log.fill(1)
		lying := w.bucket.Add(buckettest.Rule{Ops: buckettest.OpPut, Fault: buckettest.Vanish, Times: buckettest.Forever})
		w.start()
		time.Sleep(time.Minute)
		err := w.tier.Admitted()
		if !errors.Is(err, bucket.ErrUnfit) || !strings.Contains(err.Error(), "refuses an object whose crc64nvme checksum is wrong") {
			w.t.Fatalf("%v", err)
		}
		if w.bucket.Fired(lying) == 0 || len(w.segmentKeys()) != 0 {
			w.t.Fatal("something was uploaded")
		}
		w.bucket.Heal()
		w.settle()
		w.confirmedAll()
	})
}

// TestMetricsFollowTheTopic: a series per topic that is open, none of one that is not (P5).
func TestMetricsFollowTheTopic(t *testing.T) {
	inWorld(t, func(w *world) {
		registry := prometheus.NewPedanticRegistry()
		w.option = func(o *tier.Options) { o.Registerer = registry }
		w.log.fill(4)
		w.start()
		w.settle()
		w.log.fill(2)
		w.bucket.Add(buckettest.Rule{Fault: buckettest.Refuse, Times: buckettest.Forever})
		time.Sleep(time.Minute)
		values := func() map[string]float64 {
			families, err := registry.Gather()
			if err != nil {
				w.t.Fatal(err)
			}
			out := map[string]float64{}
			for _, f := range families {
				for _, m := range f.GetMetric() {
					for _, l := range m.GetLabel() {
						if l.GetName() == "topic" && l.GetValue() == "orders" {
							out[f.GetName()] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
						}
					}
				}
			}
			return out
		}
		v := values()
		if v["morrow_tier_copy_lag_segments"] != 2 || v["morrow_tier_remote_segments"] != 4 || v["morrow_tier_copy_requests_total"] < 4 ||
			v["morrow_tier_copy_lag_seconds"] < 29 || v["morrow_tier_failing_partitions"] != 1 || v["morrow_tier_copy_bytes_total"] != v["morrow_tier_remote_size_bytes"] {
			w.t.Fatalf("%v", v)
		}
		w.bucket.Heal()
		if err := w.p.Stop(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
		if v := values(); len(v) != 0 {
			w.t.Fatalf("series of a stopped partition: %v", v)
		}
	})
}
