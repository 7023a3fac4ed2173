package log

import (
	"slices"

	"github.com/morrowmq/morrow/log/segment"
)

// Drop removes the closed segments that lie wholly in [from, to), also from the middle of the log: their owner has recorded that
// nothing in them is needed. The offsets stay used; readers find the next batch behind the hole. If the range begins at the log start,
// that moves durably before. What is gone already is no error.
func (l *Log) Drop(from, to int64) (removed int, err error) {
	inRange := func(s *segment.Segment) bool { return s.Base() >= from && s.End() <= to }
	return l.takeOut(inRange, func(first int64) {
		if from > l.start {
			return
		}
		start := min(to, first)
		if l.confirmed <= start {
			start = first // nothing in between is in the tier, so it was dropped before
		}
		l.start = max(l.start, start)
		l.reported = max(l.reported, min(l.start, l.visibleEndLocked()))
		l.epochs = epochsFrom(l.epochs, l.start)
	})
}

// Evict removes the closed segments below confirmed that are idle, also from the middle of the log: the tier has them. From then on
// a read that needs them returns a *TieredError. The delete bound is durable before any file goes.
func (l *Log) Evict(confirmed int64, idle func(segment.Info) bool) (removed int, err error) {
	evictable := func(s *segment.Segment) bool { return s.End() <= confirmed && idle(s.Info()) }
	return l.takeOut(evictable, func(int64) { l.confirmed = max(l.confirmed, confirmed) })
}

// takeOut removes the closed and durable segments that goes says, of which it is asked once each, in order. Before the first file goes, the
// facts are durable: with the new local start and holes, with what change, called under mu with the base of the first segment that stays,
// makes of them, and with the synced end.
func (l *Log) takeOut(goes func(*segment.Segment) bool, change func(first int64)) (removed int, err error) {
	if err := l.Failure(); err != nil {
		return 0, err
	}
	l.appendMu.Lock()
	l.cutMu.Lock()
	defer l.cutMu.Unlock()
	gone, err := l.unlist(goes, change)
	l.appendMu.Unlock() // nobody needs to wait until the files have gone
	if err != nil {
		return 0, err
	}
	for _, s := range gone {
		if err := s.Remove(); err != nil {
			return removed, l.wrap("remove segment of", err)
		}
		if err := l.removeSnapshot(s.Base()); err != nil {
			return removed, l.wrap("remove snapshot of", err)
		}
		removed++
	}
	return removed, nil
}

// unlist takes segments out of the log for takeOut, durably, under appendMu and cutMu.
func (l *Log) unlist(goes func(*segment.Segment) bool, change func(first int64)) (gone []*segment.Segment, err error) {
	l.mu.Lock()
	before, facts := l.segments, l.factsLocked()
	l.mu.Unlock()
	last := len(before) - 1
	keep := make([]*segment.Segment, 0, len(before))
	for i, s := range before {
		if i < last && s.End() <= facts.synced && goes(s) {
			gone = append(gone, s)
		} else {
			keep = append(keep, s)
		}
	}
	l.mu.Lock()
	if len(gone) > 0 {
		l.segments, l.local = keep, keep[0].Base()
		l.passedLocked(gone)
		l.removals++
	}
	change(keep[0].Base())
	moved := len(gone) > 0 || l.start != facts.start
	l.mu.Unlock()
	if !moved {
		return nil, nil
	}
	if err := l.storeFacts(true); err != nil {
		l.mu.Lock()
		l.segments = before
		l.confirmed, l.local, l.start, l.reported = facts.deleteBound, facts.localStart, facts.start, facts.reportedStart
		l.below, l.epochs = facts.visibleBelow, facts.epochs
		l.mu.Unlock()
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.recovery.pending = slices.DeleteFunc(l.recovery.pending, func(c checkpoint) bool { return slices.Contains(gone, c.segment.Of()) })
	return gone, nil
}
