package log

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/log/segment"
)

// aFrame is a frame with an entry of two batches and one of one.
func aFrame() []byte {
	var s stage
	s.reset()
	a, b := &Log{id: ID{Topic: [16]byte{0xaa}, Partition: 1}}, &Log{id: ID{Topic: [16]byte{0xbb}, Partition: 2}}
	s.add(a, 5, 100, 1000, []record.Batch{record.Batch("first"), record.Batch("second")})
	s.add(a, 5, 100, 1011, []record.Batch{record.Batch("!")})
	s.add(b, 6, 0, 0, []record.Batch{record.Batch("third")})
	s.seal(&journalFile{generation: 3, salt: 0x0102030405060708, sequence: 1}, 2)
	return s.buf
}

// The bytes of a frame, as FORMAT.md draws them.
const goldenFrame = "4d4a4631" + "dcd166fd" + "000000a1" + "00000002" + "0000000000000003" + "0102030405060708" + "0000000000000001" + "0000000000000002" +
	"aa000000000000000000000000000000" + "00000001" + "0000000000000005" + "0000000000000064" + "00000000000003e8" + "0000000c" + "66697273747365636f6e6421" +
	"bb000000000000000000000000000000" + "00000002" + "0000000000000006" + "0000000000000000" + "0000000000000000" + "00000005" + "7468697264"

func TestFrameBytes(t *testing.T) {
	b := aFrame()
	equal(t, len(b), frameAlign)
	equal(t, hex.EncodeToString(b[:len(goldenFrame)/2]), goldenFrame)
	equal(t, strings.Trim(string(b[len(goldenFrame)/2:]), "\x00"), "")

	f, err := parseFrame(b)
	check(t, err)
	equal(t, fmt.Sprint(f.entries, f.generation, f.sequence, f.floor), "2 3 1 2")
	first, rest, err := nextEntry(f.body)
	check(t, err)
	equal(t, fmt.Sprintln(first.id.Partition, first.lineage, first.base, first.pos, string(first.bytes)), "1 5 100 1000 firstsecond!\n")
	second, rest, err := nextEntry(rest)
	check(t, err)
	equal(t, fmt.Sprintln(second.id.Partition, second.lineage, second.base, second.pos, string(second.bytes), len(rest)), "2 6 0 0 third 0\n")
}

func FuzzFrame(f *testing.F) {
	f.Add(aFrame())
	f.Add(make([]byte, frameAlign))
	f.Fuzz(func(t *testing.T, b []byte) {
		fr, err := parseFrame(b)
		if err != nil {
			return
		}
		for body := fr.body; len(body) > 0 && err == nil; {
			_, body, err = nextEntry(body)
		}
	})
}

// journalAlone is a file system whose segments have lost everything that is only in the journal, and a log of
// three acknowledged batches on it.
func journalAlone(t *testing.T) *vfs.Mem {
	t.Helper()
	mem := vfs.NewMem()
	s := openSet(t, mem, "data", journaled)
	prepare(t, s)
	l := openLog(t, s)
	for i := range 3 {
		appendValue(t, l, fmt.Sprint("value ", i))
		s.Sync()
	}
	after := mem.Crash(nil)
	if st, err := after.Stat(l.path(segment.FileName(0, segment.LogSuffix))); err != nil || st.Size > 0 {
		t.Fatal("the segment was synced", st, err)
	}
	return after
}

const journalFile0 = "data/journal/journal-0"

// framesPerFile is how many frames of one block a file of minJournalFile takes.
const framesPerFile = minJournalFile/frameAlign - 1

func patch(t *testing.T, fsys vfs.FS, name string, pos int, f func(b []byte)) {
	t.Helper()
	b, err := vfs.ReadFile(fsys, name)
	check(t, err)
	f(b[pos:])
	check(t, vfs.WriteFile(fsys, name, b))
}

func TestJournalIsReplayed(t *testing.T) {
	fsys := journalAlone(t)
	for range 3 { // a crash during or after the replay changes nothing
		s := openSet(t, fsys, "data", journaled)
		equal(t, values(t, openLog(t, s), ReadRequest{MaxBytes: 1000}), []string{"0:value 0", "1:value 1", "2:value 2"})
		fsys = fsys.Crash(nil)
	}
}

// Files that are full and not trimmed yet are replayed too.
func TestFullFilesAreReplayed(t *testing.T) {
	mem := vfs.NewMem()
	s := openSet(t, mem, "data", journaled)
	prepare(t, s)
	l := openLog(t, s)
	for range framesPerFile + 1 {
		appendValue(t, l, "x")
		s.Sync()
	}
	if n := s.commits.journal.countLocked(full); n != 1 {
		t.Fatalf("%d files are full", n)
	}
	equal(t, len(recovered(t, mem.Crash(nil))), framesPerFile+1)
}

