package log

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/log/segment"
)

// keyed builds a batch of records "k=v"; "k" alone is a tombstone.
func keyed(a record.Attributes, records ...string) record.Batch {
	var w record.Builder
	w.Reset(a, now.UnixMilli())
	for i, r := range records {
		var value []byte
		if len(r) > 1 {
			value = []byte(r[2:])
		}
		w.Add(int32(i), now.UnixMilli(), []byte(r[:1]), value)
	}
	b, err := w.Finish()
	if err != nil {
		panic(err)
	}
	return b
}

// compactable opens a log that is compacted, in which nearly every batch has a segment of its own.
func compactable(t *testing.T, s *Set, edit ...func(*Config)) *Log {
	return openLog(t, s, append([]func(*Config){func(c *Config) {
		c.Compact, c.Delete, c.SegmentBytes = true, false, 100
	}}, edit...)...)
}

// scanned lists every record of a log, hidden ones marked.
func scanned(t *testing.T, l *Log) (all []string) {
	t.Helper()
	check(t, l.Scan(l.Offsets().LocalStart, forever, func(b record.Batch) error {
		rs, err := b.Decode()
		if b.Count() == 0 {
			all = append(all, fmt.Sprintf("[%d, %d) empty", b.BaseOffset(), b.EndOffset()))
		}
		for _, r := range rs {
			s := fmt.Sprintf("%d:%s", r.Offset, r.Key)
			if r.Value != nil {
				s += "=" + string(r.Value)
			}
			if b.Hidden() {
				s += " hidden"
			}
			all = append(all, s)
		}
		return err
	}))
	return all
}

func TestCompactKeepsTheLastRecordOfEveryKey(t *testing.T) {
	fsys := vfs.NewMem()
	s := openSet(t, fsys, "data")
	l := compactable(t, s)
	fill(t, s, l, keyed(0, "a=1", "b=1"), keyed(0, "a=2", "c=1"), keyed(0, "b"), keyed(0, "a=3"), keyed(0, "d=1"))
	equal(t, clean(t, l, 0, forever).To, int64(6))
	want := []string{"3:c=1", "4:b", "5:a=3", "6:d=1"}
	equal(t, scanned(t, l), want)
	equal(t, values(t, l, ReadRequest{MaxBytes: 1 << 20}), []string{"3:1", "4:", "5:3", "6:1"})
	check(t, s.Close())

	s = openSet(t, fsys, "data")
	l = compactable(t, s)
	equal(t, scanned(t, l), want)
	end, at := l.Cleaned()
	equal(t, end, int64(6))
	equal(t, at, now)
	equal(t, l.CompactionPlan(now, forever).Ratio(), 0.0)

	// The tombstone may go a day later, once something is cleaned.
	fill(t, s, l, keyed(0, "d=2"))
	clean(t, l, 25*time.Hour, forever)
	equal(t, scanned(t, l), []string{"3:c=1", "5:a=3", "6:d=1", "7:d=2"})
	check(t, s.Close())
}

// fill appends batches, each of which gets a segment of its own or shares one with the last, and commits them.
func fill(t *testing.T, s *Set, l *Log, batches ...record.Batch) {
	t.Helper()
	for _, b := range batches {
		_, err := l.Append(1, now, plain(b))
		check(t, err)
	}
	s.Sync()
}

// clean compacts some time later.
func clean(t *testing.T, l *Log, later time.Duration, gate int64) Compacted {
	t.Helper()
	done, err := l.Compact(t.Context(), now.Add(later), Compaction{Gate: gate, MapBytes: 1 << 20})
	check(t, err)
	return done
}

