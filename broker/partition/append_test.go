package partition

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/cluster/config"
	"github.com/morrowmq/morrow/delay"
	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/log/record"
)

func TestAppendIsCommittedWhenItIsDurable(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1)
	p := w.partition("orders")
	first, err := p.Append(t.Context(), batch(epoch, plain("a"), plain("b")), nil, epoch)
	if err != nil || first.BaseOffset != 0 || first.EndOffset != 2 || first.AppendTime != -1 || first.LogStart != 0 {
		t.Fatalf("first append: %+v, %v", first, err)
	}
	second, err := p.Append(t.Context(), batch(epoch, plain("c")), nil, epoch)
	if err != nil || second.BaseOffset != 2 || second.EndOffset != 3 {
		t.Fatalf("second append: %+v, %v", second, err)
	}
	if first.Committed() || !errors.Is(second.Wait(canceled()), context.Canceled) || len(w.visible(p, 0)) > 0 {
		t.Error("committed before it is durable")
	}
	w.commit()
	if !first.Committed() || !second.Committed() || second.Wait(canceled()) != nil {
		t.Error("not committed although it is durable")
	}
	w.wantContent(p, "0:a", "1:b", "2:c")
}

func TestAppendStoresWhatTheTopicWants(t *testing.T) {
	w := newWorld(t)
	w.create("packed", 1, "compression.type", "lz4")
	w.create("stamped", 1, "message.timestamp.type", "LogAppendTime")
	w.append(w.partition("packed"), plain(strings.Repeat("a", 100)))
	b, err := w.partition("packed").Log().BatchAt(0, nil)
	if err != nil || b.Attributes().Codec() != record.LZ4 || b.CheckCRC() != nil {
		t.Errorf("stored with attributes %#x, %v", b.Attributes(), err)
	}
	pending, err := w.partition("stamped").Append(t.Context(), batch(epoch.Add(-time.Hour), plain("a")), nil, epoch)
	if err != nil || pending.AppendTime != epoch.UnixMilli() {
		t.Errorf("append time is %d, %v", pending.AppendTime, err)
	}
}

func TestAppendRefusals(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1, "max.message.bytes", "300", "delay.max.pending", "2")
	w.create("compacted", 1, "cleanup.policy", "compact")
	w.load()
	transactional := sequenced(batch(epoch, plain("a")), 0)
	transactional.Stamp(record.Transactional, 0)
	damaged := batch(epoch, plain("a"))
	damaged[30]++
	bad := func(index int32) error { return &record.RecordErrors{Records: []record.RecordError{{Index: index}}} }
	for _, test := range []struct {
		name  string
		topic string
		batch record.Batch
		want  error
	}{
		{"too large", "orders", batch(epoch, plain(strings.Repeat("x", 300))), ErrTooLarge},
		{"in no transaction", "orders", transactional, log.ErrUnverified},
		{"damaged", "orders", damaged, record.ErrCRC},
		{"no key", "compacted", batch(epoch, plain("a")), bad(0)},
		{"delay that cannot be read", "orders", batch(epoch, plain("a"), delayed("b", "soon")), bad(1)},
		{"delay beyond the limit", "orders", batch(epoch, delayed("b", "100000h")), bad(0)},
		{"cancel of what is not there", "orders", batch(epoch, cancelOf(0)), bad(0)},
		{"too many pending", "orders", batch(epoch, delayed("a", "1h"), delayed("b", "1h"), delayed("c", "1h")), &delay.TooManyPendingError{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := w.partition(test.topic)
			_, err := p.Append(t.Context(), test.batch, nil, epoch)
			switch want := test.want.(type) { //nolint:errorlint // what is wanted is not wrapped
			case *record.RecordErrors:
				got, ok := errors.AsType[*record.RecordErrors](err)
				if !ok || len(got.Records) != 1 || got.Records[0].Index != want.Records[0].Index || got.Records[0].Reason == "" {
					t.Errorf("error is %v", err)
				}
			case *delay.TooManyPendingError:
				if _, ok := errors.AsType[*delay.TooManyPendingError](err); !ok {
					t.Errorf("error is %v", err)
				}
			default:
				if !errors.Is(err, want) {
					t.Errorf("error is %v", err)
				}
			}
			w.wantContent(p)
		})
	}
	if s := w.stats(w.partition("orders")); s.Pending != 0 {
		t.Errorf("%d records are pending", s.Pending)
	}
}

