package partition

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/log/record"
)

// transactional makes a batch part of a transaction of producer 5.
func transactional(b record.Batch, epoch int16, sequence int32) record.Batch {
	return transactionalOf(5, b, epoch, sequence)
}

func transactionalOf(producer int64, b record.Batch, epoch int16, sequence int32) record.Batch {
	var w record.Builder
	w.ResetLike(b)
	w.SetAttributes(record.Transactional)
	w.SetProducer(producer, epoch, sequence)
	if err := b.Walk(nil, func(v *record.View) error { w.AddView(v); return nil }); err != nil {
		panic(err)
	}
	done, err := w.Finish()
	if err != nil {
		panic(err)
	}
	return bytes.Clone(done)
}

// appendIn appends records in a transaction that its coordinator knows of.
func (w *world) appendIn(p *Partition, epoch int16, sequence int32, rs ...rec) {
	w.Helper()
	b := transactional(batch(w.clock(), rs...), epoch, sequence)
	if _, err := p.Append(context.Background(), b, p.Verify(b, true), w.clock()); err != nil {
		w.Fatalf("append in a transaction: %v", err)
	}
}

// end appends the marker of producer 5's transaction.
func (w *world) end(p *Partition, epoch int16, commit bool) {
	w.Helper()
	if _, err := p.EndTransaction(log.Marker{ProducerID: 5, Epoch: epoch, CoordinatorEpoch: 1, Commit: commit}, false, w.clock()); err != nil {
		w.Fatalf("end the transaction: %v", err)
	}
}

// stable lists what a client reads as read_committed, and the transactions it has to skip.
func (w *world) stable(p *Partition) (values []string, aborted []log.AbortedTxn) {
	w.Helper()
	r, err := p.Read(ReadRequest{MaxBytes: 1 << 20, LeaderEpoch: -1, LastFetchedEpoch: -1, Committed: true})
	if err != nil {
		w.Fatal(err)
	}
	defer r.Release()
	return w.values(r), r.Aborted
}

func TestCommittedReadersSeeTransactionsThatAreOver(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1)
	p := w.partition("orders")
	w.append(p, plain("a"))
	w.appendIn(p, 0, 0, plain("b"))
	w.append(p, plain("c"))
	w.commit()
	if got, aborted := w.stable(p); !slices.Equal(got, []string{"0:a"}) || aborted != nil {
		t.Errorf("while the transaction is open: %v, %v", got, aborted)
	}
	if got := w.visible(p, 0); len(got) != 3 {
		t.Errorf("uncommitted: %v", got)
	}
	w.end(p, 1, false)
	w.commit()
	w.appendIn(p, 1, 0, plain("d"))
	w.end(p, 2, true)
	w.commit()
	got, aborted := w.stable(p)
	if want := []string{"0:a", "1:b", "2:c", "3:\x00\x00\x00\x00\x00\x01", "4:d", "5:\x00\x00\x00\x00\x00\x01"}; !slices.Equal(got, want) {
		t.Errorf("read %q, expected %q", got, want)
	}
	if len(aborted) != 1 || aborted[0].FirstOffset != 1 || aborted[0].ProducerID != 5 {
		t.Errorf("aborted are %+v", aborted)
	}
}

func TestTransactionIsVerifiedBeforeItIsOpened(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1)
	p := w.partition("orders")
	one := func(epoch int16, sequence int32) record.Batch {
		return transactional(batch(w.clock(), plain("x")), epoch, sequence)
	}
	try := func(b record.Batch, v *log.Verification, want error) {
		t.Helper()
		if _, err := p.Append(t.Context(), b, v, w.clock()); !errors.Is(err, want) {
			t.Errorf("append: %v, expected %v", err, want)
		}
	}
	if p.Verify(batch(w.clock(), plain("x")), true) != nil {
		t.Error("an ordinary batch has to be verified")
	}
	try(one(0, 0), nil, log.ErrUnverified)
	// Asked, answered, and then the transaction ends before the batch is there: it may not open another one.
	late := one(0, 0)
	v := p.Verify(late, false)
	w.end(p, 0, false)
	try(late, v, log.ErrUnverified)
	// The answer was no.
	v = p.Verify(late, false)
	p.Unverify(v)
	try(late, v, log.ErrUnverified)
	// Yes: what follows in the transaction needs no other answer, and may not be outside of it.
	try(late, p.Verify(late, false), nil)
	if p.Verify(one(0, 1), false) != nil {
		t.Error("an open transaction has to be verified again")
	}
	try(one(0, 1), nil, nil)
	try(sequenced(batch(w.clock(), plain("x")), 2), nil, log.ErrInTransaction)
	if p.Verify(one(0, 1), false) != nil {
		t.Error("a duplicate has to be verified")
	}
	// The next transaction, in a new epoch, while the marker of this one is not here yet.
	v = p.Verify(one(1, 0), true)
	if v == nil {
		t.Error("the next transaction is taken for this one")
	}
	try(one(1, 0), v, log.ErrUnverified)
	w.end(p, 1, true) // the coordinator's answer has waited for it
	try(one(1, 0), v, nil)
	// A producer of a new epoch that is not known here begins at the beginning.
	w.create("other", 1)
	p = w.partition("other")
	gap := one(3, 7)
	if _, err := p.Append(t.Context(), gap, p.Verify(gap, true), w.clock()); !isGap(err) {
		t.Errorf("a gap is taken: %v", err)
	}
	try(one(3, 7), p.Verify(one(3, 7), false), nil)
}

