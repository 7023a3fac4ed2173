package log

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/record"
)

// history is a script that meets every kind of file operation. It goes on after errors, as a broker
// does, and notes what was acknowledged.
type history struct {
	fsys   vfs.FS
	set    *Set
	logs   [2]*Log
	sent   [2][]string // values appended, or perhaps appended, in order
	acked  [2]int      // so many of them were acknowledged
	start  [2]int64    // reported start that was acknowledged
	errs   []error
	counts int
}

func (h *history) note(err error) bool {
	if err != nil {
		h.errs = append(h.errs, err)
	}
	return err == nil
}

func (h *history) open() bool {
	var err error
	h.set, err = Open(SetConfig{FS: h.fsys, Dir: "data", Now: clock, JournalSegmentBytes: minJournalFile, JournalMaxBytes: 2 * minJournalFile})
	if !h.note(err) {
		return false
	}
	if j := h.set.commits.journal; j != nil {
		h.note(j.prepare())
	}
	for i := range h.logs {
		h.logs[i], err = tryOpenLog(h.set, ID{Partition: int32(i)}, func(c *Config) { c.SegmentBytes, c.IndexIntervalBytes, c.RetentionMs = 1000, 100, -1 })
		if h.note(err) {
			// What was not acknowledged may be lost.
			h.sent[i] = h.sent[i][:min(int(h.logs[i].Offsets().LogEnd), len(h.sent[i]))]
		}
	}
	return true
}

// append sends one record, or two in a group of a hidden and a visible piece.
func (h *history) append(i int, group bool) {
	l := h.logs[i]
	if l == nil || l.Failure() != nil {
		return
	}
	h.counts++
	value := fmt.Sprint("v", h.counts)
	g := plain(batch(now.UnixMilli(), 0, value))
	if group {
		hidden := batch(now.UnixMilli(), record.Hidden|record.Continued, value)
		value += "b"
		visible := batch(now.UnixMilli(), 0, value)
		visible.SetBaseOffset(1)
		g = Group{Pieces: []record.Batch{hidden, visible}, ProducerID: -1, Span: 2}
		h.sent[i] = append(h.sent[i], value[:len(value)-1])
	}
	h.sent[i] = append(h.sent[i], value)
	if _, err := l.Append(1, now, g); !h.note(err) && errors.Is(err, ErrNoSpace) {
		// Surely not stored.
		h.sent[i] = h.sent[i][:len(h.sent[i])-len(g.Pieces)]
	}
}

// truncate takes back what was not acknowledged.
func (h *history) truncate(i int) {
	h.append(i, true)
	h.append(i, false)
	if h.note(h.logs[i].TruncateTo(int64(h.acked[i]))) {
		h.sent[i] = h.sent[i][:h.acked[i]]
	}
	h.append(i, false)
}

func (h *history) sync() {
	h.set.Sync()
	for i, l := range h.logs {
		if l != nil && l.Failure() == nil {
			h.acked[i] = max(h.acked[i], int(l.Offsets().HighWatermark))
		}
	}
}

func (h *history) run() {
	if !h.open() {
		return
	}
	for round := range 3 {
		for i := range h.logs {
			h.append(i, false)
			h.append(i, true)
		}
		h.sync()
		for i, l := range h.logs {
			if l == nil {
				continue
			}
			for range 4 {
				h.append(i, false)
			}
			if round == 1 {
				h.note(l.Roll())
			}
		}
		h.sync()
		h.set.Keep(now)
		for i, l := range h.logs {
			if l == nil {
				continue
			}
			h.note(l.Checkpoint())
			if round == 2 {
				h.truncate(i)
			}
			if round == 1 {
				start, err := l.DeleteRecords(5)
				if h.note(err) {
					h.start[i] = start
				}
				_, err = l.Retain(now, Floor{Gate: forever})
				h.note(err)
			}
		}
		if round == 1 {
			h.note(h.set.Close())
			if !h.open() {
				return
			}
		}
	}
	h.note(h.set.Close())
}

// verify opens what is left and compares.
func (h *history) verify(t *testing.T, fsys vfs.FS) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("%.2000v", h.errs)
		}
	}()
	s, err := Open(SetConfig{FS: fsys, Dir: "data", Now: clock, JournalSegmentBytes: minJournalFile, JournalMaxBytes: 2 * minJournalFile})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range h.logs {
		l, err := tryOpenLog(s, ID{Partition: int32(i)})
		if err != nil {
			t.Fatal(err)
		}
		o := l.Offsets()
		if o.LogStart < h.start[i] {
			t.Fatalf("log %d: reported start %d was acknowledged, now it is %d", i, h.start[i], o.LogStart)
		}
		if o.LogEnd < int64(h.acked[i]) || o.LogEnd > int64(len(h.sent[i])) {
			t.Fatalf("log %d: end %d, acknowledged were %d, sent %d", i, o.LogEnd, h.acked[i], len(h.sent[i]))
		}
		var got []string
		err = l.Scan(o.LocalStart, o.LogEnd, func(b record.Batch) error {
			rs, err := b.Decode()
			for _, r := range rs {
				got = append(got, string(r.Value))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if want := h.sent[i][o.LocalStart:o.LogEnd]; !slices.Equal(got, want) {
			t.Fatalf("log %d: got %v, want %v", i, got, want)
		}
	}
}

// failures are the ways in which file operations fail.
var failures = []struct {
	name string
	rule vfs.Rule
}{
	{"io error", vfs.Rule{}},
	{"io error for good", vfs.Rule{Times: vfs.Forever}},
	{"half a write", vfs.Rule{Partial: true}},
	{"full disk", vfs.Rule{Ops: vfs.OpWrite | vfs.OpCreate | vfs.OpMkdir | vfs.OpTruncate, Err: syscall.ENOSPC, Partial: true}},
	{"read error", vfs.Rule{Ops: vfs.OpRead | vfs.OpOpen | vfs.OpList | vfs.OpStat}},
}

// TestEveryFailure fails one file operation after the other, and then kills the process or cuts the
// power. Nothing acknowledged may be lost, and nothing may come back in part.
func TestEveryFailure(t *testing.T) {
	everyFailure(t, func(fsys vfs.FS) workload { return &history{fsys: fsys} })
}

// workload is what a sweep disturbs, and how it knows afterwards that nothing is wrong.
type workload interface {
	run()
	verify(t *testing.T, fsys vfs.FS)
}

// everyFailure runs a workload anew for every file operation it makes, which fails, in every way
// there is. Then the process is killed, or the power cut.
func everyFailure(t *testing.T, start func(vfs.FS) workload) {
	for _, how := range failures {
		t.Run(how.name, func(t *testing.T) {
			for n, failed := 0, true; failed; n++ {
				mem := vfs.NewMem()
				fsys := vfs.NewFault(mem)
				rule := how.rule
				rule.After = n
				id := fsys.Add(rule)
				w := start(fsys)
				w.run()
				failed = fsys.Fired(id) > 0
				t.Run(fmt.Sprint(n), func(t *testing.T) {
					w.verify(t, mem.CrashProcess())
					w.verify(t, mem.Crash(rand.New(rand.NewPCG(uint64(n), 1))))
					w.verify(t, mem.Crash(nil))
				})
			}
		})
	}
}
