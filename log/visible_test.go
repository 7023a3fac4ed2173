package log

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/record"
)

func appendHidden(t testing.TB, l *Log, values ...string) Appended {
	t.Helper()
	a, err := l.Append(1, now, plain(batch(now.UnixMilli(), record.Hidden, values...)))
	check(t, err)
	return a
}

func woken(ch chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// Hidden batches take offsets and nothing else: the reported end stays where the last visible batch
// ends, nobody is woken, and offsets behind it are in range.
func TestHiddenTail(t *testing.T) {
	s := openSet(t, vfs.NewMem(), "data")
	defer s.Close()
	l := openLog(t, s)
	wake := make(chan struct{}, 1)
	l.Subscribe(wake)
	appendValue(t, l, "a")
	if woken(wake) {
		t.Fatal("woken before the append was durable")
	}
	s.Sync()
	if !woken(wake) {
		t.Fatal("not woken")
	}
	appendHidden(t, l, "later", "later still")
	s.Sync()
	if woken(wake) {
		t.Fatal("woken by hidden records")
	}
	o := l.Offsets()
	equal(t, []int64{o.VisibleEnd, o.LastStable, o.HighWatermark, o.LogEnd}, []int64{1, 1, 3, 3})
	for offset := int64(1); offset <= 3; offset++ {
		equal(t, len(values(t, l, ReadRequest{Offset: offset, MaxBytes: 1000, MinOne: true})), 0)
	}
	if _, err := l.Read(ReadRequest{Offset: 4}); !errors.As(err, new(*OutOfRangeError)) {
		t.Fatal(err)
	}
	equal(t, epochOf(l, 1), "1 3") // the real end

	appendValue(t, l, "b")
	s.Sync()
	if !woken(wake) {
		t.Fatal("not woken")
	}
	equal(t, values(t, l, ReadRequest{Offset: 1, MaxBytes: 1000}), []string{"3:b"})
	equal(t, values(t, l, ReadRequest{Offset: 0, MaxBytes: 1000}), []string{"0:a", "3:b"})
	l.Unsubscribe(wake)
	appendValue(t, l, "c")
	s.Sync()
	if woken(wake) {
		t.Fatal("woken after the subscription ended")
	}
}

func epochOf(l *Log, epoch int32) string {
	found, end := l.EpochEnd(epoch, -1)
	return fmt.Sprint(found, " ", end)
}

// A log of hidden batches only is empty to clients.
func TestNothingVisible(t *testing.T) {
	fsys := vfs.NewMem()
	s := openSet(t, fsys, "data")
	l := openLog(t, s)
	appendHidden(t, l, "later")
	s.Sync()
	for range 2 {
		o := l.Offsets()
		equal(t, []int64{o.LogStart, o.VisibleEnd, o.LastStable, o.HighWatermark}, []int64{0, 0, 0, 1})
		if _, _, ok, err := l.OffsetForTimestamp(0); ok || err != nil {
			t.Fatal(ok, err)
		}
		if _, _, ok, err := l.MaxTimestamp(); ok || err != nil {
			t.Fatal(ok, err)
		}
		check(t, s.Close())
		s = openSet(t, fsys, "data")
		l = openLog(t, s)
	}
}

// Retention of hidden segments moves neither the reported start nor a caught-up consumer out of
// range, and the first delivery is found.
func TestHiddenSegmentsExpire(t *testing.T) {
	fsys := vfs.NewMem()
	s := openSet(t, fsys, "data")
	l := openLog(t, s, func(c *Config) { c.RetentionMs = 1000 })
	appendValue(t, l, "a")
	check(t, l.Roll())
	appendHidden(t, l, "x", "y")
	check(t, l.Roll())
	appendHidden(t, l, "z")
	s.Sync()
	removed, err := l.Retain(now.Add(time.Minute), Floor{Gate: forever})
	check(t, err)
	equal(t, removed, 3)
	want := func() {
		t.Helper()
		o := l.Offsets()
		equal(t, []int64{o.LogStart, o.VisibleEnd, o.LastStable, o.RealStart, o.HighWatermark}, []int64{1, 1, 1, 4, 4})
		equal(t, len(values(t, l, ReadRequest{Offset: 1, MaxBytes: 1000})), 0)
	}
	want()
	check(t, s.Close())
	s = openSet(t, fsys, "data")
	l = openLog(t, s, func(c *Config) { c.RetentionMs = 1000 })
	want()
	appendValue(t, l, "first delivery")
	s.Sync()
	equal(t, values(t, l, ReadRequest{Offset: 1, MaxBytes: 1000}), []string{"4:first delivery"})
}

// A fetch steps over gigabytes of hidden batches without reading them.
func TestHiddenRunIsNotRead(t *testing.T) {
	fsys := &countingFS{FS: vfs.NewMem()}
	s := openSet(t, fsys, "data")
	defer s.Close()
	l := openLog(t, s, func(c *Config) { c.SegmentBytes = 5 << 20 })
	appendValue(t, l, "before")
	for range 300 {
		appendHidden(t, l, string(make([]byte, 50_000)))
	}
	appendValue(t, l, "after")
	s.Sync()
	equal(t, len(l.Segments()), 3)
	for offset := range int64(300) {
		fsys.read = 0
		got := values(t, l, ReadRequest{Offset: 1 + offset, MaxBytes: 1000})
		equal(t, got, []string{"301:after"})
		if fsys.read > 20_000 {
			t.Fatalf("fetch from %d read %d bytes", 1+offset, fsys.read)
		}
	}
}

// Hidden records are stamped with the time they were received, which never goes back.
func TestReceiveTime(t *testing.T) {
	fsys := vfs.NewMem()
	s := openSet(t, fsys, "data")
	l := openLog(t, s)
	stamp := func(at time.Time, want time.Time) {
		t.Helper()
		a, err := l.Append(1, at, plain(batch(5, record.Hidden, "x")))
		check(t, err)
		b, err := l.BatchAt(a.BaseOffset, nil)
		check(t, err)
		check(t, b.CheckCRC())
		equal(t, []int64{b.MaxTimestamp(), a.ReceiveTime, b.BaseTimestamp()}, []int64{want.UnixMilli(), want.UnixMilli(), 5})
		if !b.Attributes().Has(record.LogAppendTime) {
			t.Fatal("not marked")
		}
	}
	stamp(now, now)
	stamp(now.Add(time.Second), now.Add(time.Second))
	stamp(now, now.Add(time.Second))
	check(t, s.Close())
	s = openSet(t, fsys, "data")
	defer s.Close()
	l = openLog(t, s)
	stamp(now, now.Add(time.Second))
}

func TestLogAppendTime(t *testing.T) {
	s := openSet(t, vfs.NewMem(), "data")
	defer s.Close()
	l := openLog(t, s, func(c *Config) { c.TimestampType = LogAppendTime })
	a, err := l.Append(1, now, plain(batch(5, 0, "x")))
	check(t, err)
	equal(t, a.AppendTime, now.UnixMilli())
	b, err := l.BatchAt(0, nil)
	check(t, err)
	check(t, b.CheckCRC())
	equal(t, b.MaxTimestamp(), now.UnixMilli())
}

// The last stable offset that clients see never lies in a hidden tail either.
func TestLastStableBeforeHidden(t *testing.T) {
	s := openSet(t, vfs.NewMem(), "data")
	defer s.Close()
	l := openLog(t, s)
	transactional := func(a record.Attributes, seq int32) {
		var w record.Builder
		w.Reset(record.Transactional|a, now.UnixMilli())
		w.SetProducer(7, 0, seq)
		w.Add(0, now.UnixMilli(), nil, nil)
		b, err := w.Finish()
		check(t, err)
		g := plain(b)
		g.Verification = l.Verify(7, 0, seq, seq, true)
		_, err = l.Append(1, now, g)
		check(t, err)
		s.Sync()
	}
	stable := func(reported, lastStable, visible int64) {
		t.Helper()
		o := l.Offsets()
		equal(t, []int64{o.LastStable, o.RealLastStable, o.VisibleEnd}, []int64{reported, lastStable, visible})
	}
	wake := make(chan struct{}, 1)
	appendValue(t, l, "a")
	appendHidden(t, l, "x")
	s.Sync()
	stable(1, 2, 1)
	transactional(record.Hidden, 0)
	stable(1, 2, 1)
	transactional(0, 1)
	stable(1, 2, 4)
	l.Subscribe(wake)
	_, err := l.Append(1, now, marker(7, 0, false))
	check(t, err)
	s.Sync()
	stable(5, 5, 5)
	if !woken(wake) {
		t.Fatal("not woken by the end of a transaction")
	}
	read, err := l.Read(ReadRequest{MaxBytes: 1 << 20, Committed: true})
	check(t, err)
	read.Release()
	equal(t, read.Aborted, []AbortedTxn{{ProducerID: 7, FirstOffset: 2, LastOffset: 4, LastStable: 5}})
}

// The visible end stays where it was when every visible batch was evicted and only hidden ones are
// left, over a restart and a truncation too: else consumers would be told that the log ends before
// records that are in the tier.
func TestVisibleEndAfterEviction(t *testing.T) {
	fsys := vfs.NewMem()
	s := openSet(t, fsys, "data")
	tiered := func(c *Config) { c.LocalRetentionBytes = 0 }
	l := openLog(t, s, tiered)
	appendValue(t, l, "a")
	appendValue(t, l, "b")
	check(t, l.Roll())
	appendHidden(t, l, "later")
	appendHidden(t, l, "later still")
	s.Sync()
	removed, err := l.Retain(now, Floor{Gate: 0, Tiered: true, Confirmed: 2})
	check(t, err)
	equal(t, removed, 1)
	ends := func() string {
		o := l.Offsets()
		return fmt.Sprint(o.LogStart, o.LocalStart, o.VisibleEnd, o.LastStable, o.LogEnd)
	}
	equal(t, ends(), "0 2 2 2 4")
	check(t, s.Close())
	s = openSet(t, fsys, "data")
	defer s.Close()
	l = openLog(t, s, tiered)
	equal(t, ends(), "0 2 2 2 4")
	check(t, l.TruncateTo(3))
	equal(t, ends(), "0 2 2 2 3")
}
