package log

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/log/segment"
)

// cleaning is a script that appends and compacts, and goes on after errors, as a broker does.
type cleaning struct {
	fsys  vfs.FS
	sent  map[string][]string // what was appended for each key, or perhaps was; "" is a tombstone
	acked map[string]int      // so many of them surely were
	count int
	now   time.Time
}

func newCleaning(fsys vfs.FS) *cleaning {
	return &cleaning{fsys: fsys, sent: map[string][]string{}, acked: map[string]int{}, now: now}
}

func (c *cleaning) open() (*Set, *Log, error) {
	s, err := Open(SetConfig{FS: c.fsys, Dir: "data", Now: func() time.Time { return c.now }, JournalSegmentBytes: minJournalFile, JournalMaxBytes: 2 * minJournalFile})
	if err != nil {
		return nil, nil, err
	}
	if j := s.commits.journal; j != nil {
		_ = j.prepare()
	}
	l, err := tryOpenLog(s, testID, func(c *Config) {
		c.Compact, c.Delete, c.SegmentBytes, c.IndexIntervalBytes, c.DeleteRetentionMs = true, false, 300, 100, 1
	})
	return s, l, err
}

func (c *cleaning) append(s *Set, l *Log, key string, tombstone bool) {
	value := []byte(nil)
	if !tombstone {
		c.count++
		value = strconv.AppendInt(nil, int64(c.count), 10)
	}
	var w record.Builder
	w.Reset(0, now.UnixMilli())
	w.Add(0, now.UnixMilli(), []byte(key), value)
	b, err := w.Finish()
	if err != nil {
		panic(err)
	}
	c.sent[key] = append(c.sent[key], string(value))
	a, err := l.Append(1, now, plain(b))
	if errors.Is(err, ErrNoSpace) {
		c.sent[key] = c.sent[key][:len(c.sent[key])-1]
		return
	}
	s.Sync()
	if err == nil && l.Failure() == nil && l.Offsets().SyncedEnd >= a.EndOffset {
		c.acked[key] = len(c.sent[key])
	}
}

func (c *cleaning) run() {
	for range 2 {
		s, l, err := c.open()
		if err != nil {
			return
		}
		for i := range 3 {
			c.append(s, l, "a", false)
			c.append(s, l, fmt.Sprint("k", i), false)
			c.append(s, l, "t", i%2 == 1)
		}
		_ = l.Roll()
		c.now = c.now.Add(time.Second)
		_, _ = l.Compact(context.Background(), c.now, Compaction{Gate: forever, MapBytes: 1 << 10})
		s.Keep(c.now)
		c.append(s, l, "a", false)
		_ = l.Roll()
		c.now = c.now.Add(time.Second)
		_, _ = l.Compact(context.Background(), c.now, Compaction{Gate: forever, MapBytes: 1 << 10})
		_ = s.Close()
	}
}

// verify opens what is left. For each key there is what was acknowledged last, or what was sent after that.
func (c *cleaning) verify(t *testing.T, fsys vfs.FS) {
	t.Helper()
	after := &cleaning{fsys: fsys, now: c.now}
	s, l, err := after.open()
	check(t, err)
	defer s.Close()
	var found []stored
	check(t, l.Scan(0, forever, func(b record.Batch) error {
		found = appendStored(found, b)
		return nil
	}))
	values := latest(found)
	for key, sent := range c.sent {
		possible := map[string]bool{}
		for _, v := range sent[max(0, c.acked[key]-1):] {
			possible[v] = true
		}
		if c.acked[key] == 0 {
			possible[""] = true
		}
		if !possible[values[key]] {
			t.Fatalf("key %s is %q; sent were %q, the first %d acknowledged", key, values[key], sent, c.acked[key])
		}
	}
	_, err = Check(CheckOptions{FS: fsys, Dir: l.dir, Report: func(p segment.Problem) {
		if !p.Cache {
			t.Errorf("checker says: %v", p)
		}
	}})
	check(t, err)
	_, err = l.Compact(t.Context(), c.now.Add(time.Second), Compaction{Gate: forever, MapBytes: 1 << 20})
	check(t, err)
}

// TestCompactionCrashesAnywhere kills the process, or cuts the power, before every file operation.
func TestCompactionCrashesAnywhere(t *testing.T) {
	mem := vfs.NewMem()
	fsys := vfs.NewFault(mem)
	c := newCleaning(fsys)
	n := uint64(0)
	fsys.Add(vfs.Rule{Times: vfs.Forever, Do: func() {
		n++
		then := &cleaning{sent: map[string][]string{}, acked: maps.Clone(c.acked), now: c.now}
		for k, v := range c.sent {
			then.sent[k] = slices.Clone(v)
		}
		after := []*vfs.Mem{mem.CrashProcess(), mem.Crash(rand.New(rand.NewPCG(n, 2))), mem.Crash(nil)}
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			for _, fsys := range after {
				then.verify(t, fsys)
			}
		})
	}})
	c.run()
	if n < 100 {
		t.Errorf("only %d operations", n)
	}
}

// TestEveryFailureOfCompaction fails one file operation after the other, and then kills the process
// or cuts the power. A start finds the old segments, or the new one, and every key has its last
// value.
func TestEveryFailureOfCompaction(t *testing.T) {
	everyFailure(t, func(fsys vfs.FS) workload { return newCleaning(fsys) })
}
