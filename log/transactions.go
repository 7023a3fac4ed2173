package log

import (
	"errors"

	"github.com/morrowmq/morrow/log/producer"
	"github.com/morrowmq/morrow/log/segment"
)

// aborted lists the aborted transactions that a reader of [from, to) must know: their markers lie in the segment of from or in
// a later one.
func (l *Log) aborted(read *Read, segments []*segment.Segment, from, to int64) error {
	for i := segmentOf(segments, from); i < len(segments); i++ {
		found, complete, err := segments[i].Aborted(read.Aborted, from, to)
		if errors.Is(err, segment.ErrTxnIndex) {
			if err = l.repairAborted(segments, i); err == nil {
				found, complete, err = segments[i].Aborted(read.Aborted, from, to)
			}
		}
		if err != nil {
			return err
		}
		read.Aborted = found
		if complete {
			return nil
		}
	}
	return nil
}

// Aborted lists the aborted transactions whose markers lie in [from, to), by marker, as far as they are local.
func (l *Log) Aborted(from, to int64) ([]AbortedTxn, error) {
	var read Read
	err := l.lookUp(func() error {
		l.mu.Lock()
		segments := l.segments
		l.mu.Unlock()
		read.Aborted = nil
		return l.aborted(&read, segments, from, forever)
	})
	if err != nil {
		return nil, err
	}
	found := read.Aborted[:0]
	for _, a := range read.Aborted {
		if a.LastOffset >= from && a.LastOffset < to {
			found = append(found, a)
		}
	}
	return found, nil
}

// repairAborted makes the index of aborted transactions of a segment anew, by replaying the log from the newest
// snapshot below it.
func (l *Log) repairAborted(segments []*segment.Segment, i int) error {
	l.appendMu.Lock() // no abort marker may be appended between the replay and its result
	defer l.appendMu.Unlock()
	s := segments[i]
	var all []segment.AbortedTxn
	_, err := l.replay(segments, s.Base(), s.End(), 0, func(_ *segment.Segment, done producer.Completed) {
		if done.Last >= s.Base() {
			all = append(all, aborted(done))
		}
	})
	if err != nil {
		return err
	}
	s.ResetAborted(all)
	return nil
}
