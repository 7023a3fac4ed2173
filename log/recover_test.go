package log

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/log/segment"
)

// written is a log of three durable batches, at offsets 0, 1 and 2, in data/, and the path of its only segment.
func written(t *testing.T) (*vfs.Mem, string) {
	t.Helper()
	fsys := vfs.NewMem()
	s := openSet(t, fsys, "data")
	l := openLog(t, s)
	for i := range 3 {
		appendValue(t, l, fmt.Sprint("value ", i))
	}
	check(t, s.Close())
	return fsys.CrashProcess(), l.path(segment.FileName(0, segment.LogSuffix))
}

func appendValue(t testing.TB, l *Log, value string) Appended {
	t.Helper()
	a, err := l.Append(1, now, plain(batch(now.UnixMilli(), 0, value)))
	check(t, err)
	return a
}

// extend appends bytes to a file, as an append that was never acknowledged does.
func extend(t *testing.T, fsys vfs.FS, name string, b []byte) {
	t.Helper()
	f, err := fsys.Open(name)
	check(t, err)
	size, err := f.Size()
	check(t, err)
	_, err = f.WriteAt(b, size)
	check(t, err)
	check(t, f.Close())
}

// next is the batch that would be appended at offset.
func next(offset int64, a record.Attributes, value string) record.Batch {
	b := batch(now.UnixMilli(), a, value)
	b.SetBaseOffset(offset)
	b.SetLeaderEpoch(1)
	return b
}

// recovered opens the log and returns what is in it.
func recovered(t *testing.T, fsys vfs.FS) []string {
	t.Helper()
	s := openSet(t, fsys, "data")
	defer s.Close()
	return values(t, openLog(t, s), ReadRequest{MaxBytes: 1 << 20})
}

func TestTornTailIsCut(t *testing.T) {
	whole, torn := next(3, 0, "whole"), next(4, 0, "torn")
	damaged := append([]byte{}, torn...)
	damaged[len(damaged)-3] ^= 1
	three := "[0:value 0 1:value 1 2:value 2]"
	for _, c := range []struct {
		name string
		tail []byte
		want string
	}{
		{"nothing", nil, three},
		{"whole batch", whole, "[0:value 0 1:value 1 2:value 2 3:whole]"},
		{"half a batch", torn[:40], three},
		{"half a batch after a whole one", append(append([]byte{}, whole...), torn[:30]...), "[0:value 0 1:value 1 2:value 2 3:whole]"},
		{"damaged batch before a whole one", append(append([]byte{}, damaged...), next(5, 0, "later")...), three},
		{"zeros", make([]byte, 5000), three},
		{"zeros before a whole one", append(make([]byte, 512), whole...), three},
		{"an offset that was there before", next(2, 0, "again"), three},
		{"group without its end", append(append([]byte{}, whole...), next(4, record.Hidden|record.Continued, "half")...), "[0:value 0 1:value 1 2:value 2 3:whole]"},
		{"group whose end is torn", append(append([]byte{}, next(3, record.Hidden|record.Continued, "half")...), torn[:50]...), three},
		{"whole group", append(append([]byte{}, next(3, record.Hidden|record.Continued, "half")...), next(4, 0, "other half")...), "[0:value 0 1:value 1 2:value 2 4:other half]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			fsys, name := written(t)
			extend(t, fsys, name, c.tail)
			equal(t, fmt.Sprint(recovered(t, fsys)), c.want)
			equal(t, fmt.Sprint(recovered(t, fsys)), c.want) // and stays so
			s := openSet(t, fsys, "data")
			defer s.Close()
			end := openLog(t, s).Offsets().LogEnd
			if end != int64(strings.Count(c.want, ":")) && c.name != "whole group" {
				t.Fatalf("log ends at %d", end)
			}
		})
	}
}