// TestRetryOfWhatIsStoredIsNotRefused, although its delay would be by now.
func TestRetryOfWhatIsStoredIsNotRefused(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1)
	w.load()
	p := w.partition("orders")
	stored := sequenced(batch(epoch, delayed("a", "2h")), 0)
	first, err := p.Append(t.Context(), bytes.Clone(stored), nil, epoch)
	if err != nil {
		t.Fatal(err)
	}
	w.store.must(cluster.SetTopicConfig{Topic: "orders", Edit: cluster.ConfigEdit{Replace: config.Values{"delay.max.ms": "3600000"}}})
	w.follow()
	again, err := p.Append(t.Context(), stored, nil, epoch)
	if err != nil || again.BaseOffset != first.BaseOffset || again.EndOffset != first.EndOffset {
		t.Errorf("the retry: %+v, %v", again, err)
	}
	if _, err := p.Append(t.Context(), sequenced(batch(epoch, delayed("b", "2h")), 1), nil, epoch); !errors.Is(err, record.ErrInvalid) {
		t.Errorf("the next batch: %v", err)
	}
	if s := w.stats(p); s.Pending != 1 {
		t.Errorf("%d records are pending", s.Pending)
	}
}

func TestAppendHidesWhatIsDelayed(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1)
	w.load()
	p := w.partition("orders")
	w.append(p, plain("a"))
	if ticket := w.append(p, delayed("b", "1h"), delayed("c", "2h")); ticket != 1 {
		t.Errorf("ticket is %d", ticket)
	}
	if base := w.append(p, plain("d"), delayed("e", "1h"), plain("f")); base != 3 {
		t.Errorf("mixed batch begins at %d", base)
	}
	w.wantContent(p, "0:a", "1h:b", "2h:c", "3:d", "4h:e", "5:f")
	w.commit()
	if got := strings.Join(w.visible(p, 0), " "); got != "0:a 3:d 5:f" {
		t.Errorf("visible are %s", got)
	}
	s := w.stats(p)
	if s.Pending != 3 || s.NextDue != epoch.Add(time.Hour).UnixMilli() {
		t.Errorf("pending are %d, the next at %d", s.Pending, s.NextDue)
	}
}

func TestAppendStoresABatchOnceWhateverIsInIt(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1)
	w.load()
	p := w.partition("orders")
	batches := []record.Batch{
		sequenced(batch(epoch, plain("a"), plain("b")), 0),
		sequenced(batch(epoch, delayed("c", "1h")), 2),
		sequenced(batch(epoch, plain("d"), delayed("e", "1h"), plain("f")), 3),
		sequenced(batch(epoch, cancelOf(2)), 6),
	}
	for range 2 { // the second time they are retries, also the cancel of what it has cancelled itself
		for i, base := range []int64{0, 2, 3, 6} {
			pending, err := p.Append(t.Context(), append(record.Batch(nil), batches[i]...), nil, epoch)
			if err != nil || pending.BaseOffset != base || pending.EndOffset != base+int64(batches[i].Count()) {
				t.Errorf("batch %d: %+v, %v", i, pending, err)
			}
		}
	}
	w.wantContent(p, "0:a", "1:b", "2h:c", "3:d", "4h:e", "5:f", "6h:")
	if s := w.stats(p); s.Pending != 1 || s.Cancelled != 1 {
		t.Errorf("%d pending, %d cancelled", s.Pending, s.Cancelled)
	}
}

func TestAppendRefusesAGapInTheSequence(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1)
	w.load()
	p := w.partition("orders")
	if _, err := p.Append(t.Context(), sequenced(batch(epoch, plain("a")), 0), nil, epoch); err != nil {
		t.Fatal(err)
	}
	for _, r := range []rec{plain("b"), delayed("b", "1h")} {
		_, err := p.Append(t.Context(), sequenced(batch(epoch, r), 7), nil, epoch)
		if _, ok := errors.AsType[*log.OutOfOrderSequenceError](err); !ok {
			t.Errorf("error is %v", err)
		}
	}
	w.wantContent(p, "0:a")
}

