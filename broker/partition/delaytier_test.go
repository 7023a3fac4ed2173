package partition

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/morrowmq/morrow/delay"
	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket"
	"github.com/morrowmq/morrow/tier/bucket/buckettest"
)

// This file is D1 in virtual time: delays that are longer than local retention, and than all
// retention, of a tiered topic.

// TestD1DelaysOfHoursToAMonthBeyondRetention: a broker that is up for some hours now and then
// delivers what waited a month in the bucket.
func TestD1DelaysOfHoursToAMonthBeyondRetention(t *testing.T) {
	tiered(t, func(t *testing.T, w *world) {
		l, stop := w.underway()
		for _, by := range []time.Duration{time.Hour, 2 * time.Hour, 72 * time.Hour, 720 * time.Hour} {
			l.schedule(100, by)
		}
		l.run(2*time.Hour + time.Minute)
		l.settled()
		l.run(6 * time.Hour) // beyond all retention
		l.evicted()
		if n := l.waiting(); n != 200 {
			t.Fatalf("%d wait", n)
		}
		if start := w.remoteStart("orders"); start < 400 {
			t.Errorf("the tier still holds the log from %d on: its retention is held up", start)
		}
		for _, up := range []time.Duration{72 * time.Hour, 720 * time.Hour} {
			stop = w.crash(stop, time.Until(l.began.Add(up-30*time.Minute)))
			w.awaitLoaded("orders")
			l.next = max(l.next, w.partition("orders").log.Offsets().LogStart)
			l.run(40 * time.Minute)
			l.settled()
		}
		if n := l.waiting(); n != 0 || w.stats(w.partition("orders")).Pending != 0 {
			t.Errorf("%d wait, %+v", n, w.stats(w.partition("orders")))
		}
		l.run(20 * time.Minute)
		w.scheduleIsTidy("orders")
	})
}

// remoteStart is where the remote part of a partition begins.
func (w *world) remoteStart(name string) int64 {
	return w.partition(name).remote.Load().Status().Start
}

// scheduleIsTidy fails if much is left of a schedule that is over, here or in the bucket.
func (w *world) scheduleIsTidy(name string) {
	w.Helper()
	journal := w.partition(name).scheduleLog()
	spans, err := journal.remote.Load().Segments(w.Context())
	if n := len(journal.log.Segments()); err != nil || n > 3 || len(spans) > 3 {
		w.Errorf("%d segments of the schedule log are here, %d in the tier, %v", n, len(spans), err)
	}
}

// TestD1bRetentionShorterThanTheDelay: all retention is a minute, and the delay a day.
func TestD1bRetentionShorterThanTheDelay(t *testing.T) {
	tiered(t, func(t *testing.T, w *world) {
		l, _ := w.underway("local.retention.ms", "30000", "retention.ms", "60000", "segment.ms", "10000")
		l.schedule(50, 3*time.Hour)
		time.Sleep(2 * time.Hour)
		l.evicted()
		l.next = w.partition("orders").log.Offsets().LogStart
		time.Sleep(time.Hour + 11*time.Second)
		l.settled()
	})
}

// TestSpillScansFromTheLogStart, not from the schedule's floor, which may lie below what the tier
// has expired: nothing is pending there.
func TestSpillScansFromTheLogStart(t *testing.T) {
	tiered(t, func(t *testing.T, w *world) {
		l, _ := w.underway("local.retention.ms", "1000", "retention.ms", "600000", "segment.bytes", "2048", "segment.ms", "60000")
		l.run(30 * time.Minute)
		p := w.partition("orders")
		start := p.log.Offsets().RealStart
		if start < 10 || w.remoteStart("orders") < 10 || p.log.Offsets().LocalStart <= start {
			t.Fatalf("void: the log starts at %d, here at %d", start, p.log.Offsets().LocalStart)
		}
		first := int64(-1)
		err := spilled{source{p}}.Scan(t.Context(), 0, p.log.Offsets().LogEnd, func(b record.Batch) error {
			if first < 0 {
				first = b.BaseOffset()
			}
			return nil
		})
		if err != nil || first != start {
			t.Fatalf("scanned from %d, want %d: %v", first, start, err)
		}
	})
}

