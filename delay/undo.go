package delay

import (
	"errors"
	"fmt"
	"slices"
)

// undoList is a list of changes, oldest first, in the lists they came in: a large batch's is not copied.
//
// Invariant: no list is empty, the first head of the first are settled and others of it are not.
type undoList struct {
	lists [][]op
	head  int
}

// add takes over a list of changes.
func (u *undoList) add(list []op) {
	if last := len(u.lists) - 1; last >= 0 && len(list) <= cap(u.lists[last])-len(u.lists[last]) {
		u.lists[last] = append(u.lists[last], list...)
	} else if len(list) > 0 {
		u.lists = append(u.lists, list)
		return
	}
	giveOps(list)
}

// all are the changes, oldest first.
func (u *undoList) all(yield func(*op) bool) {
	head := u.head
	for _, list := range u.lists {
		for i := range list[head:] {
			if !yield(&list[head+i]) {
				return
			}
		}
		head = 0
	}
}

// settle takes out the changes below an offset, oldest first, and calls fold for each.
func (u *undoList) settle(end int64, fold func(*op)) {
	for len(u.lists) > 0 {
		list := u.lists[0]
		for u.head < len(list) && list[u.head].at < end {
			fold(&list[u.head])
			u.head++
		}
		if u.head < len(list) {
			return
		}
		giveOps(list)
		u.lists, u.head = slices.Delete(u.lists, 0, 1), 0
	}
}

// revert takes out the changes from an offset on, newest first, and calls undo for each. It ends
// with the first error; that change stays.
func (u *undoList) revert(end int64, undo func(*op) error) error {
	for len(u.lists) > 0 {
		last, head := len(u.lists)-1, 0
		if last == 0 {
			head = u.head
		}
		list := u.lists[last]
		n := len(list)
		for ; n > head && list[n-1].at >= end; n-- {
			if err := undo(&list[n-1]); err != nil {
				u.cut(n)
				return err
			}
		}
		if n > head {
			u.cut(n)
			return nil
		}
		giveOps(list)
		if u.lists = u.lists[:last]; last == 0 {
			u.head = 0
		}
	}
	return nil
}

// cut shortens the last list to its first n changes.
func (u *undoList) cut(n int) {
	last := len(u.lists) - 1
	clear(u.lists[last][n:])
	u.lists[last] = u.lists[last][:n]
}

// fold notes that a change is below the high watermark and will not be undone.
func (s *Schedule) fold(o *op) {
	if !o.kind.finishes() {
		return
	}
	s.spilling.finish(o.entry)
	if o.entry.Ticket < s.floor {
		s.merging.finish(o.entry, s.runs.of(o.entry.Ticket))
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
	s.undo.settle(end, s.fold)
}

// ErrRebuild is returned by Truncate when the end of a transaction was truncated: the schedule must
// be made anew from the log.
var ErrRebuild = errors.New("schedule must be rebuilt from the log")

// Truncate undoes all batches from offset end on. End must not be below the high watermark, and no
// line may be attached: it would not deliver again what it has delivered.
func (s *Schedule) Truncate(end int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if end < s.highWatermark {
		return fmt.Errorf("truncation to %d below the high watermark %d", end, s.highWatermark)
	}
	s.end = min(s.end, end)
	return s.undo.revert(end, s.revert)
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
