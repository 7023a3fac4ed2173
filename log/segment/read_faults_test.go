package segment

import (
	"errors"
	"math"
	"syscall"
	"testing"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/record"
)

// faultySegment is a sealed segment with its caches, as a start finds it: visible and hidden batches
// by turns, and a transaction that was aborted.
func faultySegment(t *testing.T, fsys vfs.FS) Options {
	t.Helper()
	o := options(t, fsys)
	s, err := Create(o, 0, 0)
	ok(t, err)
	for i := range int64(40) {
		a := record.Attributes(0)
		if i%4 == 1 {
			a = record.Hidden | record.LogAppendTime
		}
		_, err = s.Append([]record.Batch{valued(i, 1000+i, a, 1, 300)}, 1)
		ok(t, err)
	}
	s.AddAborted(AbortedTxn{ProducerID: 7, FirstOffset: 3, LastOffset: 9, LastStable: 10})
	s.Seal()
	ok(t, s.Sync())
	c, err := s.Checkpoint()
	ok(t, err)
	ok(t, c.Store())
	s.Close()
	return o
}

// A disk that does not give a batch says nothing about the batch: nobody is to look for damage, and
// the next try may have it.
func TestWhatCannotBeReadIsNotDamaged(t *testing.T) {
	reads := map[string]func(s *Segment) error{
		"batch":        func(s *Segment) error { _, err := s.BatchAt(30, nil); return err },
		"group":        func(s *Segment) error { _, _, err := s.FloorGroup(30); return err },
		"visible":      func(s *Segment) error { return s.Visible(5, func(record.Batch, int64) bool { return true }) },
		"last visible": func(s *Segment) error { _, err := s.LastVisible(30); return err },
		"time":         func(s *Segment) error { _, err := s.FloorTime(1030); return err },
		"scan":         func(s *Segment) error { return s.Scan(5, 30, func(record.Batch, int64) error { return nil }) },
		"slice": func(s *Segment) error {
			f, release, err := s.Hold()
			if err != nil {
				return err
			}
			defer release()
			_, _, _, err = s.Slice(nil, f, Query{Offset: 5, End: 30, MaxBytes: 3000})
			return err
		},
	}
	for name, read := range reads {
		t.Run(name, func(t *testing.T) {
			for n, failed := 0, true; failed; n++ {
				fsys := vfs.NewFault(vfs.NewMem())
				s, _, err := Open(faultySegment(t, fsys), 0, math.MaxInt64)
				ok(t, err)
				rule := fsys.Add(vfs.Rule{Ops: vfs.OpRead | vfs.OpOpen, After: n, Times: vfs.Forever})
				err = read(s)
				failed = fsys.Fired(rule) > 0
				_, corrupt := errors.AsType[*CorruptError](err)
				if corrupt || failed != errors.Is(err, syscall.EIO) {
					t.Errorf("operation %d failed: %v: %v", n, failed, err)
				}
				fsys.End(rule)
				ok(t, read(s))
			}
		})
	}
}

func TestOpenOfASegmentThatCannotBeRead(t *testing.T) {
	for n, failed := 0, true; failed; n++ {
		fsys := vfs.NewFault(vfs.NewMem())
		o := faultySegment(t, fsys)
		rule := fsys.Add(vfs.Rule{Ops: vfs.OpRead | vfs.OpOpen, Name: "*" + LogSuffix, After: n, Times: vfs.Forever})
		_, tail, err := Open(o, 0, 0) // the summary is not believed
		failed = fsys.Fired(rule) > 0
		if failed != errors.Is(err, syscall.EIO) || tail.Damage != nil {
			t.Errorf("operation %d failed: %v: %v, damage %v", n, failed, err, tail.Damage)
		}
	}
}

// What is left to know of a segment is not forgotten because of a disk that hesitates.
func TestRecordedThatCannotBeRead(t *testing.T) {
	for n, failed := 0, true; failed; n++ {
		fsys := vfs.NewFault(vfs.NewMem())
		o := faultySegment(t, fsys)
		rule := fsys.Add(vfs.Rule{Ops: vfs.OpRead | vfs.OpOpen, After: n})
		r, err := ReadRecorded(o, 0, math.MaxInt64)
		failed = fsys.Fired(rule) > 0
		if failed != errors.Is(err, syscall.EIO) || !failed && len(r.Aborted) != 1 {
			t.Errorf("operation %d failed: %v: %v, %d aborted", n, failed, err, len(r.Aborted))
		}
	}
}
