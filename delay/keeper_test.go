package delay

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/morrowmq/morrow/delay/index"
	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/record"
)

// spilling is a partition with a keeper.
type spilling struct {
	*partition
	journal *memoryJournal
	keeper  *Keeper
	fs      vfs.FS
}

func newSpilling(t testing.TB) *spilling {
	p := &spilling{partition: newPartition(testRules(t, nil)), journal: new(memoryJournal), fs: vfs.NewMem()}
	p.restart(t)
	return p
}

// restart makes the schedule anew from the journal and the log.
func (p *spilling) restart(t testing.TB) {
	t.Helper()
	var err error
	c := KeeperConfig{Journal: p.journal, FS: p.fs, Dir: "spill", SortBytes: 100 << 10, Now: p.now}
	if p.keeper, p.schedule, err = OpenKeeper(t.Context(), c, Range{0, p.end}); err != nil {
		t.Fatal(err)
	}
	for _, b := range p.batches {
		if b.EndOffset() > p.schedule.End() {
			if err := p.schedule.Apply(b); err != nil {
				t.Fatal(err)
			}
		}
	}
	p.schedule.AdvanceHighWatermark(p.end)
}

func (p *spilling) spill(t testing.TB, below int64) {
	t.Helper()
	if err := p.keeper.Spill(t.Context(), p, below, 0); err != nil {
		t.Fatal(err)
	}
	if left, err := p.fs.List("spill"); err != nil || len(left) > 0 {
		t.Errorf("temporary files %v are left, %v", left, err)
	}
}

// all lists everything that is pending.
func (p *spilling) all(t testing.TB) []Pending {
	t.Helper()
	var all []Pending
	for position := index.First; ; {
		page, err := p.schedule.List(t.Context(), position, Filter{Until: LastDue}, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if all = append(all, page.Records...); page.Done {
			return all
		}
		position = page.Next
	}
}

func TestSpilledRecordsAreDeliveredInOrderWithTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSpilling(t)
		rng := rand.New(rand.NewPCG(3, 4))
		var want []Entry
		schedule := func(batches int) {
			for range batches {
				delays := make([]time.Duration, 100)
				for i := range delays {
					delays[i] = time.Hour + time.Duration(rng.IntN(100_000))*time.Millisecond
					want = append(want, Entry{Due: time.Now().Add(delays[i]).UnixMilli(), Ticket: p.end + int64(i)})
				}
				p.scheduleAll(t, bubbleCodecs[rng.IntN(len(bubbleCodecs))], delays...)
			}
		}
		schedule(30)
		p.spill(t, 2500)
		schedule(30)
		p.spill(t, 5000)
		schedule(10)
		if st := p.schedule.Stats(0); st.Runs != 2 || st.Spilled != 5000 || st.Pending != 7000 {
			t.Fatalf("stats %+v", st)
		}
		p.restart(t)
		d := dispatching(t, DispatcherConfig{})
		line := d.Attach("orders-0", p.schedule, p)
		defer line.Detach()
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		got := ticketsOf(t, p.visible())
		slices.SortFunc(want, Entry.Compare)
		for i := range want {
			if i >= len(got) || got[i] != want[i].Ticket {
				t.Fatalf("delivery %d of %d is of ticket %v, want %d", i, len(want), got[i:min(i+1, len(got))], want[i].Ticket)
			}
		}
		p.checkNothingEarly(t)
		if late := line.Lateness(); late.Quantile(1) > 2 {
			t.Errorf("lateness %+v", late)
		}
		// What is finished is forgotten, recorded, and deleted.
		if err := p.keeper.Progress(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if err := p.keeper.Tidy(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if st := p.schedule.Stats(0); st.Runs != 0 || st.Pending != 0 || st.Bytes != 0 || len(p.journal.segments) != 1 {
			t.Errorf("%d segments are left, stats %+v", len(p.journal.segments), st)
		}
		if gate := p.schedule.Gate(); gate != math.MaxInt64 {
			t.Errorf("gate is at %d with nothing pending", gate)
		}
	})
}

func TestRunThatCannotBeReadStopsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSpilling(t)
		p.scheduleAll(t, record.None, time.Hour, 3*time.Hour)
		p.spill(t, p.end)
		p.scheduleAll(t, record.None, time.Hour, 3*time.Hour)
		p.spill(t, p.end)
		p.scheduleAll(t, record.None, time.Hour)
		lost := p.schedule.runs.list[0]
		var missing atomic.Bool
		missing.Store(true)
		p.journal.unread = func(offset int64) error {
			if missing.Load() && lost.from <= offset && offset < lost.to {
				return errors.New("no such object")
			}
			return nil
		}
		line := dispatching(t, DispatcherConfig{}).Attach("orders-0", p.schedule, p)
		defer line.Detach()
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if got := fmt.Sprint(ticketsOf(t, p.visible())); got != "[2 4]" {
			t.Errorf("delivered %s while the run of tickets 0 and 1 cannot be read", got)
		}
		for _, s := range line.Sources() {
			if stopped := s.Run == lost.from; stopped != (s.Stopped != nil) || stopped && !strings.Contains(s.Stopped.Error(), "no such object") {
				t.Errorf("source %+v", s)
			}
		}
		if err := line.Stopped(); err == nil {
			t.Error("the line does not say that something is stopped")
		}
		reads := p.journal.reads.Load()
		time.Sleep(time.Hour / 2)
		if n := p.journal.reads.Load() - reads; n > 400 || n < 300 {
			t.Errorf("%d reads of the missing run in half an hour", n)
		}
		missing.Store(false)
		time.Sleep(maxBackoff)
		synctest.Wait()
		if got := fmt.Sprint(ticketsOf(t, p.visible())); got != "[2 4 0]" || line.Stopped() != nil {
			t.Errorf("delivered %s, stopped by %v", got, line.Stopped())
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := fmt.Sprint(ticketsOf(t, p.visible())); got != "[2 4 0 1 3]" {
			t.Errorf("delivered %s", got)
		}
	})
}

func TestRunIsDueNextWhenItsFirstPendingRecordIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSpilling(t)
		begin := time.Now()
		p.scheduleAll(t, record.None, time.Minute, time.Hour, 2*time.Hour, 3*time.Hour)
		p.spill(t, p.end)
		check := func(when string, want time.Duration) {
			t.Helper()
			due := int64(math.MaxInt64)
			if want > 0 {
				due = begin.Add(want).UnixMilli()
			}
			if sources := p.schedule.sources(); len(sources) != 2 || sources[1].NextDue != due || sources[0].NextDue != math.MaxInt64 {
				t.Errorf("%s the sources are %+v, the next is due at %d", when, sources, due)
			}
			if st := p.schedule.Stats(time.Now().UnixMilli()); st.NextDue != due {
				t.Errorf("%s stats are %+v, the next is due at %d", when, st, due)
			}
		}
		var first, full atomic.Bool
		first.Store(true)
		p.deliver = func() error {
			if first.Swap(false) {
				check("while the first is in flight", time.Minute)
			}
			if full.Load() {
				return errors.New("disk full")
			}
			return nil
		}
		line := dispatching(t, DispatcherConfig{}).Attach("orders-0", p.schedule, p)
		check("at first", time.Minute)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		check("after the first delivery", time.Hour)
		full.Store(true)
		time.Sleep(time.Hour)
		synctest.Wait()
		check("while the second cannot be delivered", time.Hour)
		full.Store(false)
		time.Sleep(maxBackoff)
		synctest.Wait()
		check("after the second delivery", 2*time.Hour)
		p.mustSend(t, cancelOf(2))
		time.Sleep(time.Hour)
		synctest.Wait()
		check("after the third was cancelled", 3*time.Hour)
		line.Detach()
		// What another broker leads may take a delivery back.
		end := p.end
		p.wait = func(context.Context, int64) error { return nil } // nothing is committed
		line = dispatching(t, DispatcherConfig{}).Attach("orders-0", p.schedule, p)
		time.Sleep(time.Hour)
		synctest.Wait()
		check("after the last delivery", 0)
		line.Detach()
		if err := p.schedule.Truncate(end); err != nil {
			t.Fatal(err)
		}
		check("after the last delivery was truncated", 3*time.Hour)
	})
}

