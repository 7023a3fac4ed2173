package delay

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/record"
)

// BenchmarkMerge makes one run of as many as are too many.
func BenchmarkMerge(b *testing.B) {
	const each, runs = 48_000, maxRunsOfClass + 1
	live := int64(0)
	for range b.N {
		b.StopTimer()
		p := newSpilling(b)
		// The file system in memory remembers what was deleted.
		p.keeper.c.FS, p.keeper.c.Dir, p.keeper.c.SortBytes = new(vfs.OS), b.TempDir(), 32<<20
		rng := rand.New(rand.NewPCG(1, 2))
		for range runs {
			for i := 0; i < each; i += 1000 {
				rs := make([]record.Record, 1000)
				for j := range rs {
					rs[j] = with("0123456789012345678901234567890123456789", HeaderDelay, strconv.Itoa(3600_000+rng.IntN(3600_000)))
				}
				if _, err := p.send(rs...); err != nil {
					b.Fatal(err)
				}
			}
			if err := p.keeper.Spill(context.Background(), p, p.end, 0); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
		merged, err := p.keeper.Merge(context.Background(), 0, atOnce)
		if err != nil || !merged {
			b.Fatal(merged, err)
		}
		b.StopTimer()
		s := p.schedule.Stats(0)
		if s.Runs != 1 {
			b.Fatalf("%d runs are left", s.Runs)
		}
		live += s.Spilled
	}
	b.ReportMetric(float64(live)/b.Elapsed().Seconds()/1e6, "Mrecords/s")
}

// TestMergeLetsSpillsGoOn has another run spilled in front of everything that a merge writes:
// nothing of the merge is written twice, and what is not the merged run's is not taken for it.
func TestMergeLetsSpillsGoOn(t *testing.T) {
	p := newSpilling(t)
	for i := range maxRunsOfClass + 2 {
		p.mustSend(t, with("a", HeaderDelay, strconv.Itoa(3600_000-i)), with("b", HeaderKey, strconv.Itoa(i), HeaderDelay, "2h"))
		p.spill(t, p.end)
	}
	var writes int
	var others []Range
	merged, err := p.keeper.Merge(t.Context(), 0, func(write func() error) error {
		if writes++; writes > 2 { // the first writes nothing, the second begins the run
			from := p.journal.end
			p.mustSend(t, with("c", HeaderDelay, "3h"))
			if err := p.keeper.Spill(t.Context(), p, p.end, 0); err != nil {
				t.Fatal(err)
			}
			others = append(others, Range{from, p.journal.end})
		}
		return write()
	})
	if err != nil || !merged {
		t.Fatal(merged, err)
	}
	footer := others[len(others)-1]
	others = others[:len(others)-1]
	check := func(when string) {
		t.Helper()
		r := p.schedule.runs.list[0]
		if r.count != 2*(maxRunsOfClass+2) || len(r.gaps) != len(others) || len(r.parts()) != len(others)+1 {
			t.Fatalf("%s: %d records, gaps %v, want %v", when, r.count, r.gaps, others)
		}
		for i, other := range others {
			if r.gaps[i] != other {
				t.Errorf("%s: gaps %v, want %v", when, r.gaps, others)
			}
			if slices.ContainsFunc(p.schedule.ReadLate(0, r.bytes), other.overlaps) || slices.ContainsFunc(r.parts(), other.overlaps) {
				t.Errorf("%s: what others wrote in %v is taken for the merged run's", when, other)
			}
		}
		if n := len(p.all(t)); n != 2*(maxRunsOfClass+2)+len(others)+1 {
			t.Errorf("%s: %d are pending", when, n)
		}
	}
	check("after the merge")
	p.restart(t)
	check("after a restart")
	// What is finished in the gaps goes, and what is around them stays.
	if slices.Contains(others, footer) {
		t.Fatal("the last one lies behind the trailer")
	}
	for _, x := range p.all(t) {
		if x.Ticket >= 2*(maxRunsOfClass+2) {
			p.mustSend(t, cancelOf(x.Ticket))
		}
	}
	for range 2 {
		if err := p.keeper.Progress(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if err := p.keeper.Tidy(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range p.journal.segments {
		for _, other := range others {
			if other.overlaps(s.extent()) {
				t.Errorf("segment %v of a finished run is left", s.extent())
			}
		}
	}
	p.restart(t)
	if n := len(p.all(t)); n != 2*(maxRunsOfClass+2) {
		t.Errorf("%d are pending", n)
	}
	needs, _ := p.schedule.CopyNeeds(Copy{p.journal.end, p.end, 0})
	for _, other := range others {
		if slices.ContainsFunc(needs, other.overlaps) || p.schedule.Needs(other) {
			t.Errorf("%v is needed although nothing in it is", other)
		}
	}
}

// TestRunsStayFewThoughEveryMergeIsInterrupted by spills at random moments, for as long as it takes
// to spill a thousand times.
func TestRunsStayFewThoughEveryMergeIsInterrupted(t *testing.T) {
	p := newSpilling(t)
	rng := rand.New(rand.NewPCG(3, 4))
	spills, most, interrupted := 0, 0, 0
	spill := func() {
		rs := make([]record.Record, 1+rng.IntN(8))
		for i := range rs {
			rs[i] = with("0123456789", HeaderDelay, strconv.Itoa(3600_000+rng.IntN(3600_000)))
		}
		p.mustSend(t, rs...)
		p.spill(t, p.end)
		spills++
		most = max(most, len(p.schedule.runs.list))
	}
	turn := func(write func() error) error {
		if rng.IntN(2) == 0 {
			interrupted++
			spill()
		}
		return write()
	}
	for spills < 1000 {
		for range 4 {
			spill()
		}
		for merged := true; merged; {
			var err error
			if merged, err = p.keeper.Merge(t.Context(), 0, turn); err != nil {
				t.Fatal(err)
			}
			if err := p.keeper.Tidy(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := int64(len(p.all(t))); n != p.end || interrupted < 100 {
		t.Errorf("%d of %d are pending, %d spills interrupted merges", n, p.end, interrupted)
	}
	if bound := 5 * (maxRunsOfClass + 1); most > bound {
		t.Errorf("%d runs at once, expected at most %d", most, bound)
	}
}

// TestMergeKnowsWhatIsFinishedMeanwhile has a record cancelled in front of everything that a merge
// writes: before its run was looked at, between its tables and its records, and after both. None
// comes back.
func TestMergeKnowsWhatIsFinishedMeanwhile(t *testing.T) {
	p := newSpilling(t)
	for i := range maxRunsOfClass + 2 {
		p.mustSend(t, with("a", HeaderKey, "a"+strconv.Itoa(i), HeaderDelay, strconv.Itoa(3600_000-i)), with("b", HeaderKey, "b"+strconv.Itoa(i), HeaderDelay, "2h"))
		p.spill(t, p.end)
	}
	tickets := p.end
	var cancelled int64
	merged, err := p.keeper.Merge(t.Context(), 0, func(write func() error) error {
		// Of different runs, those that are read first and last.
		p.mustSend(t, cancelOf(cancelled), cancelOf(tickets-1-cancelled))
		cancelled++
		return write()
	})
	if err != nil || !merged || 2*cancelled > tickets {
		t.Fatalf("merged %t, %v, with %d cancels", merged, err, 2*cancelled)
	}
	for _, when := range []string{"after the merge", "after a restart"} {
		all := p.all(t)
		if n := tickets - 2*cancelled; int64(len(all)) != n || p.schedule.Stats(0).Pending != n {
			t.Errorf("%s: %d are listed, %+v; expected %d", when, len(all), p.schedule.Stats(0), n)
		}
		for i := range cancelled {
			for _, ticket := range []int64{i, tickets - 1 - i} {
				_, err := p.send(cancelOf(ticket))
				checkRefused(t, err, 0, "was cancelled at offset")
			}
		}
		_, err := p.send(with("", HeaderCancel, "key", HeaderKey, "a0"))
		checkRefused(t, err, 0, "nothing is pending under the key")
		p.restart(t)
	}
}

// TestMergeThatMayNotWriteReadsNothing: it may have to wait for long, and is tried often.
func TestMergeThatMayNotWriteReadsNothing(t *testing.T) {
	p := newSpilling(t)
	for range 2 {
		p.mustSend(t, with("a", HeaderDelay, "1h"))
		p.spill(t, p.end)
	}
	reads := p.journal.reads.Load()
	turn := func(func() error) error { return errInjected }
	if merged, err := p.keeper.Merge(t.Context(), 0, turn); merged || err != nil {
		t.Errorf("with nothing to merge: %v, %v", merged, err)
	}
	p.keeper.pick = func(list []*run) []*run { return list }
	if merged, err := p.keeper.Merge(t.Context(), 0, turn); merged || !errors.Is(err, errInjected) {
		t.Errorf("merged %v, %v", merged, err)
	}
	if n := p.journal.reads.Load() - reads; n > 0 {
		t.Errorf("it has read %d batches", n)
	}
}

// TestMergeReadsEachRunFromItsOwnCursor: one of two runs has been delivered from for hours, the other
// could not be read. A merge that looked for what is left of one behind the cursor of the other would
// lose what is overdue there.
func TestMergeReadsEachRunFromItsOwnCursor(t *testing.T) {
	for stopped := range 2 {
		synctest.Test(t, func(t *testing.T) {
			p := newSpilling(t)
			for range 2 {
				p.scheduleAll(t, record.None, time.Hour, 2*time.Hour, 4*time.Hour)
				p.spill(t, p.end)
			}
			p.keeper.pick = func(list []*run) []*run { return list }
			lost := p.schedule.runs.list[stopped]
			p.journal.unread = func(offset int64) error {
				if lost.from <= offset && offset < lost.to {
					return errInjected
				}
				return nil
			}
			line := dispatching(t, DispatcherConfig{}).Attach("orders-0", p.schedule, p)
			time.Sleep(3 * time.Hour)
			line.Detach()
			if n := len(p.visible()); n != 2 {
				t.Fatalf("%d were delivered: the test is void", n)
			}
			p.journal.unread = nil
			if merged, err := p.keeper.Merge(t.Context(), 0, atOnce); !merged || err != nil {
				t.Fatal(merged, err)
			}
			line = dispatching(t, DispatcherConfig{}).Attach("orders-0", p.schedule, p)
			defer line.Detach()
			time.Sleep(2 * time.Hour)
			synctest.Wait()
			if got := ticketsOf(t, p.visible()); len(got) != 6 || p.schedule.Stats(0).Pending != 0 {
				t.Errorf("with run %d stopped %v were delivered, %+v", stopped, got, p.schedule.Stats(0))
			}
		})
	}
}
