package log

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/segment"
)

// hurtLog is a log of twelve records in four segments, of which record 5 and the last one are damaged.
func hurtLog(t *testing.T) (fsys *vfs.Mem, dir string) {
	t.Helper()
	fsys, dir, segments := checkedLog(t)
	flip := func(name string, from float64) {
		b, err := vfs.ReadFile(fsys, name)
		check(t, err)
		b[int(from*float64(len(b)))] ^= 1
		check(t, vfs.WriteFile(fsys, name, b))
	}
	flip(segments[1], 0.49)
	flip(segments[2], 0.99)
	return fsys, dir
}

func salvageAll(fsys vfs.FS, dir, aside string) (*Salvage, error) {
	if err := segment.FinishSwaps(segment.Options{FS: fsys, Dir: dir}); err != nil {
		return nil, err
	}
	s, err := PlanSalvage(SalvageOptions{FS: fsys, Dir: dir})
	if err == nil {
		err = s.CarryOut(aside)
	}
	return s, err
}

func losses(s *Salvage) (all []string) {
	for _, l := range s.Lost {
		all = append(all, fmt.Sprintf("[%d, %d)", l.From, l.To))
	}
	return all
}

func TestSalvageSaysWhatIsLostAndChangesNothing(t *testing.T) {
	mem, dir := hurtLog(t)
	fsys := vfs.NewFault(mem)
	change := fsys.Add(vfs.Rule{Times: vfs.Forever})
	s, err := PlanSalvage(SalvageOptions{FS: fsys, Dir: dir})
	check(t, err)
	equal(t, losses(s), []string{"[5, 6)", "[11, 12)"})
	equal(t, fsys.Fired(change), 0)
}

// TestSalvageIsInterruptedAnywhere fails each of its file operations in turn, and lets the power go
// then: what is left can be salvaged, and what was whole is there. The damaged files are kept.
func TestSalvageIsInterruptedAnywhere(t *testing.T) {
	for n := 0; ; n++ {
		mem, dir := hurtLog(t)
		fsys := vfs.NewFault(mem)
		fsys.Add(vfs.Rule{After: n, Err: syscall.EIO})
		_, err := salvageAll(fsys, dir, "aside-1")
		done := err == nil
		after := mem.Crash(nil)
		if _, err := salvageAll(after, dir, "aside-2"); err != nil {
			t.Fatalf("operation %d: again: %v", n, err)
		}
		l := openLog(t, openSet(t, after, "data"))
		want := []string{"0:value", "1:value", "2:value", "3:value", "4:value", "6:value", "7:value", "8:value", "9:value", "10:value"}
		equal(t, values(t, l, ReadRequest{MaxBytes: 1 << 20}), want)
		equal(t, l.Offsets().LogEnd, int64(12))
		kept := 0
		for _, aside := range []string{"aside-1", "aside-2"} {
			names, err := after.List(aside)
			if err != nil {
				continue
			}
			for _, name := range names {
				if strings.HasSuffix(name, segment.LogSuffix) {
					kept++
				}
			}
		}
		if kept < 2 {
			t.Fatalf("operation %d: of two damaged files %d are kept", n, kept)
		}
		if done {
			return
		}
	}
}

// A log that has lost its end goes on above all that may have been given out.
func TestSalvageOfLogThatLostItsEnd(t *testing.T) {
	fsys, dir, segments := checkedLog(t)
	check(t, fsys.Remove(segments[3]))
	check(t, fsys.Remove(segments[2]))
	s, err := salvageAll(fsys, dir, "aside")
	check(t, err)
	equal(t, losses(s), []string{"[8, 12)"})
	l := openLog(t, openSet(t, fsys, "data"))
	equal(t, l.Offsets().LogEnd, int64(12+spareOffsets))
	a, err := l.Append(1, now, plain(batch(now.UnixMilli(), 0, "next")))
	check(t, err)
	equal(t, a.BaseOffset, int64(12+spareOffsets))
}

// What is damaged here and confirmed in the tier is read from there.
func TestSalvageLeavesToTheTierWhatIsConfirmed(t *testing.T) {
	fsys, dir := hurtLog(t)
	s, err := PlanSalvage(SalvageOptions{FS: fsys, Dir: dir, Confirmed: 8})
	check(t, err)
	equal(t, losses(s), []string{"[11, 12)"})
	equal(t, len(s.Remote), 1)
	check(t, s.CarryOut("aside"))
	l := openLog(t, openSet(t, fsys, "data"))
	equal(t, l.Offsets().LocalStart, int64(8))
	var tiered *TieredError
	if _, err := l.Read(ReadRequest{Offset: 5, MaxBytes: 100}); !errors.As(err, &tiered) {
		t.Errorf("a read below: %v", err)
	}
}

// Offset and leader epoch of a batch have no checksum. Where its neighbours tell what they were,
// they are put right.
func TestSalvagePutsHeadersRight(t *testing.T) {
	for name, pos := range map[string]int{"offset": 6, "a large offset": 0, "leader epoch": 15} {
		fsys, dir, segments := checkedLog(t)
		b, err := vfs.ReadFile(fsys, segments[1])
		check(t, err)
		b[len(b)/2+pos] ^= 0x55 // the third of four
		check(t, vfs.WriteFile(fsys, segments[1], b))
		s, err := salvageAll(fsys, dir, "aside")
		check(t, err)
		equal(t, losses(s), []string{"[6, 6)"})
		l := openLog(t, openSet(t, fsys, "data"))
		if got := values(t, l, ReadRequest{MaxBytes: 1 << 20}); len(got) != 12 || got[6] != "6:value" {
			t.Errorf("%s: %v", name, got)
		}
		batch, err := l.BatchAt(6, nil)
		check(t, err)
		equal(t, batch.LeaderEpoch(), int32(1))
	}
}
