package coord

import (
	"context"
	"time"
)

// Tx is what a command may do besides reading its state: know the time, append
// records, answer. It is valid only during the command.
type Tx struct {
	now     time.Time
	append  func([]Record) error
	end     int64 // of the journal, when the command began
	trim    int64 // 0: nothing to trim
	answers []answer
}

// answer is a [Reply] of any type that was sent during a command.
type answer interface{ deliver(end int64) }

// NewTx returns a Tx for a state that is driven by hand instead of by a
// [Shard], for instance by a scripted test. Records go to appendRecords, and
// answers are delivered by [Tx.Deliver].
func NewTx(now time.Time, appendRecords func([]Record) error) *Tx {
	return &Tx{now: now, append: appendRecords}
}

// Now is the time of the command.
func (tx *Tx) Now() time.Time { return tx.now }

// End is the end of the journal when the command began: what it appends lies at
// or above it.
func (tx *Tx) End() int64 { return tx.end }

// Trim says that the state can be rebuilt without the records below an offset.
// They are removed from the journal some time after everything appended until now
// is committed; that they are found by a later load all the same does no harm.
func (tx *Tx) Trim(below int64) { tx.trim = below }

// Append writes rs to the journal as one atomic batch and, when that worked,
// replays them into the state. On an error nothing was written and nothing was
// applied, and the command must leave the state as if it had not been called.
// Appending nothing does nothing.
//
// A command that appends twice gives up that its records stand or fall together.
func (tx *Tx) Append(rs ...Record) error {
	if len(rs) == 0 {
		return nil
	}
	return tx.append(rs)
}

// Deliver hands every answer of the command to whoever waits for it. end is
// the offset below which the journal must be committed before it may leave.
func (tx *Tx) Deliver(end int64) {
	for _, a := range tx.answers {
		a.deliver(end)
	}
	tx.answers = nil
}

// Reply is where the answer to one call goes. A command sends it at once, or
// keeps the Reply in its state for a later command to send.
//
// It is guarded by the lock of the shard, like the state that may hold it.
type Reply[R any] struct {
	done   bool
	value  R
	result chan result[R] // 1-buffered
}

type result[R any] struct {
	value R
	end   int64
	err   error
}

// NewReply returns a Reply that nobody waits for yet.
func NewReply[R any]() *Reply[R] {
	return &Reply[R]{result: make(chan result[R], 1)}
}

// Send answers with v once the command has ended well. Only the first answer
// counts.
func (r *Reply[R]) Send(tx *Tx, v R) {
	if r.done {
		return
	}
	r.done, r.value = true, v
	tx.answers = append(tx.answers, r)
}

// Fail answers with an error that depends on no record, at once.
func (r *Reply[R]) Fail(err error) {
	if r.done {
		return
	}
	r.done = true
	r.result <- result[R]{err: err}
}

func (r *Reply[R]) deliver(end int64) { r.result <- result[R]{value: r.value, end: end} }

// Poll returns the answer without waiting for it or for its commit; ok is false
// when there is none yet.
func (r *Reply[R]) Poll() (v R, ok bool, err error) {
	select {
	case a := <-r.result:
		return a.value, true, a.err
	default:
		return v, false, nil
	}
}

func (r *Reply[R]) wait(ctx context.Context) (result[R], error) {
	select {
	case a := <-r.result:
		return a, a.err
	case <-ctx.Done():
		return result[R]{}, ctx.Err()
	}
}
