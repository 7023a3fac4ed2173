package delay

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/morrowmq/morrow/log/record"
)

func testRules(t testing.TB, change func(*RulesConfig)) *Rules {
	t.Helper()
	c := RulesConfig{Enable: true, Dialects: []string{"morrow"}, MaxMs: yearMs, MaxPending: -1, Levels: levels, MaxMessageBytes: 1 << 20}
	if change != nil {
		change(&c)
	}
	r, err := ParseRules(c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// batchOf builds a producer's batch.
func batchOf(codec record.Codec, now time.Time, records ...record.Record) record.Batch {
	var w record.Builder
	w.Reset(record.Attributes(0).WithCodec(codec), now.UnixMilli())
	for i, r := range records {
		w.Add(int32(i), now.UnixMilli(), r.Key, r.Value, r.Headers...)
	}
	b, err := w.Finish()
	if err != nil {
		panic(err)
	}
	return b
}

func with(value string, headers ...string) record.Record {
	r := record.Record{Key: []byte("k"), Value: []byte(value)}
	for i := 0; i < len(headers); i += 2 {
		r.Headers = append(r.Headers, record.Header{Key: headers[i], Value: []byte(headers[i+1])})
	}
	return r
}

// dispatching runs a dispatcher for the duration of a synctest bubble's test.
func dispatching(t *testing.T, c DispatcherConfig) *Dispatcher {
	d := NewDispatcher(c)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = d.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return d
}

func TestDelayedRecordIsDeliveredWhenDueAndNotBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPartition(testRules(t, nil))
		line := dispatching(t, DispatcherConfig{}).Attach("orders-0", p.schedule, p)
		defer line.Detach()
		if _, err := p.produce(batchOf(record.None, time.Now(), with("hello", HeaderDelay, "3s", "user", "x"))); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3*time.Second - time.Millisecond)
		synctest.Wait()
		if got := p.visible(); len(got) != 0 {
			t.Fatalf("delivered early: %v", got)
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		got := p.visible()
		if len(got) != 1 || string(got[0].Value) != "hello" || string(got[0].Key) != "k" {
			t.Fatalf("delivered %v, want hello", got)
		}
		if h := got[0].Headers; len(h) != 4 || h[0].Key != "user" || h[1].Key != HeaderTicket || string(h[1].Value) != "0" {
			t.Fatalf("headers %v", h)
		}
	})
}

// bubbleCodecs are those whose coders may be pooled in a synctest bubble: zstd's have channels, which
// must not leave it.
var bubbleCodecs = []record.Codec{record.None, record.Gzip, record.Snappy, record.LZ4}

// scheduleAll produces a record of value name for each delay, in one batch.
func (p *partition) scheduleAll(t *testing.T, codec record.Codec, delays ...time.Duration) (base int64) {
	t.Helper()
	var rs []record.Record
	for i, d := range delays {
		rs = append(rs, with(strconv.Itoa(i), HeaderDelay, strconv.FormatInt(d.Milliseconds(), 10)))
	}
	base, err := p.produce(batchOf(codec, time.Now(), rs...))
	if err != nil {
		t.Fatal(err)
	}
	return base
}

