package tier_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket"
	"github.com/morrowmq/morrow/tier/bucket/buckettest"
)

// timed closes a segment of ten records with this timestamp.
func (l *fakeLog) timed(at time.Time, hidden bool) tier.LocalSegment {
	stamps := make([]int64, 10)
	for i := range stamps {
		stamps[i] = at.UnixMilli()
	}
	return l.add(batch{records: 10, timestamps: stamps, hidden: hidden})
}

func (w *world) expectStart(want int64) {
	w.t.Helper()
	start := w.p.Status().Start
	m, _ := w.manifest()
	if start != want || m.Start != want || w.log.Offsets().Start != want {
		w.t.Fatalf("remote start %d, manifest %d, log start %d; want %d", start, m.Start, w.log.Offsets().Start, want)
	}
}

func TestRetentionByTime(t *testing.T) {
	inWorld(t, func(w *world) {
		began := time.Now()
		for i := range 10 {
			w.log.timed(began.Add(time.Duration(i)*time.Hour), i%3 == 1)
		}
		w.configure(tier.Config{Copy: true, RetentionMs: 10 * 3600_000, RetentionBytes: -1})
		w.start()
		w.settle()
		w.confirmedAll()
		w.expectStart(0)
		time.Sleep(12 * time.Hour)
		w.settle()
		w.expectStart(30) // 12 h 20 min after the beginning
		if w.log.reported != 30 {
			w.t.Fatalf("reported start %d", w.log.reported)
		}
		w.noOrphans()
		time.Sleep(24 * time.Hour)
		w.settle()
		w.expectStart(100) // scenario 31: everything at once; the next offset stays
		if m, _ := w.manifest(); m.End != 100 || !m.Empty() {
			w.t.Fatalf("manifest %+v", m)
		}
		w.log.evict(100)
		w.log.timed(time.Now(), false)
		w.p.Notify()
		w.settle()
		w.confirmedAll()
		w.expectStart(100)
		w.noOrphans()
	})
}

// TestRecordsWithoutTimestampsExpireByTheirUpload: as a producer may send them. They are not older
// than everything.
func TestRecordsWithoutTimestampsExpireByTheirUpload(t *testing.T) {
	inWorld(t, func(w *world) {
		w.log.add(batch{records: 1, timestamps: []int64{-1}})
		w.log.timed(time.Now(), false)
		w.configure(tier.Config{Copy: true, RetentionMs: 3600_000, RetentionBytes: -1})
		w.start()
		w.settle()
		w.confirmedAll()
		w.expectStart(0)
		if at := w.p.RetentionTime(1); at < time.Now().Add(-time.Hour).UnixMilli() || at > time.Now().UnixMilli() {
			w.t.Errorf("it counts from %d", at)
		}
		time.Sleep(time.Hour)
		w.settle()
		w.expectStart(11)
	})
}

// What a restore must know of the topic reaches the bucket although nothing is written.
func TestTopicThatChangesWhileNothingIsWritten(t *testing.T) {
	inWorld(t, func(w *world) {
		w.log.timed(time.Now(), false)
		w.configure(tier.Config{Copy: true, RetentionMs: 30_000, RetentionBytes: -1, Topic: map[string]string{"retention.ms": "30000"}, Partitions: 1})
		w.start()
		w.wait(time.Second)
		w.confirmedAll()
		before, _ := w.manifest()
		w.configure(tier.Config{Copy: true, RetentionMs: -1, RetentionBytes: -1, Topic: map[string]string{"retention.ms": "-1"}, Partitions: 2, Schedule: tier.TopicID{9}})
		w.p.Notify()
		w.wait(time.Second)
		m, _ := w.manifest()
		if m.Config["retention.ms"] != "-1" || m.Partitions != 2 || m.Schedule != (tier.TopicID{9}) {
			t.Errorf("the bucket has configs %v, %d partitions, schedule %v", m.Config, m.Partitions, m.Schedule)
		}
		if m.Version != before.Version+1 {
			t.Errorf("%d commits for one change", m.Version-before.Version)
		}
		if err := w.log.Advance(0, 5); err != nil { // DeleteRecords in the middle of a segment
			t.Fatal(err)
		}
		w.settle()
		if m, _ = w.manifest(); m.ReportedStart != 5 {
			t.Errorf("the bucket says that the log starts at %d", m.ReportedStart)
		}
		before = m
		w.settle()
		if m, _ = w.manifest(); m.Version != before.Version {
			t.Errorf("%d commits although nothing changed", m.Version-before.Version)
		}
	})
}

