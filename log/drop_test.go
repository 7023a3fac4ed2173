package log

import (
	"errors"
	"fmt"
	"testing"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/log/segment"
)

// ofSegments makes a log of closed segments of one record each, and an empty active one.
func ofSegments(t testing.TB, s *Set, n int) *Log {
	t.Helper()
	l := openLog(t, s)
	for range n {
		appendValue(t, l, "a")
		check(t, l.Roll())
	}
	s.Sync()
	return l
}

// visited lists what a scan visits, and how it ends.
func visited(l *Log, from, to int64) (all []string) {
	err := l.Scan(from, to, func(b record.Batch) error {
		all = append(all, fmt.Sprint(b.BaseOffset()))
		return nil
	})
	if in, ok := errors.AsType[*TieredError](err); ok {
		return append(all, fmt.Sprintf("tier %d-%d", in.Offset, in.LocalStart))
	}
	if err != nil {
		all = append(all, err.Error())
	}
	return all
}

// starts are the log start and the local start.
func starts(l *Log) [2]int64 { return [2]int64{l.Offsets().RealStart, l.Offsets().LocalStart} }

// afterPowerLoss is what is left of a disk where the names of files were durable, though nothing
// was written to do so.
func afterPowerLoss(t testing.TB, fsys *vfs.Mem, l *Log) *vfs.Mem {
	t.Helper()
	check(t, fsys.SyncDir(l.dir))
	return fsys.Crash(nil)
}

// What lies behind a hole is not taken for a lost tail after a power loss, although nothing but the
// drop made the facts durable.
func TestDropFromTheMiddleSurvivesPowerLoss(t *testing.T) {
	fsys := vfs.NewMem()
	s := openSet(t, fsys, "data")
	l := ofSegments(t, s, 5)
	removed, err := l.Drop(1, 4)
	check(t, err)
	equal(t, removed, 3)
	for range 2 {
		equal(t, starts(l), [2]int64{0, 0})
		equal(t, visited(l, 0, 5), []string{"0", "4"})
		if _, err := l.BatchAt(2, nil); !errors.As(err, new(*OutOfRangeError)) {
			t.Fatal(err)
		}
		s = openSet(t, afterPowerLoss(t, fsys, l), "data")
		l = openLog(t, s)
	}
	// What is in front goes too, and with it the hole.
	_, err = l.Drop(0, 1)
	check(t, err)
	equal(t, starts(l), [2]int64{4, 4})
}

func TestEvictFromTheMiddle(t *testing.T) {
	fsys := vfs.NewMem()
	s := openSet(t, fsys, "data")
	l := ofSegments(t, s, 8)
	idle := func(offsets ...int64) func(segment.Info) bool {
		return func(i segment.Info) bool {
			for _, o := range offsets {
				if i.Base == o {
					return true
				}
			}
			return false
		}
	}
	removed, err := l.Evict(6, idle(0, 2, 3, 5, 7))
	check(t, err)
	equal(t, removed, 4) // 7 is not confirmed
	_, err = l.Drop(6, 7)
	check(t, err)
	for range 2 {
		equal(t, starts(l), [2]int64{0, 1})
		equal(t, l.Offsets().DeleteBound, int64(6))
		equal(t, visited(l, 0, 8), []string{"tier 0-1"})
		equal(t, visited(l, 1, 8), []string{"1", "tier 2-4"})
		equal(t, visited(l, 3, 8), []string{"tier 3-4"})
		equal(t, visited(l, 4, 5), []string{"4"})
		// The last hole ends above the delete bound, with what was dropped there.
		equal(t, visited(l, 4, 8), []string{"4", "tier 5-7"})
		equal(t, visited(l, 7, 8), []string{"7"})
		var in *TieredError
		if _, err := l.BatchAt(3, nil); !errors.As(err, &in) || in.LocalStart != 4 {
			t.Fatal(err)
		}
		equal(t, values(t, l, ReadRequest{Offset: 1, MaxBytes: 1000}), []string{"1:a"})
		if _, err := l.Read(ReadRequest{Offset: 2, MaxBytes: 1000}); !errors.As(err, &in) || in.Offset != 2 || in.LocalStart != 4 {
			t.Fatal(err)
		}
		s = openSet(t, afterPowerLoss(t, fsys, l), "data")
		l = openLog(t, s)
	}
}

// SegmentsFrom is a part of Segments, wherever an offset lies: also in a hole, below everything, and above.
func TestSegmentsFrom(t *testing.T) {
	s := openSet(t, vfs.NewMem(), "data")
	defer s.Close()
	l := ofSegments(t, s, 8)
	_, err := l.Drop(3, 6)
	check(t, err)
	for offset := int64(-1); offset <= 9; offset++ {
		var got, want []int64
		for i := range l.SegmentsFrom(offset) {
			got = append(got, i.Base)
		}
		for _, i := range l.Segments() {
			if i.End > offset {
				want = append(want, i.Base)
			}
		}
		equal(t, got, want)
	}
}
