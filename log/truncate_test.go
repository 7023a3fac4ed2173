package log

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/record"
)

// sequenced is a batch of one record of producer 1.
func sequenced(epoch int16, sequence int32) Group { return plain(idempotent(1, epoch, sequence)) }

func TestTruncate(t *testing.T) {
	fsys := vfs.NewMem()
	s := openSet(t, fsys, "data")
	l := openLog(t, s, func(c *Config) { c.SegmentBytes = 400 })
	for i := range 20 {
		appendValue(t, l, fmt.Sprint("old ", i))
	}
	s.Sync()
	check(t, l.TruncateTo(30)) // above the end
	equal(t, l.Offsets().LogEnd, int64(20))
	check(t, l.TruncateTo(7))
	o := l.Offsets()
	equal(t, []int64{o.LogEnd, o.SyncedEnd, o.HighWatermark, o.VisibleEnd}, []int64{7, 7, 7, 7})
	if _, err := l.Read(ReadRequest{Offset: 8}); !errors.As(err, new(*OutOfRangeError)) {
		t.Fatal(err)
	}
	appendValue(t, l, "new")
	s.Sync()
	got := recovered(t, fsys.Crash(nil))
	equal(t, got[6:], []string{"6:old 6", "7:new"})
}

// A group is taken back as a whole.
func TestTruncateInsideGroup(t *testing.T) {
	s := openSet(t, vfs.NewMem(), "data")
	defer s.Close()
	l := openLog(t, s)
	appendValue(t, l, "a")
	first := batch(now.UnixMilli(), record.Hidden|record.Continued, "b", "c")
	second := batch(now.UnixMilli(), 0, "d")
	second.SetBaseOffset(2)
	_, err := l.Append(1, now, Group{Pieces: []record.Batch{first, second}, ProducerID: -1, Span: 3})
	check(t, err)
	check(t, l.TruncateTo(3))
	equal(t, l.Offsets().LogEnd, int64(1))
}

// What producers did in the part that was cut is forgotten, although snapshots knew of it.
func TestTruncateForgetsProducers(t *testing.T) {
	fsys := vfs.NewMem()
	s := openSet(t, fsys, "data")
	l := openLog(t, s)
	for seq := range int32(4) {
		_, err := l.Append(1, now, sequenced(0, seq))
		check(t, err)
	}
	s.Sync()
	check(t, l.Checkpoint())
	check(t, l.TruncateTo(2))
	for range 6 { // the snapshot at 4 would fit again
		appendValue(t, l, "other")
	}
	s.Sync()
	for range 2 {
		if _, dup, err := l.CheckProducer(1, 0, 1, 1); !dup || err != nil {
			t.Fatal(dup, err)
		}
		if _, dup, err := l.CheckProducer(1, 0, 2, 2); dup || err != nil {
			t.Fatal(dup, err)
		}
		s = openSet(t, fsys.CrashProcess(), "data")
		l = openLog(t, s)
	}
}

// A frame that was staged before a truncation says nothing about what is appended after it.
func TestTruncateWithStagedAppends(t *testing.T) {
	s := openSet(t, vfs.NewMem(), "data", journaled)
	prepare(t, s)
	l := openLog(t, s)
	for range 5 {
		appendValue(t, l, "staged")
	}
	check(t, l.TruncateTo(0))
	s.commits.writeFrame()
	equal(t, l.Offsets().SyncedEnd, int64(0))
	appendValue(t, l, strings.Repeat("x", smallAppend)) // not for the journal
	appendValue(t, l, "must not overtake it")
	s.commits.writeFrame()
	equal(t, l.Offsets().SyncedEnd, int64(0))
	s.Sync()
	equal(t, l.Offsets().SyncedEnd, int64(2))
}