func TestRetentionBySizeCountsOverlapOnce(t *testing.T) { // scenarios 22, 23; rule R8
	inWorld(t, func(w *world) {
		var size int64
		for range 10 {
			size = w.log.timed(time.Now(), false).Size
		}
		w.start()
		w.settle()
		w.confirmedAll()
		m, _ := w.manifest()
		object := m.Tail[0].Bytes
		w.log.evict(60) // six remote only, four in both places
		w.configure(tier.Config{Copy: true, RetentionMs: -1, RetentionBytes: 4*size + 6*object})
		w.settle()
		w.expectStart(0)
		w.configure(tier.Config{Copy: true, RetentionMs: -1, RetentionBytes: 4*size + 5*object - 1})
		w.settle()
		w.expectStart(10) // one more would leave less than retention.bytes
		w.configure(tier.Config{Copy: true, RetentionMs: -1, RetentionBytes: 0})
		w.settle()
		w.expectStart(60) // what is local as well is for the log to remove
		w.noOrphans()
	})
}

// TestRetentionBySizeAndTimeWithinAPage: neither time nor size takes the first page as a whole, but
// together they do.
func TestRetentionBySizeAndTimeWithinAPage(t *testing.T) {
	tier.SetPageEntries(t, 8)
	inWorld(t, func(w *world) {
		for i := range 40 {
			at := time.Now()
			if i < 4 {
				at = at.Add(-time.Hour)
			}
			w.log.timed(at, false)
		}
		w.start()
		w.settle()
		w.confirmedAll()
		m, _ := w.manifest()
		if len(m.Pages) == 0 || m.Pages[0].Segments < 6 {
			t.Fatalf("%d pages: the test is void", len(m.Pages))
		}
		w.log.evict(400)
		kept := 40 - m.Pages[0].Segments
		w.configure(tier.Config{Copy: true, RetentionMs: 30 * 60_000, RetentionBytes: int64(2*kept+7) * m.Tail[0].Bytes / 2})
		w.settle()
		w.expectStart(10 * int64(40-kept))
		w.noOrphans()
	})
}

func TestGateHoldsRetention(t *testing.T) { // the schedule still needs what has expired
	inWorld(t, func(w *world) {
		for range 5 {
			w.log.timed(time.Now(), false)
		}
		w.log.gate = 25
		w.configure(tier.Config{Copy: true, RetentionMs: 1000, RetentionBytes: 0})
		w.start()
		w.settle()
		w.expectStart(20)
		w.log.mu.Lock()
		w.log.gate = 50
		w.log.mu.Unlock()
		w.settle()
		w.expectStart(50)
	})
}

func TestDeleteRecordsInTheMiddleOfARemoteSegment(t *testing.T) { // scenario 29
	inWorld(t, func(w *world) {
		w.uploaded(func(l *fakeLog) { l.fill(6) })
		w.log.deleteRecords(12)
		w.p.Notify()
		w.settle()
		if start := w.p.Status().Start; start != 10 || len(w.segmentKeys()) != 4 {
			w.t.Fatalf("remote start %d, %d objects", start, len(w.segmentKeys()))
		}
		w.log.deleteRecords(15)
		w.p.Notify()
		w.settle()
		w.expectStart(15)
	})
}