// After a sync has failed, a restart finds in the page cache what is not on the disk, and another
// sync would not change that.
func TestFailedSyncBeforeRestart(t *testing.T) {
	mem := vfs.NewMem()
	fsys := vfs.NewFault(mem)
	s := openSet(t, fsys, "data")
	l := openLog(t, s)
	value := strings.Repeat("x", 10_000)
	appendValue(t, l, value)
	fsys.Add(vfs.Rule{Ops: vfs.OpSync, Name: "*.log"})
	s.Sync()
	if l.Failure() == nil {
		t.Fatal("the log is not offline")
	}
	s = openSet(t, mem, "data")
	l = openLog(t, s)
	appendValue(t, l, "after")
	s.Sync()
	equal(t, recovered(t, mem.Crash(nil)), []string{"0:" + value, "1:after"})
}

// Cutting the file anywhere above the synced end costs what was cut and nothing else.
func TestTornAtEveryByte(t *testing.T) {
	tail := append(append([]byte{}, next(3, 0, "fourth")...), next(4, 0, "fifth")...)
	first := len(next(3, 0, "fourth"))
	for n := range len(tail) + 1 {
		fsys, name := written(t)
		extend(t, fsys, name, tail[:n])
		want := 3
		if n >= first {
			want++
		}
		if n == len(tail) {
			want++
		}
		if got := recovered(t, fsys); len(got) != want {
			t.Fatalf("cut after %d bytes: %v", n, got)
		}
	}
}

