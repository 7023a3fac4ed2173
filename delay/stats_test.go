package delay

import (
	"math"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/morrowmq/morrow/log/record"
)

// TestBytesOfWhatIsPendingDoNotDependOnWhereItLies: in a run a record has the headers of its delivery,
// which may be several times as large as what was produced.
func TestBytesOfWhatIsPendingDoNotDependOnWhereItLies(t *testing.T) {
	p := newSpilling(t)
	for i := range maxRunsOfClass + 1 {
		for j := range 40 {
			p.mustSend(t, with("a", HeaderDelay, strconv.Itoa(3600_000+1000*j+i)))
		}
	}
	want := p.schedule.Stats(0).Bytes
	check := func(when string, runs int, want int64) {
		t.Helper()
		if st := p.schedule.Stats(0); st.Runs != runs || math.Abs(float64(st.Bytes-want)) > float64(want)/1000 {
			t.Errorf("%s: %d bytes in %d runs, want %d in %d", when, st.Bytes, st.Runs, want, runs)
		}
	}
	for i := range maxRunsOfClass + 1 {
		p.spill(t, int64(40*(i+1)))
	}
	check("after spills", maxRunsOfClass+1, want)
	p.mustSend(t, with("x", HeaderCancel, "7"))
	each := want / (40 * (maxRunsOfClass + 1))
	check("after a cancel", maxRunsOfClass+1, want-each)
	if merged, err := p.keeper.Merge(t.Context(), 0, atOnce); !merged || err != nil {
		t.Fatal(merged, err)
	}
	check("after a merge", 1, want-each)
	p.restart(t)
	check("after a restart", 1, want-each)
}

// TestCountersBeginAnewWithAStart, although the log is read again, as far back as something is pending.
func TestCountersBeginAnewWithAStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSpilling(t)
		line := dispatching(t, DispatcherConfig{}).Attach("orders-0", p.schedule, p)
		p.mustSend(t, with("a", HeaderDelay, "9h", HeaderKey, "k"), with("b", HeaderDelay, "1s"), with("c", HeaderDelay, "9h"))
		p.mustSend(t, with("d", HeaderDelay, "8h", HeaderKey, "k"), with("e", HeaderCancel, "2"))
		time.Sleep(time.Minute)
		check := func(want Stats) {
			t.Helper()
			if st := p.schedule.Stats(0); st.Pending != 1 || st.Delivered != want.Delivered || st.Cancelled != want.Cancelled || st.Replaced != want.Replaced {
				t.Errorf("%+v, want %+v", st, want)
			}
		}
		check(Stats{Delivered: 1, Cancelled: 1, Replaced: 1})
		line.Detach()
		p.restart(t)
		line = dispatching(t, DispatcherConfig{}).Attach("orders-0", p.schedule, p)
		defer line.Detach()
		check(Stats{})
		p.mustSend(t, with("f", HeaderDelay, "1s"))
		time.Sleep(time.Minute)
		check(Stats{Delivered: 1})
	})
}

// TestOverdueIsCountedAnewWhileARunIsBeingDelivered, because the clock went back: what is in the run
// is not counted with what is in memory.
func TestOverdueIsCountedAnewWhileARunIsBeingDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSpilling(t)
		p.scheduleAll(t, record.None, time.Minute, 9*time.Hour)
		p.spill(t, p.end)
		p.deliver = func() error {
			now := time.Now()
			p.schedule.Stats(now.Add(time.Hour).UnixMilli())
			p.schedule.Stats(now.UnixMilli())
			return nil
		}
		defer dispatching(t, DispatcherConfig{}).Attach("orders-0", p.schedule, p).Detach()
		time.Sleep(time.Hour)
		synctest.Wait()
		if st := p.schedule.Stats(time.Now().UnixMilli()); st.Pending != 1 || st.Overdue != 0 {
			t.Errorf("%d are pending and %d overdue, want 1 and none", st.Pending, st.Overdue)
		}
	})
}