// TestExpirySweep fails every request on the way of an expiry that crosses pages, in every way.
// (Scenarios 32, 24; rule R7)
func TestExpirySweep(t *testing.T) {
	tier.SetPageEntries(t, 4)
	for _, f := range []buckettest.Fault{buckettest.Refuse, buckettest.LoseReply, buckettest.Late, buckettest.Vanish} {
		t.Run(f.String(), func(t *testing.T) {
			for n, fired := 0, true; fired; n++ {
				inWorld(t, func(w *world) {
					w.uploaded(func(l *fakeLog) {
						for range 24 {
							l.add(batch{})
						}
					})
					rule := w.bucket.Add(buckettest.Rule{After: n, Fault: f})
					w.log.deleteRecords(3 + int64(n%3)*6)
					w.p.Notify()
					w.settle()
					w.bucket.DeliverLate()
					w.log.deleteRecords(21)
					w.p.Notify()
					w.settle()
					w.settle()
					fired = w.bucket.Fired(rule) > 0
					w.bucket.Heal()
					w.settle()
					w.expectStart(21)
					w.noOrphans()
					if n := len(w.segmentKeys()); n != 3 {
						w.t.Fatalf("%d segments are left", n)
					}
				})
				fired = fired && !t.Failed()
			}
		})
	}
}

// TestOneClosedSegmentIsNoPace: a segment that has just closed was not written in that moment, so
// the disk is not about to be full.
func TestOneClosedSegmentIsNoPace(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.settle()
		w.bucket.Add(buckettest.Rule{Fault: buckettest.Refuse, Err: bucket.ErrThrottled, Times: buckettest.Forever})
		w.log.fill(1)
		w.p.Notify()
		w.wait(100 * time.Millisecond)
		lag, err := w.p.Lag()
		if err != nil || lag.Bytes == 0 {
			w.t.Fatalf("lag %+v, %v", lag, err)
		}
		w.disk.SetCapacity(100*lag.Bytes + 1<<20)
		u, err := w.disk.Usage("/tier")
		if err != nil {
			w.t.Fatal(err)
		}
		if in, ok := w.tier.DiskFull(); !ok || in < time.Duration(u.Free/lag.Bytes)*time.Minute {
			w.t.Errorf("disk full in %v, %v, with %d bytes free and %d waiting", in, ok, u.Free, lag.Bytes)
		}
	})
}

// TestTierDownForHours: local data stays, the alarm says what is wrong and how much waits; on
// return everything drains in order. (Scenario 24)
func TestTierDownForHours(t *testing.T) {
	inWorld(t, func(w *world) {
		w.log.fill(3)
		w.start()
		w.settle()
		down := w.bucket.Add(buckettest.Rule{Fault: buckettest.Refuse, Err: bucket.ErrThrottled, Times: buckettest.Forever})
		for range 5 {
			w.log.fill(20)
			w.p.Notify()
			w.wait(time.Hour)
			if got := w.p.Confirmed(); got != 15 {
				w.t.Fatalf("confirmed %d while the bucket is down", got)
			}
		}
		lag, err := w.p.Lag()
		if err != nil || lag.Segments != 100 || lag.Bytes == 0 || time.Since(lag.Since) < 4*time.Hour {
			w.t.Fatalf("lag %+v, %v", lag, err)
		}
		alarms := w.tier.Alarms()
		if len(alarms) != 1 || alarms[0].Name != "store_failing" {
			w.t.Fatalf("alarms %+v", alarms)
		}
		if in, ok := w.tier.DiskFull(); ok {
			w.t.Errorf("a disk that lasts for years is full in %v", in)
		}
		w.disk.SetCapacity(10*lag.Bytes + 1<<20)
		if in, ok := w.tier.DiskFull(); !ok || in <= 0 {
			w.t.Fatalf("disk full in %v, %v", in, ok)
		}
		if n := w.bucket.Fired(down); n > 5000 {
			w.t.Fatalf("%d requests in five hours", n)
		}
		w.bucket.Heal()
		w.settle()
		w.confirmedAll()
		if lag, _ := w.p.Lag(); lag != (tier.Lag{}) || len(w.tier.Alarms()) != 0 {
			w.t.Fatalf("lag %+v, alarms %+v", lag, w.tier.Alarms())
		}
	})
}