func TestAppendWhileTheScheduleLoads(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1)
	w.append(w.partition("orders"), plain("a"))
	w.reopen(w.mem.CrashProcess())
	p := w.partition("orders")
	if _, err := p.Append(t.Context(), batch(epoch, delayed("b", "1h")), nil, epoch); !errors.Is(err, ErrLoading) {
		t.Errorf("delayed record: %v", err)
	}
	w.append(p, plain("c"))
	w.load()
	w.append(p, delayed("b", "1h"))
	w.wantContent(p, "0:a", "1:c", "2h:b")
}

func TestFirstRecordOfANewTopicMayBeDelayed(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 2)
	for n := range int32(2) {
		p, err := w.table.Get(w.topic("orders").ID, n)
		if err != nil {
			t.Fatal(err)
		}
		w.append(p, delayed("a", "1h"))
		w.wantContent(p, "0h:a")
		if s := w.stats(p); s.Pending != 1 {
			t.Errorf("partition %d: %d pending", n, s.Pending)
		}
	}
	if p := w.table.nextUnloaded(); p != nil {
		t.Errorf("%s is to be loaded again", p)
	}
}

func TestNewPartitionWhoseScheduleCannotBeReadIsLoadedLater(t *testing.T) {
	w := newWorld(t)
	fault := vfs.NewFault(w.mem)
	w.fsys = fault
	w.open()
	rule := fault.Add(vfs.Rule{Ops: vfs.OpMkdir, After: 2}) // two logs, and then the directory of the keeper
	w.create("orders", 1)
	if fault.Fired(rule) == 0 {
		t.Fatal("the schedule could be read: the test is void")
	}
	p := w.partition("orders")
	if _, err := p.Append(t.Context(), batch(epoch, delayed("a", "1h")), nil, epoch); !errors.Is(err, ErrLoading) {
		t.Errorf("delayed record: %v", err)
	}
	w.load()
	w.append(p, delayed("a", "1h"))
}

// inMemory starts a broker with little memory for pending records, and two topics.
func (w *world) inMemory(bytes int) (orders, other *Partition) {
	w.Helper()
	w.store = newMemStore("delay.index.memory", strconv.Itoa(bytes))
	w.open()
	w.create("orders", 1)
	w.create("other", 1)
	w.Cleanup(w.start())
	w.awaitLoaded("orders")
	w.awaitLoaded("other")
	return w.partition("orders"), w.partition("other")
}

// crowd fills the memory of pending records with those of one of two topics. It stays full until
// that one's turn ends.
func (w *world) crowd() (full, other *Partition) {
	const memory = 1 << 20
	full, other = w.inMemory(memory)
	if !full.turn.try() {
		w.Fatal("somebody has the turn")
	}
	rs := make([]rec, 1000)
	for i := range rs {
		rs[i] = delayed("x", "1h")
	}
	for range memory/nearBytes/len(rs)*5/4 + 2 {
		w.append(full, rs...)
	}
	time.Sleep(2 * crowdInterval)
	return full, other
}

func TestDelayedRecordsWaitWhileTheirMemoryIsFull(t *testing.T) {
	living(t, func(t *testing.T, w *world) {
		full, other := w.crowd()
		began := w.clock()
		w.append(other, plain("a"))
		if took := w.clock().Sub(began); took != 0 {
			t.Errorf("an ordinary record waited %v", took)
		}
		time.AfterFunc(crowdPatience/2, full.turn.end)
		w.append(other, delayed("b", "1h"))
		if took := w.clock().Sub(began); took < crowdPatience/2 || took > crowdPatience {
			t.Errorf("a delayed record waited %v", took)
		}
		if s := w.stats(full); s.Spilled == 0 {
			t.Errorf("none of %d were moved to a run", s.Pending)
		}
		if took := w.table.Crowded(); took < crowdInterval || took > 2*crowdPatience {
			t.Errorf("it is said that they had to wait for %v", took)
		}
		if n := strings.Count(w.lines.String(), "delayed records are produced faster"); n != 1 {
			t.Errorf("%d lines about it", n)
		}
	})
}

func TestDelayedRecordsAreRefusedIfTheirMemoryStaysFull(t *testing.T) {
	living(t, func(t *testing.T, w *world) {
		full, other := w.crowd()
		began := w.clock()
		for range 3 {
			if _, err := other.Append(t.Context(), batch(began, plain("a"), delayed("b", "1h")), nil, began); !errors.Is(err, ErrCrowded) {
				t.Errorf("a delayed record: %v", err)
			}
		}
		if took := w.clock().Sub(began); took != crowdPatience {
			t.Errorf("what arrived in one moment waited %v", took)
		}
		full.turn.end()
		time.Sleep(2 * tendInterval)
		if offset := w.append(other, delayed("b", "1h")); offset != 0 {
			t.Errorf("offset %d: something was stored although it was refused", offset)
		}
	})
}

