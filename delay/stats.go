package delay

import "math"

// Stats describes a schedule at a moment.
type Stats struct {
	// Pending records, and how many of them are overdue; both include those in flight. Bytes is
	// what the pending ones occupy, uncompressed, to within a thousandth.
	Pending, Overdue, Bytes int64
	// Undecided records belong to transactions that are not over, or only just.
	Undecided int64
	// NextDue is when the first pending record is due; math.MaxInt64 if there is none.
	NextDue int64
	// Runs is how many runs there are, Spilled how many of the pending records are in them.
	Runs    int
	Spilled int64
	// Delivered, Cancelled and Replaced count since a line was attached: what came before, a start reads
	// of the log again.
	Delivered, Cancelled, Replaced int64
}

// tally keeps the counts, so that asking costs nothing.
type tally struct {
	pending, bytes                 int64
	delivered, cancelled, replaced int64
	// overdue counts the pending entries due at or before mark.
	overdue, mark int64
}

func (t *tally) add(e Entry) {
	t.pending++
	t.bytes += int64(e.Size)
	if e.Due <= t.mark {
		t.overdue++
	}
}

func (t *tally) remove(e Entry) {
	t.pending--
	t.bytes -= int64(e.Size)
	if e.Due <= t.mark {
		t.overdue--
	}
}

func (t *tally) finished(kind opKind)   { *t.counter(kind)++ }
func (t *tally) unfinished(kind opKind) { *t.counter(kind)-- }

func (t *tally) counter(kind opKind) *int64 {
	switch kind {
	case opDeliver:
		return &t.delivered
	case opCancel:
		return &t.cancelled
	default:
		return &t.replaced
	}
}

// beginCounting forgets what was delivered, cancelled and replaced so far.
func (s *Schedule) beginCounting() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delivered, s.cancelled, s.replaced = 0, 0, 0
}

// Stats describes the schedule at time now. Its cost does not depend on how much is pending.
func (s *Schedule) Stats(now int64) Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.moveMark(now)
	st := Stats{
		Pending: s.pending, Overdue: s.overdue, Bytes: s.bytes,
		Undecided: s.open.count,
		NextDue:   s.nearDue(),
		Delivered: s.delivered, Cancelled: s.cancelled, Replaced: s.replaced,
	}
	for _, r := range s.runs.list {
		st.Runs++
		st.Spilled += r.pending
		st.Pending += r.pending
		st.Bytes += r.share(r.pending)
		st.Overdue += r.overdue(now)
		st.NextDue = min(st.NextDue, r.nextDue())
	}
	return st
}

// nearDue is when the first record is due that is pending in no run; math.MaxInt64 if there is none.
func (s *Schedule) nearDue() int64 {
	due := int64(math.MaxInt64)
	if e, ok := s.near.Min(); ok {
		due = e.Due
	}
	for _, f := range s.flights {
		for i, e := range f.Entries {
			if !f.gone[i] && e.Ticket >= s.floor {
				due = min(due, e.Due)
				break
			}
		}
	}
	return due
}

// jitter is how much earlier than the mark a caller's now may be without the clock having gone back.
const jitter = 1000

// moveMark brings the count of overdue entries to time now. Every entry is counted once as the mark passes it;
// only after the clock went back are all counted again.
func (s *Schedule) moveMark(now int64) {
	if now >= s.mark-jitter {
		now = max(now, s.mark)
		s.overdue += int64(s.near.CountBetween(s.mark, now))
		s.mark = now
		return
	}
	s.mark = now
	s.overdue = int64(s.near.CountBetween(math.MinInt64, now))
	for _, f := range s.flights {
		for i, e := range f.Entries {
			if !f.gone[i] && e.Ticket >= s.floor && e.Due <= now {
				s.overdue++
			}
		}
	}
}