// TestTierDownPastTotalRetention: the log removed expired segments that were never uploaded. The
// tier begins anew behind the gap, which lies below the log start. (Scenarios 25, 27)
func TestTierDownPastTotalRetention(t *testing.T) {
	inWorld(t, func(w *world) {
		w.log.fill(4)
		w.start()
		w.settle()
		w.bucket.Add(buckettest.Rule{Fault: buckettest.Refuse, Times: buckettest.Forever})
		w.log.fill(4)
		w.log.deleteRecords(30)
		w.log.evict(30)
		w.p.Notify()
		w.settle()
		w.bucket.Heal()
		w.settle()
		w.confirmedAll()
		if start, end := w.p.Status().Start, w.p.Status().End; start != 30 || end != 40 {
			w.t.Fatalf("remote [%d, %d)", start, end)
		}
		w.noOrphans()
	})
}

// TestRetentionTimeIsKnownWhileTheStoreIsAway, also after a restart: what is local expires by it.
func TestRetentionTimeIsKnownWhileTheStoreIsAway(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		first := time.Now().UnixMilli()
		w.log.timed(time.Now(), false)
		w.p.Notify()
		w.settle()
		second := time.Now().UnixMilli()
		w.log.timed(time.Now(), false)
		w.p.Notify()
		w.settle()
		times := func(when string) {
			got := []int64{w.p.RetentionTime(0), w.p.RetentionTime(10), w.p.RetentionTime(11), w.p.RetentionTime(math.MaxInt64)}
			if want := []int64{tier.NoTimestamp, first, second, second}; !slices.Equal(got, want) {
				w.t.Errorf("%s: %d, expected %d", when, got, want)
			}
		}
		times("at first")
		w.stop()
		w.bucket.Add(buckettest.Rule{Fault: buckettest.Refuse, Times: buckettest.Forever})
		w.start()
		w.settle()
		times("after a restart")
		w.stop()
		w.disk = vfs.NewMem()
		w.start()
		if got := w.p.RetentionTime(11); got != math.MaxInt64 {
			w.t.Errorf("of a manifest that nobody has read: %d", got)
		}
	})
}

// TestGapIsRefused: local data went missing that is not expired. Nothing may paper over it.
// (Scenario 27; rule R5)
func TestGapIsRefused(t *testing.T) {
	inWorld(t, func(w *world) {
		w.log.fill(2)
		w.start()
		w.settle()
		w.bucket.Add(buckettest.Rule{Fault: buckettest.Refuse, Times: buckettest.Forever})
		w.log.fill(4)
		w.log.evict(20)
		w.settle()
		w.bucket.Heal()
		w.settle()
		if !errors.Is(w.p.Err(), tier.ErrGap) || w.p.Confirmed() != 10 {
			w.t.Fatalf("confirmed %d, %v", w.p.Confirmed(), w.p.Err())
		}
		if a := w.tier.Alarms(); len(a) != 1 || a[0].Name != "partition_stopped" {
			w.t.Fatalf("alarms %+v", a)
		}
	})
}