// TestOpenTransactionsMayTakeHalfOfTheMemory: what is in them cannot be moved out of it. Who adds to
// them waits then, and is refused; others are not concerned, but for being moved out sooner.
func TestOpenTransactionsMayTakeHalfOfTheMemory(t *testing.T) {
	living(t, func(t *testing.T, w *world) {
		const memory = 1 << 20
		p, other := w.inMemory(memory)
		rs := make([]rec, 1000)
		for i := range rs {
			rs[i] = delayed("x", "1h")
		}
		for range memory / nearBytes / len(rs) * 3 / 4 {
			w.append(other, rs...)
		}
		time.Sleep(2 * tendInterval)
		if s := w.stats(other); s.Spilled > 0 {
			t.Fatalf("%d were moved to a run: the test is void", s.Spilled)
		}
		next := int32(0)
		for int64(next) <= mayStage(memory) {
			w.appendIn(p, 0, next, rs...)
			next += int32(len(rs))
		}
		time.Sleep(2 * tendInterval)
		if s := w.stats(other); s.Spilled == 0 {
			t.Error("nothing makes room for what is in a transaction")
		}
		began := w.clock()
		if _, err := p.Append(t.Context(), transactional(batch(began, delayed("x", "1h")), 0, next), nil, began); !errors.Is(err, ErrStaged) {
			t.Errorf("one more in the transaction: %v", err)
		}
		if took := w.clock().Sub(began); took != crowdPatience {
			t.Errorf("it waited %v", took)
		}
		w.append(p, delayed("x", "1h"))
		if took := w.clock().Sub(began); took != crowdPatience {
			t.Errorf("others wait too: %v", took)
		}
		w.end(p, 1, true)
		time.Sleep(2 * tendInterval)
		w.appendIn(p, 1, 0, delayed("x", "1h"))
	})
}

// A batch after which no more records are pending than before takes no memory: an operator's
// cancels and moves, and those of clients.
func TestCancelsAndMovesNeedNoMemory(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1)
	p := w.partition("orders")
	first := w.append(p, delayed("a", "1h"), delayed("b", "1h"), delayed("c", "1h"))
	w.commit()
	p.room.all.set(true)
	defer p.room.all.set(false)
	send := func(how func() (Pending, error), want error) {
		t.Helper()
		if _, err := how(); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	send(func() (Pending, error) { return p.Steer(t.Context(), batch(epoch, cancelOf(first)), epoch) }, nil)
	send(func() (Pending, error) {
		return p.Steer(t.Context(), batch(epoch, cancelOf(first+1), delayed("b", "2h")), epoch)
	}, nil)
	send(func() (Pending, error) {
		return p.Append(t.Context(), batch(epoch, cancelOf(first+2), delayed("c", "2h")), nil, epoch)
	}, nil)
	send(func() (Pending, error) { return p.Steer(t.Context(), batch(epoch, delayed("d", "2h")), epoch) }, ErrCrowded)
	if s := w.stats(p); s.Pending != 2 {
		t.Errorf("%d are pending", s.Pending)
	}
}

// TestRefusedBatchStoresNothing also covers the records of the batch that are not delayed, and the
// producer's sequence.
func TestRefusedBatchStoresNothing(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1)
	p := w.partition("orders")
	refusals := []struct {
		reason error
		set    func(refuse bool)
	}{
		{ErrCrowded, func(refuse bool) { p.room.all.set(refuse) }},
		{ErrLoading, func(refuse bool) { p.loaded.Store(!refuse) }},
	}
	for i, r := range refusals {
		b := sequenced(batch(epoch, plain("a"), delayed("b", "1h")), int32(2*i))
		end := p.log.Offsets().LogEnd
		r.set(true)
		if _, err := p.Append(t.Context(), bytes.Clone(b), nil, epoch); !errors.Is(err, r.reason) {
			t.Errorf("%v, want %v", err, r.reason)
		}
		r.set(false)
		if s, now := w.stats(p), p.log.Offsets().LogEnd; now != end || s.Pending != int64(i) {
			t.Errorf("%v: the log ends at %d, %d before; %d are pending", r.reason, now, end, s.Pending)
		}
		if a, err := p.Append(t.Context(), b, nil, epoch); err != nil || a.BaseOffset != end {
			t.Errorf("the same later: %v, at %d", err, a.BaseOffset)
		}
	}
}

