package partition

import (
	"errors"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/morrowmq/morrow/delay"
	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log"
)

// unloadable makes sure that a partition's schedule is one stopped source, for a reason that was told once.
func (w *world) unloadable(p *Partition, reason string) {
	w.Helper()
	sources, err := p.ScheduleSources()
	if err != nil || len(sources) != 1 || sources[0].Run != -1 || sources[0].Pending != 0 || sources[0].NextDue != math.MaxInt64 ||
		sources[0].Stopped == nil || !strings.Contains(sources[0].Stopped.Error(), reason) {
		w.Errorf("sources %+v, %v, expected one that is stopped because of %q", sources, err, reason)
	}
	if n := strings.Count(w.lines.String(), "delayed records cannot be read from the log"); n != 1 {
		w.Errorf("told %d times:\n%s", n, w.lines.String())
	}
	if _, err := p.Append(w.Context(), batch(w.clock(), delayed("x", "1h")), nil, w.clock()); !errors.Is(err, ErrLoading) {
		w.Errorf("a delayed record: %v", err)
	}
	w.append(p, plain("an ordinary record"))
}

// TestScheduleThatCannotBeReadIsTriedLessAndLessAndSaysWhyOnce until it can be read.
func TestScheduleThatCannotBeReadIsTriedLessAndLessAndSaysWhyOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		w := &world{TB: t, fsys: mem, mem: mem, store: newMemStore(), clock: time.Now, lines: &syncBuffer{}}
		w.open()
		w.create("orders", 1)
		stop := w.start()
		w.awaitLoaded("orders")
		w.append(w.partition("orders"), delayed("a", "2h"))
		w.commit()
		stop()
		fault := vfs.NewFault(mem)
		w.fsys = fault
		if err := w.logs.Close(); err != nil {
			t.Fatal(err)
		}
		w.open()
		failing := fault.Add(vfs.Rule{Ops: vfs.OpRead, Times: vfs.Forever, Err: errors.New("sector not found")})
		w.start()
		time.Sleep(time.Hour)
		p := w.partition("orders")
		w.unloadable(p, "sector not found")
		if n := fault.Fired(failing); n < 100 || n > 500 { // twice a minute at most, and a few reads each
			t.Errorf("read %d times in an hour", n)
		}
		fault.End(failing)
		time.Sleep(maxLoadRetry + loadRetry)
		if sources, err := p.ScheduleSources(); err != nil || len(sources) != 1 || sources[0].Stopped != nil || sources[0].Pending != 1 {
			t.Errorf("sources %+v, %v", sources, err)
		}
		if !strings.Contains(w.lines.String(), "could be read from the log again") {
			t.Errorf("not told that it goes on:\n%s", w.lines.String())
		}
		time.Sleep(2 * time.Hour)
		if d := w.delivered(p); d[0] != 1 {
			t.Errorf("delivered %v", d)
		}
	})
}

// TestLogThatHasLostItsEndDelaysNothing: what its schedule knows of it would be taken for what gets
// the same offsets.
func TestLogThatHasLostItsEndDelaysNothing(t *testing.T) {
	living(t, func(t *testing.T, w *world) {
		w.create("orders", 1, "segment.ms", "60000", "retention.ms", "600000")
		stop := w.start()
		w.awaitLoaded("orders")
		w.append(w.partition("orders"), delayed("a", "24h"), delayed("b", "24h"))
		time.Sleep(time.Hour)
		p := w.partition("orders")
		if s := w.stats(p); s.Spilled != 2 {
			t.Fatalf("%+v: the test is void", s)
		}
		whole := w.mem.Crash(nil)
		stop()
		lost := whole.Crash(nil)
		if err := lost.RemoveAll(vfs.Join("/logs", log.ID{Topic: p.Topic().ID, Partition: 0}.String())); err != nil {
			t.Fatal(err)
		}
		w.reopen(lost)
		stop = w.start()
		time.Sleep(time.Hour)
		w.unloadable(w.partition("orders"), delay.ErrLogEndLost.Error()+": the schedule log knows of all below offset 2, the log ends at 0")
		stop()
		w.reopen(whole)
		w.start()
		w.awaitLoaded("orders")
		time.Sleep(24 * time.Hour)
		if s := w.stats(w.partition("orders")); s.Delivered != 2 || s.Pending != 0 {
			t.Errorf("with its log put back: %+v", s)
		}
	})
}