func TestCompactionKeepsTheLastVisibleBatch(t *testing.T) {
	fsys := vfs.NewMem()
	s := openSet(t, fsys, "data")
	l := compactable(t, s, func(c *Config) { c.DeleteRetentionMs = 1 })
	fill(t, s, l, keyed(0, "a"), keyed(record.Hidden, "h=1"), keyed(record.Hidden, "h=2"))
	check(t, l.Roll())
	clean(t, l, 0, forever)
	before := l.Offsets()
	fill(t, s, l, keyed(record.Hidden, "h=3"))
	check(t, l.Roll())
	clean(t, l, time.Hour, forever)
	equal(t, scanned(t, l), []string{"0:a"}) // its time is over
	check(t, s.Close())
	s = openSet(t, fsys, "data")
	l = compactable(t, s)
	equal(t, l.Offsets().VisibleEnd, before.VisibleEnd)
	equal(t, values(t, l, ReadRequest{MaxBytes: 1 << 20}), []string{"0:"})
	check(t, s.Close())
}

// Tombstones that are to stay for ever do: the time until which they stay does not wrap.
func TestTombstonesStayForTheLongestTime(t *testing.T) {
	s := openSet(t, vfs.NewMem(), "data")
	l := compactable(t, s, func(c *Config) { c.DeleteRetentionMs = math.MaxInt64 })
	fill(t, s, l, keyed(0, "a=1"), keyed(0, "a"), keyed(0, "b=1"))
	for range 3 {
		check(t, l.Roll())
		clean(t, l, 0, forever)
		equal(t, scanned(t, l)[0], "1:a")
		fill(t, s, l, keyed(0, "b=2"))
	}
	check(t, s.Close())
}

func TestTombstoneStaysWhileADeliveryOfItsKeyMust(t *testing.T) {
	s := openSet(t, vfs.NewMem(), "data")
	l := compactable(t, s, func(c *Config) { c.DeleteRetentionMs = 1 })
	fill(t, s, l, keyed(record.Hidden, "a=1"), keyed(record.Delivery, "a=1"), keyed(0, "a"), keyed(0, "b=1"), keyed(0, "c=1"))
	clean(t, l, 0, 0) // the schedule is not loaded: anything may be pending
	equal(t, l.CompactionPlan(now, 0).Ratio(), 0.0)
	if p := l.CompactionPlan(now, forever); p.DirtyBytes != int64(len(keyed(0, "a=1"))) {
		t.Errorf("what the gate lets go is not dirty: %+v", p)
	}
	fill(t, s, l, keyed(0, "d=1"))
	clean(t, l, time.Hour, 0)
	equal(t, scanned(t, l), []string{"0:a=1 hidden", "1:a=1", "2:a", "3:b=1", "4:c=1", "5:d=1"})
	fill(t, s, l, keyed(0, "e=1"))
	clean(t, l, 2*time.Hour, forever)
	equal(t, scanned(t, l), []string{"2:a", "3:b=1", "4:c=1", "5:d=1", "6:e=1"})
	fill(t, s, l, keyed(0, "f=1"))
	clean(t, l, 3*time.Hour, forever)
	equal(t, scanned(t, l), []string{"3:b=1", "4:c=1", "5:d=1", "6:e=1", "7:f=1"})
	check(t, s.Close())
}

func TestCompactionKeepsRecordsWithoutKey(t *testing.T) {
	s := openSet(t, vfs.NewMem(), "data")
	l := compactable(t, s)
	var w record.Builder
	w.Reset(0, now.UnixMilli())
	w.Add(0, now.UnixMilli(), nil, []byte("x"))
	b, err := w.Finish()
	check(t, err)
	fill(t, s, l, b, keyed(0, "a=1"), keyed(0, "a=2"), keyed(0, "a=3"))
	clean(t, l, 0, forever)
	equal(t, values(t, l, ReadRequest{MaxBytes: 1 << 20}), []string{"0:x", "2:2", "3:3"})
	check(t, s.Close())
}