// TestRecordedDropsKeepTheRangeContiguous: finished runs leave the schedule log, uploaded or not. (Rule R5)
func TestRecordedDropsKeepTheRangeContiguous(t *testing.T) {
	inWorld(t, func(w *world) {
		w.log.fill(4)
		w.start()
		w.settle()
		w.log.fill(6)
		w.log.mu.Lock()
		w.log.dropped = [][2]int64{{5, 15}, {25, 35}}
		w.log.segments = append(w.log.segments[:5], w.log.segments[7:]...)
		w.log.mu.Unlock()
		if err := w.p.Drop(w.t.Context(), 5, 15, nothing); err != nil {
			w.t.Fatal(err)
		}
		w.p.Notify()
		w.settle()
		w.confirmedAll()
		if n := len(w.segmentKeys()); n != 6 {
			w.t.Fatalf("%d segments", n)
		}
		want := append(append(w.log.bytesOf(0, 5, true), w.log.bytesOf(15, 25, true)...), w.log.bytesOf(35, 50, true)...)
		if got := w.consume(0, 1000); !bytes.Equal(got, want) {
			w.t.Fatalf("%d bytes instead of %d", len(got), len(want))
		}
		if err := w.p.Drop(w.t.Context(), 5, 15, nothing); err != nil { // again, after a crash say
			w.t.Fatal(err)
		}
		w.noOrphans()
	})
}

// TestLogStartBehindADropWhileTheGateHolds: the schedule log begins anew at a segment behind what
// was dropped, before it is copied, and until it is, a restore needs the old beginning. The upload
// joins on with the drop, and does not go round and round.
func TestLogStartBehindADropWhileTheGateHolds(t *testing.T) {
	inWorld(t, func(w *world) {
		w.log.fill(2)
		w.start()
		w.settle()
		w.log.mu.Lock()
		w.log.gate = 0
		w.log.mu.Unlock()
		w.log.fill(12)
		w.log.mu.Lock()
		w.log.dropped = [][2]int64{{10, 15}}
		w.log.segments = w.log.segments[3:]
		w.log.start = 15
		w.log.mu.Unlock()
		before := w.requests()
		w.p.Notify()
		w.settle()
		w.confirmedAll()
		if n := w.requests() - before; n > 50 {
			t.Errorf("%d requests for 11 segments", n)
		}
		w.log.mu.Lock()
		w.log.gate = math.MaxInt64
		w.log.mu.Unlock()
		w.settle()
		w.expectStart(15)
		w.noOrphans()
	})
}

// requests counts those about the partition.
func (w *world) requests() (n int) {
	for _, r := range w.bucket.Requests() {
		if strings.Contains(r, dir) {
			n++
		}
	}
	return n
}

// TestUnsentRecordsExpireWhileTheGateHolds: the store was away for longer than all retention, and a
// restore still needs the beginning of what is remote. What was never sent is below the log start,
// so nobody misses it: uploading goes on behind it, and nothing is committed again and again for
// the beginning that stays.
func TestUnsentRecordsExpireWhileTheGateHolds(t *testing.T) {
	inWorld(t, func(w *world) {
		w.log.fill(2)
		w.start()
		w.settle()
		w.log.mu.Lock()
		w.log.gate = 4
		w.log.mu.Unlock()
		w.configure(tier.Config{RetentionMs: -1, RetentionBytes: -1})
		w.log.fill(4)
		w.log.mu.Lock()
		w.log.segments = w.log.segments[4:]
		w.log.start = 20
		w.log.mu.Unlock()
		before := w.requests()
		for range 10 {
			w.p.Notify()
			time.Sleep(time.Second)
		}
		if n := w.requests() - before; n > 0 {
			w.t.Errorf("%d requests, and nothing to do", n)
		}
		w.configure(tier.Config{Copy: true, RetentionMs: -1, RetentionBytes: -1})
		w.settle()
		w.confirmedAll()
		w.log.mu.Lock()
		w.log.gate = math.MaxInt64
		w.log.mu.Unlock()
		w.p.Notify()
		w.settle()
		w.expectStart(20)
		w.noOrphans()
	})
}