// ticketsOf lists the tickets of delivered records, in the order of delivery.
func ticketsOf(t *testing.T, rs []record.Record) (tickets []int64) {
	for _, r := range rs {
		for _, h := range r.Headers {
			if h.Key == HeaderTicket {
				n, err := strconv.ParseInt(string(h.Value), 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				tickets = append(tickets, n)
			}
		}
	}
	return tickets
}

func (p *partition) checkNothingEarly(t *testing.T) {
	t.Helper()
	for _, e := range p.early {
		t.Error("early: ", e)
	}
}

func TestBurstIsDeliveredOnceInOrderWithFewReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPartition(testRules(t, nil))
		rng := rand.New(rand.NewPCG(1, 2))
		const batches, size = 60, 1000
		want := make([]Entry, 0, batches*size)
		for i := range batches {
			delays := make([]time.Duration, size)
			for j := range delays {
				delays[j] = time.Hour + time.Duration(rng.IntN(1000))*time.Millisecond
				want = append(want, Entry{Due: time.Now().Add(delays[j]).UnixMilli(), Ticket: int64(i*size + j)})
			}
			p.scheduleAll(t, bubbleCodecs[i%len(bubbleCodecs)], delays...)
		}
		// The broker was down when they fell due.
		time.Sleep(2 * time.Hour)
		line := dispatching(t, DispatcherConfig{}).Attach("orders-0", p.schedule, p)
		defer line.Detach()
		synctest.Wait()

		got := ticketsOf(t, p.visible())
		slices.SortFunc(want, Entry.Compare)
		if len(got) != len(want) {
			t.Fatalf("%d delivered, want %d", len(got), len(want))
		}
		for i := range want {
			if got[i] != want[i].Ticket {
				t.Fatalf("delivery %d is of ticket %d, want %d", i, got[i], want[i].Ticket)
			}
		}
		// Once per window: of 1, 4, 16 and 39 thousand records.
		if p.reads.Load() > 4*batches {
			t.Errorf("%d batches were read %d times", batches, p.reads.Load())
		}
		for _, b := range p.batches {
			if b.Delivery() && len(b) > deliveryBytes {
				t.Errorf("delivery of %d bytes", len(b))
			}
		}
		if st := p.schedule.Stats(time.Now().UnixMilli()); st.Pending != 0 || st.Overdue != 0 || st.Bytes != 0 || st.Delivered != batches*size {
			t.Errorf("stats afterwards: %+v", st)
		}
		p.checkNothingEarly(t)
	})
}

func TestStuckPartitionDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := dispatching(t, DispatcherConfig{Parallel: 1})
		stuck, release := newPartition(testRules(t, nil)), make(chan struct{})
		stuck.deliver = func() error {
			<-release
			return nil
		}
		stuck.scheduleAll(t, record.None, time.Second)
		defer d.Attach("stuck-0", stuck.schedule, stuck).Detach()
		var others []*partition
		for i := range 20 {
			p := newPartition(testRules(t, nil))
			p.scheduleAll(t, record.None, time.Second, 2*time.Second, 3*time.Second)
			others = append(others, p)
			line := d.Attach("other-"+strconv.Itoa(i), p.schedule, p)
			defer line.Detach()
		}
		time.Sleep(3*time.Second + lease)
		synctest.Wait()
		for i, p := range others {
			if got := len(p.visible()); got != 3 {
				t.Errorf("partition %d has %d deliveries, want 3", i, got)
			}
		}
		if got := len(stuck.visible()); got != 0 {
			t.Errorf("stuck partition has %d deliveries", got)
		}
		close(release)
		synctest.Wait()
		if got := len(stuck.visible()); got != 1 {
			t.Errorf("released partition has %d deliveries", got)
		}
	})
}

func TestBurstOfOnePartitionLetsOthersHaveTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := dispatching(t, DispatcherConfig{Parallel: 1})
		burst, quiet := newPartition(testRules(t, nil)), newPartition(testRules(t, nil))
		burst.deliver = func() error {
			time.Sleep(10 * time.Millisecond)
			return nil
		}
		delays := make([]time.Duration, 1000)
		for i := range delays {
			delays[i] = time.Second
		}
		for range 200 {
			burst.scheduleAll(t, record.None, delays...)
		}
		for i := range 10 {
			quiet.scheduleAll(t, record.None, time.Second+time.Duration(i)*20*time.Millisecond)
		}
		defer d.Attach("burst-0", burst.schedule, burst).Detach()
		line := d.Attach("quiet-0", quiet.schedule, quiet)
		defer line.Detach()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := len(burst.visible()); got != 200_000 {
			t.Errorf("%d of the burst delivered", got)
		}
		if late := line.Lateness(); late.Count != 10 || late.Quantile(1) > 200 {
			t.Errorf("lateness beside a burst: %+v", late)
		}
	})
}