func TestRetryOfAStoredBatchIsAnsweredWhileOthersAreRefused(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1)
	p := w.partition("orders")
	b := sequenced(batch(epoch, delayed("a", "1h"), plain("b")), 0)
	first, err := p.Append(t.Context(), bytes.Clone(b), nil, epoch)
	if err != nil {
		t.Fatal(err)
	}
	retry := func(when string) {
		t.Helper()
		a, err := p.Append(t.Context(), bytes.Clone(b), nil, epoch)
		if err != nil || a.BaseOffset != first.BaseOffset || a.EndOffset != first.EndOffset {
			t.Errorf("retry %s: %v, offsets [%d, %d), want [%d, %d)", when, err, a.BaseOffset, a.EndOffset, first.BaseOffset, first.EndOffset)
		}
	}
	p.room.all.set(true)
	retry("while memory is full")
	p.room.all.set(false)
	p.loaded.Store(false)
	retry("while the schedule is loading")
	p.loaded.Store(true)
	if s := w.stats(p); s.Pending != 1 {
		t.Errorf("%d are pending", s.Pending)
	}
}

func TestSpillWaitsUntilEnoughLiesBeyondItsDistance(t *testing.T) {
	living(t, func(t *testing.T, w *world) {
		w.store = newMemStore("delay.spill.distance.bytes", "1048576", "delay.replay.bytes", "1048576")
		w.open()
		w.create("orders", 1)
		w.start()
		w.awaitLoaded("orders")
		p := w.partition("orders")
		grow := func(kib int) {
			for range kib / 64 {
				w.append(p, delayed(strings.Repeat("x", 64<<10), "1h"))
				time.Sleep(2 * tendInterval)
			}
		}
		grow(1024 + 128)
		if s := w.stats(p); s.Runs != 0 {
			t.Errorf("%d runs, though only an eighth of the distance lies beyond it", s.Runs)
		}
		grow(1024 + 128)
		if s := w.stats(p); s.Runs < 1 || s.Runs > 5 || s.Pending-s.Spilled > 20 {
			t.Errorf("%d runs hold %d of %d", s.Runs, s.Spilled, s.Pending)
		}
	})
}

// TestSpillTakesTheLogThatCostsAStartMost is a broker with much to read again, though no partition
// alone has too much.
func TestSpillTakesTheLogThatCostsAStartMost(t *testing.T) {
	living(t, func(t *testing.T, w *world) {
		w.store = newMemStore("delay.spill.distance.bytes", "1048576", "delay.replay.bytes", "4194304")
		w.open()
		w.create("orders", 1)
		w.create("other", 1)
		w.start()
		w.awaitLoaded("orders")
		w.awaitLoaded("other")
		grow := func(name string, kib int) *Partition {
			p := w.partition(name)
			for range kib / 64 {
				w.append(p, delayed(strings.Repeat("x", 64<<10), "1h"))
			}
			time.Sleep(3 * tendInterval)
			return p
		}
		orders := grow("orders", 2500)
		if s := w.stats(orders); s.Spilled != 0 {
			t.Errorf("%d are in runs although a start reads less than it may", s.Spilled)
		}
		other := grow("other", 2000)
		if s := w.stats(orders); s.Spilled == 0 || s.Spilled == s.Pending {
			t.Errorf("of the longer log %d of %d are in runs", s.Spilled, s.Pending)
		}
		if s := w.stats(other); s.Spilled != 0 {
			t.Errorf("of the shorter log %d are in runs", s.Spilled)
		}
	})
}