// However many segments have something in the journal, few files are open at once.
func TestReplayOpensFewFiles(t *testing.T) {
	mem := vfs.NewMem()
	large := func(c *SetConfig) { c.JournalSegmentBytes, c.JournalMaxBytes = 1<<20, 2<<20 }
	s := openSet(t, mem, "data", large)
	prepare(t, s)
	logs := openLogs(t, s, 2*replayFiles+10)
	for range 2 {
		for _, l := range logs {
			appendValue(t, l, "x")
		}
		s.Sync()
	}
	fsys := &openFiles{FS: mem.Crash(nil)}
	s = openSet(t, fsys, "data", large)
	if fsys.most > replayFiles+10 {
		t.Errorf("%d files were open", fsys.most)
	}
	for _, l := range openLogs(t, s, len(logs)) {
		equal(t, l.Offsets().LogEnd, int64(2))
	}
}

// The replay may be interrupted anywhere.
func TestReplayIsInterrupted(t *testing.T) {
	for n, failed := 0, true; failed; n++ {
		mem := journalAlone(t)
		fsys := vfs.NewFault(mem)
		rule := fsys.Add(vfs.Rule{After: n})
		s, err := Open(SetConfig{FS: fsys, Dir: "data", Now: clock, JournalSegmentBytes: minJournalFile, JournalMaxBytes: 3 * minJournalFile})
		failed = fsys.Fired(rule) > 0
		if err == nil {
			// A log that could not be restored must not be opened.
			if l, err := tryOpenLog(s, testID); err == nil && l.Offsets().LogEnd != 3 {
				t.Fatalf("operation %d failed, and the log ends at %d", n, l.Offsets().LogEnd)
			}
		}
		for _, after := range []*vfs.Mem{mem.Crash(nil), mem.CrashProcess(), mem.Crash(rand.New(rand.NewPCG(uint64(n), 0)))} {
			s := openSet(t, after, "data", journaled)
			equal(t, openLog(t, s).Offsets().LogEnd, int64(3))
		}
	}
}

func TestTornFrameIsIgnored(t *testing.T) {
	fsys := journalAlone(t)
	patch(t, fsys, journalFile0, 2*frameAlign+100, func(b []byte) { b[0] ^= 1 })
	s := openSet(t, fsys, "data", journaled)
	equal(t, openLog(t, s).Offsets().LogEnd, int64(2))
}

// A damaged frame before a whole one was durable, also if it is the first of its file.
func TestDamagedFrame(t *testing.T) {
	for _, pos := range []int64{0, frameAlign} {
		fsys := journalAlone(t)
		patch(t, fsys, journalFile0, int(pos)+100, func(b []byte) { b[0] ^= 1 })
		_, err := Open(SetConfig{FS: fsys, Dir: "data", JournalSegmentBytes: minJournalFile, JournalMaxBytes: 3 * minJournalFile})
		var corrupt *CorruptError
		if !errors.As(err, &corrupt) || corrupt.File != journalFile0 || corrupt.Pos != pos {
			t.Fatal(err)
		}
	}
}

// The first frame of a file may be damaged because a crash tore it. What it has left of those that
// were there before is void, whenever their file was trimmed: between frames, or when there was no
// file left to write to.
func TestTornFirstFrame(t *testing.T) {
	for _, late := range []bool{false, true} {
		mem := vfs.NewMem()
		s := openSet(t, mem, "data", func(c *SetConfig) {
			c.JournalSegmentBytes, c.JournalMaxBytes = minJournalFile, 2*minJournalFile
		})
		prepare(t, s)
		l := openLog(t, s)
		acked := 0
		put := func() {
			appendValue(t, l, "x")
			s.Sync()
			acked++
		}
		for range framesPerFile + 1 {
			put()
		}
		if !late {
			trimFull(&s.commits)
		}
		for range framesPerFile - 1 {
			put()
		}
		if j := s.commits.journal; late {
			put() // there is no room
			equal(t, j.last.state, full)
			first := j.files[0]
			_, err := l.syncSegments()
			check(t, err)
			s.commits.trimFile(first)
		}
		before, err := vfs.ReadFile(mem, journalFile0)
		check(t, err)
		appendValue(t, l, strings.Repeat("y", frameAlign))
		s.Sync()
		after, err := vfs.ReadFile(mem, journalFile0)
		check(t, err)
		equal(t, s.commits.journal.generation, uint64(3))
		crashed := mem.Crash(nil)
		for torn := 512; torn < 2*frameAlign; torn += 512 {
			fsys := crashed.Crash(nil)
			check(t, vfs.WriteFile(fsys, journalFile0, append(append([]byte{}, before[:torn]...), after[torn:]...)))
			equal(t, len(recovered(t, fsys.Crash(nil))), acked)
			fsys = crashed.Crash(nil)
			check(t, vfs.WriteFile(fsys, journalFile0, append(append([]byte{}, after[:torn]...), before[torn:]...)))
			if n := len(recovered(t, fsys)); n != acked && n != acked+1 {
				t.Fatalf("torn at %d: %d records, acknowledged were %d", torn, n, acked)
			}
		}
	}
}

