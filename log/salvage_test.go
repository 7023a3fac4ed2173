package log

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/producer"
	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/log/segment"
)

// place is where a batch lies.
type place struct {
	file     string
	pos, end int64
}

// salvageTest is a log that is written, damaged and salvaged, and what it was before.
type salvageTest struct {
	fsys    *vfs.Mem
	dir     string
	model   modelLog
	durable int64
	places  map[int64]place // of batches, by base offset
	hurt    []place         // what was damaged
}

// write makes the log at random, and stops with or without a word.
func (s *salvageTest) write(t *rapid.T) {
	s.fsys = vfs.NewMem()
	set, l := reopened(t, s.fsys, &s.model)
	s.dir = l.dir
	for range rapid.IntRange(2, 12).Draw(t, "rounds") {
		for range rapid.IntRange(1, 5).Draw(t, "groups") {
			if err := s.model.append(l, drawGroup(t, &s.model), now); !refused(err) {
				must(t, err)
			}
		}
		set.Sync()
		if rapid.IntRange(0, 2).Draw(t, "checkpoint") == 0 {
			must(t, l.Checkpoint())
		}
		if rapid.IntRange(0, 2).Draw(t, "roll") == 0 {
			must(t, l.Roll())
		}
	}
	set.Keep(now)
	s.durable = l.Offsets().SyncedEnd
	switch {
	case rapid.Bool().Draw(t, "stopped"):
		must(t, set.Close())
	default:
		if rapid.Bool().Draw(t, "more") {
			if err := s.model.append(l, drawGroup(t, &s.model), now); !refused(err) {
				must(t, err)
			}
		}
	}
	s.fsys = s.fsys.CrashProcess()
	s.find(t)
}

// refused reports whether a group was rightly not appended.
func refused(err error) bool {
	return errors.Is(err, ErrTooLarge) || errors.Is(err, ErrUnverified) || errors.Is(err, ErrInTransaction)
}

func (s *salvageTest) segments(t *rapid.T) (files []string) {
	names, err := s.fsys.List(s.dir)
	must(t, err)
	for _, n := range names {
		if strings.HasSuffix(n, segment.LogSuffix) {
			files = append(files, vfs.Join(s.dir, n))
		}
	}
	return files
}

// find notes where all batches lie.
func (s *salvageTest) find(t *rapid.T) {
	s.places = map[int64]place{}
	for _, file := range s.segments(t) {
		b, err := vfs.ReadFile(s.fsys, file)
		must(t, err)
		must(t, segment.Dump(bytes.NewReader(b), 0, int64(len(b)), func(p segment.Piece) error {
			if p.Err == nil {
				s.places[p.Batch.BaseOffset()] = place{file, p.Pos, p.EndPos}
			}
			return nil
		}))
	}
}

// damage hurts segments at random: bytes change, read as zeros, are cut off, or the file is gone.
func (s *salvageTest) damage(t *rapid.T) {
	for range rapid.IntRange(1, 3).Draw(t, "damages") {
		files := s.segments(t)
		if len(files) == 0 {
			return
		}
		file := rapid.SampledFrom(files).Draw(t, "file")
		b, err := vfs.ReadFile(s.fsys, file)
		must(t, err)
		size := len(b)
		pos := 0
		if size > 0 {
			pos = rapid.IntRange(0, size-1).Draw(t, "pos")
		}
		end := min(size, pos+rapid.IntRange(1, 400).Draw(t, "bytes"))
		switch kind := rapid.SampledFrom([]string{"flip", "zero", "cut", "remove"}).Draw(t, "kind"); {
		case kind == "remove":
			must(t, s.fsys.Remove(file))
			pos, end = 0, 1<<40
		case size == 0:
			continue
		case kind == "cut":
			b, end = b[:pos], 1<<40
			must(t, vfs.WriteFile(s.fsys, file, b))
		default:
			for i := pos; i < end; i++ {
				if kind == "zero" {
					b[i] = 0
				} else {
					b[i] ^= 0x55
				}
			}
			s.spoil(b, file, pos, end)
			must(t, vfs.WriteFile(s.fsys, file, b))
		}
		s.hurt = append(s.hurt, place{file, int64(pos), int64(end)})
	}
	s.settle(t)
}

