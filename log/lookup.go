package log

import (
	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/log/segment"
)

// OffsetForTimestamp finds the first visible local record whose timestamp (ms) is at least ts,
// below the visible end (ListOffsets; KIP-79). Hidden records have no part in it.
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
		offset, timestamp, ok, err = firstSince(s, max(from, o.LogStart), ts)
		if err != nil || ok {
			return offset, timestamp, ok && offset < o.VisibleEnd, err
		}
	}
	return 0, 0, false, nil
}

// firstSince finds the first visible record from an offset on whose timestamp is at least ts.
func firstSince(s *segment.Segment, from, ts int64) (offset, timestamp int64, ok bool, err error) {
	var buf []byte
	for {
		var at int64 = segment.None
		err := s.Visible(from, func(b record.Batch, _ int64) bool {
			if b.MaxTimestamp() < ts {
				return true
			}
			at = b.BaseOffset()
			return false
		})
		if err != nil || at == segment.None {
			return 0, 0, false, err
		}
		b, err := s.BatchAt(at, buf)
		if err != nil {
			return 0, 0, false, err
		}
		if offset, timestamp, ok, err = b.FirstSince(nil, from, ts); err != nil || ok {
			return offset, timestamp, ok, err
		}
		from, buf = b.EndOffset(), b
	}
}

// MaxTimestamp finds the visible local record with the largest timestamp, the first if there are
// several (ListOffsets -3; KIP-734).
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