// TestD1cStoreIsDownAcrossTheDueTime: what waits in the tier stops and says so, everything else
// goes on, and it resumes by itself.
func TestD1cStoreIsDownAcrossTheDueTime(t *testing.T) {
	tiered(t, func(t *testing.T, w *world) {
		w.d1("orders")
		w.create("others", 1)
		w.start()
		w.awaitLoaded("orders")
		w.awaitLoaded("others")
		l, others := w.ledger("orders"), w.ledger("others")
		l.schedule(100, 4*time.Hour)
		l.run(3*time.Hour + 55*time.Minute)
		l.evicted()
		w.bucket.Add(buckettest.Rule{Times: buckettest.Forever, Fault: buckettest.Refuse, Err: bucket.ErrThrottled})
		others.schedule(10, 6*time.Minute)
		near := l.schedule(10, 6*time.Minute)
		time.Sleep(5*time.Minute + 30*time.Second)
		p := w.partition("orders")
		if sources, err := p.ScheduleSources(); err != nil || stopped(sources) == 0 {
			t.Errorf("sources %+v, %v", sources, err)
		}
		time.Sleep(time.Minute)
		others.settled()
		l.consume()
		for _, ticket := range near {
			if l.seen[ticket] == 0 {
				t.Errorf("ticket %d, which is near, waits for the store", ticket)
			}
		}
		if l.waiting() != 100 || w.stats(p).Overdue != 100 {
			t.Errorf("%d wait, %+v", l.waiting(), w.stats(p))
		}
		w.bucket.Heal()
		time.Sleep(10 * time.Second)
		l.consume()
		if sources, err := p.ScheduleSources(); err != nil || stopped(sources) != 0 || l.waiting() != 0 {
			t.Errorf("ten seconds later %d wait, sources %+v, %v", l.waiting(), sources, err)
		}
	})
}

func stopped(sources []delay.SourceState) (n int) {
	for _, s := range sources {
		if s.Stopped != nil {
			n++
		}
	}
	return n
}

// TestD1dDiskFullDeletesNothingPending: producers are refused, and what waits is delivered.
func TestD1dDiskFullDeletesNothingPending(t *testing.T) {
	living(t, func(t *testing.T, w *world) {
		w.bucket = buckettest.New()
		w.reserve = 1 << 20
		w.open()
		l, _ := w.underway()
		w.bucket.Add(buckettest.Rule{Times: buckettest.Forever, Fault: buckettest.Refuse})
		l.schedule(100, 3*time.Hour)
		l.run(30 * time.Minute)
		usage, err := w.fsys.Usage("/")
		if err != nil {
			t.Fatal(err)
		}
		w.mem.SetCapacity(usage.Total - usage.Free + w.reserve/2)
		w.logs.Keep(w.clock())
		p := w.partition("orders")
		if _, err := p.Append(t.Context(), batch(w.clock(), delayed("more", "1h")), nil, w.clock()); !errors.Is(err, log.ErrNoSpace) {
			t.Errorf("a producer on a full disk: %v", err)
		}
		l.run(2*time.Hour + 31*time.Minute)
		l.settled()
		if o := p.log.Offsets(); o.LocalStart > 0 {
			t.Errorf("the local log starts at %d, and nothing is confirmed", o.LocalStart)
		}
		w.bucket.Heal()
		w.mem.SetCapacity(0)
		w.logs.Keep(w.clock())
		l.run(2 * time.Hour)
		if o := p.log.Offsets(); o.LocalStart == 0 {
			t.Error("nothing was evicted after the store came back")
		}
	})
}