func TestFailedAppendIsRepeatedUntilItSucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPartition(testRules(t, nil))
		full := errors.New("disk is full")
		var broken atomic.Bool
		broken.Store(true)
		p.deliver = func() error {
			if broken.Load() {
				return full
			}
			return nil
		}
		p.scheduleAll(t, record.None, time.Second, 2*time.Second, time.Hour, 3*time.Hour)
		line := dispatching(t, DispatcherConfig{}).Attach("orders-0", p.schedule, p)
		defer line.Detach()
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if !errors.Is(line.Stopped(), full) || len(p.visible()) != 0 {
			t.Fatalf("stopped by %v with %d deliveries", line.Stopped(), len(p.visible()))
		}
		if st := p.schedule.Stats(time.Now().UnixMilli()); st.Pending != 4 || st.Overdue != 3 {
			t.Errorf("stats meanwhile: %+v", st)
		}
		broken.Store(false)
		time.Sleep(maxBackoff)
		synctest.Wait()
		if got := fmt.Sprint(ticketsOf(t, p.visible())); got != "[0 1 2]" || line.Stopped() != nil {
			t.Errorf("delivered %s, stopped by %v", got, line.Stopped())
		}
	})
}

func TestMissingPayloadStopsDeliveryAndNothingIsSkipped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPartition(testRules(t, nil))
		p.scheduleAll(t, record.None, time.Second)
		p.scheduleAll(t, record.None, 2*time.Second)
		p.scheduleAll(t, record.None, 3*time.Second)
		var missing atomic.Bool
		missing.Store(true)
		p.unread = func(offset int64) error {
			if offset == 1 && missing.Load() {
				return errors.New("no such object")
			}
			return nil
		}
		// All are overdue, so that they are in one window.
		time.Sleep(time.Hour)
		line := dispatching(t, DispatcherConfig{}).Attach("orders-0", p.schedule, p)
		defer line.Detach()
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := fmt.Sprint(ticketsOf(t, p.visible())); got != "[0]" {
			t.Errorf("delivered %s while ticket 1 cannot be read", got)
		}
		if err := line.Stopped(); err == nil || !strings.Contains(err.Error(), "ticket 1: no such object") {
			t.Errorf("stopped by %v", err)
		}
		missing.Store(false)
		time.Sleep(maxBackoff)
		synctest.Wait()
		if got := fmt.Sprint(ticketsOf(t, p.visible())); got != "[0 1 2]" {
			t.Errorf("delivered %s", got)
		}
	})
}

func TestPayloadThatIsNotWhatWasScheduledIsNotDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPartition(testRules(t, nil))
		p.scheduleAll(t, record.None, time.Second, time.Second)
		other := newPartition(p.rules)
		other.scheduleAll(t, record.None, time.Second, 2*time.Second)
		p.batches = other.batches
		line := dispatching(t, DispatcherConfig{}).Attach("orders-0", p.schedule, p)
		defer line.Detach()
		time.Sleep(time.Minute)
		synctest.Wait()
		if err := line.Stopped(); err == nil || !strings.Contains(err.Error(), "ticket 1: the record in the log is due at") {
			t.Errorf("stopped by %v", err)
		}
	})
}

func TestUncommittedDeliveriesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPartition(testRules(t, nil))
		commits := make(chan struct{})
		p.wait = func(ctx context.Context, end int64) error {
			select {
			case <-commits:
				p.schedule.AdvanceHighWatermark(end)
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		for i := range 200 {
			p.scheduleAll(t, record.None, time.Second+time.Duration(i)*10*time.Millisecond)
		}
		line := dispatching(t, DispatcherConfig{}).Attach("orders-0", p.schedule, p)
		defer line.Detach()
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := len(p.visible()); got > maxUncommitted+1 {
			t.Errorf("%d appends are uncommitted, want at most %d", got, maxUncommitted+1)
		}
		close(commits)
		synctest.Wait()
		if got := len(p.visible()); got != 200 {
			t.Errorf("%d delivered in the end", got)
		}
	})
}

