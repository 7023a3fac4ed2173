package delay

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/morrowmq/morrow/delay/index"
	"github.com/morrowmq/morrow/log/record"
)

// send produces records in one batch, and returns the base offset.
func (p *partition) send(rs ...record.Record) (int64, error) {
	return p.produce(batchOf(record.None, p.now(), rs...))
}

func (p *partition) mustSend(t *testing.T, rs ...record.Record) int64 {
	t.Helper()
	base, err := p.send(rs...)
	if err != nil {
		t.Fatal(err)
	}
	return base
}

func cancelOf(ticket int64) record.Record {
	return with("", HeaderCancel, strconv.FormatInt(ticket, 10))
}

// pendingTickets lists what is pending, in order of delivery.
func (p *partition) pendingTickets() (tickets []int64) {
	page, err := p.schedule.List(context.Background(), index.First, Filter{Until: index.Last.Due}, 1000)
	if err != nil {
		panic(err)
	}
	for _, e := range page.Records {
		tickets = append(tickets, e.Ticket)
	}
	return tickets
}

func (p *partition) checkPending(t *testing.T, want ...int64) {
	t.Helper()
	if got := p.pendingTickets(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("pending %v, want %v", got, want)
	}
	// A schedule made from the log alone says the same.
	again := NewSchedule(0)
	for _, b := range p.batches {
		if err := again.Apply(b); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := again.Stats(0), p.schedule.Stats(0); got != want {
		t.Errorf("rebuilt: %+v, want %+v", got, want)
	}
	p.schedule, again = again, p.schedule
	got := p.pendingTickets()
	p.schedule = again
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("rebuilt: pending %v, want %v", got, want)
	}
}

func checkRefused(t *testing.T, err error, index int32, want string) {
	t.Helper()
	var refused *record.RecordErrors
	if !errors.As(err, &refused) || refused.Records[0].Index != index || !strings.Contains(refused.Records[0].Reason, want) {
		t.Errorf("got %v, want record %d refused because %s", err, index, want)
	}
}

func TestCancelOfARecordThatItsOwnBatchEnded(t *testing.T) {
	p := newPartition(testRules(t, nil))
	p.mustSend(t, with("a", HeaderDelay, "1h", HeaderKey, "k"), with("b", HeaderDelay, "1h", HeaderKey, "k"))
	p.mustSend(t, with("late", HeaderCancel, "0", HeaderCancelStrict, "false"))
	for _, ticket := range []int64{0, 2} {
		_, err := p.send(cancelOf(ticket))
		want := fmt.Sprintf("the record at offset %d was cancelled or replaced in its own batch, or is a cancel that came too late", ticket)
		checkRefused(t, err, 0, want)
		if _, err = p.schedule.Find(t.Context(), p, ticket); !errors.Is(err, ErrNotPending) || !strings.Contains(err.Error(), want) {
			t.Errorf("find: %v", err)
		}
	}
	p.checkPending(t, 1)
}

func TestCancelByTicket(t *testing.T) {
	p := newPartition(testRules(t, nil))
	p.mustSend(t, with("a", HeaderDelay, "1h"), with("b", HeaderDelay, "2h"), with("plain"))
	p.mustSend(t, cancelOf(0))
	p.checkPending(t, 1)

	_, err := p.send(cancelOf(0))
	checkRefused(t, err, 0, "the record at offset 0 was cancelled at offset 3")
	_, err = p.send(with("ok"), cancelOf(2))
	checkRefused(t, err, 1, "the record at offset 2 is not a delayed one")
	_, err = p.send(cancelOf(99))
	checkRefused(t, err, 0, "no delayed record was stored at offset 99 yet")
	_, err = p.send(cancelOf(1), cancelOf(1))
	checkRefused(t, err, 1, "offset 1 is cancelled by an earlier record of the same batch")
	_, err = p.send(cancelOf(3))
	checkRefused(t, err, 0, "the record at offset 3 is not a delayed one")
	p.checkPending(t, 1)
	if p.end != 4 {
		t.Errorf("refused batches left something in the log: it ends at %d", p.end)
	}
}