// TestD1eScheduleThatIsNeverUploadedStaysLocal: uploads of the schedule topic fail throughout.
func TestD1eScheduleThatIsNeverUploadedStaysLocal(t *testing.T) {
	tiered(t, func(t *testing.T, w *world) {
		w.d1("orders")
		w.start()
		w.awaitLoaded("orders")
		journal := w.partition("orders").scheduleLog()
		w.bucket.Add(buckettest.Rule{
			Ops: buckettest.OpPut, Under: "c/" + tier.TopicID(journal.Topic().ID).String() + "/", Key: ".segment", Times: buckettest.Forever, Fault: buckettest.Refuse,
		})
		l := w.ledger("orders")
		l.schedule(100, 12*time.Hour)
		l.run(8 * time.Hour)
		if st := w.stats(w.partition("orders")); st.Spilled != 100 {
			t.Fatalf("%+v: the test is void", st)
		}
		if start, confirmed := journal.log.Offsets().LocalStart, journal.confirmed(); start > 0 || confirmed > 0 {
			t.Errorf("schedule log starts at %d, confirmed is %d", start, confirmed)
		}
		for _, r := range w.partition("orders").schedule.ReadLate(w.clock().UnixMilli(), 0) {
			if _, err := journal.log.BatchAt(r.From, nil); err != nil {
				t.Errorf("records of a run are gone: %v", err)
			}
		}
		if start := w.remoteStart("orders"); start > 0 {
			t.Errorf("the tier has the log from %d on: it could not be restored", start)
		}
		l.run(4*time.Hour + time.Minute)
		l.settled()
	})
}

// TestD1fCrashAtAnyPoint: kill -9 every half hour or so, at another point of D1 each time.
func TestD1fCrashAtAnyPoint(t *testing.T) {
	for seed := range 4 {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			tiered(t, func(t *testing.T, w *world) {
				l, stop := w.underway()
				for _, by := range []time.Duration{time.Hour, 3 * time.Hour, 5 * time.Hour} {
					l.schedule(50, by)
				}
				w.logs.Sync() // acknowledged
				for i := range 9 {
					l.run(30 * time.Minute)
					time.Sleep(time.Duration((7919*(seed+1)*(i+1))%60_000) * time.Millisecond)
					stop = w.crash(stop, time.Second)
					w.awaitLoaded("orders")
				}
				l.run(time.Hour)
				l.done()
			})
		})
	}
}

// TestD1gObjectOfARunIsLost: that run stops and says why, others go on, and it resumes when the object is back.
func TestD1gObjectOfARunIsLost(t *testing.T) {
	tiered(t, func(t *testing.T, w *world) {
		l, _ := w.underway()
		l.schedule(60, 4*time.Hour)
		l.run(time.Hour)
		l.schedule(60, 3*time.Hour)
		l.run(2*time.Hour + 30*time.Minute)
		l.evicted()
		p := w.partition("orders")
		parts := p.schedule.ReadLate(w.clock().UnixMilli(), 0)
		if len(parts) < 2 {
			t.Fatalf("runs %v: the test is void", parts)
		}
		key := w.keyOf(p.scheduleLog(), parts[0].From)
		back := w.bucket.Take(key)
		time.Sleep(time.Hour)
		l.consume()
		sources, err := p.ScheduleSources()
		if err != nil || stopped(sources) != 1 {
			t.Errorf("sources %+v, %v", sources, err)
		}
		for _, s := range sources {
			if s.Stopped != nil && s.Pending != l.waiting() {
				t.Errorf("%d wait, the lost run holds %d", l.waiting(), s.Pending)
			}
		}
		back()
		time.Sleep(10 * time.Second)
		l.consume()
		if sources, err = p.ScheduleSources(); err != nil || stopped(sources) != 0 || l.waiting() != 0 {
			t.Errorf("with the object back %d wait, sources %+v, %v", l.waiting(), sources, err)
		}
	})
}

// keyOf is the key of the object that holds an offset.
func (w *world) keyOf(p *Partition, offset int64) string {
	w.Helper()
	m, err := tier.ReadManifest(w.Context(), w.bucket, "c", tier.TopicID(p.Topic().ID), p.number)
	if err != nil {
		w.Fatal(err)
	}
	key := ""
	err = m.EachSegment(w.Context(), w.bucket, func(e *tier.Entry) error {
		if e.Base <= offset && offset < e.End {
			key = m.Key(e)
		}
		return nil
	})
	if err != nil || key == "" {
		w.Fatalf("no object holds offset %d of %s: %v", offset, p, err)
	}
	return key
}