func TestRunThatIsSlowToReadDelaysNoOtherForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSpilling(t)
		p.scheduleAll(t, record.None, time.Hour)
		p.spill(t, p.end)
		var delays []time.Duration
		for i := range 100 {
			delays = append(delays, time.Hour+time.Duration(i)*100*time.Millisecond)
		}
		p.scheduleAll(t, record.None, delays...)
		p.journal.stall = true
		line := dispatching(t, DispatcherConfig{}).Attach("orders-0", p.schedule, p)
		defer line.Detach()
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if late := line.Lateness(); late.Count != 100 || late.Quantile(1) > patience.Milliseconds() {
			t.Errorf("lateness beside a run that cannot be read: %+v", late)
		}
	})
}

func TestGateClosesBeforeAFooterIsCommitted(t *testing.T) {
	p := newSpilling(t)
	p.mustSend(t, with("a", HeaderDelay, "1h"), with("b", HeaderDelay, "2h"))
	appends := 0
	p.journal.before = func() error {
		appends++
		if appends < 6 {
			return nil
		}
		// The footer is written; nobody knows whether it will last. Meanwhile what it names is finished.
		p.mustSend(t, cancelOf(0), cancelOf(1))
		return errInjected
	}
	if err := p.keeper.Spill(t.Context(), p, p.end, 0); !errors.Is(err, errInjected) {
		t.Fatal(err)
	}
	if gate := p.schedule.Gate(); gate > 2 {
		t.Errorf("gate is at %d, the proofs at 2 and 3 are not folded in", gate)
	}
	p.journal.before = nil
	if err := p.keeper.Progress(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if gate := p.schedule.Gate(); gate != math.MaxInt64 {
		t.Errorf("gate is at %d after progress without runs", gate)
	}
}

func TestTransactionsThatAreNotOverAreNotSpilled(t *testing.T) {
	p := newSpilling(t)
	p.mustSend(t, with("a", HeaderDelay, "1h"))
	if _, err := p.produceIn(7, with("b", HeaderDelay, "1h")); err != nil {
		t.Fatal(err)
	}
	p.mustSend(t, with("c", HeaderDelay, "1h"))
	p.spill(t, p.end)
	if st := p.schedule.Stats(0); st.Spilled != 1 || st.Pending != 2 || st.Undecided != 1 {
		t.Errorf("stats %+v", st)
	}
	if gate := p.schedule.Gate(); gate != 1 {
		t.Errorf("gate is at %d, ticket 1 is undecided", gate)
	}
}

// TestTransactionThatIsCommittedWhileASpillEndsIsDueAtOnce, though nothing else is left in memory.
func TestTransactionThatIsCommittedWhileASpillEndsIsDueAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSpilling(t)
		p.mustSend(t, with("a", HeaderDelay, "9h"))
		if _, err := p.produceIn(7, with("b", HeaderDelay, "1m")); err != nil {
			t.Fatal(err)
		}
		p.journal.before = func() error { // the run is being written: all that goes into it was looked at
			p.journal.before = nil
			return p.decide(7, true)
		}
		p.spill(t, p.end)
		defer dispatching(t, DispatcherConfig{}).Attach("orders-0", p.schedule, p).Detach()
		time.Sleep(time.Minute + 10*time.Millisecond)
		synctest.Wait()
		if got := ticketsOf(t, p.visible()); fmt.Sprint(got) != "[1]" {
			t.Errorf("delivered are %v, want [1]", got)
		}
	})
}