func TestCompactionJoinsSmallSegmentsAndLeavesOthersAlone(t *testing.T) {
	s := openSet(t, vfs.NewMem(), "data")
	l := compactable(t, s, func(c *Config) { c.SegmentBytes = 1000 })
	large := keyed(0, "a="+strings.Repeat("x", 900))
	fill(t, s, l, large, keyed(0, "b="+strings.Repeat("x", 900)))
	for _, r := range []string{"c=1", "d=1", "c=2", "d=2", "e=1"} {
		fill(t, s, l, keyed(0, r))
		check(t, l.Roll())
	}
	first := l.Segments()[0]
	done := clean(t, l, 0, forever)
	var bases []int64
	for _, i := range l.Segments() {
		bases = append(bases, i.Base)
	}
	equal(t, bases, []int64{0, 1, 2, 7})
	equal(t, l.Segments()[0].Generation, first.Generation)
	equal(t, done.Before-done.After, int64(2*len(keyed(0, "c=1"))))
	equal(t, values(t, l, ReadRequest{Offset: 2, MaxBytes: 1 << 20}), []string{"4:2", "5:2", "6:1"})
	if done.Written > 500 {
		t.Errorf("%d bytes were written, of large segments that do not change too", done.Written)
	}
	check(t, s.Close())
}

// TestRetentionAfterCompaction removes a segment behind which compaction has left a hole: the log
// begins where the next one does.
func TestRetentionAfterCompaction(t *testing.T) {
	s := openSet(t, vfs.NewMem(), "data")
	l := compactable(t, s, func(c *Config) { c.SegmentBytes, c.Delete, c.RetentionMs = 200, true, 1000 })
	for _, rs := range [][]string{{"a=1", "b=1"}, {"b=2", "c=1"}, {"d=1"}} {
		for _, r := range rs {
			fill(t, s, l, keyed(0, r))
		}
		check(t, l.Roll())
	}
	clean(t, l, 0, forever)
	removed, err := l.Retain(now.Add(time.Hour), Floor{Gate: 2})
	check(t, err)
	equal(t, removed, 1)
	o := l.Offsets()
	equal(t, []int64{o.LogStart, o.RealStart, o.LocalStart}, []int64{1, 2, 2})
	equal(t, values(t, l, ReadRequest{Offset: o.LogStart, MaxBytes: 1 << 20}), []string{"2:2", "3:1", "4:1"})
	check(t, s.Close())
}

func TestHolesOfCompactionAreKnown(t *testing.T) {
	s := openSet(t, vfs.NewMem(), "data")
	l := compactable(t, s, func(c *Config) { c.SegmentBytes = 200 })
	for _, rs := range [][]string{{"a=1", "b=1"}, {"b=2", "c=1"}, {"d=1"}} {
		for _, r := range rs {
			fill(t, s, l, keyed(0, r))
		}
		check(t, l.Roll())
	}
	if l.Compacted(1, 2) {
		t.Error("offset 1 is missing")
	}
	clean(t, l, 0, forever)
	equal(t, scanned(t, l), []string{"0:a=1", "2:b=2", "3:c=1", "4:d=1"})
	for _, r := range []struct {
		from, to int64
		hole     bool
	}{{1, 2, true}, {0, 2, false}, {1, 3, false}, {2, 3, false}, {4, 5, false}} {
		if got := l.Compacted(r.from, r.to); got != r.hole {
			t.Errorf("[%d, %d) is a hole: %t", r.from, r.to, got)
		}
	}
	check(t, s.Close())
}