// TestD1hProofsAreRemovedByRetention: retention and DeleteRecords remove deliveries, cancels and
// replacements of records that lie in runs; then the broker is killed, and every cache lost.
// Nothing is delivered twice, nothing cancelled comes back.
func TestD1hProofsAreRemovedByRetention(t *testing.T) {
	tiered(t, func(t *testing.T, w *world) {
		l, stop := w.underway()
		tickets := l.schedule(100, 20*time.Hour)
		key := func(by string) rec {
			return rec{value: payload(0), headers: []string{delay.HeaderKey, "k", delay.HeaderDelay, by}}
		}
		p := w.partition("orders")
		replaced := w.append(p, key("20h"))
		l.due[replaced] = 1
		l.schedule(20, 90*time.Minute)
		l.run(80 * time.Minute)
		if st := w.stats(p); st.Spilled != 121 {
			t.Fatalf("%+v: the test is void", st)
		}
		for _, ticket := range tickets[:50] {
			w.append(p, cancelOf(ticket))
			l.due[ticket] = 0
		}
		moved := w.append(p, key("21h"))
		l.due[replaced], l.due[moved] = 0, w.clock().Add(21*time.Hour).UnixMilli()
		l.run(4 * time.Hour)
		if _, err := p.DeleteRecords(-1); err != nil {
			t.Fatal(err)
		}
		l.run(8 * time.Hour)
		if o := p.log.Offsets(); o.RealStart <= moved || w.remoteStart("orders") <= moved {
			t.Fatalf("the log starts at %d, in the tier at %d, the proofs are still there: the test is void", o.RealStart, w.remoteStart("orders"))
		}
		w.removeCaches()
		stop = w.crash(stop, time.Minute)
		defer stop()
		w.awaitLoaded("orders")
		if n := w.stats(w.partition("orders")).Pending; n != l.waiting() {
			t.Errorf("%d are pending, %d wait", n, l.waiting())
		}
		l.run(9*time.Hour + 30*time.Minute)
		l.done()
	})
}

// removeCaches removes every file that FORMAT.md of the log calls a cache.
func (w *world) removeCaches() {
	w.Helper()
	logs, err := w.fsys.List("/logs")
	if err != nil {
		w.Fatal(err)
	}
	for _, dir := range logs {
		names, err := w.fsys.List("/logs/" + dir)
		if err != nil {
			continue // a file
		}
		for _, name := range names {
			for _, suffix := range []string{".index", ".timeindex", ".txnindex", ".summary"} {
				if strings.HasSuffix(name, suffix) {
					// The broker is running, and may have removed it meanwhile.
					if err := w.fsys.Remove("/logs/" + dir + "/" + name); err != nil && !errors.Is(err, fs.ErrNotExist) {
						w.Fatal(err)
					}
				}
			}
		}
	}
}

// TestD1iCaughtUpConsumerStaysInRange while hidden segments below it are removed, here and in the
// tier, and gets the first delivery.
func TestD1iCaughtUpConsumerStaysInRange(t *testing.T) {
	tiered(t, func(t *testing.T, w *world) {
		l, _ := w.underway()
		l.schedule(100, 24*time.Hour)
		p := w.partition("orders")
		for range 23 {
			time.Sleep(time.Hour)
			l.consume()
			if o := p.log.Offsets(); o.LogStart != 0 || o.VisibleEnd != 0 {
				t.Fatalf("clients are told [%d, %d]", o.LogStart, o.VisibleEnd)
			}
		}
		if o := p.log.Offsets(); o.RealStart < 100 {
			t.Fatalf("the log starts at %d: the test is void", o.RealStart)
		}
		time.Sleep(time.Hour + 11*time.Second)
		l.done()
	})
}

