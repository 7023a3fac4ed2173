package txn

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"
)

// state is where a transactional id stands. The numbers are Kafka's.
type state int8

const (
	empty state = iota
	ongoing
	prepareCommit
	prepareAbort
	completeCommit
	completeAbort
)

var stateNames = [...]string{"Empty", "Ongoing", "PrepareCommit", "PrepareAbort", "CompleteCommit", "CompleteAbort"}

// String is the state's name in DescribeTransactions and ListTransactions.
func (s state) String() string { return stateNames[s] }

// decided reports whether the transaction waits for its markers.
func (s state) decided() bool { return s == prepareCommit || s == prepareAbort }

func (s state) commits() bool { return s == prepareCommit || s == completeCommit }

// over is the state after that one, once all markers are written.
func (s state) over() state {
	if s == prepareCommit {
		return completeCommit
	}
	return completeAbort
}

// prepared is the state in which a transaction is decided.
func prepared(commit bool) state {
	if commit {
		return prepareCommit
	}
	return prepareAbort
}

const (
	noID    int64 = -1
	noEpoch int16 = -1

	// lastEpoch is the last epoch in which a producer may write. One more is left to fence it.
	lastEpoch int16 = math.MaxInt16 - 1
)

// version2 is the transaction.version from which on every transaction ends with
// a new epoch (KIP-890). Clients of that version do not name partitions before
// they write to them.
const version2 int16 = 2

// transaction is one transactional id: its producer, and the transaction that
// is open, if one is. It changes only in Replay, as a whole, but for waiting.
type transaction struct {
	id string

	producerID int64
	epoch      int16
	// lastEpoch is the epoch before epoch if the producer that has it asked for the new one, else
	// noEpoch: a retry of that is told from a zombie.
	lastEpoch int16
	// previousID was exhausted and replaced by producerID; nextID will replace
	// producerID when the transaction is complete. Else noID.
	previousID, nextID int64

	state      state
	version    int16 // transaction.version of the client that began it
	timeoutMs  int32
	partitions map[string]held // by topic
	startMs    int64           // of the transaction, -1 if none was begun
	updateMs   int64

	waiting []waiter // requests that wait until the decided transaction is complete
}

// held is the partitions of one topic that a transaction holds. It is not changed in place.
type held struct {
	topicID [16]byte
	numbers []int32 // ascending
}

func (t *transaction) producer() producer { return producer{t.producerID, t.epoch} }

// before reports whether p is what the producer of the id was before it became what it is. Epoch 0
// is the first of an id.
func (t *transaction) before(p producer) bool {
	id := t.producerID
	if t.epoch == 0 {
		id = t.previousID
	}
	return p.epoch != noEpoch && p == producer{id, t.lastEpoch}
}

// exhausted reports whether the producer id has no epoch left.
func (t *transaction) exhausted() bool { return t.epoch >= lastEpoch }

// holds reports whether the transaction holds a partition.
func (t *transaction) holds(p Partition) bool {
	h, ok := t.partitions[p.Topic]
	_, found := slices.BinarySearch(h.numbers, p.Number)
	return ok && found && h.topicID == p.TopicID
}

// with is the partitions of the transaction and more. Those of a topic that was deleted, and
// created again under its name, go.
func (t *transaction) with(more []Partition) map[string]held {
	all := maps.Clone(t.partitions)
	if all == nil {
		all = make(map[string]held, len(more))
	}
	for _, p := range more {
		h := all[p.Topic]
		if h.topicID != p.TopicID {
			h = held{topicID: p.TopicID}
		}
		if i, found := slices.BinarySearch(h.numbers, p.Number); !found {
			h.numbers = slices.Insert(slices.Clone(h.numbers), i, p.Number)
		}
		all[p.Topic] = h
	}
	return all
}

// list is the partitions in order.
func (t *transaction) list() []Partition {
	var all []Partition
	for topic, h := range t.partitions {
		for _, n := range h.numbers {
			all = append(all, Partition{topic, h.topicID, n})
		}
	}
	slices.SortFunc(all, func(a, b Partition) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Number, b.Number))
	})
	return all
}

// next is a copy to change and append. What is told to producers never waits in it.
func (t *transaction) next(now time.Time) transaction {
	n := *t
	n.waiting = nil
	n.updateMs = now.UnixMilli()
	return n
}

// timedOut reports whether an open transaction has lasted too long.
func (t *transaction) timedOut(now time.Time) bool {
	return t.state == ongoing && now.UnixMilli()-t.startMs > int64(t.timeoutMs)
}
