package log

import (
	"github.com/morrowmq/morrow/log/segment"
)

// Drop removes the closed segments that lie wholly in [from, to), also from the middle of the log: their owner has recorded that
// nothing in them is needed. The offsets stay used; readers find the next batch behind the hole. If the first segments go,
// the log start moves durably before. What is gone already is no error.
func (l *Log) Drop(from, to int64) (removed int, err error) {
	if err := l.Failure(); err != nil {
		return 0, err
	}
	l.appendMu.Lock()
	defer l.appendMu.Unlock()
	l.cutMu.Lock()
	defer l.cutMu.Unlock()
	gone, moved := l.takeOut(from, to)
	if moved {
		if err := l.storeFacts(true); err != nil {
			return 0, err
		}
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

// takeOut takes segments off the list, and reports whether the log start has moved for it.
func (l *Log) takeOut(from, to int64) (gone []*segment.Segment, moved bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := len(l.segments) - 1
	keep := make([]*segment.Segment, 0, len(l.segments))
	for i, s := range l.segments {
		if i < last && s.Base() >= from && s.End() <= min(to, l.durableEnd) {
			gone = append(gone, s)
		} else {
			keep = append(keep, s)
		}
	}
	if len(gone) == 0 {
		return nil, false
	}
	l.segments = keep
	start := keep[0].Base()
	if moved = start > l.local; moved {
		l.local = start
		l.passedLocked(gone)
		l.start = max(l.start, start)
		l.reported = max(l.reported, min(start, l.visibleEndLocked()))
		l.epochs = epochsFrom(l.epochs, l.start)
	}
	return gone, moved
}
