package delay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/morrowmq/morrow/delay/index"
	"github.com/morrowmq/morrow/log/record"
)

// newMerging is a partition with three runs, each of a record with the key "0", "1" or "2" and one
// without, which are merged, and deleted, as soon as somebody else reads of them; merged tells
// whether that was so.
func newMerging(t *testing.T) (p *spilling, merged *bool) {
	p, merged = newSpilling(t), new(bool)
	for i := range 3 {
		p.mustSend(t, with("a", HeaderDelay, "2h", HeaderKey, strconv.Itoa(i)), with("b", HeaderDelay, "1h"))
		p.spill(t, p.end)
	}
	p.keeper.pick = func(runs []*run) []*run { return runs }
	p.journal.unread = func(int64) error {
		p.journal.unread = nil
		var err error
		if *merged, err = p.keeper.Merge(context.Background(), 0, atOnce); err != nil {
			return err
		}
		return p.keeper.Tidy(context.Background(), 0)
	}
	return p, merged
}

// TestLookUpMeetsTheEndOfARun, in which what it looks for was a moment ago: it is pending all the
// time, only somewhere else.
func TestLookUpMeetsTheEndOfARun(t *testing.T) {
	for name, look := range map[string]func(*testing.T, *spilling) (left []int64){
		"replace by key": func(t *testing.T, p *spilling) []int64 {
			p.mustSend(t, with("new", HeaderDelay, "3h", HeaderKey, "0"))
			return []int64{1, 3, 5, 2, 4, 6}
		},
		"cancel by key": func(t *testing.T, p *spilling) []int64 {
			p.mustSend(t, with("", HeaderCancel, "key", HeaderKey, "0"))
			return []int64{1, 3, 5, 2, 4}
		},
		"cancel by ticket": func(t *testing.T, p *spilling) []int64 {
			p.mustSend(t, cancelOf(0))
			return []int64{1, 3, 5, 2, 4}
		},
		"find": func(t *testing.T, p *spilling) []int64 {
			if f, err := p.schedule.Find(t.Context(), p, 0); err != nil || f.Key != "0" {
				t.Errorf("found %+v, %v", f, err)
			}
			return []int64{1, 3, 5, 0, 2, 4}
		},
		"list": func(t *testing.T, p *spilling) []int64 {
			return p.pendingTickets()
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, merged := newMerging(t)
			left := look(t, p)
			if !*merged || p.schedule.Stats(0).Runs != 1 {
				t.Fatal("no run has ended meanwhile")
			}
			if got := p.pendingTickets(); fmt.Sprint(got) != fmt.Sprint(left) {
				t.Errorf("pending are %v, want %v", got, left)
			}
		})
	}
}

// TestRunThatCannotBeReadIsStillAnError when no run has ended.
func TestRunThatCannotBeReadIsStillAnError(t *testing.T) {
	p, _ := newMerging(t)
	down := errors.New("store unreachable")
	p.journal.unread = func(int64) error { return down }
	if _, err := p.send(with("new", HeaderDelay, "3h", HeaderKey, "0")); !errors.Is(err, down) {
		t.Errorf("replace: %v", err)
	}
	if _, err := p.schedule.Find(t.Context(), p, 0); !errors.Is(err, down) {
		t.Errorf("find: %v", err)
	}
	if _, err := p.schedule.List(t.Context(), index.First, Filter{Until: LastDue}, 10); !errors.Is(err, down) {
		t.Errorf("list: %v", err)
	}
}

// TestFindMeetsASpill: what is moved to a run while it is looked for was not delivered.
func TestFindMeetsASpill(t *testing.T) {
	p := newSpilling(t)
	ticket := p.scheduleAll(t, record.None, time.Hour)
	p.looking = sync.OnceFunc(func() { p.spill(t, p.end) })
	if f, err := p.schedule.Find(t.Context(), p, ticket); err != nil || f.Ticket != ticket || f.Run < 0 {
		t.Errorf("found %+v, %v", f, err)
	}
}

// TestDeliveryThatMeetsTheEndOfARunIsNoFailure: what it was about to read is elsewhere, and is
// delivered from there.
func TestDeliveryThatMeetsTheEndOfARunIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, merged := newMerging(t)
		var log bytes.Buffer
		d := dispatching(t, DispatcherConfig{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		defer d.Attach("orders-0", p.schedule, p).Detach()
		time.Sleep(time.Hour + 10*time.Millisecond)
		synctest.Wait()
		if got := fmt.Sprint(ticketsOf(t, p.visible())); got != "[1 3 5]" || !*merged {
			t.Errorf("delivered %s, merged %t", got, *merged)
		}
		if log.Len() > 0 {
			t.Errorf("the log says %s", &log)
		}
	})
}

// TestDeliveryThatMeetsASpillIsNoFailure likewise, if retention follows at once.
func TestDeliveryThatMeetsASpillIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSpilling(t)
		p.scheduleAll(t, record.None, time.Hour)
		due, spilled := time.Now().Add(time.Hour), false
		p.looking = func() {
			if spilled || time.Now().Before(due) { // before, it is only read ahead
				return
			}
			spilled = true
			p.spill(t, p.end)
			p.mu.Lock()
			defer p.mu.Unlock()
			p.batches, p.start = nil, p.end
		}
		var log bytes.Buffer
		d := dispatching(t, DispatcherConfig{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		defer d.Attach("orders-0", p.schedule, p).Detach()
		time.Sleep(time.Hour + 10*time.Millisecond)
		synctest.Wait()
		if got := fmt.Sprint(ticketsOf(t, p.visible())); got != "[0]" || !spilled {
			t.Errorf("delivered %s, want [0], spilled %t", got, spilled)
		}
		if log.Len() > 0 {
			t.Errorf("the log says %s", &log)
		}
	})
}
