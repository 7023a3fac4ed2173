package partition

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/delay"
	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/record"
)

// awaitLoaded waits until the schedule of partition 0 is loaded.
func (w *world) awaitLoaded(name string) {
	w.Helper()
	p := w.partition(name)
	for !p.loaded.Load() {
		time.Sleep(time.Millisecond)
	}
}

// delivered counts the deliveries of each ticket. None may be stamped before it was due.
func (w *world) delivered(p *Partition) map[int64]int {
	w.Helper()
	tickets := make(map[int64]int)
	o := p.log.Offsets()
	err := p.log.Scan(o.RealStart, o.LogEnd, func(b record.Batch) error {
		if !b.Delivery() {
			return nil
		}
		rs, err := b.Decode()
		for _, r := range rs {
			headers := map[string]int64{}
			for _, h := range r.Headers {
				headers[h.Key], _ = strconv.ParseInt(string(h.Value), 10, 64)
			}
			tickets[headers[delay.HeaderTicket]]++
			if r.Timestamp < headers[delay.HeaderDue] {
				w.Errorf("ticket %d was due at %d and delivered at %d", headers[delay.HeaderTicket], headers[delay.HeaderDue], r.Timestamp)
			}
		}
		return err
	})
	if err != nil {
		w.Fatal(err)
	}
	return tickets
}

// living runs a test on a world that runs, on a clock of its own.
func living(t *testing.T, test func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		w := &world{TB: t, fsys: mem, mem: mem, store: newMemStore(), clock: time.Now, lines: &syncBuffer{}}
		w.open()
		test(t, w)
	})
}

func TestDeliverWhenDueAndInOrder(t *testing.T) {
	living(t, func(t *testing.T, w *world) {
		w.create("orders", 1)
		w.start()
		w.awaitLoaded("orders")
		p := w.partition("orders")
		w.append(p, delayed("third", "30s"), delayed("first", "10s"), delayed("second", "20s"))
		began := time.Now()
		for i, want := range []string{"3d:first", "4d:second", "5d:third"} {
			due := began.Add(time.Duration(i+1) * 10 * time.Second)
			time.Sleep(time.Until(due) - time.Millisecond)
			if got := w.content(p); len(got) != 3+i {
				t.Errorf("delivered before it was due: %v", got)
			}
			time.Sleep(time.Second)
			if got := w.content(p); got[len(got)-1] != want {
				t.Errorf("log holds %v, expected %s at its end", got, want)
			}
		}
	})
}

func TestDeliverABurstOfSeveralBatches(t *testing.T) {
	living(t, func(t *testing.T, w *world) {
		w.create("orders", 1, "max.message.bytes", "10000000")
		w.start()
		w.awaitLoaded("orders")
		p := w.partition("orders")
		const n = 40_000 // more than a batch takes
		many := make([]rec, n/2)
		for i := range many {
			many[i] = delayed("x", "1h")
		}
		w.append(p, many...)
		w.append(p, many...)
		time.Sleep(time.Hour + time.Minute)
		delivered := w.delivered(p)
		for ticket, times := range delivered {
			if times != 1 {
				t.Errorf("ticket %d was delivered %d times", ticket, times)
			}
		}
		if len(delivered) != n || w.stats(p).Pending != 0 {
			t.Errorf("%d of %d were delivered, %d are pending", len(delivered), n, w.stats(p).Pending)
		}
	})
}

func TestDeliverWhatFellDueWhileTheBrokerWasDown(t *testing.T) {
	living(t, func(t *testing.T, w *world) {
		w.create("orders", 1)
		stop := w.start()
		w.awaitLoaded("orders")
		p := w.partition("orders")
		w.append(p, plain("a"), delayed("b", "1m"), delayed("c", "3h"), delayed("d", "1h"))
		w.append(p, cancelOf(3))
		time.Sleep(time.Second)
		left := w.mem.CrashProcess()
		stop()

		time.Sleep(2 * time.Hour)
		w.restart(left)
		w.start()
		p = w.partition("orders")
		time.Sleep(time.Second)
		if got := w.delivered(p); len(got) != 1 || got[1] != 1 {
			t.Errorf("delivered after the restart: %v", got)
		}
		time.Sleep(time.Hour)
		if got := w.delivered(p); len(got) != 2 || got[2] != 1 {
			t.Errorf("delivered an hour later: %v", got)
		}
		if s := w.stats(p); s.Pending != 0 {
			t.Errorf("%d are pending", s.Pending)
		}
	})
}

