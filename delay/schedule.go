package delay

import (
	"math"
	"sync"
	"sync/atomic"

	"github.com/morrowmq/morrow/delay/index"
)

// Entry is one pending record: when it is due, its ticket, and its size.
type Entry = index.Entry

// Schedule knows what is pending in one partition. It is a function of the partition's log: apply
// every batch in order, and two schedules of the same log are equal, whoever leads and whenever it
// was started. Batches that are neither hidden, nor deliveries, nor the ends of transactions may be
// left out.
//
// Apply, ApplyDelivery, Make, CaughtUp and Truncate are called one at a time and in the order of
// the log, in the partition's append section or while it is loaded; Admit and AdmitDelivery right
// before what they admit is appended and applied, once everything before was. Everything else may
// be called at any time.
//
// Invariants: what is pending at or above floor is in near or in a flight, what is pending below is
// in exactly one run; an entry in a flight is in no other; a run changes only by proofs below the
// high watermark, those above are in undo and runs.above.
type Schedule struct {
	// received is the latest receive time seen. It is written under mu, with what was received.
	received atomic.Int64

	// mu guards everything below. It is held for memory operations only.
	mu   sync.Mutex
	near *index.Index
	// floor: what is pending below it is in runs, the rest in near.
	floor int64
	runs  runs
	// folded is the offset up to which a committed progress record has folded in the proofs;
	// namesRuns says that it names any runs, which need the proofs above.
	folded    int64
	namesRuns bool
	// newest is the highest ticket at or above floor that was met, -1 if none was. Of those below
	// began, which is where the log began at the start, it knows nothing.
	newest, began int64
	// copies is what copies of the journal and the log can do, one for each progress record that
	// they may suffice for, in order.
	copies []journalCopy
	// copied is the end of what the copy of the journal is known to have.
	copied int64
	// journal is where the runs are, nil without any.
	journal Journal
	// spilling and merging are the runs being written, nil mostly.
	spilling *spillWork
	merging  *mergeWork
	// flights are the windows taken and not yet finished, oldest first.
	flights []*flight
	pins    pins
	names   names
	open    transactions
	// end is the offset after the last batch applied.
	end int64
	// highWatermark is the offset below which nothing is ever truncated.
	highWatermark int64
	// undo holds what was done at or above the high watermark, oldest first.
	undo undoList
	tally
	// earliest is a lower bound of the dues in near; math.MinInt64 while ended transactions are being moved.
	earliest int64
	// wake tells the dispatcher that something is due earlier than all before. Called without mu.
	wake func(due int64)
}

// NewSchedule returns the schedule of a log that begins at offset start, and of which nothing was
// applied yet. [OpenKeeper] makes one that also knows what lies in runs.
func NewSchedule(start int64) *Schedule {
	return &Schedule{
		near: index.New(), floor: start, newest: -1, began: start, end: start, highWatermark: start,
		earliest: math.MaxInt64, wake: func(int64) {},
	}
}

// remove takes a pending entry out of the near index, or out of a flight.
func (s *Schedule) remove(e Entry, kind opKind) (Entry, bool) {
	if e, ok := s.land(e, kind); ok {
		return e, true
	}
	found, ok := s.near.Remove(e)
	if !ok && s.open.releasing() {
		s.release(math.MaxInt)
		found, ok = s.near.Remove(e)
	}
	return found, ok
}

// contains reports whether an entry is pending.
func (s *Schedule) contains(e Entry) bool {
	if e.Ticket < s.floor {
		return s.runs.contains(e)
	}
	for _, f := range s.flights {
		if f.find(e) >= 0 {
			return true
		}
	}
	if s.open.releasing() {
		s.release(math.MaxInt)
	}
	return s.near.Contains(e)
}

// NextDue is when the next entry not in flight is due; math.MaxInt64 if there is none.
func (s *Schedule) NextDue() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nextDue()
}

func (s *Schedule) nextDue() int64 { return min(s.earliest, s.runs.next()) }

// findEarliest looks for what is due first in near.
func (s *Schedule) findEarliest() {
	s.earliest = math.MaxInt64
	if s.open.releasing() {
		s.earliest = math.MinInt64
	} else if e, ok := s.near.Min(); ok {
		s.earliest = e.Due
	}
}

// nextDues is NextDue for the near index and for the runs.
func (s *Schedule) nextDues() (near, runs int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.earliest, s.runs.next()
}

// onEarlier sets the function that is told when something is due earlier than all before.
func (s *Schedule) onEarlier(wake func(due int64)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wake = wake
}

// Floor is a ticket at or below every one that is pending in the near index; math.MaxInt64 if nothing is.
func (s *Schedule) Floor() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.settledFloor()
}

// Receive turns the time of an append into its receive time, which is not before any that was
// applied. It does not wait for what is being applied.
func (s *Schedule) Receive(now int64) int64 { return max(now, s.received.Load()) }

// End is the offset after the last batch applied.
func (s *Schedule) End() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end
}

// committed is the high watermark as the schedule knows it.
func (s *Schedule) committed() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.highWatermark
}

// upcoming returns what is due next in the near index, up to a time and a number.
func (s *Schedule) upcoming(until int64, limit int) (entries []Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.earliest > until {
		return nil
	}
	s.near.Ascend(index.First, func(e Entry) bool {
		if e.Due > until || len(entries) == limit {
			return false
		}
		entries = append(entries, e)
		return true
	})
	return entries
}