// TestMarkersStayUntilTheirTransactionIsGone follows the markers of two transactions: an aborted
// one, of which nothing is left at once, and a committed one, whose record is superseded later.
func TestMarkersStayUntilTheirTransactionIsGone(t *testing.T) {
	s := openSet(t, vfs.NewMem(), "data")
	l := compactable(t, s, func(c *Config) { c.DeleteRetentionMs, c.ProducerIDExpirationMs = time.Hour.Milliseconds(), 1 })
	transactional := func(id int64, r string) record.Batch {
		var w record.Builder
		w.Reset(record.Transactional, now.UnixMilli())
		w.SetProducer(id, 0, 0)
		w.Add(0, now.UnixMilli(), []byte(r[:1]), []byte(r[2:]))
		b, err := w.Finish()
		check(t, err)
		return b
	}
	end := func(id int64, commit bool) {
		_, err := l.Append(1, now, marker(id, 0, commit))
		check(t, err)
	}
	// types lists the batches by what they are: r records, m a marker, M a marker whose time runs, e nothing.
	types := func() (all string) {
		check(t, l.Scan(0, forever, func(b record.Batch) error {
			switch {
			case b.Control() && b.Attributes().Has(record.DeleteHorizon):
				all += "M"
			case b.Control():
				all += "m"
			case b.Count() == 0:
				all += "e"
			default:
				all += "r"
			}
			return nil
		}))
		return all
	}
	for i, r := range []string{"a=1", "b=1"} {
		g := plain(transactional(int64(i+1), r))
		g.Verification = l.Verify(g.ProducerID, 0, 0, 0, false)
		_, err := l.Append(1, now, g)
		check(t, err)
	}
	end(1, false)
	end(2, true)
	fill(t, s, l, keyed(0, "c=1"), keyed(0, "d=1"))
	equal(t, types(), "rrmmrr")
	clean(t, l, 0, forever)
	equal(t, types(), "erMmrr") // the header of the first tells what its producer sent
	l.mu.Lock()
	l.producers.Expire(now.Add(time.Hour).UnixMilli())
	l.mu.Unlock()
	fill(t, s, l, keyed(0, "b=2"), keyed(0, "e=1"))
	clean(t, l, 30*time.Minute, forever)
	equal(t, types(), "MMrrrr")
	fill(t, s, l, keyed(0, "f=1"))
	clean(t, l, 61*time.Minute, forever)
	equal(t, types(), "Mrrrrr")
	fill(t, s, l, keyed(0, "g=1"))
	clean(t, l, 91*time.Minute, forever)
	equal(t, types(), "rrrrrr")
	check(t, s.Close())
}

// TestReadersGoOnDuringCompaction holds what was read across a compaction, as a fetch does whose
// answer is being sent.
func TestReadersGoOnDuringCompaction(t *testing.T) {
	s := openSet(t, vfs.NewMem(), "data", func(c *SetConfig) { c.IdleFiles = 1 })
	l := compactable(t, s)
	fill(t, s, l, keyed(0, "a=1"), keyed(0, "a=2"), keyed(0, "a=3"), keyed(0, "b=1"))
	read, err := l.Read(ReadRequest{MaxBytes: 1 << 20})
	check(t, err)
	clean(t, l, 0, forever)
	var got []string
	for _, b := range readBatches(read) {
		got = append(got, fmt.Sprint(b.BaseOffset()))
	}
	read.Release()
	equal(t, got, []string{"0", "1", "2", "3"})
	equal(t, values(t, l, ReadRequest{MaxBytes: 1 << 20}), []string{"2:3", "3:1"})
	check(t, s.Close())
}

func TestCorruptSegmentIsNotCompacted(t *testing.T) {
	fsys := vfs.NewMem()
	s := openSet(t, fsys, "data")
	l := compactable(t, s)
	fill(t, s, l, keyed(0, "a=1"), keyed(0, "b=1"), keyed(0, "a=2"), keyed(0, "b=2"))
	name := l.Segments()[1].Base
	f, err := fsys.Open(l.path(segment.FileName(name, segment.LogSuffix)))
	check(t, err)
	_, err = f.WriteAt([]byte{0xff}, 65)
	check(t, err)
	check(t, f.Close())
	_, err = l.Compact(t.Context(), now, Compaction{Gate: forever, MapBytes: 1 << 20})
	if corrupt, ok := errors.AsType[*CorruptError](err); !ok || corrupt.File != l.path(segment.FileName(name, segment.LogSuffix)) {
		t.Errorf("error is %v", err)
	}
	check(t, l.Failure())
	equal(t, values(t, l, ReadRequest{Offset: 2, MaxBytes: 1 << 20}), []string{"2:2", "3:2"})
	check(t, s.Close())
}