func TestCancelThatNeedNotBeStrictIsAcceptedWhateverHappened(t *testing.T) {
	p := newPartition(testRules(t, nil))
	p.mustSend(t, with("a", HeaderDelay, "1h"), with("b", HeaderDelay, "2h"))
	lax := func(ticket string) record.Record {
		return with("", HeaderCancel, ticket, HeaderCancelStrict, "false")
	}
	p.mustSend(t, lax("0"))
	p.mustSend(t, lax("0"), lax("99"), lax("2"))
	p.mustSend(t, with("", HeaderCancel, "key", HeaderKey, "nobody", HeaderCancelStrict, "false"))
	p.checkPending(t, 1)
	// Ticket 99 comes to exist, and the cancel that was too early for it means nothing.
	for p.end < 99 {
		p.mustSend(t, with("plain"))
	}
	p.mustSend(t, with("c", HeaderDelay, "3h"))
	p.checkPending(t, 1, 99)
}

// TestCancelThatNeedNotBeStrictMeetsASpill, while it looks for the record: that is pending all the
// time, only somewhere else.
func TestCancelThatNeedNotBeStrictMeetsASpill(t *testing.T) {
	for _, gone := range []bool{false, true} {
		p := newSpilling(t)
		ticket := p.scheduleAll(t, record.None, time.Hour)
		p.looking = sync.OnceFunc(func() {
			p.spill(t, p.end)
			if gone { // retention need not wait for the record any more
				p.batches, p.start = nil, p.end
			}
		})
		p.mustSend(t, with("", HeaderCancel, strconv.FormatInt(ticket, 10), HeaderCancelStrict, "false"))
		if left := p.pendingTickets(); len(left) > 0 {
			t.Errorf("pending are %v after the cancel; log deleted: %t", left, gone)
		}
	}
}

func TestMoveIsOneBatch(t *testing.T) {
	p := newPartition(testRules(t, nil))
	p.mustSend(t, with("a", HeaderDelay, "1h"))
	p.mustSend(t, cancelOf(0), with("a", HeaderDelay, "3h"))
	p.checkPending(t, 2)
	// Whole or not at all.
	_, err := p.send(cancelOf(0), with("a", HeaderDelay, "5h"))
	checkRefused(t, err, 0, "was cancelled at offset 1")
	p.checkPending(t, 2)
}

func TestKeyNamesWhatIsPending(t *testing.T) {
	p := newPartition(testRules(t, nil))
	named := func(key, delay string) record.Record { return with("v", HeaderKey, key, HeaderDelay, delay) }
	p.mustSend(t, named("x", "1h"), named("y", "2h"))
	p.mustSend(t, named("x", "3h"))
	p.checkPending(t, 1, 2)
	// A later record replaces, whether it is due earlier or later.
	p.mustSend(t, named("x", "10m"))
	p.checkPending(t, 3, 1)
	p.mustSend(t, with("", HeaderCancel, "key", HeaderKey, "y"))
	p.checkPending(t, 3)
	_, err := p.send(with("", HeaderCancel, "key", HeaderKey, "y"))
	checkRefused(t, err, 0, `nothing is pending under the key "y"`)
	// An old ticket is not the key's any more.
	_, err = p.send(cancelOf(0))
	checkRefused(t, err, 0, "the record at offset 0 was replaced at offset 2")
	// By ticket works as well, and frees the key.
	p.mustSend(t, cancelOf(3))
	p.mustSend(t, named("x", "1h"))
	p.checkPending(t, 6)
	// What is due at once replaces too.
	p.mustSend(t, named("x", "0"))
	p.checkPending(t, 7)
}

func TestKeysWithinOneBatch(t *testing.T) {
	p := newPartition(testRules(t, nil))
	named := func(delay string) record.Record { return with("v", HeaderKey, "x", HeaderDelay, delay) }
	cancel := with("", HeaderCancel, "key", HeaderKey, "x")
	p.mustSend(t, named("1h"), named("2h"))
	p.checkPending(t, 1)
	p.mustSend(t, named("1h"), named("2h"), with("plain"), cancel, named("3h"), with("o", HeaderDelay, "9h"))
	p.checkPending(t, 6, 7)
	p.mustSend(t, cancel, named("5h"))
	p.checkPending(t, 9, 7)
	_, err := p.send(cancel, cancel, named("5h"))
	checkRefused(t, err, 1, "nothing is pending under the key")
	p.mustSend(t, named("1h"), cancel)
	p.checkPending(t, 7)
}

