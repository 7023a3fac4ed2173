// Package coordtest drives coordinators' states in tests.
package coordtest

import (
	"context"
	"time"

	"github.com/morrowmq/morrow/broker/coord"
)

// Journal is a journal in memory. Everything it accepts is committed at once. It is not safe for
// concurrent use beyond what [coord.Shard] needs.
type Journal struct {
	Records []coord.Record
	Batches []int // end of each append
	Refuse  error // what Append fails with, if anything
}

var _ coord.Journal = (*Journal)(nil)

// Append implements [coord.Journal].
func (j *Journal) Append(rs []coord.Record, _ time.Time) (int64, error) {
	if j.Refuse != nil {
		return 0, j.Refuse
	}
	j.Records = append(j.Records, rs...)
	j.Batches = append(j.Batches, len(j.Records))
	return int64(len(j.Records)), nil
}

// Wait implements [coord.Journal].
func (j *Journal) Wait(context.Context, int64) error { return nil }

// Load implements [coord.Journal].
func (j *Journal) Load(_ context.Context, replay func(int64, coord.Record) error) (int64, error) {
	for i, r := range j.Records {
		if err := replay(int64(i), r); err != nil {
			return 0, err
		}
	}
	return int64(len(j.Records)), nil
}

// Do runs one command on a state, as a shard would. A state that refuses its own record panics.
func Do[S coord.State](state S, j *Journal, now time.Time, command func(S, *coord.Tx)) {
	tx := coord.NewTx(now, func(rs []coord.Record) error {
		if _, err := j.Append(rs, now); err != nil {
			return err
		}
		for _, r := range rs {
			if err := state.Replay(r); err != nil {
				panic(err)
			}
		}
		return nil
	})
	command(state, tx)
	tx.Deliver(int64(len(j.Records)))
}

// Pass lets time pass for a state and runs what is due, when it is due. It returns the time afterwards.
func Pass[S coord.State](state S, j *Journal, now time.Time, d time.Duration) time.Time {
	end := now.Add(d)
	for {
		next := state.Deadline()
		if next.IsZero() || next.After(end) {
			return end
		}
		if next.After(now) {
			now = next
		}
		Do(state, j, now, func(s S, tx *coord.Tx) { s.Expire(tx) })
	}
}