// TestUploadThatIsNotWantedAnyMoreIsSwept: copying was switched off between an upload and its commit,
// or the log went on without it. (Scenario 28)
func TestUploadThatIsNotWantedAnyMoreIsSwept(t *testing.T) {
	for name, happens := range map[string]func(*world){
		"copying is switched off": func(w *world) { w.configure(tier.Config{RetentionMs: -1, RetentionBytes: -1}) },
		"its records are deleted": func(w *world) { w.log.deleteRecords(10); w.log.evict(10) },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.log.fill(2)
				w.bucket.Add(buckettest.Rule{Ops: buckettest.OpHead, Key: ".segment", Times: buckettest.Forever, Fault: buckettest.Refuse, Do: func() { happens(w) }})
				w.start()
				w.settle()
				if len(w.segmentKeys()) == 0 {
					w.t.Fatal("void: nothing was sent")
				}
				w.noOrphans()
			})
		})
	}
}

// TestPartitionWithoutRemotePartIsLeftAlone: copying is switched off and nothing is remote; the
// store is asked that once in a while.
func TestPartitionWithoutRemotePartIsLeftAlone(t *testing.T) {
	inWorld(t, func(w *world) {
		w.configure(tier.Config{RetentionMs: -1, RetentionBytes: -1})
		w.log.fill(2)
		w.start()
		w.settle()
		if asked := w.requests(); asked > 3 {
			w.t.Errorf("asked %d times", asked)
		}
		w.configure(tier.Config{Copy: true, RetentionMs: -1, RetentionBytes: -1})
		w.settle()
		w.confirmedAll()
	})
}

// TestManifestThatLandsLateIsFound: copying is switched off and the bucket has no manifest when it
// is looked for; one that was on its way lands after that. What it names goes with retention.
func TestManifestThatLandsLateIsFound(t *testing.T) {
	inWorld(t, func(w *world) {
		w.log.fill(2)
		w.start()
		w.settle()
		w.stop()
		obj, err := w.bucket.Head(w.calm(), dir+"manifest")
		if err != nil {
			w.t.Fatal(err)
		}
		r, _, err := w.bucket.Get(w.calm(), dir+"manifest", 0, obj.Size)
		if err != nil {
			w.t.Fatal(err)
		}
		manifest, err := io.ReadAll(r)
		if err = errors.Join(err, r.Close(), w.bucket.Delete(w.calm(), dir+"manifest")); err != nil {
			w.t.Fatal(err)
		}
		w.disk = vfs.NewMem() // which knows that there was one
		w.epoch++
		w.configure(tier.Config{RetentionMs: 1, RetentionBytes: -1})
		w.start()
		w.settle()
		if n := len(w.segmentKeys()); n == 0 {
			w.t.Fatal("nothing is in the bucket: the test is void")
		}
		if _, err := w.bucket.Put(w.calm(), dir+"manifest", bucket.BytesBody(w.bucket.Checksum(), manifest), bucket.PutOptions{IfNoneMatch: true}); err != nil {
			w.t.Fatal(err)
		}
		w.settle()
		if left := w.segmentKeys(); len(left) != 0 {
			w.t.Errorf("the bucket still has %v", left)
		}
	})
}

// TestDropInPages: a drop in the middle of old entries.
func TestDropInPages(t *testing.T) {
	tier.SetPageEntries(t, 8)
	inWorld(t, func(w *world) {
		w.uploaded(func(l *fakeLog) {
			for range 60 {
				l.add(batch{})
			}
			l.dropped = [][2]int64{{20, 30}}
		})
		if err := w.p.Drop(w.t.Context(), 20, 30, nothing); err != nil {
			w.t.Fatal(err)
		}
		w.settle()
		if n := len(w.segmentKeys()); n != 50 {
			w.t.Fatalf("%d segments", n)
		}
		want := append(w.log.bytesOf(0, 20, true), w.log.bytesOf(30, 60, true)...)
		if got := w.consume(0, 100_000); !bytes.Equal(got, want) {
			w.t.Fatal("other bytes")
		}
		w.noOrphans()
	})
}

