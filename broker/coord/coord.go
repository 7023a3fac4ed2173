// Package coord runs a coordinator as a replicated state machine, one shard
// per partition of the internal topic that is its journal.
//
// A state machine is plain data: it has no goroutine, lock, clock or file. A
// command reads the state, appends records to the journal through its [Tx],
// and answers. Appended records change the state through [State.Replay], the
// very function that rebuilds it when the shard is loaded, so what is in memory
// is what the journal says, plus whatever the state keeps aside because it need
// not survive (waiting calls, timers).
//
// An answer may reveal anything the state knew when it was given, so it leaves
// only when everything appended until then is committed. Appends are applied at
// once, before they are committed: that is safe because nothing is told before
// the commit, and because a failed commit throws the whole state away and loads
// it again from the journal.
//
// The package does not know what the states are about; broker/group, broker/txn
// and broker/share do.
//
// Goroutines: two per running shard, owned by [Shard.Run] (timers, commits).
// Locks: one per shard, held while a command runs and appends, never while
// anything waits for a commit.
package coord

import (
	"context"
	"errors"
	"iter"
	"time"
)

// Record is one record of the journal. A nil Value is a tombstone.
type Record struct {
	Key, Value []byte

	// Producer is set for what belongs to a producer's transaction: a record that
	// counts once the transaction is committed or, with an End, the end itself,
	// which has no key and value. Records of one append belong to the same
	// producer; an end is appended alone.
	Producer *Producer
	End      End
}

// Producer is one producer and, for the end of its transaction, the epoch of
// the transaction coordinator that decided, and whether the producer's epoch is
// newer than that of the transaction: such an end that comes late ends no later one.
type Producer struct {
	ID               int64
	Epoch            int16
	CoordinatorEpoch int32
	NewEpoch         bool
}

// End says how a transaction ended.
type End int8

// The ends. The zero value is that of an ordinary record.
const (
	NoEnd End = iota
	Abort
	Commit
)

// batchBytes bounds what [Batches] puts together, well below what a journal takes.
const batchBytes = 256 << 10

// Batches divides records that need not stand or fall together into what can be
// appended at once, in order. A record that is larger is alone.
func Batches(rs []Record) iter.Seq[[]Record] {
	return func(yield func([]Record) bool) {
		for len(rs) > 0 {
			n, size := 0, 0
			for n < len(rs) && (n == 0 || size+rs[n].size() <= batchBytes) {
				size += rs[n].size()
				n++
			}
			if !yield(rs[:n]) {
				return
			}
			rs = rs[n:]
		}
	}
}

// size is about how many bytes of a batch a record takes.
func (r Record) size() int { return len(r.Key) + len(r.Value) + 20 }

// Journal is one partition of an internal topic, as a shard sees it.
//
// Its errors may wrap [ErrNotLeader], [ErrTooLarge] or [ErrFenced]; any other error means
// that the journal cannot serve for now.
type Journal interface {
	// Append writes rs atomically and in order, and returns the offset after
	// the last of them. They are written but not yet durable. On an error
	// nothing was appended. It does not keep rs. Calls are never concurrent.
	Append(rs []Record, now time.Time) (end int64, err error)

	// Wait blocks until every record below end is committed: durable and
	// replicated. An error other than that of ctx means that they may never be,
	// and that the state built on them must be dropped. Safe for concurrent use.
	Wait(ctx context.Context, end int64) error

	// Load replays every committed record in order and returns the offset after
	// the last one. It stops at the first error of replay and returns it. The
	// slices of a record are valid only until replay returns.
	Load(ctx context.Context, replay func(offset int64, r Record) error) (end int64, err error)
}

// State is a state machine that a [Shard] can run. The shard calls its methods
// one at a time.
type State interface {
	// Replay applies one record, when it is loaded and when a command appended
	// it. It is a function of the state and the record alone, and keeps neither
	// slice of it. An error means that the journal holds something the state
	// cannot stand for; the shard then stays unloaded.
	Replay(r Record) error

	// Loaded is the first command after the whole journal was replayed: the
	// place to set timers.
	Loaded(tx *Tx)

	// Deadline is when Expire wants to be called next; the zero time is never.
	Deadline() time.Time

	// Expire is called as a command of its own once Deadline has passed. It
	// does one thing that is due; it is called again while more is.
	Expire(tx *Tx)

	// Unloaded ends the state: it fails every [Reply] it kept. It is called
	// once, after which the state is garbage.
	Unloaded(err error)
}

var (
	// ErrLoading says that the shard is still being loaded, or loaded again.
	ErrLoading = errors.New("coordinator shard is loading")

	// ErrNotLeader says that this shard is not, or is no longer, run here.
	ErrNotLeader = errors.New("not the leader of this coordinator shard")

	// ErrTooLarge says that the records do not fit into one batch of the journal.
	ErrTooLarge = errors.New("records exceed what one journal batch may hold")

	// ErrFenced says that records of a transaction, or its end, are of an epoch
	// of the producer that was superseded.
	ErrFenced = errors.New("the producer's epoch was superseded")

	// ErrCommitTimeout says that the commit took longer than the shard waits.
	// What was appended may still be committed.
	ErrCommitTimeout = errors.New("timed out waiting for the journal to commit")
)