func TestCancelAfterDeliveryNamesItsOffset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPartition(testRules(t, nil))
		defer dispatching(t, DispatcherConfig{}).Attach("orders-0", p.schedule, p).Detach()
		p.mustSend(t, with("a", HeaderDelay, "1h"), with("b", HeaderDelay, "2h"))
		time.Sleep(time.Hour + time.Second)
		synctest.Wait()
		_, err := p.send(cancelOf(0))
		checkRefused(t, err, 0, "the record at offset 0 was delivered at offset 2")
		// The proof is far behind the record, but close to the due time.
		for range 3 * endingBytes >> 20 {
			p.mustSend(t, with(strings.Repeat("x", 1<<19)))
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		_, err = p.send(cancelOf(1))
		checkRefused(t, err, 0, "the record at offset 1 was delivered at offset "+strconv.FormatInt(p.end-1, 10))
	})
}

func TestCancelOfARecordInATransactionIsAnsweredTruly(t *testing.T) {
	p := newPartition(testRules(t, nil))
	produce := func(producer int64) (ticket int64) {
		t.Helper()
		ticket, err := p.produceIn(producer, with("a", HeaderDelay, "1h"), with("b", HeaderDelay, "1h"))
		if err != nil {
			t.Fatal(err)
		}
		return ticket
	}
	decide := func(producer int64, commit bool) {
		t.Helper()
		if err := p.decide(producer, commit); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(ticket int64, want string) {
		t.Helper()
		_, err := p.send(cancelOf(ticket))
		checkRefused(t, err, 0, want)
		if _, err := p.schedule.Find(t.Context(), p, ticket); !errors.Is(err, ErrNotPending) || !strings.Contains(err.Error(), want) {
			t.Errorf("found ticket %d: %v, want %s", ticket, err, want)
		}
	}
	committed, aborted := produce(1), produce(2)
	for _, ticket := range []int64{committed, committed + 1, aborted, aborted + 1} {
		refused(ticket, fmt.Sprintf("the record at offset %d belongs to a transaction that is still open", ticket))
	}
	decide(2, false)
	marker := p.end - 1
	produce(2) // another transaction of the same producer
	decide(2, true)
	for _, ticket := range []int64{aborted, aborted + 1} {
		refused(ticket, fmt.Sprintf("the record at offset %d was aborted with its transaction at offset %d", ticket, marker))
	}
	decide(1, true)
	p.mustSend(t, cancelOf(committed+1))
	refused(committed+1, fmt.Sprintf("was cancelled at offset %d", p.end-1))
	if f, err := p.schedule.Find(t.Context(), p, committed); err != nil || string(f.Record.Value) != "a" {
		t.Errorf("found %+v, %v", f, err)
	}
}

func TestCancelThatMeetsTheCommitOfItsRecordIsDecidedAgain(t *testing.T) {
	for _, strict := range []string{"true", "false"} {
		p := newPartition(testRules(t, nil))
		ticket, err := p.produceIn(1, with("a", HeaderDelay, "1h"))
		if err != nil {
			t.Fatal(err)
		}
		b := batchOf(record.None, p.now(), with("", HeaderCancel, strconv.FormatInt(ticket, 10), HeaderCancelStrict, strict))
		sp := p.rules.Splitter(b, p.now().UnixMilli())
		defer sp.Release()
		if _, err := record.Check(b, record.CheckOptions{Now: p.now().UnixMilli(), BeforeMax: 1 << 62, AfterMax: 1 << 62}, nil, sp.Visit()); err != nil {
			t.Fatal(err)
		}
		plan, err := sp.Plan(b)
		if err == nil {
			err = plan.Prepare(t.Context(), p.schedule, p)
		}
		if err == nil {
			err = p.decide(1, true)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.append(plan); !errors.Is(err, ErrChanged) {
			t.Errorf("strict %s: %v, want %v", strict, err, ErrChanged)
		}
		if err := plan.Prepare(t.Context(), p.schedule, p); err != nil {
			t.Fatal(err)
		}
		if _, err := p.append(plan); err != nil {
			t.Errorf("strict %s: %v", strict, err)
		}
		p.checkPending(t)
	}
}

func TestSourceWithNothingPendingHasNoNextDue(t *testing.T) {
	p := newPartition(testRules(t, nil))
	p.mustSend(t, with("a", HeaderDelay, "1h"))
	p.mustSend(t, cancelOf(0))
	if s := p.schedule.sources(); len(s) != 1 || s[0].Pending != 0 || s[0].NextDue != math.MaxInt64 {
		t.Errorf("sources are %+v", s)
	}
}

func TestCancelRacesDelivery(t *testing.T) {
	const tickets = 2000
	synctest.Test(t, func(t *testing.T) {
		p := newPartition(testRules(t, nil))
		defer dispatching(t, DispatcherConfig{Parallel: 4}).Attach("orders-0", p.schedule, p).Detach()
		for range tickets / 100 {
			var rs []record.Record
			for range 100 {
				rs = append(rs, with("v", HeaderDelay, "1s"))
			}
			p.mustSend(t, rs...)
		}
		answers := make([]error, tickets)
		var wg sync.WaitGroup
		for i := range answers {
			wg.Go(func() {
				time.Sleep(time.Second)
				_, answers[i] = p.send(cancelOf(int64(i)))
			})
		}
		wg.Wait()
		time.Sleep(time.Second)
		synctest.Wait()
		delivered := map[int64]int{}
		for _, ticket := range ticketsOf(t, p.visible()) {
			delivered[ticket]++
		}
		cancelled := 0
		for i, err := range answers {
			switch n := delivered[int64(i)]; {
			case err == nil && n == 0:
				cancelled++
			case err != nil && n == 1:
				checkRefused(t, err, 0, fmt.Sprintf("the record at offset %d was delivered at offset", i))
			default:
				t.Errorf("ticket %d: answer %v, delivered %d times", i, err, n)
			}
		}
		t.Logf("%d of %d cancelled in time", cancelled, tickets)
		p.checkPending(t)
	})
}

func TestCancelOfARecordInFlightWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPartition(testRules(t, nil))
		first := true
		p.deliver = func() error {
			if first {
				first = false
				p.mustSend(t, cancelOf(1), with("replaced", HeaderKey, "x", HeaderDelay, "1h"))
			}
			return nil
		}
		defer dispatching(t, DispatcherConfig{}).Attach("orders-0", p.schedule, p).Detach()
		p.mustSend(t, with("a", HeaderDelay, "1s"), with("b", HeaderDelay, "1s"), with("c", HeaderDelay, "1s", HeaderKey, "x"))
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := fmt.Sprint(ticketsOf(t, p.visible())); got != "[0]" {
			t.Errorf("delivered %s", got)
		}
		p.checkPending(t, 4)
	})
}