func TestCompactionIsCancelled(t *testing.T) {
	fsys := vfs.NewMem()
	s := openSet(t, fsys, "data")
	l := compactable(t, s)
	fill(t, s, l, keyed(0, "a=1"), keyed(0, "a=2"), keyed(0, "a=3"))
	enough := errors.New("enough")
	for n := range 4 {
		_, err := l.Compact(t.Context(), now, Compaction{Gate: forever, MapBytes: 1 << 20, Pace: func(context.Context, int) error {
			if n--; n < 0 {
				return enough
			}
			return nil
		}})
		if !errors.Is(err, enough) {
			t.Fatalf("compaction ended with %v", err)
		}
	}
	names, err := fsys.List(l.dir)
	check(t, err)
	for _, name := range names {
		if strings.HasSuffix(name, "draft") || strings.HasSuffix(name, "swap") {
			t.Errorf("%s is left", name)
		}
	}
	equal(t, l.CompactionPlan(now, forever).Ratio(), 1.0)
	clean(t, l, 0, forever)
	equal(t, scanned(t, l), []string{"1:a=2", "2:a=3"})
	check(t, s.Close())
}

// TestCompactionLeavesTheReserveAlone compacts on a disk that is nearly full: little may be
// written, and frees much; a large segment must wait.
func TestCompactionLeavesTheReserveAlone(t *testing.T) {
	s := openSet(t, vfs.NewMem(), "data")
	l := compactable(t, s, func(c *Config) { c.SegmentBytes = 10_000 })
	value := strings.Repeat("x", 1000)
	fill(t, s, l, keyed(0, "a=1"), keyed(0, "b="+value), keyed(0, "c="+value), keyed(0, "a=2"))
	check(t, l.Roll())
	s.reserve = 8 * 1000
	s.full.Store(true)
	if _, err := l.Compact(t.Context(), now, Compaction{Gate: forever, MapBytes: 1 << 20}); !errors.Is(err, ErrNoSpace) {
		t.Errorf("error is %v", err)
	}
	s.full.Store(false)
	fill(t, s, l, keyed(0, "b=2"), keyed(0, "c=2"))
	check(t, l.Roll())
	s.full.Store(true)
	clean(t, l, 0, forever)
	equal(t, scanned(t, l), []string{"3:a=2", "4:b=2", "5:c=2"})
	check(t, s.Close())
}

// TestCleaningMakesNothingYounger: what has no timestamps goes on counting from when it was written.
func TestCleaningMakesNothingYounger(t *testing.T) {
	at := now
	s := openSet(t, vfs.NewMem(), "data", func(c *SetConfig) { c.Now = func() time.Time { return at } })
	defer s.Close()
	l := compactable(t, s)
	for _, v := range []string{"old", "old", "new"} {
		_, err := l.Append(1, at, plain(batch(-1, 0, v)))
		check(t, err)
		check(t, l.Roll())
		at = at.Add(time.Hour)
	}
	s.Sync()
	clean(t, l, 0, forever)
	segments := l.Segments()
	equal(t, []int64{segments[0].End, segments[0].Timestamp()}, []int64{3, now.Add(2 * time.Hour).UnixMilli()})
}

func TestMinimumAndMaximumLag(t *testing.T) {
	s := openSet(t, vfs.NewMem(), "data")
	l := compactable(t, s, func(c *Config) {
		c.MinCompactionLagMs, c.MaxCompactionLagMs, c.MinCleanableDirtyRatio = 60_000, 3_600_000, 1
	})
	fill(t, s, l, keyed(0, "a=1"), keyed(0, "a=2"), keyed(0, "a=3"))
	equal(t, l.CompactionPlan(now.Add(time.Minute-time.Millisecond), forever).DirtyBytes, int64(0))
	if p := l.CompactionPlan(now.Add(time.Minute), forever); p.DirtyBytes == 0 || p.Due {
		t.Errorf("plan is %+v", p)
	}
	if p := l.CompactionPlan(now.Add(time.Hour+time.Millisecond), forever); !p.Due || p.Late <= 0 {
		t.Errorf("plan is %+v", p)
	}
	check(t, s.Close())
}

func TestFormatOfCleaned(t *testing.T) {
	c := cleaned{clean: 1, seen: 2, gate: 3, at: 4}
	b := c.encode()
	equal(t, fmt.Sprintf("%x", b), "4d434c31c559debf0000000000000001000000000000000200000000000000030000000000000004")
	got, ok := decodeCleaned(b)
	equal(t, ok, true)
	equal(t, got, c)
	for i := range b {
		b[i] ^= 1
		if _, ok := decodeCleaned(b); ok {
			t.Errorf("byte %d may be anything", i)
		}
		b[i] ^= 1
	}
}