// TestCancelOfWhatLiesInTheTierNeedsNoStore: the tables of a run stay here. What only the log in
// the tier could tell is a retriable error.
func TestCancelOfWhatLiesInTheTierNeedsNoStore(t *testing.T) {
	tiered(t, func(t *testing.T, w *world) {
		l, _ := w.underway()
		tickets := l.schedule(100, 10*time.Hour)
		early := l.schedule(1, time.Minute)
		l.run(3 * time.Hour)
		l.evicted()
		w.bucket.Add(buckettest.Rule{Times: buckettest.Forever, Fault: buckettest.Refuse})
		p := w.partition("orders")
		w.append(p, cancelOf(tickets[7]))
		l.due[tickets[7]] = 0
		_, err := p.Append(context.Background(), batch(w.clock(), cancelOf(early[0])), nil, w.clock())
		if _, ok := errors.AsType[*bucket.Error](err); !ok {
			t.Errorf("cancel of what only the tier knows of: %v", err)
		}
		w.bucket.Heal()
		if _, err = p.Append(context.Background(), batch(w.clock(), cancelOf(early[0])), nil, w.clock()); err == nil || !strings.Contains(err.Error(), "delivered at offset") {
			t.Errorf("cancel of what was delivered: %v", err)
		}
		l.run(7*time.Hour + time.Minute)
		l.settled()
	})
}

// TestReadAtTheStartClientsAreTold, which lies below the real one where hidden segments are gone,
// finds the first record in the tier.
func TestReadAtTheStartClientsAreTold(t *testing.T) {
	tiered(t, func(t *testing.T, w *world) {
		l, _ := w.underway()
		l.schedule(100, 24*time.Hour)
		time.Sleep(5 * time.Hour)
		l.run(3 * time.Hour)
		p := w.partition("orders")
		o := p.log.Offsets()
		if o.LogStart >= o.RealStart || o.RealStart >= o.LocalStart {
			t.Fatalf("%+v: the test is void", o)
		}
		for _, offset := range []int64{o.LogStart, o.RealStart - 1, o.RealStart} {
			r, err := p.ReadRemote(t.Context(), ReadRequest{Offset: offset, MaxBytes: 1, MinOne: true, LeaderEpoch: -1, LastFetchedEpoch: -1})
			if err != nil {
				t.Fatalf("read at %d: %v", offset, err)
			}
			if got := w.values(r); len(got) != 1 {
				t.Errorf("read at %d: %v", offset, got)
			}
			r.Release()
		}
	})
}

// TestReadWhileHiddenSegmentsGo: the read waits for the manifest, and finds one that begins above
// where it wanted to begin.
func TestReadWhileHiddenSegmentsGo(t *testing.T) {
	tiered(t, func(t *testing.T, w *world) {
		l, stop := w.underway()
		l.schedule(100, 24*time.Hour)
		time.Sleep(4 * time.Hour)
		l.run(110 * time.Minute)
		left := w.mem.CrashProcess()
		stop()
		time.Sleep(30 * time.Minute)
		w.reopen(left)
		p := w.partition("orders")
		if o := p.log.Offsets(); o.RealStart != 0 || o.LocalStart == 0 {
			t.Fatalf("%+v: the test is void", o)
		}
		w.bucket.Add(buckettest.Rule{Ops: buckettest.OpGet, Key: "/manifest", Delay: 50 * time.Second})
		failed := make(chan error, 1)
		go func() {
			r, err := p.ReadRemote(context.Background(), ReadRequest{MaxBytes: 1, MinOne: true, LeaderEpoch: -1, LastFetchedEpoch: -1})
			if err == nil {
				r.Release()
			}
			failed <- err
		}()
		synctest.Wait()
		w.start()
		time.Sleep(49 * time.Second)
		if o := p.log.Offsets(); o.LogStart != 0 || o.RealStart == 0 {
			t.Fatalf("%+v: the test is void", o)
		}
		if err := <-failed; err != nil {
			t.Error(err)
		}
	})
}
