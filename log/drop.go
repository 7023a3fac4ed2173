package log

import (
	"slices"

	"github.com/morrowmq/morrow/log/segment"
)

// Drop removes the closed segments that lie wholly in [from, to), also from the middle of the log:
// their owner has recorded that nothing in them is needed. The offsets stay used; readers find the
// next batch behind the hole. If the range begins at the log start, that moves durably before. What
// is gone already is no error.
func (l *Log) Drop(from, to int64) (removed int, err error) {
	inRange := func(s *segment.Segment) bool { return s.Base() >= from && s.End() <= to }
	return l.takeOut(inRange, func(f *facts, first, visibleEnd int64) {
		if from > f.start {
			return
		}
		start := min(to, first)
		if f.deleteBound <= start {
			start = first // nothing in between is in the tier, so it was dropped before
		}
		f.start = max(f.start, start)
		f.reportedStart = max(f.reportedStart, min(f.start, visibleEnd))
	})
}

// Evict removes the closed segments below confirmed that are idle, also from the middle of the log:
// the tier has them. From then on a read that needs them returns a *TieredError. The delete bound
// is durable before any file goes.
func (l *Log) Evict(confirmed int64, idle func(segment.Info) bool) (removed int, err error) {
	evictable := func(s *segment.Segment) bool { return s.End() <= confirmed && idle(s.Info()) }
	return l.takeOut(evictable, func(f *facts, _, _ int64) { f.deleteBound = max(f.deleteBound, confirmed) })
}

// ForgetTier takes the delete bound back, durably, of a log of which the tier has nothing any more.
// It reports whether all of the log is here; nothing has changed if not. From then on a hole is what
// was dropped, or compacted away. The caller sees to it that nothing is evicted meanwhile.
func (l *Log) ForgetTier() (whole bool, err error) {
	l.cutMu.Lock()
	defer l.cutMu.Unlock()
	if o := l.Offsets(); o.LocalStart > o.RealStart {
		return false, nil
	}
	err = l.moveFacts(func(f *facts) { f.deleteBound = -1 }, nil)
	return err == nil, err
}

// takeOut removes the closed and durable segments that goes says, of which it is asked once each,
// in order. Before the first file goes, the facts are durable: with the new local start and holes,
// with what change makes of them, given the base of the first segment that stays and the visible
// end, and with the synced end. Appends go on.
func (l *Log) takeOut(goes func(*segment.Segment) bool, change func(f *facts, first, visibleEnd int64)) (removed int, err error) {
	if err := l.Failure(); err != nil {
		return 0, err
	}
	l.cutMu.Lock()
	defer l.cutMu.Unlock()
	gone, err := l.unlist(goes, change)
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

// unlist takes segments out of the log for takeOut, durably, under cutMu.
func (l *Log) unlist(goes func(*segment.Segment) bool, change func(f *facts, first, visibleEnd int64)) (gone []*segment.Segment, err error) {
	l.mu.Lock()
	segments, before, visibleEnd := l.segments, l.factsLocked(), l.visibleEndLocked()
	l.mu.Unlock()
	last := len(segments) - 1
	keep := make([]*segment.Segment, 0, len(segments))
	for i, s := range segments {
		if i < last && s.End() <= before.synced && goes(s) {
			gone = append(gone, s)
		} else {
			keep = append(keep, s)
		}
	}
	first := keep[0].Base()
	after := before
	change(&after, first, visibleEnd)
	if len(gone) == 0 && after.start == before.start {
		return nil, nil
	}
	err = l.moveFacts(func(f *facts) {
		change(f, first, visibleEnd)
		f.localStart, f.holes = first, holesOf(keep)
		f.passed(gone)
	}, gone)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.recovery.pending = slices.DeleteFunc(l.recovery.pending, func(c checkpoint) bool { return slices.Contains(gone, c.segment.Of()) })
	return gone, nil
}
