// Package history judges what clients of a broker saw while it was killed, paused and filled up.
//
// A [History] is what concurrent clients asked for and were told, written down by a [Recorder];
// [Check] is a pure function that says what in it cannot be, whatever was going on. It knows
// nothing of the broker. Every record has an id of its own, so that it is recognised wherever it
// turns up, and belongs to one topic, whose records differ by partition.
//
// What was not answered may have happened or not, and is believed either way.
package history

import "time"

// Outcome is what a client knows of something it asked for.
type Outcome int

const (
	// Unknown means that the answer was lost or told nothing.
	Unknown Outcome = iota
	// Done means that it happened.
	Done
	// Refused means that it did not happen and never will.
	Refused
)

func (o Outcome) String() string { return [...]string{"unknown", "done", "refused"}[o] }

// Guarantee is what a producer may expect.
type Guarantee int

const (
	// AtLeastOnce: an acknowledged record is there, perhaps more than once.
	AtLeastOnce Guarantee = iota
	// Idempotent: every record is there at most once, and those of a producer in order.
	Idempotent
	// Transactional: as Idempotent, and all records of a transaction or none.
	Transactional
)

// Send is one record that a producer sent.
type Send struct {
	ID        string
	Producer  string
	Seq       int // ascends per producer and partition in the order of sending
	Partition int32
	Guarantee Guarantee
	Txn       string        // id of the transaction it belongs to, "" if none
	Delay     time.Duration // zero: an ordinary record
	Sent      time.Time
	Outcome   Outcome
	Offset    int64 // its offset, for a delayed record its ticket; known if Done
}

// Txn is one transaction.
type Txn struct {
	ID      string
	Commit  bool      // what was asked for: commit or abort
	Ending  time.Time // when that was asked for; zero if it never was
	Ended   time.Time // when the answer arrived
	Outcome Outcome   // of the end
	// Group and Offsets are positions that were to be committed with it: next offset by partition.
	Group   string
	Offsets map[int32]int64
}

// committed reports whether a transaction was committed, Unknown if nobody was told. One that
// nobody asked to commit never is: if its client does not abort it, time does.
func (t *Txn) committed() Outcome {
	if !t.Commit || t.Ending.IsZero() {
		return Refused
	}
	return t.Outcome
}

// Read is one record that a consumer was given.
type Read struct {
	Partition int32
	Offset    int64
	ID        string
	At        time.Time // when the consumer had it
	Appended  time.Time // the record's timestamp, which for a delivery is when it was appended
	// Due and Ticket are what the headers of a delivery say; zero and -1 in other records.
	Due    time.Time
	Ticket int64
}

// Session is what one consumer read without being interrupted: within it, offsets of a partition
// ascend and none is left out.
type Session struct {
	Name      string
	Committed bool // read_committed
	Reads     []Read
}

// Cancel is an attempt to cancel a delayed record.
type Cancel struct {
	ID      string // of the record
	Outcome Outcome
}

// Commit is an attempt to store a position of a group.
type Commit struct {
	Group     string
	Partition int32
	Offset    int64
	Begin     time.Time
	End       time.Time // when the answer arrived
	Outcome   Outcome
}

// Position is what the broker answered when asked for a position; -1 if there was none.
type Position struct {
	Group     string
	Partition int32
	Offset    int64
	Begin     time.Time // when it was asked
	End       time.Time
}

// History is everything that clients of one topic asked for and were told.
type History struct {
	Sends     []Send
	Txns      []Txn
	Cancels   []Cancel
	Sessions  []Session
	Commits   []Commit
	Positions []Position
	// Log and Visible are the whole topic, read when all was quiet, nothing pending and no
	// transaction open: every record, and those a read_committed consumer is given.
	Log, Visible Session
	// Quiet is when they were read.
	Quiet time.Time
}

// Enough reports whether a history has so much of everything that is judged that a bug would show.
func (h *History) Enough() bool {
	sends, commits, offsets, reads := 0, 0, 0, 0
	for i := range h.Sends {
		if h.Sends[i].Outcome == Done {
			sends++
		}
	}
	for i := range h.Txns {
		if h.Txns[i].Commit && h.Txns[i].Outcome == Done {
			commits++
			offsets += len(h.Txns[i].Offsets)
		}
	}
	for i := range h.Sessions {
		reads += len(h.Sessions[i].Reads)
	}
	return sends >= 100 && commits >= 5 && offsets > 0 && reads >= 100 && len(h.Cancels) > 0 && len(h.Positions) > 0
}

// Rule names what a history breaks.
type Rule string

// The rules.
const (
	Lost       Rule = "acknowledged record lost"
	Duplicate  Rule = "record there more than once"
	Order      Rule = "records of a producer out of order"
	Phantom    Rule = "record nobody sent, or that was refused"
	Moved      Rule = "record not where its producer was told"
	Rewritten  Rule = "two records at one offset"
	Backwards  Rule = "consumer went backwards"
	Skipped    Rule = "consumer was not given a record"
	Dirty      Rule = "read_committed consumer was given what was not committed"
	Torn       Rule = "part of a transaction"
	Regressed  Rule = "committed offset went back"
	Invented   Rule = "committed offset nobody committed"
	Early      Rule = "delivered before it was due"
	Uncanceled Rule = "cancelled record delivered"
)

// Violation is one thing that cannot be.
type Violation struct {
	Rule Rule
	Text string
}

func (v Violation) String() string { return string(v.Rule) + ": " + v.Text }