func TestStoreThatCannotBeReadIsNotTakenForAMissingTicket(t *testing.T) {
	p := newPartition(testRules(t, nil))
	p.mustSend(t, with("a", HeaderDelay, "1h"))
	p.unread = func(int64) error { return errors.New("store unreachable") }
	var refused *record.RecordErrors
	if _, err := p.send(cancelOf(0)); err == nil || errors.As(err, &refused) {
		t.Errorf("got %v", err)
	}
	p.unread = func(offset int64) error { return fmt.Errorf("offset %d: %w", offset, ErrGone) }
	_, err := p.send(cancelOf(0))
	checkRefused(t, err, 0, "offset 0 is no longer in the log")
}

func TestPendingIsBounded(t *testing.T) {
	p := newPartition(testRules(t, func(c *RulesConfig) { c.MaxPending = 3 }))
	p.mustSend(t, with("a", HeaderDelay, "1h"), with("b", HeaderDelay, "1h"))
	_, err := p.send(with("c", HeaderDelay, "1h"), with("d", HeaderDelay, "1h"))
	var many *TooManyPendingError
	if !errors.As(err, &many) || many.Pending != 2 || many.Max != 3 {
		t.Errorf("got %v", err)
	}
	// What replaces or moves adds nothing.
	p.mustSend(t, with("c", HeaderDelay, "1h", HeaderKey, "x"))
	p.mustSend(t, with("c", HeaderDelay, "2h", HeaderKey, "x"))
	p.mustSend(t, cancelOf(0), with("a", HeaderDelay, "2h"))
	p.mustSend(t, with("plain"))
	p.checkPending(t, 1, 3, 5)
}

func TestPendingInRunsIsBoundedToo(t *testing.T) {
	p := newSpilling(t)
	p.rules = testRules(t, func(c *RulesConfig) { c.MaxPending = 3 })
	p.mustSend(t, with("a", HeaderDelay, "1h"), with("b", HeaderDelay, "1h"))
	p.spill(t, p.end)
	p.mustSend(t, with("c", HeaderDelay, "1h"))
	var many *TooManyPendingError
	if _, err := p.send(with("d", HeaderDelay, "1h")); !errors.As(err, &many) || many.Pending != 3 {
		t.Errorf("got %v", err)
	}
	p.mustSend(t, cancelOf(0), with("d", HeaderDelay, "1h"))
}