// spoil makes sure that batches whose offset or leader epoch was changed do not pass for whole:
// those have no checksum, and what can be found out about them is a test of its own.
func (s *salvageTest) spoil(b []byte, file string, pos, end int) {
	for _, p := range s.places {
		if crc := int(p.pos) + 17; p.file == file && crc < len(b) && pos < crc && int(p.pos) < end {
			b[crc] ^= 0xff
		}
	}
}

// settle makes durable what there is, so that a power loss afterwards takes nothing but what the
// salvage has not made durable.
func (s *salvageTest) settle(t *rapid.T) {
	names, err := s.fsys.List(s.dir)
	must(t, err)
	for _, n := range names {
		f, err := s.fsys.Open(vfs.Join(s.dir, n))
		must(t, err)
		must(t, errors.Join(f.Sync(), f.Close()))
	}
	must(t, s.fsys.SyncDir(s.dir))
}

// intact reports whether a batch was not damaged.
func (s *salvageTest) intact(b record.Batch) bool {
	p, ok := s.places[b.BaseOffset()]
	return ok && !slices.ContainsFunc(s.hurt, func(h place) bool { return h.file == p.file && h.pos < p.end && p.pos < h.end })
}

// bare is a batch without what a salvage may change.
func bare(b record.Batch) string {
	return fmt.Sprint(b.BaseOffset(), b.LastOffsetDelta(), b.Attributes()&^record.Continued, b.BaseTimestamp(), b.MaxTimestamp(), b.ProducerID(), b.ProducerEpoch(), b.BaseSequence(), b.Count()) + string(b.Payload())
}

// salvage carries out a plan, and says which producers' transactions nobody knew the end of.
func (s *salvageTest) salvage(t *rapid.T) (lost []Loss, unknown map[int64]bool) {
	o := SalvageOptions{FS: s.fsys, Dir: s.dir}
	plan, err := PlanSalvage(o)
	must(t, err)
	unknown = map[int64]bool{}
	for i := 0; len(plan.Transactions) > 0; i++ {
		if err := plan.CarryOut("aside"); !errors.Is(err, ErrUndecided) {
			t.Fatalf("%+v: %v", plan.Transactions, err)
		}
		for _, x := range plan.Transactions {
			unknown[x.ProducerID] = true
		}
		o.Undecided = rapid.SampledFrom([]Outcome{Abort, Commit, Leave}).Draw(t, "undecided")
		plan, err = PlanSalvage(o)
		must(t, err)
	}
	must(t, plan.CarryOut("aside"))
	again, err := PlanSalvage(SalvageOptions{FS: s.fsys, Dir: s.dir})
	must(t, err)
	if again.Needed() {
		t.Fatalf("there is more to do: %+v", again.Lost)
	}
	return plan.Lost, unknown
}

// TestSalvageKeepsWhatIsWhole damages logs at random. Afterwards the log opens, what was whole is
// there and nothing else, what is not is said to be lost, and readers of committed records see what
// they did before.
func TestSalvageKeepsWhatIsWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s salvageTest
		s.write(t)
		s.damage(t)
		lost, unknown := s.salvage(t)
		if _, problems, err := checkDir(s.fsys, s.dir); err != nil || slices.ContainsFunc(problems, func(p segment.Problem) bool { return !p.Cache }) {
			t.Fatal(problems, err)
		}
		fsys := s.fsys.Crash(nil)
		set, l := opened(t, fsys)
		s.compare(t, l, lost)
		s.compareCommitted(t, l, lost, unknown)
		before := l.Offsets().LogEnd
		if _, err := l.Append(1, now, plain(batch(now.UnixMilli(), 0, "x"))); err != nil {
			t.Fatal(err)
		}
		must(t, set.Close())
		set, l = opened(t, fsys)
		if end := l.Offsets().LogEnd; end != before+1 {
			t.Fatalf("log ended at %d, and at %d after an append", before, end)
		}
		must(t, set.Close())
	})
}

