package log

import (
	"errors"

	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/log/segment"
)

// errFound ends a walk.
var errFound = errors.New("found")

// OffsetForTimestamp finds the first visible local record whose timestamp (ms) is at least ts, below the visible end
// (ListOffsets; KIP-79). Hidden records have no part in it.
func (l *Log) OffsetForTimestamp(ts int64) (offset, timestamp int64, ok bool, err error) {
	err = l.lookUp(func() (err error) {
		offset, timestamp, ok, err = l.offsetForTimestamp(ts)
		return err
	})
	return offset, timestamp, ok, err
}

func (l *Log) offsetForTimestamp(ts int64) (offset, timestamp int64, ok bool, err error) {
	l.mu.Lock()
	o := l.offsetsLocked()
	segments := l.segments
	l.mu.Unlock()
	for _, s := range segments {
		if i := s.Info(); i.MaxTimestamp < ts || i.End <= o.LogStart {
			continue
		}
		from, err := s.FloorTime(ts)
		if err != nil {
			return 0, 0, false, err
		}
		offset, timestamp, err = firstAt(s, max(from, o.LogStart), ts)
		if errors.Is(err, errFound) {
			return offset, timestamp, offset < o.VisibleEnd, nil
		}
		if err != nil {
			return 0, 0, false, err
		}
	}
	return 0, 0, false, nil
}

// firstAt finds the first visible record from an offset on whose timestamp is at least ts: errFound if there is one.
func firstAt(s *segment.Segment, from, ts int64) (offset, timestamp int64, err error) {
	var buf []byte
	for {
		var at int64 = -1
		err := s.Visible(from, func(b record.Batch, _ int64) bool {
			if b.MaxTimestamp() < ts {
				return true
			}
			at = b.BaseOffset()
			return false
		})
		if err != nil || at < 0 {
			return 0, 0, err
		}
		b, err := s.BatchAt(at, buf)
		if err != nil {
			return 0, 0, err
		}
		offset, timestamp, err = recordAt(b, from, ts)
		if err != nil {
			return offset, timestamp, err
		}
		from, buf = b.EndOffset(), b
	}
}

// recordAt finds the first record of a batch from an offset on whose timestamp is at least ts: errFound if there is one.
func recordAt(b record.Batch, from, ts int64) (offset, timestamp int64, err error) {
	fixed := b.Attributes().Has(record.LogAppendTime)
	err = b.Walk(nil, func(v *record.View) error {
		offset, timestamp = b.BaseOffset()+int64(v.OffsetDelta), v.CreateTime()
		if fixed {
			timestamp = b.MaxTimestamp()
		}
		if offset >= from && timestamp >= ts {
			return errFound
		}
		return nil
	})
	return offset, timestamp, err
}

// MaxTimestamp finds the visible local record with the largest timestamp, the first if there are several (ListOffsets -3; KIP-734).
func (l *Log) MaxTimestamp() (offset, timestamp int64, ok bool, err error) {
	var largest int64
	err = l.lookUp(func() (err error) {
		largest, err = l.maxTimestamp()
		return err
	})
	if err != nil || largest < 0 {
		return 0, 0, false, err
	}
	return l.OffsetForTimestamp(largest)
}

// maxTimestamp is the largest timestamp of visible local records, -1 if there are none.
func (l *Log) maxTimestamp() (largest int64, err error) {
	l.mu.Lock()
	o := l.offsetsLocked()
	segments := l.segments
	l.mu.Unlock()
	largest = -1
	for _, s := range segments {
		i := s.Info()
		if i.MaxTimestamp <= largest || i.End <= o.LogStart {
			continue
		}
		if i.LastVisible <= o.VisibleEnd && i.Base >= o.LogStart {
			largest = i.MaxTimestamp
			continue
		}
		// Part of the segment does not count.
		err := s.Visible(max(i.Base, o.LogStart), func(b record.Batch, _ int64) bool {
			if b.EndOffset() > o.VisibleEnd {
				return false
			}
			largest = max(largest, b.MaxTimestamp())
			return true
		})
		if err != nil {
			return 0, err
		}
	}
	return largest, nil
}