// TestMergesLeaveTheReserveOfTheDiskAlone: they are the one thing that a schedule writes and that can wait.
func TestMergesLeaveTheReserveOfTheDiskAlone(t *testing.T) {
	living(t, func(t *testing.T, w *world) {
		w.store = newMemStore("delay.index.memory", "1048576")
		w.reserve = 1 << 20
		w.open()
		w.create("orders", 1)
		w.Cleanup(w.start())
		w.awaitLoaded("orders")
		p := w.partition("orders")
		rs := make([]rec, 1000)
		for i := range rs {
			rs[i] = delayed("x", "24h")
		}
		time.Sleep(crowdInterval / 2) // nothing ticks while this appends or looks
		began := time.Now()
		const enough = 9 // for a merge
		for w.stats(p).Runs < enough {
			for range (1<<20)/nearBytes/len(rs) + 1 {
				w.append(p, rs...)
			}
			time.Sleep(3 * tendInterval)
		}
		usage, err := w.fsys.Usage("/")
		if err != nil {
			t.Fatal(err)
		}
		w.mem.SetCapacity(usage.Total - usage.Free + w.reserve/2)
		w.logs.Keep(w.clock())
		if time.Since(began) > tidyInterval {
			t.Fatal("runs may have been merged, the test is void")
		}
		before := w.stats(p)
		if merged, err := p.tidy(t.Context()); merged || !errors.Is(err, log.ErrNoSpace) {
			t.Errorf("on a full disk: merged %v, %v", merged, err)
		}
		const waits, works = "looking after a schedule waits until the disk has more room", "looking after a schedule works again"
		sleepMinutes(30)
		if said := w.lines.String(); strings.Count(said, waits) != 1 || strings.Contains(said, works) {
			t.Errorf("in half an hour on a full disk it is said:\n%s", said)
		}
		if _, merges := p.Setbacks(); merges == 0 {
			t.Error("no metric shows that runs are not merged")
		}
		if s := w.stats(p); s.Runs != before.Runs || s.Pending != before.Pending {
			t.Errorf("%d runs and %d pending, before %d and %d", s.Runs, s.Pending, before.Runs, before.Pending)
		}
		w.mem.SetCapacity(0)
		w.logs.Keep(w.clock())
		if merged, err := p.tidy(t.Context()); !merged || err != nil {
			t.Errorf("with room again: merged %v, %v", merged, err)
		}
		if s := w.stats(p); s.Runs >= before.Runs || s.Pending != before.Pending {
			t.Errorf("%d runs and %d pending, before %d and %d", s.Runs, s.Pending, before.Runs, before.Pending)
		}
		sleepMinutes(2)
		if _, merges := p.Setbacks(); merges > 0 || strings.Count(w.lines.String(), works) != 1 {
			t.Errorf("with room again %d setbacks, and it is said:\n%s", merges, w.lines.String())
		}
	})
}

// TestNothingWaitsForAMerge is the merge that takes an hour while producers fill the memory of
// pending records, and retention wants their log.
func TestNothingWaitsForAMerge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		fault := vfs.NewFault(mem)
		w := &world{TB: t, fsys: fault, mem: mem, store: newMemStore("delay.index.memory", "1048576"), clock: time.Now, lines: &syncBuffer{}}
		w.open()
		w.create("orders", 1, "segment.ms", "60000", "retention.ms", "600000")
		w.create("other", 1)
		orders, other := w.partition("orders"), w.partition("other")
		began := time.Now()
		stop := w.start()
		defer stop()
		w.awaitLoaded("orders")
		w.awaitLoaded("other")
		rs := make([]rec, 1000)
		for i := range rs {
			rs[i] = delayed("x", "24h")
		}
		fill := func(p *Partition) {
			for range (1<<20)/nearBytes/len(rs) + 1 {
				w.append(p, rs...)
			}
			time.Sleep(3 * tendInterval)
		}
		time.Sleep(crowdInterval / 2) // nothing ticks while this appends or looks
		const enough = 9              // for a merge
		for w.stats(orders).Runs < enough {
			fill(orders)
		}
		if time.Since(began) > tidyInterval {
			t.Fatal("runs may have been merged, the test is void")
		}
		var reads atomic.Int64
		slow := fault.Add(vfs.Rule{Ops: vfs.OpRead, Times: vfs.Forever, Do: func() {
			if reads.Add(1) == 1 {
				time.Sleep(time.Hour)
			}
		}})
		time.Sleep(tidyInterval)
		if n := reads.Load(); n != 1 {
			t.Fatalf("%d reads instead of a merge that does not get on: the test is void", n)
		}
		for _, p := range []*Partition{orders, other} {
			before := w.stats(p).Runs
			fill(p)
			if s := w.stats(p); s.Runs == before {
				t.Errorf("records of %s stay in memory while runs are merged: %+v", p, s)
			}
		}
		time.Sleep(20 * time.Minute)
		orders.retain(w.clock())
		if o := orders.log.Offsets(); o.RealStart == 0 || w.stats(orders).Spilled != w.stats(orders).Pending {
			t.Errorf("retention waits for a merge: %+v", o)
		}
		fault.End(slow)
		time.Sleep(time.Hour)
		if n := w.stats(orders).Runs; n >= enough {
			t.Errorf("%d runs are left when the merge could go on", n)
		}
	})
}