func opened(t *rapid.T, fsys *vfs.Mem) (*Set, *Log) {
	set, err := Open(SetConfig{FS: fsys, Dir: "data", Now: clock, JournalMaxBytes: -1})
	must(t, err)
	l, err := tryOpenLog(set, testID)
	must(t, err)
	return set, l
}

func covers(lost []Loss, offset int64) bool {
	return slices.ContainsFunc(lost, func(l Loss) bool { return l.From <= offset && offset < l.To })
}

// compare holds the batches of the log against the model.
func (s *salvageTest) compare(t *rapid.T, l *Log, lost []Loss) {
	have := map[int64]string{}
	must(t, l.Scan(0, forever, func(b record.Batch) error {
		have[b.BaseOffset()] = bare(b)
		return nil
	}))
	s.model.batches(forever, func(b record.Batch) {
		got, ok := have[b.BaseOffset()]
		delete(have, b.BaseOffset())
		switch {
		case ok && got == bare(b):
		case ok && !covers(lost, b.BaseOffset()):
			t.Fatalf("batch at offset %d is another one", b.BaseOffset())
		case !ok && b.EndOffset() <= s.durable && s.intact(b):
			t.Fatalf("batch at offset %d was whole, and is not there; lost %+v", b.BaseOffset(), lost)
		case !ok && b.EndOffset() <= s.durable && !covers(lost, b.BaseOffset()):
			t.Fatalf("batch at offset %d is not there, and not said to be lost; lost %+v", b.BaseOffset(), lost)
		}
	})
	for offset := range have {
		if b, err := l.BatchAt(offset, nil); err != nil || !b.Control() || !covers(lost, offset) {
			t.Fatalf("there is a batch at offset %d, which nobody wrote: %v", offset, err)
		}
	}
}

// compareCommitted makes sure that transactions ended as they did, for those that read committed records only.
func (s *salvageTest) compareCommitted(t *rapid.T, l *Log, lost []Loss, unknown map[int64]bool) {
	ended := map[int64]bool{} // first offset of transactions; committed
	state := producer.New(0)
	first := map[int64]int64{} // of the transaction of a batch
	s.model.batches(forever, func(b record.Batch) {
		done, over, err := state.Apply(b, 0)
		must(t, err)
		if over {
			ended[done.First] = !done.Aborted
		}
		if f, open := state.OpenTransaction(b.ProducerID()); open && b.Transactional() {
			first[b.BaseOffset()] = f
		}
	})
	read, err := l.Read(ReadRequest{Offset: l.Offsets().LogStart, MaxBytes: 1 << 30, Committed: true})
	must(t, err)
	defer read.Release()
	seen := map[int64]bool{}
	for _, b := range readBatches(read) {
		seen[b.BaseOffset()] = !slices.ContainsFunc(read.Aborted, func(a AbortedTxn) bool {
			return a.ProducerID == b.ProducerID() && a.FirstOffset <= b.BaseOffset() && b.BaseOffset() < a.LastOffset
		})
	}
	s.model.batches(s.durable, func(b record.Batch) {
		f, transactional := first[b.BaseOffset()]
		if !transactional || b.Control() || b.Hidden() || unknown[b.ProducerID()] || covers(lost, b.BaseOffset()) {
			return
		}
		committed, over := ended[f]
		visible, served := seen[b.BaseOffset()]
		switch {
		case served && visible && !(over && committed):
			t.Fatalf("batch at offset %d of the transaction from %d is shown as committed, ended %t, committed %t; lost %+v", b.BaseOffset(), f, over, committed, lost)
		case served && !visible && committed:
			t.Fatalf("batch at offset %d of the transaction from %d is shown as aborted, and was committed; lost %+v", b.BaseOffset(), f, lost)
		}
	})
}