func TestTicketsAndKeysAreFoundInLargeRuns(t *testing.T) {
	p := newSpilling(t)
	const n = 30_000
	key := func(i int) string { return fmt.Sprintf("key-%08x", uint32(i)*2654435761) }
	for i := 0; i < n; i += 500 {
		var rs []record.Record
		for j := i; j < i+500; j++ {
			rs = append(rs, with("v", HeaderKey, key(j), HeaderDelay, strconv.Itoa(3600_000+j*7919%3600_000)))
		}
		p.mustSend(t, rs...)
	}
	p.spill(t, p.end)
	r := p.schedule.runs.list[0]
	if len(r.tickets) < 2 || len(r.keys) < 2 || len(r.data) < 2 {
		t.Fatalf("the run has %d batches of tickets, %d of keys, %d of records: too small for this test", len(r.tickets), len(r.keys), len(r.data))
	}
	p.restart(t)
	for _, i := range []int{0, 1, 499, 500, 7776, 7777, 12345, n - 1} {
		reads := p.journal.reads.Load()
		if i%2 == 0 {
			p.mustSend(t, cancelOf(int64(i)))
		} else {
			p.mustSend(t, with("", HeaderCancel, "key", HeaderKey, key(i)))
		}
		if got := p.journal.reads.Load() - reads; got > 1 {
			t.Errorf("cancel of ticket %d read %d batches", i, got)
		}
		_, err := p.send(with("", HeaderCancel, "key", HeaderKey, key(i)))
		checkRefused(t, err, 0, "nothing is pending under the key")
		_, err = p.send(cancelOf(int64(i)))
		checkRefused(t, err, 0, "was cancelled at offset")
	}
	_, err := p.send(with("", HeaderCancel, "key", HeaderKey, "nobody's"))
	checkRefused(t, err, 0, "nothing is pending under the key")
	// A new record under a key replaces the spilled one.
	p.mustSend(t, with("new", HeaderKey, key(77), HeaderDelay, "1h"))
	if st := p.schedule.Stats(0); st.Pending != n-8 || st.Spilled != n-9 {
		t.Errorf("stats %+v", st)
	}
	found, err := p.schedule.Find(t.Context(), p, 78)
	if err != nil || found.Key != key(78) || string(found.Record.Value) != "v" || len(found.Record.Headers) != 0 || found.Run != r.from {
		t.Errorf("found %+v, %v", found, err)
	}
	if _, err := p.schedule.Find(t.Context(), p, 77); !errors.Is(err, ErrNotPending) {
		t.Errorf("found what is replaced: %v", err)
	}
	p.journal.unread = func(int64) error { return errors.New("store unreachable") }
	var refused *record.RecordErrors
	if _, err := p.send(cancelOf(100)); err == nil || errors.As(err, &refused) {
		t.Errorf("got %v", err)
	}
}