func isFenced(err error) bool {
	_, ok := errors.AsType[*log.ProducerFencedError](err)
	return ok
}

func isGap(err error) bool {
	_, ok := errors.AsType[*log.OutOfOrderSequenceError](err)
	return ok
}

func TestMarkersOfOldEpochsAreRefused(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1)
	p := w.partition("orders")
	w.appendIn(p, 3, 0, plain("a"))
	_, err := p.EndTransaction(log.Marker{ProducerID: 5, Epoch: 2, CoordinatorEpoch: 1}, false, w.clock())
	if !isFenced(err) {
		t.Errorf("marker of an old epoch: %v", err)
	}
	// The transaction that was open in epoch 2 is over: its marker ends not this one, which was
	// opened in the new epoch.
	_, err = p.EndTransaction(log.Marker{ProducerID: 5, Epoch: 3, CoordinatorEpoch: 1}, true, w.clock())
	if !isFenced(err) {
		t.Errorf("marker that comes late: %v", err)
	}
	w.end(p, 4, true)
	_, err = p.EndTransaction(log.Marker{ProducerID: 5, Epoch: 4}, false, w.clock())
	if _, fenced := errors.AsType[*log.CoordinatorFencedError](err); !fenced {
		t.Errorf("marker of an old coordinator: %v", err)
	}
}

func TestDelayedRecordsWaitForTheirTransaction(t *testing.T) {
	living(t, func(t *testing.T, w *world) {
		w.create("orders", 1)
		w.start()
		w.awaitLoaded("orders")
		p := w.partition("orders")
		w.appendIn(p, 0, 0, plain("now"), delayed("soon", "10s"), delayed("later", "1h"))
		time.Sleep(time.Minute)
		if got := w.delivered(p); len(got) != 0 {
			t.Fatalf("delivered before the commit: %v", got)
		}
		if s := w.stats(p); s.Pending != 0 || s.Undecided != 2 {
			t.Errorf("stats are %+v", s)
		}
		w.end(p, 0, true)
		time.Sleep(time.Second)
		if got := w.delivered(p); len(got) != 1 || got[1] != 1 {
			t.Errorf("delivered after the commit: %v", got)
		}
		time.Sleep(time.Hour)
		if got := w.delivered(p); len(got) != 2 || got[2] != 1 {
			t.Errorf("delivered an hour later: %v", got)
		}
		w.appendIn(p, 0, 3, delayed("never", "10s"))
		w.end(p, 0, false)
		time.Sleep(time.Hour)
		if got := w.delivered(p); len(got) != 2 {
			t.Errorf("delivered after the abort: %v", got)
		}
		if s := w.stats(p); s.Pending != 0 || s.Undecided != 0 {
			t.Errorf("stats are %+v", s)
		}
	})
}

// TestCommitOfManyDelayedRecords is a transaction that is scheduled in several steps.
func TestCommitOfManyDelayedRecords(t *testing.T) {
	living(t, func(t *testing.T, w *world) {
		w.create("orders", 1, "max.message.bytes", "10000000")
		w.start()
		w.awaitLoaded("orders")
		p := w.partition("orders")
		const n = 10_000
		many := make([]rec, n)
		for i := range many {
			many[i] = delayed("x", fmt.Sprint(i%3+1, "s"))
		}
		many[n-1] = delayed("x", "1h") // else it may be delivered before it is cancelled
		w.appendIn(p, 0, 0, many...)
		time.Sleep(time.Minute)
		w.end(p, 1, true)
		w.append(p, cancelOf(n-1)) // one that may not be moved yet
		time.Sleep(time.Minute)
		delivered := w.delivered(p)
		for ticket, times := range delivered {
			if times != 1 || ticket == n-1 {
				t.Errorf("ticket %d was delivered %d times", ticket, times)
			}
		}
		if s := w.stats(p); len(delivered) != n-1 || s.Pending != 0 || s.Undecided != 0 {
			t.Errorf("%d of %d were delivered, stats are %+v", len(delivered), n-1, s)
		}
	})
}

