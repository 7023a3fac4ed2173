package vfs

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

const seeds = 200

func TestCrashKeepsOnlyWhatWasSynced(t *testing.T) {
	m := NewMem()
	must(t, m.MkdirAll("d"))
	f := create(t, m, "d/f")
	writeAt(t, f, 0, "synced")
	must(t, f.Sync())
	must(t, m.SyncDir("d"))
	writeAt(t, f, 0, "SYN")
	writeAt(t, f, 6, ", more")
	must(t, create(t, m, "d/unsynced name").Close())
	must(t, m.Rename("d/f", "d/g"))

	after := m.Crash(nil)
	if got := read(t, after, "d/f"); got != "synced" {
		t.Errorf("file holds %q", got)
	}
	wantExists(t, after, "d/g", false)
	wantExists(t, after, "d/unsynced name", false)

	if got := read(t, m, "d/g"); got != "SYNced, more" {
		t.Errorf("the crash changed the original to %q", got)
	}
}

func TestSyncedNameWithoutSyncedContents(t *testing.T) {
	m := NewMem()
	f := create(t, m, "f")
	writeAt(t, f, 0, "lost")
	must(t, m.SyncDir("."))
	after := m.Crash(nil)
	wantExists(t, after, "f", true)
	if got := read(t, after, "f"); got != "" {
		t.Errorf("file holds %q", got)
	}
}

func TestCrashProcessKeepsEverythingButLocks(t *testing.T) {
	m := NewMem()
	_, err := m.Lock("lock")
	must(t, err)
	f := create(t, m, "f")
	writeAt(t, f, 0, "written")

	after := m.CrashProcess()
	if got := read(t, after, "f"); got != "written" {
		t.Errorf("file holds %q", got)
	}
	l, err := after.Lock("lock")
	must(t, err)
	must(t, l.Close())

	writeAt(t, f, 0, "zombie!")
	if got := read(t, after, "f"); got != "written" {
		t.Errorf("a handle of the dead process changed the file to %q", got)
	}
	wantExists(t, after.Crash(nil), "f", false)
}

func TestLinksSurviveACrashAsOneFile(t *testing.T) {
	m := NewMem()
	must(t, WriteFile(m, "a", []byte("1")))
	must(t, m.Link("a", "b"))
	must(t, m.SyncDir("."))
	after := m.Crash(nil)
	f, err := after.Open("a")
	must(t, err)
	writeAt(t, f, 0, "2")
	if got := read(t, after, "b"); got != "2" {
		t.Errorf("the other name holds %q", got)
	}
}

// TestCrashLeavesSectorsOfThePast writes, cuts and syncs a file at random. After a crash, the
// length and every sector must be what they were at the last sync or at some moment since; over all
// seeds, torn states must have occurred.
func TestCrashLeavesSectorsOfThePast(t *testing.T) {
	torn := 0
	for seed := range uint64(seeds) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		m := NewMem()
		f := create(t, m, "f")
		must(t, m.SyncDir("."))
		history := []string{""}
		for range 1 + rnd.IntN(12) {
			switch rnd.IntN(6) {
			case 0:
				must(t, f.Sync())
				history = nil
			case 1:
				must(t, f.Truncate(rnd.Int64N(9000)))
			default:
				b := bytes.Repeat([]byte{byte('a' + rnd.IntN(26))}, 1+rnd.IntN(3000))
				writeAt(t, f, rnd.Int64N(8000), string(b))
			}
			history = append(history, read(t, m, "f"))
		}
		got := read(t, m.Crash(rnd), "f")
		if !checkCrash(t, seed, got, history) {
			torn++
		}
	}
	if torn < seeds/10 {
		t.Errorf("only %d of %d crashes left a mixture", torn, seeds)
	}
}

