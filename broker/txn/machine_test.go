package txn

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/morrowmq/morrow/broker/coord"
)

// A transaction whose end cannot be written, for its size say, keeps no other open that has timed out too.
func TestTimedOutTransactionThatCannotBeAbortedKeepsNoOtherOpen(t *testing.T) {
	w := newWorld()
	for i := range 3 {
		w.open(fmt.Sprint("t", i))
	}
	w.now = w.now.Add(time.Hour)
	stubborn := "t0"
	look := func() {
		tx := coord.NewTx(w.now, func(rs []coord.Record) error {
			if slices.ContainsFunc(rs, func(r coord.Record) bool {
				return string(r.Key) == string(w.machine.transactions[stubborn].record().Key)
			}) {
				return errors.New("too large")
			}
			for _, r := range rs {
				if err := w.machine.Replay(r); err != nil {
					t.Fatal(err)
				}
			}
			return nil
		})
		w.machine.abortTimedOut(tx)
	}
	states := func(want ...state) {
		t.Helper()
		for i, s := range want {
			if got := w.machine.transactions[fmt.Sprint("t", i)].state; got != s {
				t.Errorf("t%d is %s, want %s", i, got, s)
			}
		}
	}
	look()
	states(ongoing, prepareAbort, prepareAbort)
	stubborn = "t1"
	look()
	states(prepareAbort, prepareAbort, prepareAbort)
}

// open begins a transaction of one partition.
func (w *world) open(id string) {
	w.now = w.now.Add(time.Second) // so that they time out in order
	t := &transaction{
		id: id, producerID: w.nextID, lastEpoch: noEpoch, previousID: noID, nextID: noID,
		state: ongoing, timeoutMs: 60_000, startMs: w.now.UnixMilli(), updateMs: w.now.UnixMilli(),
	}
	w.nextID++
	t.partitions = t.with([]Partition{{"a", topicID("a"), 0}})
	w.do(func(_ *machine, tx *coord.Tx) {
		if err := tx.Append(t.record()); err != nil {
			panic(err)
		}
	})
}