// TestCrashesThroughoutATransaction takes delayed records through transactions, and crashes after
// every step, the process or the machine: the coordinator writes its marker again, and each record
// is delivered once, or never.
func TestCrashesThroughoutATransaction(t *testing.T) {
	for _, commit := range []bool{true, false} {
		living(t, func(t *testing.T, w *world) {
			w.create("orders", 1)
			w.load()
			p := w.partition("orders")
			acknowledged := 0
			for i, step := range []func(){
				func() { w.appendIn(p, 0, 0, plain("a"), delayed("b", "10s")) },
				w.commit,
				func() { w.appendIn(p, 0, 2, delayed("c", "20s")) },
				func() { w.commit(); acknowledged = 2 },
				func() { w.end(p, 1, commit) },
				w.commit,
				func() { w.end(p, 1, commit) }, // a marker that comes twice
				w.commit,
				func() { w.appendIn(p, 1, 0, delayed("d", "10s")) },
				func() { w.commit(); acknowledged = 3 },
			} {
				step()
				for kind, left := range map[string]*vfs.Mem{"process": w.mem.CrashProcess(), "machine": w.mem.Crash(nil)} {
					if problem := afterCrash(w, left, commit, acknowledged); problem != "" {
						t.Errorf("commit %t, crash of the %s after step %d: %s", commit, kind, i, problem)
					}
				}
			}
		})
	}
}

// afterCrash goes on from what is left: the marker is written again, as the coordinator does, and a
// second transaction is aborted. Of the first, which has the tickets 1 and 2, everything
// acknowledged is delivered if it commits.
func afterCrash(w *world, left *vfs.Mem, commit bool, acknowledged int) (problem string) {
	again := &world{TB: w.TB, store: w.store, clock: time.Now, lines: &syncBuffer{}}
	again.restart(left)
	defer again.start()()
	p := again.partition("orders")
	time.Sleep(time.Hour)
	before := again.delivered(p)
	for e := range int16(2) {
		c := commit && e == 0
		if _, err := p.EndTransaction(log.Marker{ProducerID: 5, Epoch: e + 1, CoordinatorEpoch: 1, Commit: c}, true, time.Now()); err != nil && !isFenced(err) {
			return err.Error()
		}
	}
	time.Sleep(time.Hour)
	got := again.delivered(p)
	want := 0
	if commit {
		want = min(acknowledged, 2)
	}
	for ticket, times := range got {
		if times != 1 || ticket > 2 || !commit {
			return fmt.Sprintf("ticket %d was delivered %d times", ticket, times)
		}
	}
	if o := p.log.Offsets(); o.LastStable != o.VisibleEnd {
		return fmt.Sprintf("last stable is %d of %d", o.LastStable, o.VisibleEnd)
	}
	if len(got) < want || again.stats(p).Undecided != 0 {
		return fmt.Sprintf("%d were delivered of %d, %d before the marker came again", len(got), want, len(before))
	}
	return ""
}

func TestRetentionKeepsUndecidedDelayedRecords(t *testing.T) {
	living(t, func(t *testing.T, w *world) {
		w.create("orders", 1, "retention.ms", "60000", "segment.ms", "10000")
		w.start()
		w.awaitLoaded("orders")
		p := w.partition("orders")
		w.append(p, delayed("a", "100h"))
		w.appendIn(p, 0, 0, delayed("b", "10s"))
		for range 3 {
			time.Sleep(time.Minute)
			w.append(p, plain("x"))
		}
		time.Sleep(time.Hour)
		if got := w.content(p); len(got) == 0 || got[0] != "1h:b" && got[0] != "0h:a" {
			t.Fatalf("what the transaction has scheduled is gone: %v", got)
		}
		if s := w.stats(p); s.Undecided != 1 {
			t.Errorf("stats are %+v", s)
		}
		w.end(p, 1, true)
		time.Sleep(time.Second)
		if got := w.delivered(p); got[1] != 1 {
			t.Errorf("delivered %v", got)
		}
		time.Sleep(time.Hour)
		if o := p.log.Offsets(); o.RealStart < 2 || w.stats(p).Pending != 1 {
			t.Errorf("log starts at %d although the transaction is over, %d are pending", o.RealStart, w.stats(p).Pending)
		}
	})
}

func TestCancelsAndKeysInATransactionAreRefused(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1)
	w.load()
	p := w.partition("orders")
	w.append(p, delayed("a", "1h"))
	for _, r := range []rec{cancelOf(0), {value: "b", headers: []string{"morrow-delay", "1h", "morrow-key", "k"}}} {
		b := transactional(batch(w.clock(), r), 0, 0)
		_, err := p.Append(t.Context(), b, p.Verify(b, true), w.clock())
		if _, refused := errors.AsType[*record.RecordErrors](err); !refused {
			t.Errorf("%v: %v", r, err)
		}
	}
}