// checkCrash fails the test unless got is a mixture of the past, and reports whether it is one
// whole state of it.
func checkCrash(t *testing.T, seed uint64, got string, history []string) (whole bool) {
	t.Helper()
	lengthSeen := false
	for _, h := range history {
		lengthSeen = lengthSeen || len(h) == len(got)
		whole = whole || h == got
	}
	if !lengthSeen {
		t.Errorf("seed %d: the file never was %d bytes long", seed, len(got))
	}
	for pos := 0; pos < len(got); pos += sectorSize {
		seen := false
		for _, h := range history {
			seen = seen || sector(h, pos, len(got)) == sector(got, pos, len(got))
		}
		if !seen {
			t.Errorf("seed %d: the sector at %d never was like that: %q", seed, pos, sector(got, pos, len(got)))
		}
	}
	return whole
}

// sector returns a sector of a file as it would be in a file of this length, with zeros beyond its own end.
func sector(s string, pos, length int) string {
	b := make([]byte, min(sectorSize, length-pos))
	if pos < len(s) {
		copy(b, s[pos:])
	}
	return string(b)
}

// TestWriteFileIsAtomic stops WriteFile at every operation, cuts the power, and looks.
func TestWriteFileIsAtomic(t *testing.T) {
	before, after := bytes.Repeat([]byte("old"), 1000), bytes.Repeat([]byte("new"), 2000)
	for n, stopped := 0, true; stopped; n++ {
		m := NewMem()
		must(t, WriteFile(m, "f", before))
		fsys := NewFault(m)
		rule := fsys.Add(Rule{After: n, Times: Forever, Partial: true})
		err := WriteFile(fsys, "f", after)
		stopped = fsys.Fired(rule) > 0
		if stopped != (err != nil) {
			t.Errorf("operation %d failed: %t, WriteFile returned %v", n, stopped, err)
		}
		for seed := range uint64(20) {
			got := []byte(read(t, m.Crash(rand.New(rand.NewPCG(seed, 0))), "f"))
			switch {
			case bytes.Equal(got, after):
			case bytes.Equal(got, before) && stopped:
			default:
				t.Errorf("operation %d, seed %d: the file holds %d bytes", n, seed, len(got))
			}
		}
	}
}

// TestCrashLosesAnyDirectoryOperation counts which of two renames survive: all four combinations must occur.
func TestCrashLosesAnyDirectoryOperation(t *testing.T) {
	m := NewMem()
	must(t, WriteFile(m, "a", nil))
	must(t, WriteFile(m, "b", nil))
	must(t, m.Rename("a", "A"))
	must(t, m.Rename("b", "B"))
	seen := map[string]bool{}
	for seed := range uint64(seeds) {
		names, err := m.Crash(rand.New(rand.NewPCG(seed, 0))).List(".")
		must(t, err)
		seen[fmt.Sprint(names)] = true
	}
	for _, want := range []string{"[a b]", "[A b]", "[B a]", "[A B]"} {
		if !seen[want] {
			t.Errorf("never saw %s", want)
		}
	}
	if len(seen) != 4 {
		t.Errorf("saw %v", seen)
	}
}

func TestRenameBetweenDirectoriesIsAtomic(t *testing.T) {
	m := NewMem()
	must(t, m.MkdirAll("d"))
	must(t, WriteFile(m, "f", []byte("x")))
	must(t, m.Rename("f", "d/f"))
	must(t, m.SyncDir("."))
	after := m.Crash(nil)
	wantExists(t, after, "f", false)
	wantExists(t, after, "d/f", true)
}

func TestCrashTwice(t *testing.T) {
	m := NewMem()
	must(t, WriteFile(m, "f", []byte("first")))
	m = m.Crash(nil)
	must(t, WriteFile(m, "f", []byte("second")))
	must(t, m.Remove("f"))
	m = m.Crash(nil)
	if got := read(t, m, "f"); got != "second" {
		t.Errorf("file holds %q", got)
	}
	must(t, m.Remove("f"))
	must(t, m.SyncDir("."))
	wantExists(t, m.Crash(rand.New(rand.NewPCG(1, 1))), "f", false)
}