func TestDetachReturnsWhatIsInFlightAndTheNextLeaderDeliversItOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := dispatching(t, DispatcherConfig{})
		p := newPartition(testRules(t, nil))
		p.deliver = func() error { return errors.New("not the leader any more") }
		p.scheduleAll(t, record.None, time.Second, time.Second)
		line := d.Attach("orders-0", p.schedule, p)
		time.Sleep(time.Minute)
		line.Detach()
		time.Sleep(time.Minute)
		if len(p.schedule.flights) != 0 || p.schedule.NextDue() >= time.Now().UnixMilli() {
			t.Errorf("flights %d, next due %d", len(p.schedule.flights), p.schedule.NextDue())
		}
		p.deliver = nil
		defer d.Attach("orders-0", p.schedule, p).Detach()
		synctest.Wait()
		if got := fmt.Sprint(ticketsOf(t, p.visible())); got != "[0 1]" {
			t.Errorf("delivered %s", got)
		}
	})
}

func TestDueTimesAreComparedWithTheWallClockWhateverItDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var skew atomic.Int64
		now := func() time.Time { return time.Now().Round(0).Add(time.Duration(skew.Load())) }
		p := newPartition(testRules(t, nil))
		p.now = now
		line := dispatching(t, DispatcherConfig{Now: now}).Attach("orders-0", p.schedule, p)
		defer line.Detach()
		p.scheduleAll(t, record.None, time.Hour, 2*time.Hour, 3*time.Hour)
		visible := func(want int) {
			t.Helper()
			time.Sleep(maxStep)
			synctest.Wait()
			if got := len(p.visible()); got != want {
				t.Errorf("%d delivered at %v, want %d", got, now(), want)
			}
		}
		visible(0)
		skew.Store(int64(time.Hour))
		visible(1)
		skew.Store(int64(-time.Hour))
		visible(1)
		time.Sleep(2 * time.Hour)
		visible(1)
		time.Sleep(time.Hour)
		visible(2)
		skew.Store(int64(24 * time.Hour))
		visible(3)
		p.checkNothingEarly(t)
	})
}

// TestRestEndsThoughTheClockGoesBack is a source, or a line, that cannot go on and rests when the
// wall clock is set back by half an hour.
func TestRestEndsThoughTheClockGoesBack(t *testing.T) {
	for name, fail := range map[string]func(*partition, *atomic.Bool){
		"records cannot be read": func(p *partition, failing *atomic.Bool) {
			p.unread = func(int64) error {
				if failing.Load() {
					return errInjected
				}
				return nil
			}
		},
		"deliveries cannot be appended": func(p *partition, failing *atomic.Bool) {
			p.deliver = func() error {
				if failing.Load() {
					return errInjected
				}
				return nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var skew atomic.Int64
				var failing atomic.Bool
				now := func() time.Time { return time.Now().Round(0).Add(time.Duration(skew.Load())) }
				p := newPartition(testRules(t, nil))
				p.now = now
				fail(p, &failing)
				failing.Store(true)
				line := dispatching(t, DispatcherConfig{Now: now}).Attach("orders-0", p.schedule, p)
				defer line.Detach()
				p.scheduleAll(t, record.None, time.Second)
				time.Sleep(time.Hour)
				synctest.Wait()
				if line.Stopped() == nil {
					t.Fatal("it does not rest")
				}
				skew.Store(int64(-30 * time.Minute))
				failing.Store(false)
				time.Sleep(maxBackoff + maxStep)
				synctest.Wait()
				if n := len(p.visible()); n != 1 || line.Stopped() != nil {
					t.Errorf("%d delivered, stopped by %v", n, line.Stopped())
				}
			})
		})
	}
}

func TestClockThatGoesBackDuringADeliveryMakesItWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var skew atomic.Int64
		now := func() time.Time { return time.Now().Round(0).Add(time.Duration(skew.Load())) }
		p := newPartition(testRules(t, nil))
		p.now = now
		p.deliver = func() error {
			skew.Store(int64(-time.Hour))
			return nil
		}
		line := dispatching(t, DispatcherConfig{Now: now}).Attach("orders-0", p.schedule, p)
		defer line.Detach()
		p.scheduleAll(t, record.None, time.Minute)
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		if len(p.visible()) != 0 || line.Stopped() != nil {
			t.Errorf("%d delivered, stopped by %v", len(p.visible()), line.Stopped())
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(p.visible()) != 1 {
			t.Errorf("%d delivered", len(p.visible()))
		}
		p.checkNothingEarly(t)
	})
}

