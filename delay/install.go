package delay

import (
	"math"
	"slices"

	"github.com/morrowmq/morrow/delay/index"
)

// change is what a progress record brings about besides the proofs it folds in.
type change struct {
	// run takes the place of old runs, or of what the near index holds below floor. Each may be missing.
	run   *run
	old   []*run
	floor int64
}

// foldInto notes in the run of a change what was finished while it was written.
func (s *Schedule) foldInto(c change) {
	if c.old == nil {
		s.spilling.fold(c.run)
	} else {
		s.merging.fold(c.run)
	}
}

// capture describes the state by the proofs below the high watermark, as a progress record does,
// with a change that is about to be made. Finished are the runs left out because nothing is live in
// them. A record that is not complete holds the exceptions that no earlier record held; if it gets
// lost, the next one must be complete.
func (s *Schedule) capture(complete bool, c change) (p *progress, finished []*run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p = &progress{complete: complete, folded: min(s.highWatermark, s.end), received: s.received.Load()}
	p.floor = max(s.floor, c.floor, min(s.settledFloor(), p.folded))
	for _, r := range s.runs.list {
		switch {
		case slices.Contains(c.old, r):
		case r.live == 0:
			finished = append(finished, r)
		default:
			p.runs = append(p.runs, r.progress(complete))
		}
	}
	if c.run != nil {
		s.foldInto(c)
		p.runs = append(p.runs, c.run.progress(true))
	}
	if len(p.runs) > 0 && !s.namesRuns {
		// From the moment the record may be durable, the proofs above it are needed.
		s.namesRuns, s.folded = true, p.folded
	}
	return p, finished
}

// progress describes what is finished of the run: all of it, or only the exceptions that are new.
func (r *run) progress(complete bool) runProgress {
	p := runProgress{from: r.from, to: r.to, trailer: r.trailer, cursor: r.cursor, live: r.live, exceptions: r.fresh}
	r.fresh = nil
	if complete {
		p.exceptions = nil
		r.exceptions.Ascend(index.First, func(e Entry) bool {
			p.exceptions = append(p.exceptions, Entry{Due: e.Due, Ticket: e.Ticket})
			return true
		})
	}
	return p
}

// progressed takes note that the progress record that was written last is committed, and makes the
// change that it announced.
func (s *Schedule) progressed(p *progress, finished []*run, c change) {
	s.mu.Lock()
	s.copies[len(s.copies)-1].unsure = false
	s.folded, s.namesRuns = p.folded, len(p.runs) > 0
	if len(finished) > 0 {
		s.runs.replace(finished, nil)
	}
	if c.run != nil {
		s.foldInto(c)
		s.overlay(c.run)
	}
	if c.run != nil || c.old != nil {
		s.runs.replace(c.old, c.run)
	}
	if c.floor > s.floor {
		s.forgetBelow(c.floor)
	}
	s.floor = max(s.floor, p.floor)
	wake, next := s.wake, s.nextDue()
	s.mu.Unlock()
	wake(next)
}

// overlay notes what was finished of a new run at or above the high watermark.
func (s *Schedule) overlay(r *run) {
	above := s.finishedAbove(r.low, r.high)
	for ticket := range above {
		s.runs.mark(ticket)
	}
	r.pending = r.live - int64(len(above))
}

// finishedAbove returns the tickets of a range that were finished at or above the high watermark.
func (s *Schedule) finishedAbove(low, high int64) map[int64]struct{} {
	var above map[int64]struct{}
	for o := range s.undo.all {
		if o.kind.finishes() && low <= o.entry.Ticket && o.entry.Ticket < high {
			if above == nil {
				above = make(map[int64]struct{})
			}
			above[o.entry.Ticket] = struct{}{}
		}
	}
	return above
}

// forgetBelow takes everything that is pending below a ticket, and not yet in runs, out of memory. It is
// held to a few nanoseconds per record, since nothing can be appended meanwhile.
func (s *Schedule) forgetBelow(ticket int64) {
	partial := s.pins.forgetBelow(ticket)
	forget := func(e Entry) {
		s.tally.remove(e)
		if e.Ticket >= partial {
			s.pins.remove(e.Ticket)
		}
	}
	s.near.RemoveBelow(ticket, forget)
	for _, f := range s.flights {
		for i, e := range f.Entries {
			if !f.gone[i] && s.floor <= e.Ticket && e.Ticket < ticket {
				forget(e)
			}
		}
	}
	s.names.forgetBelow(ticket)
	s.findEarliest()
}

// settledFloor is at or below every ticket that is pending by the proofs below the high watermark
// and not in a run.
func (s *Schedule) settledFloor() int64 {
	floor := min(s.pins.floor(), s.undecidedFloor())
	for o := range s.undo.all {
		if o.kind.finishes() && o.entry.Ticket >= s.floor {
			floor = min(floor, o.entry.Ticket)
		}
	}
	return max(floor, s.floor)
}

// undecidedFloor is at or below every ticket that belongs to a transaction whose end is not below
// the high watermark.
func (s *Schedule) undecidedFloor() int64 {
	floor := int64(math.MaxInt64)
	for o := range s.undo.all {
		if o.kind == opCommit || o.kind == opAbort {
			floor = min(floor, o.entry.Ticket)
		}
	}
	return floor
}

// Gate is the offset that the start of the partition's log may not pass: below it lies neither a
// record that is pending in the near index nor a proof that no committed progress record has folded
// in.
func (s *Schedule) Gate() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	gate := s.settledFloor()
	if s.namesRuns {
		gate = min(gate, s.folded)
	}
	return gate
}

// Replay says from where on a start reads the partition's log again, and to where the next progress
// record moves that.
func (s *Schedule) Replay() (from, to int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.floor, max(s.floor, min(s.settledFloor(), s.highWatermark, s.end))
}

// CaughtUp says that the log up to end holds nothing that concerns the schedule and was not applied. It
// lets progress go on when only ordinary records are appended.
func (s *Schedule) CaughtUp(end int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end = max(s.end, end)
}