func TestAppendWithoutDelays(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1, "delay.enable", "false")
	w.load()
	p := w.partition("orders")
	w.append(p, delayed("a", "1h"))
	w.wantContent(p, "0:a") // the header is the client's own
}

func TestAppendAfterTheLogFailed(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1)
	w.load()
	p := w.partition("orders")
	pending, err := p.Append(t.Context(), batch(epoch, plain("a")), nil, epoch)
	if err != nil {
		t.Fatal(err)
	}
	_ = p.Log().Fail(errors.New("disk on fire"))
	for _, r := range []rec{plain("b"), delayed("c", "1h")} {
		if _, err := p.Append(t.Context(), batch(epoch, r), nil, epoch); !strings.Contains(err.Error(), "disk on fire") {
			t.Errorf("append: %v", err)
		}
	}
	if err := pending.Wait(t.Context()); err == nil || !strings.Contains(err.Error(), "disk on fire") {
		t.Errorf("wait: %v", err)
	}
	if offline := w.table.Offline(); len(offline) != 1 || offline["orders-0"] == nil {
		t.Errorf("offline are %v", offline)
	}
}

func TestCancelFinishesWhatIsPending(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1)
	w.load()
	p := w.partition("orders")
	ticket := w.append(p, delayed("a", "1h"))
	w.append(p, cancelOf(ticket))
	if s := w.stats(p); s.Pending != 0 || s.Cancelled != 1 {
		t.Errorf("%d pending, %d cancelled", s.Pending, s.Cancelled)
	}
	_, err := p.Append(t.Context(), batch(epoch, cancelOf(ticket)), nil, epoch)
	if bad, ok := errors.AsType[*record.RecordErrors](err); !ok || !strings.Contains(bad.Records[0].Reason, "cancelled") {
		t.Errorf("second cancel: %v", err)
	}
}

// TestCancelRacesWithDelivery cancels records at the moment they are due: each is delivered or
// cancelled, and never both.
func TestCancelRacesWithDelivery(t *testing.T) {
	living(t, func(t *testing.T, w *world) {
		w.create("orders", 1)
		w.start()
		w.awaitLoaded("orders")
		p := w.partition("orders")
		const n = 200
		many := make([]rec, n)
		for i := range many {
			many[i] = delayed("x", "10s")
		}
		first := w.append(p, many...)
		time.Sleep(10*time.Second - time.Millisecond)
		cancelled := make([]bool, n)
		done := make(chan struct{})
		for i := range int64(n) {
			go func() {
				defer func() { done <- struct{}{} }()
				time.Sleep(time.Duration(i) * 20 * time.Microsecond) // some before it is due, some after
				_, err := p.Append(context.Background(), batch(time.Now(), cancelOf(first+i)), nil, time.Now())
				if _, late := errors.AsType[*record.RecordErrors](err); err != nil && !late {
					t.Errorf("cancel of %d: %v", first+i, err)
				}
				cancelled[i] = err == nil
			}()
		}
		for range n {
			<-done
		}
		time.Sleep(time.Second)
		delivered := w.delivered(p)
		lost, both, both2 := 0, 0, 0
		for i := range int64(n) {
			switch times := delivered[first+i]; {
			case times > 1:
				both2++
			case times == 1 && cancelled[i]:
				both++
			case times == 0 && !cancelled[i]:
				lost++
			}
		}
		if lost+both+both2 > 0 || len(delivered) == 0 || len(delivered) == n {
			t.Errorf("of %d records %d were delivered; %d got lost, %d were delivered although cancelled, %d twice", n, len(delivered), lost, both, both2)
		}
		if s := w.stats(p); s.Pending != 0 || s.Delivered+s.Cancelled != n {
			t.Errorf("%d pending, %d delivered, %d cancelled", s.Pending, s.Delivered, s.Cancelled)
		}
	})
}
