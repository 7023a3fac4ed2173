package delay

import (
	"errors"
	"fmt"
)

// fold notes that a change is below the high watermark and will not be undone.
func (s *Schedule) fold(o *op) {
	if !o.kind.finishes() {
		return
	}
	if s.rewrite != nil {
		s.rewrite.finish(o.entry, s.runs.of(o.entry.Ticket))
	}
	if o.entry.Ticket < s.floor {
		s.runs.fold(o.entry)
	}
}

// AdvanceHighWatermark says that nothing below end will be truncated.
func (s *Schedule) AdvanceHighWatermark(end int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if end <= s.highWatermark {
		return
	}
	s.highWatermark = end
	n := 0
	for n < len(s.undo) && s.undo[n].at < end {
		s.fold(&s.undo[n])
		n++
	}
	if n < len(s.undo) {
		s.undo = s.undo[n:]
	} else if n > 0 {
		giveOps(s.undo)
		s.undo = nil
	}
}

// ErrRebuild is returned by Truncate when the end of a transaction was truncated: the schedule must be made anew from the log.
var ErrRebuild = errors.New("schedule must be rebuilt from the log")

// Truncate undoes all batches from offset end on. End must not be below the high watermark, and no line may be attached: it would not deliver
// again what it has delivered.
func (s *Schedule) Truncate(end int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if end < s.highWatermark {
		return fmt.Errorf("truncation to %d below the high watermark %d", end, s.highWatermark)
	}
	s.end = min(s.end, end)
	for n := len(s.undo); n > 0 && s.undo[n-1].at >= end; n-- {
		if err := s.revert(&s.undo[n-1]); err != nil {
			return err
		}
		s.undo = s.undo[:n-1]
	}
	return nil
}

func (s *Schedule) revert(o *op) error {
	switch o.kind {
	case opSchedule:
		if _, ok := s.remove(o.entry, opCancel); ok {
			s.pins.remove(o.entry.Ticket)
			s.tally.remove(o.entry)
			s.names.remove(o.entry.Ticket)
		}
	case opStage:
		s.pins.remove(o.entry.Ticket)
		s.open.unstage(o.producerID)
	case opCommit, opAbort:
		return ErrRebuild
	default:
		s.tally.unfinished(o.kind)
		if o.entry.Ticket < s.floor {
			s.runs.unfinish(o.entry)
			return nil
		}
		s.pins.add(o.entry.Ticket)
		s.place(o.entry, o.name)
		s.earliest = min(s.earliest, o.entry.Due)
	}
	return nil
}