func TestLoadAfterEveryCrash(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1)
	w.load()
	p := w.partition("orders")
	var states []string // after each append, if it survives
	state := func(p *Partition) string {
		s := w.stats(p)
		return fmt.Sprintf("end %d, pending %d, next %d", p.log.Offsets().LogEnd, s.Pending, s.NextDue-epoch.UnixMilli())
	}
	states = append(states, state(p))
	for i, rs := range [][]rec{
		{plain("a"), delayed("b", "1h")},
		{delayed("c", "2h")},
		{cancelOf(1)},
		{plain("d"), delayed("e", "30m"), delayed("f", "3h")},
		{cancelOf(5), delayed("g", "4h")},
	} {
		w.append(p, rs...)
		states = append(states, state(p))
		if i == 2 {
			w.commit()
		}
	}
	for name, left := range map[string]*vfs.Mem{"of the process": w.mem.CrashProcess(), "of the machine": w.mem.Crash(nil)} {
		again := &world{TB: t, store: w.store, clock: w.clock, lines: &syncBuffer{}}
		again.restart(left)
		got := state(again.partition("orders"))
		i := slices.Index(states, got)
		if least := map[string]int{"of the process": 5, "of the machine": 3}[name]; i < least {
			t.Errorf("after a crash %s: %s, expected one of\n%s", name, got, strings.Join(states[least:], "\n"))
		}
	}
}

func TestLoadOfAPartitionThatIsClosedMeanwhile(t *testing.T) {
	living(t, func(t *testing.T, w *world) {
		topic := w.create("orders", 1)
		w.append(w.partition("orders"), plain("a"))
		w.reopen(w.mem.CrashProcess())
		p := w.partition("orders")
		w.store.must(cluster.DeleteTopics{IDs: []cluster.TopicID{topic.ID}})
		w.follow() // closes it, not loaded yet
		w.start()
		time.Sleep(time.Minute)
		if p.loaded.Load() || p.attached() != nil {
			t.Error("a closed partition began to deliver")
		}
		if said := w.lines.String(); strings.Contains(said, "ERROR") {
			t.Errorf("a deleted topic is an error:\n%s", said)
		}
	})
}

func TestLoadTakesAsMuchMemoryAsTheIndex(t *testing.T) {
	const records, perBatch = 200_000, 1000
	w := newWorld(t)
	w.create("orders", 1)
	p := w.partition("orders")
	rs := make([]rec, perBatch)
	for i := 0; i < records; i += perBatch {
		for j := range rs {
			rs[j] = delayed("x", strconv.Itoa(1+i*7919%86_400+j)+"s")
		}
		w.append(p, rs...)
	}
	w.commit()
	w.reopen(w.mem.CrashProcess())
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	w.load()
	runtime.ReadMemStats(&after)
	if s := w.stats(w.partition("orders")); s.Pending != records {
		t.Fatalf("%d are pending", s.Pending)
	}
	if bytes := (after.TotalAlloc - before.TotalAlloc) / records; bytes > 80 && !raceDetector {
		t.Errorf("%d bytes were allocated per pending record", bytes)
	}
}

func TestLoadIsGivenUp(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1)
	w.append(w.partition("orders"), plain("a"))
	w.reopen(w.mem.CrashProcess())
	p := w.partition("orders")
	if err := p.load(canceled()); err == nil || p.loaded.Load() {
		t.Errorf("load: %v", err)
	}
	if err := p.load(context.Background()); err != nil || !p.loaded.Load() {
		t.Errorf("second load: %v", err)
	}
}