// TestCompactionGetsPastADeliveryThatStays with room for 14 keys, and more than that behind a
// delivery that must stay: each pass goes on where the last one ended, as long as there is
// something dirty, and once the delivery may go it does, though its successor was seen long ago.
func TestCompactionGetsPastADeliveryThatStays(t *testing.T) {
	s := openSet(t, vfs.NewMem(), "data")
	l := compactable(t, s)
	fill(t, s, l, keyed(record.Delivery, "a=1"), keyed(0, "b=1"))
	const keys = 50
	letter := func(i int) string { return string(rune('@' + i)) }
	want := []string{"0:a=1"}
	for round := range 2 {
		for i := range keys {
			fill(t, s, l, keyed(0, fmt.Sprintf("%s=%d", letter(i), round)))
		}
	}
	check(t, l.Roll())
	pass := func(gate int64) bool {
		plan := l.CompactionPlan(now, gate)
		if plan.DirtyBytes == 0 {
			return false
		}
		seen, _ := l.Cleaned()
		clean := l.cleaned.clean
		_, err := l.Compact(t.Context(), now, Compaction{Gate: gate})
		check(t, err)
		after, _ := l.Cleaned()
		if after < seen || after == seen && l.cleaned.clean <= clean {
			t.Fatalf("a pass over [%d, %d) has brought it from %d, %d to %d, %d", plan.From, plan.To, clean, seen, l.cleaned.clean, after)
		}
		return true
	}
	for pass(0) {
	}
	for i := range keys {
		want = append(want, fmt.Sprintf("%d:%s=1", 2+keys+i, letter(i)))
	}
	equal(t, scanned(t, l), want)
	fill(t, s, l, keyed(0, "b=2"))
	check(t, l.Roll())
	for pass(forever) {
	}
	want = append(want[1:], "102:b=2")
	want = slices.DeleteFunc(want, func(r string) bool { return strings.HasSuffix(r, ":b=1") })
	equal(t, scanned(t, l), want)
	check(t, s.Close())
}

// TestProducersBelowAHoleAreRemembered: the records of a producer go with their segment, behind
// which compaction has left a hole. What it may send again is still known to be a duplicate.
func TestProducersBelowAHoleAreRemembered(t *testing.T) {
	fsys := vfs.NewMem()
	edit := func(c *Config) { c.SegmentBytes = 300 }
	s := openSet(t, fsys, "data")
	l := compactable(t, s, edit)
	sent := keyed(0, "a=1")
	var w record.Builder
	w.ResetLike(sent)
	w.SetProducer(5, 0, 0)
	w.Add(0, now.UnixMilli(), []byte("a"), []byte("1"))
	sent, err := w.Finish()
	check(t, err)
	fill(t, s, l, slices.Clone(sent), keyed(0, "b=1"))
	check(t, l.Roll())
	fill(t, s, l, keyed(0, "b="+strings.Repeat("x", 180)))
	check(t, l.Roll())
	fill(t, s, l, keyed(0, "c=1"))
	fsys = fsys.Crash(nil) // no snapshot of a segment's end is written yet

	s = openSet(t, fsys, "data")
	l = compactable(t, s, edit)
	clean(t, l, 0, forever)
	if i := l.Segments(); i[0].End != 1 || i[1].Base != 2 {
		t.Fatalf("segments %+v: the test is void", i)
	}
	_, err = l.DeleteRecords(2)
	check(t, err)
	_, err = l.Retain(now, Floor{Gate: forever})
	check(t, err)
	equal(t, l.Offsets().LocalStart, int64(2))
	for range 2 {
		a, err := l.Append(1, now, plain(slices.Clone(sent)))
		check(t, err)
		equal(t, a.Duplicate, true)
		s = openSet(t, fsys.Crash(nil), "data")
		l = compactable(t, s, edit)
	}
	check(t, s.Close())
}