// TestSwitchedOffAndOn: with remote.log.delete.on.disable everything remote goes, and uploading
// begins anew with what is local. (Scenarios 27, 28)
func TestSwitchedOffAndOn(t *testing.T) {
	inWorld(t, func(w *world) {
		w.log.fill(6)
		w.start()
		w.settle()
		w.log.evict(15)
		w.configure(tier.Config{Discard: true, RetentionMs: -1, RetentionBytes: -1})
		w.settle()
		if m, _ := w.manifest(); !m.Empty() || m.End != tier.NoOffset || len(w.segmentKeys()) != 0 {
			w.t.Fatalf("manifest %+v, objects %v", m, w.segmentKeys())
		}
		if o := w.log.Offsets(); o.Start != 15 || o.Reported > 15 {
			w.t.Fatalf("log start %d, reported %d, local start 15", o.Start, o.Reported)
		}
		if got := w.p.Confirmed(); got > 15 {
			w.t.Fatalf("confirmed %d of which nothing is remote", got)
		}
		w.log.fill(2)
		w.configure(tier.Config{Copy: true, RetentionMs: -1, RetentionBytes: -1})
		w.settle()
		w.confirmedAll()
		if start := w.p.Status().Start; start != 15 {
			w.t.Fatalf("remote start %d", start)
		}
		w.configure(tier.Config{Copy: false, RetentionMs: -1, RetentionBytes: -1}) // remote.log.copy.disable
		w.log.fill(3)
		w.settle()
		if got := w.p.Confirmed(); got != 40 {
			w.t.Fatalf("confirmed %d with copying off", got)
		}
		w.configure(tier.Config{Copy: true, RetentionMs: -1, RetentionBytes: -1})
		w.settle()
		w.confirmedAll()
		w.noOrphans()
	})
}

// TestSwitchedOffWhileTheGateHolds: what is above the local start goes as a whole, so that the
// manifest never begins above the log.
func TestSwitchedOffWhileTheGateHolds(t *testing.T) {
	inWorld(t, func(w *world) {
		w.log.fill(6)
		w.start()
		w.settle()
		w.log.evict(15)
		w.log.gate = 20
		w.configure(tier.Config{Discard: true, RetentionMs: -1, RetentionBytes: -1})
		w.settle()
		w.expectStart(15)
		if got := w.p.Confirmed(); got != 30 {
			w.t.Fatalf("confirmed %d, remote to 30", got)
		}
		w.log.gate = math.MaxInt64
		w.p.Notify()
		w.settle()
		if m, _ := w.manifest(); !m.Empty() || m.End != tier.NoOffset {
			w.t.Fatalf("manifest %+v", m)
		}
		w.configure(tier.Config{Copy: true, RetentionMs: -1, RetentionBytes: -1})
		w.p.Notify()
		w.settle()
		w.expectStart(15)
		w.confirmedAll()
	})
}

// TestNothingIsEvictedWhileItIsDiscarded: while the manifest is on its way, which may take as long
// as the store likes, the local copies are all there is. They are not evicted then, whatever became
// of the configuration meanwhile.
func TestNothingIsEvictedWhileItIsDiscarded(t *testing.T) {
	inWorld(t, func(w *world) {
		puts, discard := 0, false
		w.before = func(op, key string) {
			if op != "put" || !strings.HasSuffix(key, "/manifest") || !discard {
				return
			}
			if puts++; w.p.Confirmed() > 15 {
				w.t.Errorf("confirmed %d while that is discarded", w.p.Confirmed())
			}
		}
		w.log.fill(6)
		w.start()
		w.settle()
		w.log.evict(15)
		discard = true
		w.configure(tier.Config{Discard: true, RetentionMs: -1, RetentionBytes: -1})
		w.p.Notify()
		w.settle()
		if puts == 0 {
			w.t.Fatal("void: no manifest was on its way")
		}
		if m, _ := w.manifest(); !m.Empty() {
			w.t.Fatalf("manifest %+v", m)
		}
	})
}