// TestMergeThatIsEndedLeavesAllAsBefore ends the context of a merge at each thing it does with the
// journal. What comes then goes on as if it had not been begun.
func TestMergeThatIsEndedLeavesAllAsBefore(t *testing.T) {
	ended := 0
	for n := 1; ; n++ {
		p := newSpilling(t)
		for i := range maxRunsOfClass + 2 {
			p.mustSend(t, with("a", HeaderDelay, strconv.Itoa(3600_000-i)), with("b", HeaderKey, strconv.Itoa(i), HeaderDelay, "2h"))
			p.spill(t, p.end)
		}
		ctx, end := context.WithCancel(t.Context())
		steps := 0
		step := func() error {
			if steps++; steps == n {
				end()
			}
			return nil
		}
		p.journal.before, p.journal.unread = step, func(int64) error { return step() }
		merged, err := p.keeper.Merge(ctx, 0, atOnce)
		p.journal.before, p.journal.unread = nil, nil
		end()
		switch {
		case err == nil && merged && ended > 0 && n >= steps-1:
			// Its progress record was being written, or it was over.
		case !errors.Is(err, context.Canceled):
			t.Fatalf("ended at step %d: merged %v, %v after %d steps", n, merged, err, steps)
		case steps > n+1:
			t.Fatalf("ended at step %d, went on to step %d", n, steps)
		default:
			ended++
		}
		p.mustSend(t, with("c", HeaderDelay, "3h"), cancelOf(0))
		p.spill(t, p.end)
		want := withoutRuns(fmt.Sprint(p.all(t)))
		if len(p.all(t)) != 2*(maxRunsOfClass+2) {
			t.Fatalf("ended at step %d: pending %s", n, want)
		}
		if err := p.keeper.Tidy(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		p.restart(t)
		if got := withoutRuns(fmt.Sprint(p.all(t))); got != want {
			t.Fatalf("ended at step %d: after a restart pending %s, want %s", n, got, want)
		}
		if n > steps {
			return
		}
	}
}

func TestManyRunsAreMergedAndOldOnesDeleted(t *testing.T) {
	p := newSpilling(t)
	for i := range maxRunsOfClass + 2 {
		p.mustSend(t, with("a", HeaderDelay, strconv.Itoa(3600_000-i)), with("b", HeaderKey, strconv.Itoa(i), HeaderDelay, "2h"))
		p.spill(t, p.end)
	}
	want := fmt.Sprint(p.all(t))
	merged, err := p.keeper.Merge(t.Context(), 0, atOnce)
	if err != nil || !merged {
		t.Fatalf("merged %v, %v", merged, err)
	}
	check := func(when string) {
		t.Helper()
		if st := p.schedule.Stats(0); st.Runs != 1 || st.Spilled != 2*(maxRunsOfClass+2) {
			t.Errorf("%s: stats %+v", when, st)
		}
		all := p.all(t)
		for i := range all {
			all[i].Run = 0
		}
		if got := withoutRuns(fmt.Sprint(all)); got != withoutRuns(want) {
			t.Errorf("%s: pending %s, want %s", when, got, want)
		}
	}
	check("after the merge")
	if err := p.keeper.Tidy(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if n := len(p.journal.segments); n > 4 {
		t.Errorf("%d segments are left", n)
	}
	check("after tidying")
	p.restart(t)
	check("after a restart")
	p.mustSend(t, with("", HeaderCancel, "key", HeaderKey, "3"))
	if merged, err := p.keeper.Merge(t.Context(), 0, atOnce); err != nil || merged {
		t.Errorf("merged %v, %v though there is no need", merged, err)
	}
	for ticket := range int64(2 * (maxRunsOfClass + 1)) {
		if ticket != 7 {
			p.mustSend(t, cancelOf(ticket))
		}
	}
	if merged, err := p.keeper.Merge(t.Context(), 0, atOnce); err != nil || !merged {
		t.Errorf("merged %v, %v though most is finished", merged, err)
	}
	if r := p.schedule.runs.list[0]; r.count != 2 {
		t.Errorf("%d records are left in the run, want 2", r.count)
	}
}

// withoutRuns removes the number of the run from a printed list.
func withoutRuns(s string) string {
	var b strings.Builder
	for field := range strings.SplitSeq(s, "}") {
		b.WriteString(strings.TrimRight(field, "-0123456789"))
	}
	return b.String()
}

func TestRunWithoutItsFooterIsDeletedAfterACrash(t *testing.T) {
	p := newSpilling(t)
	p.mustSend(t, with("a", HeaderDelay, "1h"))
	if err := p.keeper.Progress(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	appends := 0
	p.journal.before = func() error {
		if appends++; appends == 5 {
			return errInjected // the footer
		}
		return nil
	}
	if err := p.keeper.Spill(t.Context(), p, p.end, 0); !errors.Is(err, errInjected) {
		t.Fatal(err)
	}
	p.journal.before = nil
	p.restart(t)
	if st := p.schedule.Stats(0); st.Runs != 0 || st.Pending != 1 {
		t.Errorf("stats %+v", st)
	}
	if err := p.keeper.Progress(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if err := p.keeper.Tidy(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(len(p.journal.segments), p.keeper.drops); got != "1 [{0 6}]" {
		t.Errorf("segments and drops: %s", got)
	}
}

// TestProgressIsFoundAgain: what is finished in runs is known after a start without the proofs, by
// a complete record, by one after that, and by one that follows upon a run which was not finished.
func TestProgressIsFoundAgain(t *testing.T) {
	p := newSpilling(t)
	p.scheduleAll(t, record.None, time.Hour, time.Hour, time.Hour, time.Hour, time.Hour)
	p.spill(t, p.end)
	for i, name := range []string{"a record after a complete one", "a second one", "one after a run that was not finished"} {
		if i == 2 {
			last := p.scheduleAll(t, record.None, time.Hour)
			appends := 0
			p.journal.before = func() error {
				if appends++; appends == 3 {
					return errInjected
				}
				return nil
			}
			if err := p.keeper.Spill(t.Context(), p, p.end, 0); !errors.Is(err, errInjected) {
				t.Fatal(err)
			}
			p.journal.before = nil
			p.mustSend(t, cancelOf(last))
		}
		p.mustSend(t, cancelOf(int64(i)))
		if err := p.keeper.Progress(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		before := p.keeper
		known := p.schedule
		gate := p.schedule.Gate()
		if p.batches = slices.DeleteFunc(p.batches, func(b record.Batch) bool { return b.EndOffset() <= gate }); len(p.batches) > 0 {
			t.Fatalf("%s: the proofs are still needed", name)
		}
		p.restart(t)
		if n := p.schedule.Stats(0).Pending; n != int64(4-i) || len(p.all(t)) != 4-i {
			t.Errorf("%s: %d are pending after a start, %d are listed, expected %d", name, n, len(p.all(t)), 4-i)
		}
		p.keeper, p.schedule = before, known
	}
}

// TestStartWaitsForTheProgressThatItBelieves: a broker was killed before progress was durable, and the
// next one finds it. That one may let the log delete the proofs only when a power loss leaves the
// progress where it is.
func TestStartWaitsForTheProgressThatItBelieves(t *testing.T) {
	p := newSpilling(t)
	p.mustSend(t, with("a", HeaderDelay, "1h"), with("b", HeaderDelay, "2h"))
	p.spill(t, p.end)
	p.mustSend(t, cancelOf(0))
	calls := 0
	p.journal.before = func() error {
		if calls++; calls == 2 {
			return errInjected // the progress is written; the broker does not live to see it durable
		}
		return nil
	}
	if err := p.keeper.Progress(t.Context(), 0); !errors.Is(err, errInjected) || p.journal.committed == p.journal.end {
		t.Fatalf("%v, %d of %d are durable: the test is void", err, p.journal.committed, p.journal.end)
	}
	p.journal.before = func() error { return errInjected }
	if _, _, err := OpenKeeper(t.Context(), KeeperConfig{Journal: p.journal, FS: p.fs, Dir: "spill"}, Range{0, p.end}); !errors.Is(err, errInjected) {
		t.Errorf("a start does not wait for the journal: %v", err)
	}
	p.journal.before = nil
	p.restart(t)
	gate := p.schedule.Gate()
	p.batches = slices.DeleteFunc(p.batches, func(b record.Batch) bool { return b.EndOffset() <= gate })
	if len(p.batches) > 0 {
		t.Fatalf("the gate is at %d: the test is void", gate)
	}
	p.journal.truncate(p.journal.committed) // the power is lost
	p.restart(t)
	if all := p.all(t); len(all) != 1 || all[0].Ticket != 1 {
		t.Errorf("pending after the power was lost: %+v", all)
	}
}

// TestLogThatEndsBelowWhatItsJournalKnowsIsDamaged: a record that was given an offset below the
// floor would never be pending, and a proof below what is folded in would be taken for known.
func TestLogThatEndsBelowWhatItsJournalKnowsIsDamaged(t *testing.T) {
	for name, c := range map[string]struct {
		cancel      bool
		known, lose int64
	}{
		"below the floor":                          {false, 3, 1},
		"below what is folded in, above the floor": {true, 4, 1},
		"all of it":                                {false, 3, 3},
	} {
		t.Run(name, func(t *testing.T) {
			p := newSpilling(t)
			p.mustSend(t, with("a", HeaderDelay, "1h"), with("b", HeaderDelay, "1h"), with("c", HeaderDelay, "1h"))
			p.spill(t, p.end)
			if c.cancel {
				p.mustSend(t, cancelOf(0))
				if err := p.keeper.Progress(t.Context(), 0); err != nil {
					t.Fatal(err)
				}
			}
			open := func(end int64) error {
				_, _, err := OpenKeeper(t.Context(), p.keeper.c, Range{0, end})
				return err
			}
			if err := open(c.known); err != nil {
				t.Errorf("with all of the log: %v", err)
			}
			err := open(c.known - c.lose)
			if want := fmt.Sprintf("knows of all below offset %d, the log ends at %d", c.known, c.known-c.lose); !errors.Is(err, ErrLogEndLost) || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %s", err, want)
			}
		})
	}
}

func TestScheduleLogOfANewerVersionIsNotTouched(t *testing.T) {
	p := newSpilling(t)
	var w record.Builder
	b, err := hidden(&w, 0, kindProgress, []byte{4})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.journal.Append(t.Context(), true, b); err != nil {
		t.Fatal(err)
	}
	_, _, err = OpenKeeper(t.Context(), KeeperConfig{Journal: p.journal, FS: p.fs, Dir: "spill"}, Range{})
	if err == nil || !strings.Contains(err.Error(), "format version 2, this broker reads 1") {
		t.Errorf("got %v", err)
	}
}

func TestSpillThatFailsAnywhereChangesNothing(t *testing.T) {
	p := newSpilling(t)
	var delays []time.Duration
	for i := range 3000 {
		delays = append(delays, time.Hour+time.Duration(i*7919%3000)*time.Second)
	}
	p.scheduleAll(t, record.None, delays...)
	want := fmt.Sprint(p.all(t))
	mem := p.fs
	for n := 0; ; n++ {
		fault := vfs.NewFault(mem)
		fault.Add(vfs.Rule{Ops: vfs.OpCreate | vfs.OpWrite | vfs.OpRead | vfs.OpStat, After: n})
		p.keeper.c.FS = fault
		err := p.keeper.Spill(t.Context(), p, p.end, 0)
		if left, lerr := mem.List("spill"); lerr != nil || len(left) > 0 {
			t.Fatalf("operation %d: temporary files %v are left, %v", n, left, lerr)
		}
		if err == nil {
			if n == 0 {
				t.Error("nothing was sorted in files")
			}
			break
		}
		if got := fmt.Sprint(p.all(t)); got != want {
			t.Fatalf("operation %d: pending %s, want %s", n, got, want)
		}
	}
	if st := p.schedule.Stats(0); st.Spilled != 3000 {
		t.Errorf("stats %+v", st)
	}
}

func TestReceiveTimeNeverGoesBack(t *testing.T) {
	p := newSpilling(t)
	clock := time.UnixMilli(testNow)
	p.now = func() time.Time { return clock }
	p.mustSend(t, with("a", HeaderDelay, "1h"))
	p.spill(t, p.end)
	clock = clock.Add(-time.Hour)
	p.mustSend(t, with("b", HeaderDelay, "1h"))
	p.batches = nil
	p.restart(t)
	p.mustSend(t, with("c", HeaderDelay, "1h"))
	for _, e := range p.all(t) {
		if e.Due != testNow+3600_000 {
			t.Errorf("%+v is due %d ms off", e, e.Due-testNow-3600_000)
		}
	}
}

func TestSpillDoesWithoutWhatRetentionHasRemoved(t *testing.T) {
	p := newSpilling(t)
	for range 3 {
		p.mustSend(t, with("a", HeaderDelay, "1h"))
	}
	for ticket := range 3 {
		p.mustSend(t, with("", HeaderCancel, strconv.Itoa(ticket)))
	}
	p.mustSend(t, with("b", HeaderDelay, "1h"))
	// Nothing below the last record is pending: the log may lose it, although the floor is still 0.
	p.batches, p.start = p.batches[6:], p.schedule.Gate()
	if p.start != 6 {
		t.Fatalf("the log may begin at %d", p.start)
	}
	p.spill(t, p.end)
	if all := p.all(t); len(all) != 1 || all[0].Ticket != 6 || all[0].Run < 0 {
		t.Errorf("pending are %+v", all)
	}
	p.mustSend(t, with("", HeaderCancel, "6"))
	p.batches, p.start = nil, p.end
	p.spill(t, p.end)
	if from, _ := p.schedule.Replay(); from != p.end {
		t.Errorf("the next start reads the log from %d on, it begins at %d", from, p.end)
	}
}

func TestCancelOfWhatEndedInALogThatIsGoneIsRefused(t *testing.T) {
	p := newSpilling(t)
	p.mustSend(t, with("a", HeaderDelay, "1h"), with("b", HeaderDelay, "1h"))
	p.spill(t, p.end)
	p.mustSend(t, cancelOf(0))
	p.batches, p.start = nil, p.end // the run's table still knows when the record was due
	_, err := p.send(cancelOf(0))
	checkRefused(t, err, 0, "the record at offset 0 was already delivered or cancelled")
	p.mustSend(t, cancelOf(1))
}

// BenchmarkSpill writes a million records in memory as a run, and reads the state of the schedule back.
func BenchmarkSpill(b *testing.B) {
	const n = 1_000_000
	var p *spilling
	all := b
	b.Run("spill", func(b *testing.B) {
		var grown int64
		for range b.N {
			b.StopTimer()
			p = pendingInMemory(b, n, all.TempDir())
			before := heapBytes() - p.journal.bytes()
			b.StartTimer()
			if err := p.keeper.Spill(context.Background(), p, p.end, 0); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			grown += heapBytes() - p.journal.bytes() - before
			b.StartTimer()
		}
		records := n * float64(b.N)
		b.ReportMetric(records/b.Elapsed().Seconds()/1e6, "Mrecords/s")
		b.ReportMetric(float64(grown)/records+15, "B/record-beyond-horizon")
	})
	b.Run("open", func(b *testing.B) {
		for range b.N {
			if _, _, err := OpenKeeper(context.Background(), p.keeper.c, Range{0, p.end}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// pendingInMemory is a partition with n records to spill, to a directory of the real file system:
// the one in memory remembers what was deleted.
func pendingInMemory(b *testing.B, n int, dir string) *spilling {
	p := newSpilling(b)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := 0; i < n; i += 1000 {
		rs := make([]record.Record, 1000)
		for j := range rs {
			rs[j] = with("0123456789012345678901234567890123456789", HeaderDelay, strconv.Itoa(3600_000+rng.IntN(3600_000)))
		}
		if _, err := p.send(rs...); err != nil {
			b.Fatal(err)
		}
	}
	p.keeper.c.FS, p.keeper.c.Dir, p.keeper.c.SortBytes = new(vfs.OS), dir, 32<<20
	return p
}

// BenchmarkLoad applies a log of a million pending records, as a start does.
func BenchmarkLoad(b *testing.B) {
	const n = 1_000_000
	p := newPartition(testRules(b, nil))
	rng := rand.New(rand.NewPCG(1, 2))
	for i := 0; i < n; i += 1000 {
		rs := make([]record.Record, 1000)
		for j := range rs {
			rs[j] = with("0123456789012345678901234567890123456789", HeaderDelay, strconv.Itoa(3600_000+rng.IntN(3600_000)))
		}
		if _, err := p.send(rs...); err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	for range b.N {
		s := NewSchedule(0)
		s.AdvanceHighWatermark(p.end)
		for _, x := range p.batches {
			if err := s.Apply(x); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrecords/s")
}

func heapBytes() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
