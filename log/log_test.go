package log

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/record"
)

// now is when tests take place.
var now = time.UnixMilli(1_700_000_000_000)

// clock stands still.
func clock() time.Time { return now }

var testID = ID{Topic: [16]byte{1, 2, 3}, Partition: 7}

// openSet opens a set whose clock stands still, without a journal unless edit says otherwise.
func openSet(t testing.TB, fsys vfs.FS, dir string, edit ...func(*SetConfig)) *Set {
	t.Helper()
	cfg := SetConfig{FS: fsys, Dir: dir, Now: clock, JournalMaxBytes: -1}
	for _, f := range edit {
		f(&cfg)
	}
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// openLog opens testID, creating it if it is not there, with a high watermark that follows the synced end.
func openLog(t testing.TB, s *Set, edit ...func(*Config)) *Log {
	t.Helper()
	l, err := tryOpenLog(s, testID, edit...)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func tryOpenLog(s *Set, id ID, edit ...func(*Config)) (*Log, error) {
	cfg := DefaultConfig()
	for _, f := range edit {
		f(&cfg)
	}
	var l *Log
	o := Options{Name: "test-" + fmt.Sprint(id.Partition), Config: cfg}
	o.Synced = func(end int64) { l.AdvanceHighWatermark(end) }
	l, err := s.OpenLog(id, o)
	if errors.Is(err, ErrNotExist) {
		l, err = s.Create(id, o)
	}
	if err == nil {
		l.AdvanceHighWatermark(l.Offsets().SyncedEnd)
	}
	return l, err
}

// batch builds a batch of records with the given values, one ms apart from ts on.
func batch(ts int64, a record.Attributes, values ...string) record.Batch {
	var w record.Builder
	w.Reset(a, ts)
	for i, v := range values {
		w.Add(int32(i), ts+int64(i), []byte("k"), []byte(v))
	}
	b, err := w.Finish()
	if err != nil {
		panic(err)
	}
	return b
}

func plain(b record.Batch) Group {
	return Group{Pieces: []record.Batch{b}, ProducerID: b.ProducerID(), ProducerEpoch: b.ProducerEpoch(),
		BaseSequence: b.BaseSequence(), LastSequence: b.LastSequence(), Span: b.LastOffsetDelta() + 1}
}

// values decodes the values a read or scan found.
func values(t testing.TB, l *Log, r ReadRequest) (all []string) {
	t.Helper()
	read, err := l.Read(r)
	if err != nil {
		t.Fatal(err)
	}
	defer read.Release()
	for _, x := range read.Ranges {
		buf := make([]byte, x.Len)
		if _, err := x.File.ReadAt(buf, x.Pos); err != nil {
			t.Fatal(err)
		}
		for len(buf) > 0 {
			b, rest, err := record.Next(buf)
			if err != nil {
				t.Fatal(err)
			}
			rs, err := b.Decode()
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range rs {
				all = append(all, fmt.Sprintf("%d:%s", r.Offset, r.Value))
			}
			buf = rest
		}
	}
	return all
}

func equal[T any](t testing.TB, got, want T) {
	t.Helper()
	if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); g != w {
		t.Fatalf("got  %s\nwant %s", g, w)
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestAppendReadReopen(t *testing.T) {
	dir := t.TempDir()
	s := openSet(t, vfs.OS{}, dir)
	l := openLog(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	for i := range 10 {
		a, err := l.Append(1, now, plain(batch(now.UnixMilli(), 0, fmt.Sprint("a", i), fmt.Sprint("b", i))))
		check(t, err)
		equal(t, a.BaseOffset, int64(2*i))
		check(t, l.Wait(t.Context(), a.EndOffset))
	}
	equal(t, values(t, l, ReadRequest{Offset: 15, MaxBytes: 1 << 20}), []string{"14:a7", "15:b7", "16:a8", "17:b8", "18:a9", "19:b9"})
	cancel()
	check(t, <-done)
	check(t, s.Close())

	s = openSet(t, vfs.OS{}, dir)
	l = openLog(t, s)
	equal(t, values(t, l, ReadRequest{Offset: 17, MaxBytes: 1 << 20}), []string{"16:a8", "17:b8", "18:a9", "19:b9"})
	equal(t, l.Offsets(), Offsets{LogStart: 0, DeleteBound: -1, HighWatermark: 20, VisibleEnd: 20, LastStable: 20, RealLastStable: 20, SyncedEnd: 20, LogEnd: 20})
	check(t, s.Close())
}