// TestClockStepsBack: nothing expires early, nothing stops. (Scenario 61)
func TestClockStepsBack(t *testing.T) {
	inWorld(t, func(w *world) {
		var skew atomic.Int64
		w.option = func(o *tier.Options) {
			o.Now = func() time.Time { return time.Now().Add(time.Duration(skew.Load())) }
		}
		w.configure(tier.Config{Copy: true, RetentionMs: 3600_000, RetentionBytes: -1})
		w.log.timed(time.Now(), false)
		w.start()
		w.settle()
		skew.Store(int64(-24 * time.Hour))
		w.log.timed(time.Now(), false)
		w.p.Notify()
		w.settle()
		w.confirmedAll()
		w.expectStart(0)
		skew.Store(0)
		w.log.timed(time.Now(), false)
		w.p.Notify()
		w.settle()
		w.confirmedAll()
	})
}

func TestExplainSaysWhy(t *testing.T) {
	inWorld(t, func(w *world) {
		for i := range 4 {
			w.log.timed(time.Now().Add(time.Duration(i)*time.Hour), false)
		}
		w.start()
		w.settle()
		w.log.evict(20)
		w.configure(tier.Config{Copy: false, RetentionMs: -1, RetentionBytes: -1})
		w.log.fill(1)
		lines, err := w.p.Explain(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		var got []string
		for _, l := range lines {
			got = append(got, fmt.Sprintf("%d-%d %s", l.Base, l.End, l.Where))
		}
		if want := "[0-10 remote 10-20 remote 20-30 both 30-40 both 40-45 local]"; fmt.Sprint(got) != want {
			w.t.Fatalf("%v, want %v", got, want)
		}
		w.configure(tier.Config{Copy: true, RetentionMs: -1, RetentionBytes: -1})
	})
}

func TestExplainSaysWhatHappensNext(t *testing.T) {
	inWorld(t, func(w *world) {
		w.log.fill(3)
		w.start()
		w.settle()
		until := time.Now().Add(time.Hour)
		w.log.mu.Lock()
		w.log.outlook = tier.LocalOutlook{
			Start:     10,
			Undecided: []tier.LocalSegment{{Base: 10, End: 15, Size: 7}, {Base: 15, End: 20, Size: 8}}, // the first is confirmed meanwhile
			Active:    tier.LocalSegment{Base: 20, End: 21, Size: 9}, MaxBytes: 1000, Until: until,
		}
		w.log.mu.Unlock()
		w.wantWhy("removed at the next look", "removed at the next look", "kept: within retention; confirmed ", "transaction that is open",
			"kept: not closed yet; that happens before it outgrows segment.bytes (1000), at the latest by segment.ms after "+until.UTC().Format(time.RFC3339))
		w.log.mu.Lock()
		w.log.outlook.Active.Size, w.log.outlook.Undecided = 0, nil
		w.log.mu.Unlock()
		w.wantWhy("removed at the next look", "removed at the next look", "kept: within retention; confirmed ")
	})
}

// TestExplainSaysWhatHelps: what waits for a store that fails says why, on one line.
func TestExplainSaysWhatHelps(t *testing.T) {
	inWorld(t, func(w *world) {
		w.bucket.Add(buckettest.Rule{Key: ".segment", Fault: buckettest.Refuse, Err: bucket.ErrUnknown, Times: buckettest.Forever})
		w.log.fill(1)
		w.start()
		w.wait(time.Minute)
		w.wantWhy("see whether the store runs")
	})
}

// wantWhy looks for one text in each line of what is explained.
func (w *world) wantWhy(want ...string) {
	w.t.Helper()
	lines, err := w.p.Explain(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	if len(lines) != len(want) {
		w.t.Fatalf("%d lines, want %d: %+v", len(lines), len(want), lines)
	}
	for i, l := range lines {
		if !strings.Contains(l.Why, want[i]) || strings.Contains(l.Why, "\n") {
			w.t.Errorf("[%d, %d): %q lacks %q", l.Base, l.End, l.Why, want[i])
		}
	}
}