func TestClockJumpsAreNoticedAndDriftIsNot(t *testing.T) {
	base := time.Unix(1_800_000_000, 0)
	var c clockWatch
	for i, step := range []struct{ wall, mono, jump time.Duration }{
		{0, 0, 0},
		{100 * time.Millisecond, 100 * time.Millisecond, 0},
		{time.Second, 100 * time.Millisecond, 900 * time.Millisecond},
		{-time.Hour, 100 * time.Millisecond, -time.Hour - 100*time.Millisecond},
		{101 * time.Millisecond, 100 * time.Millisecond, 0},
		{time.Hour + time.Second, time.Hour, 0},
	} {
		wall, mono := c.wall.Add(step.wall), c.mono.Add(step.mono)
		if i == 0 {
			wall, mono = base, base
		}
		if got := c.look(wall, mono); got != step.jump {
			t.Errorf("step %d: jump of %v, want %v", i, got, step.jump)
		}
	}
}

func TestRecordsDueInCenturiesAreWaitedForQuietly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPartition(testRules(t, func(c *RulesConfig) { c.MaxMs = 1 << 62 }))
		looks := 0
		now := func() time.Time {
			looks++
			return time.Now()
		}
		line := dispatching(t, DispatcherConfig{Now: now}).Attach("orders-0", p.schedule, p)
		defer line.Detach()
		p.mustSend(t, with("v", HeaderDeliverAt, "9999-12-31T23:59:59Z"))
		time.Sleep(time.Minute)
		synctest.Wait()
		if looks > 10*600 {
			t.Errorf("the clock was looked at %d times in a minute", looks)
		}
	})
}

func TestLargeBatchesAreReadShortlyBeforeTheirFirstRecordIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPartition(testRules(t, nil))
		var rs []record.Record
		for i := range 1000 {
			rs = append(rs, with(strings.Repeat("x", 100), HeaderDelay, strconv.Itoa(60_000+i)))
		}
		p.mustSend(t, rs...)
		line := dispatching(t, DispatcherConfig{}).Attach("orders-0", p.schedule, p)
		defer line.Detach()
		time.Sleep(time.Minute - warmAhead - time.Millisecond)
		synctest.Wait()
		if p.reads.Load() != 0 {
			t.Errorf("%d reads long before anything is due", p.reads.Load())
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := len(p.visible()); got != 1000 || p.reads.Load() > 4 {
			t.Errorf("%d delivered, the batch was read %d times", got, p.reads.Load())
		}
	})
}

// TestTruncatedDeliveryIsDueAgain: the schedule is woken for what a delivery that is no more had finished.
func TestTruncatedDeliveryIsDueAgain(t *testing.T) {
	p := newPartition(testRules(t, nil))
	p.scheduleAll(t, record.None, time.Second, time.Hour)
	end, due := p.end, p.schedule.NextDue()
	p.wait = func(context.Context, int64) error { return nil } // and nothing is committed
	p.now = func() time.Time { return time.UnixMilli(due) }
	l := NewDispatcher(DispatcherConfig{Now: p.now}).Attach("orders-0", p.schedule, p)
	deliverAll(t, l, new(workspace), minWindow)
	l.Detach()
	if len(p.visible()) != 1 || p.schedule.NextDue() <= due {
		t.Fatalf("%d delivered, the next is due at %d", len(p.visible()), p.schedule.NextDue())
	}
	if err := p.schedule.Truncate(end); err != nil {
		t.Fatal(err)
	}
	if next := p.schedule.NextDue(); next != due {
		t.Errorf("the next is due at %d, %d ms after the one whose delivery is no more", next, next-due)
	}
}