// Frames of an earlier use of the file, which are still there behind the new ones, are not replayed.
func TestFramesOfEarlierUse(t *testing.T) {
	fsys := journalAlone(t)
	old, err := vfs.ReadFile(fsys, journalFile0)
	check(t, err)
	s := openSet(t, fsys, "data", journaled)
	l := openLog(t, s)
	check(t, l.TruncateTo(0)) // other bytes come in their place
	for range 4 {
		appendValue(t, l, "other")
		_, err := l.syncSegments()
		check(t, err)
	}
	now, err := vfs.ReadFile(fsys, journalFile0)
	check(t, err)
	equal(t, string(now[frameAlign:3*frameAlign]), string(old[frameAlign:3*frameAlign]))
	s = openSet(t, fsys.CrashProcess(), "data", journaled)
	equal(t, values(t, openLog(t, s), ReadRequest{MaxBytes: 1000}), []string{"0:other", "1:other", "2:other", "3:other"})
}

// What was taken back stays so, even if the journal still has it and the process dies at once.
func TestJournalAfterTruncation(t *testing.T) {
	fsys := journalAlone(t)
	s := openSet(t, fsys, "data", journaled)
	l := openLog(t, s)
	appendValue(t, l, "in the journal")
	s.Sync()
	check(t, l.TruncateTo(1))
	appendValue(t, l, "instead")
	_, err := l.syncSegments()
	check(t, err)
	for _, after := range []*vfs.Mem{fsys.Crash(nil), fsys.CrashProcess()} {
		s := openSet(t, after, "data", journaled)
		equal(t, values(t, openLog(t, s), ReadRequest{MaxBytes: 1000}), []string{"0:value 0", "1:instead"})
	}
}

// A log that was removed and made again under the same id does not meet its predecessor's bytes.
func TestJournalOfRemovedLog(t *testing.T) {
	fsys := journalAlone(t)
	s := openSet(t, fsys, "data", journaled)
	l := openLog(t, s)
	appendValue(t, l, "old")
	s.Sync()
	check(t, s.Remove(testID))
	for _, f := range s.commits.journal.files {
		if len(f.logs) > 0 {
			t.Errorf("%s refers to %d logs that are gone", f.name, len(f.logs))
		}
	}
	l = openLog(t, s)
	appendValue(t, l, "new, and different")
	_, err := l.syncSegments()
	check(t, err)
	s = openSet(t, fsys.CrashProcess(), "data", journaled)
	equal(t, values(t, openLog(t, s), ReadRequest{MaxBytes: 1000}), []string{"0:new, and different"})
}

// A segment that lost what lies before an entry keeps its log closed, and the journal as it is;
// other logs are not concerned.
func TestEntryDoesNotJoin(t *testing.T) {
	fsys := vfs.NewMem()
	s := openSet(t, fsys, "data", journaled)
	prepare(t, s)
	logs := openLogs(t, s, 2)
	appendValue(t, logs[0], strings.Repeat("x", smallAppend)) // in the segment
	s.Sync()
	appendValue(t, logs[0], "in the journal")
	appendValue(t, logs[1], "in the journal")
	s.Sync()
	fsys = fsys.Crash(nil)
	name := logs[0].path(segment.FileName(0, segment.LogSuffix))
	f, err := fsys.Open(name)
	check(t, err)
	check(t, f.Truncate(0))
	check(t, f.Close())
	for round := range 2 {
		s := openSet(t, fsys, "data", journaled)
		var corrupt *CorruptError
		if _, err := tryOpenLog(s, ID{Partition: 0}); !errors.As(err, &corrupt) || corrupt.File != name || corrupt.Pos != 0 {
			t.Fatal(err)
		}
		l, err := tryOpenLog(s, ID{Partition: 1})
		check(t, err)
		equal(t, l.Offsets().LogEnd, int64(1+round))
		appendValue(t, l, "on")
		check(t, s.Close())
	}
	s = openSet(t, fsys, "data", journaled)
	check(t, s.Remove(ID{Partition: 0})) // given up
	s = openSet(t, fsys, "data", journaled)
	if s.commits.journal == nil {
		t.Fatal("no journal")
	}
}

// Files of another size are replayed, and replaced.
func TestJournalIsResized(t *testing.T) {
	fsys := journalAlone(t)
	for _, files := range []int64{2, 5, -1, 2} {
		s := openSet(t, fsys, "data", func(c *SetConfig) {
			c.JournalSegmentBytes, c.JournalMaxBytes = 2*minJournalFile, files*2*minJournalFile
		})
		l := openLog(t, s)
		want := l.Offsets().LogEnd + 1
		if want < 4 {
			t.Fatal("lost", want)
		}
		if s.commits.journal != nil {
			prepare(t, s)
		}
		appendValue(t, l, "more")
		s.Sync()
		fsys = fsys.Crash(nil)
		equal(t, openLog(t, openSet(t, fsys.CrashProcess(), "data")).Offsets().LogEnd, want)
	}
}