// What was durable and is wrong is an error that names file and position; nothing is cut or
// skipped, and other logs are not concerned.
func TestDamageBelowSyncedEnd(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(b []byte) []byte
		pos    int64
	}{
		{"changed byte", func(b []byte) []byte { b[len(b)-5] ^= 1; return b }, 152},
		{"changed byte in the middle", func(b []byte) []byte { b[100] ^= 1; return b }, 76},
		{"end is missing", func(b []byte) []byte { return b[:len(b)-1] }, 152},
		{"last batch is missing", func(b []byte) []byte { return b[:152] }, 152},
		{"everything is missing", func([]byte) []byte { return nil }, 0},
		{"zeros", func(b []byte) []byte { clear(b[76:152]); return b }, 76},
	} {
		t.Run(c.name, func(t *testing.T) {
			fsys, name := written(t)
			b, err := vfs.ReadFile(fsys, name)
			check(t, err)
			check(t, vfs.WriteFile(fsys, name, c.damage(b)))
			// Without the summary everything is read.
			check(t, fsys.Remove(strings.Replace(name, segment.LogSuffix, segment.SummarySuffix, 1)))
			s := openSet(t, fsys, "data")
			defer s.Close()
			_, err = tryOpenLog(s, testID)
			var corrupt *CorruptError
			if !errors.As(err, &corrupt) || corrupt.File != name || corrupt.Pos != c.pos {
				t.Fatalf("got %v, want corruption of %s at position %d", err, name, c.pos)
			}
			if _, err := tryOpenLog(s, ID{Partition: 1}); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A segment that lost its end, unnoticed, before the next one: what comes after it is not kept.
func TestHoleBetweenSegments(t *testing.T) {
	fsys, name := written(t)
	extend(t, fsys, name, next(3, 0, "lost"))
	b, err := vfs.ReadFile(fsys, name)
	check(t, err)
	f, err := fsys.Create(vfs.Join(vfs.Dir(name), segment.FileName(4, segment.LogSuffix)))
	check(t, err)
	_, err = f.WriteAt(next(4, 0, "later"), 0)
	check(t, err)
	check(t, f.Close())
	f, err = fsys.Open(name)
	check(t, err)
	check(t, f.Truncate(int64(len(b)-len(next(3, 0, "lost")))))
	check(t, f.Close())
	equal(t, recovered(t, fsys), []string{"0:value 0", "1:value 1", "2:value 2"})
}

func TestSegmentIsMissing(t *testing.T) {
	fsys, name := written(t)
	check(t, fsys.Remove(name))
	s := openSet(t, fsys, "data")
	defer s.Close()
	if _, err := tryOpenLog(s, testID); !errors.As(err, new(*CorruptError)) {
		t.Fatal(err)
	}
}

// A gap between two segments, below what was durable, that neither compaction nor a drop has left
// is a loss. It is not skipped.
func TestSegmentIsMissingFromTheMiddle(t *testing.T) {
	for _, c := range []struct {
		name    string
		damage  func(fsys *vfs.Mem, l *Log)
		missing int64
	}{
		{"segment", func(fsys *vfs.Mem, l *Log) { check(t, segment.Remove(l.segmentOptions(), 2)) }, 2},
		{"segment behind a hole", func(fsys *vfs.Mem, l *Log) { check(t, segment.Remove(l.segmentOptions(), 4)) }, 3},
		{"end of a segment", func(fsys *vfs.Mem, l *Log) {
			check(t, vfs.WriteFile(fsys, l.path(segment.FileName(2, segment.LogSuffix)), nil))
		}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			fsys := vfs.NewMem()
			s := openSet(t, fsys, "data")
			l := ofSegments(t, s, 6)
			removed, err := l.Drop(3, 4)
			check(t, err)
			equal(t, removed, 1)
			check(t, s.Close())
			c.damage(fsys, l)
			missing := l.path(segment.FileName(c.missing, segment.LogSuffix))

			s = openSet(t, fsys, "data")
			defer s.Close()
			_, err = tryOpenLog(s, testID)
			if corrupt, ok := errors.AsType[*CorruptError](err); !ok || corrupt.File != missing || !errors.Is(err, errLost) {
				t.Errorf("got %v, want %s to be missing", err, missing)
			}
			var problems []string
			_, err = Check(CheckOptions{FS: fsys, Dir: l.dir, Report: func(p segment.Problem) {
				if !p.Cache {
					problems = append(problems, p.File)
				}
			}})
			check(t, err)
			equal(t, problems, []string{missing})
		})
	}
}

// A start that cannot read something fails, or finds everything all the same. It never takes what
// it could not read for a tail to be cut, not even above the synced end of the facts, which is a
// lower bound.
func TestNothingIsCutForAFailedRead(t *testing.T) {
	fsys := vfs.NewMem()
	s := openSet(t, fsys, "data")
	l := openLog(t, s, func(c *Config) { c.Preallocate, c.SegmentBytes = true, 4096 })
	for i := range 3 {
		appendValue(t, l, fmt.Sprint(i))
		check(t, l.Roll())
	}
	s.Sync()
	crashed := fsys.CrashProcess() // before the closed segments lost the space they do not need
	want := recovered(t, crashed.CrashProcess())
	equal(t, want, []string{"0:0", "1:1", "2:2"})
	for n, failed := 0, true; failed; n++ {
		disk := crashed.CrashProcess()
		fault := vfs.NewFault(disk)
		rule := fault.Add(vfs.Rule{Ops: vfs.OpRead | vfs.OpOpen | vfs.OpStat | vfs.OpList, After: n})
		if s, err := Open(SetConfig{FS: fault, Dir: "data", Now: clock, JournalMaxBytes: -1}); err == nil {
			if _, err := tryOpenLog(s, testID); err == nil {
				check(t, s.Close())
			}
		}
		failed = fault.Fired(rule) > 0
		equal(t, recovered(t, disk.CrashProcess()), want)
	}
}

// The state of producers is the same whether it was remembered, read from a snapshot, or found out
// from the log.
func TestProducersComeBack(t *testing.T) {
	fsys := vfs.NewMem()
	s := openSet(t, fsys, "data")
	l := openLog(t, s)
	for i := range int32(4) {
		var w record.Builder
		w.Reset(0, now.UnixMilli())
		w.SetProducer(5, 1, 2*i)
		w.Add(0, now.UnixMilli(), nil, nil)
		w.Add(1, now.UnixMilli(), nil, nil)
		b, err := w.Finish()
		check(t, err)
		_, err = l.Append(1, now, plain(b))
		check(t, err)
		if i == 1 {
			s.Sync()
			check(t, l.Checkpoint())
		}
	}
	s.Sync()
	for _, without := range []string{"nothing", snapshotSuffix, segment.SummarySuffix} {
		after := fsys.CrashProcess()
		names, err := after.List(l.dir)
		check(t, err)
		for _, name := range names {
			if strings.HasSuffix(name, without) {
				check(t, after.Remove(l.path(name)))
			}
		}
		s := openSet(t, after, "data")
		l := openLog(t, s)
		a, dup, err := l.CheckProducer(5, 1, 4, 5)
		if err != nil || !dup || a.BaseOffset != 4 || a.EndOffset != 6 {
			t.Fatalf("without %s: %+v, %t, %v", without, a, dup, err)
		}
		if _, _, err := l.CheckProducer(5, 1, 9, 9); !errors.As(err, new(*OutOfOrderSequenceError)) {
			t.Fatalf("without %s: %v", without, err)
		}
		check(t, s.Close())
	}
}

// What the snapshot at the local start told is not in the log any more. If that is damaged, what
// remains is found out, and it is said what may be lost.
func TestDamagedSnapshotAtLocalStart(t *testing.T) {
	fsys := vfs.NewMem()
	s := openSet(t, fsys, "data")
	l := openLog(t, s, func(c *Config) { c.RetentionMs = -1 })
	for id := range int64(2) {
		_, err := l.Append(1, now, plain(idempotent(id, 1, 0)))
		check(t, err)
		check(t, l.Roll())
	}
	s.Sync()
	_, err := l.DeleteRecords(1)
	check(t, err)
	removed, err := l.Retain(now, Floor{Gate: forever})
	check(t, err)
	equal(t, removed, 1)
	fsys = fsys.CrashProcess()
	patch(t, fsys, l.snapshotName(1), 12, func(b []byte) { b[0] ^= 1 })
	var said strings.Builder
	for range 2 {
		s = openSet(t, fsys, "data", func(c *SetConfig) { c.Logger = slog.New(slog.NewTextHandler(&said, nil)) })
		l = openLog(t, s)
		for id, known := range []bool{false, true} {
			if _, stored, err := l.CheckProducer(int64(id), 1, 0, 0); err != nil || stored != known {
				t.Errorf("batch of producer %d is stored: %t, %v", id, stored, err)
			}
		}
		fsys = fsys.CrashProcess()
	}
	if strings.Count(said.String(), "level=ERROR") != 1 || !strings.Contains(said.String(), l.snapshotName(1)) {
		t.Errorf("said was %q", said.String())
	}
}

// After a crash only what came after the last checkpoint is read.
func TestRecoveryReadsFromCheckpoint(t *testing.T) {
	mem := vfs.NewMem()
	s := openSet(t, mem, "data")
	l := openLog(t, s)
	for range 20 {
		appendValue(t, l, strings.Repeat("x", 50_000))
	}
	s.Sync()
	check(t, l.Checkpoint())
	appendValue(t, l, "last")
	s.Sync()
	s.Keep(now)
	counted := &countingFS{FS: mem.CrashProcess()}
	s = openSet(t, counted, "data")
	l = openLog(t, s)
	equal(t, l.Offsets().LogEnd, int64(21))
	if counted.read > 20_000 {
		t.Errorf("%d bytes of a log of %d were read", counted.read, l.Size())
	}
}

// countingFS counts the bytes read.
type countingFS struct {
	vfs.FS
	read int64
}

func (c *countingFS) Open(name string) (vfs.File, error) {
	f, err := c.FS.Open(name)
	return countingFile{File: f, read: &c.read}, err
}

type countingFile struct {
	vfs.File
	read *int64
}

func (f countingFile) ReadAt(b []byte, pos int64) (int, error) {
	n, err := f.File.ReadAt(b, pos)
	*f.read += int64(n)
	return n, err
}
