package tier

import (
	"context"
	"errors"
	"sort"

	"github.com/morrowmq/morrow/log/record"
)

// OffsetForTimestamp finds the first visible record at or above an offset whose timestamp is at
// least ts; ok is false if none is remote. Timestamps may be in any order.
func (p *Partition) OffsetForTimestamp(ctx context.Context, ts, from int64) (offset, timestamp int64, ok bool, err error) {
	m, err := p.manifest(ctx)
	if err != nil {
		return 0, 0, false, err
	}
	for at := from; ; {
		e, err := p.find(ctx, m, at, func(s Span) bool { return s.MaxTimestamp >= ts && s.VisibleEnd > at })
		if err != nil || e == nil {
			return 0, 0, false, err
		}
		offset, timestamp, ok, err := p.timestampIn(ctx, e, ts, at)
		if err != nil || ok {
			return offset, timestamp, ok, err
		}
		at = e.End
	}
}

// MaxTimestamp finds the visible record at or above an offset with the largest timestamp, the first
// of them (KIP-734); ok is false if none is remote.
func (p *Partition) MaxTimestamp(ctx context.Context, from int64) (offset, timestamp int64, ok bool, err error) {
	m, err := p.manifest(ctx)
	if err != nil {
		return 0, 0, false, err
	}
	largest := NoTimestamp
	for at := from; ; {
		e, err := p.find(ctx, m, at, func(s Span) bool { return s.MaxTimestamp > largest && s.VisibleEnd > at })
		if err != nil {
			return 0, 0, false, err
		}
		if e == nil {
			break
		}
		newest := e.MaxTimestamp
		if e.Base < from {
			if newest, err = p.newestIn(ctx, e, from); err != nil {
				return 0, 0, false, err
			}
		}
		largest, at = max(largest, newest), e.End
	}
	if largest == NoTimestamp {
		return 0, 0, false, nil
	}
	return p.OffsetForTimestamp(ctx, largest, from)
}

// newestIn is the largest timestamp of the visible records of a segment from an offset on,
// NoTimestamp if there are none.
func (p *Partition) newestIn(ctx context.Context, e *Entry, from int64) (newest int64, err error) {
	if _, _, ok, err := p.timestampIn(ctx, e, e.MaxTimestamp, from); err != nil || ok {
		return e.MaxTimestamp, err // which is mostly so, and quickly found
	}
	ix, err := p.tier.decoded.index(ctx, p.tier.bucket, p.catalog.dir, e)
	if err != nil {
		return 0, err
	}
	s := newSegmentReader(ctx, p, e, ix)
	defer func() { err = errors.Join(err, s.blocks.release()) }()
	newest = NoTimestamp
	for _, v := range ix.Visible[ix.visibleAt(from):] {
		pos, err := s.start(v, from)
		if err != nil {
			return 0, err
		}
		within, err := s.newestWithin(pos, v.Pos+v.Len, from)
		if err != nil {
			return 0, err
		}
		newest = max(newest, within)
	}
	return newest, nil
}

// newestWithin is the largest timestamp of the records in [pos, end) from an offset on, NoTimestamp
// if there are none.
func (s *segmentReader) newestWithin(pos, end, from int64) (newest int64, err error) {
	h := s.headers(end)
	defer h.Close()
	newest = NoTimestamp
	for pos < end {
		header, next, err := h.at(pos)
		if err != nil {
			return 0, err
		}
		timestamp := header.MaxTimestamp()
		if header.BaseOffset() < from {
			if timestamp, err = s.newestOf(pos, next, from); err != nil {
				return 0, err
			}
		}
		newest = max(newest, timestamp)
		pos = next
	}
	return newest, nil
}

// newestOf is newestWithin of the one batch in [pos, end).
func (s *segmentReader) newestOf(pos, end, from int64) (newest int64, err error) {
	b, err := s.batch(pos, end, nil)
	if err != nil {
		return 0, err
	}
	newest = NoTimestamp
	err = b.Walk(nil, func(v *record.View) error {
		switch {
		case b.BaseOffset()+int64(v.OffsetDelta) < from:
		case b.Attributes().Has(record.LogAppendTime):
			newest = b.MaxTimestamp()
		default:
			newest = max(newest, v.CreateTime())
		}
		return nil
	})
	return newest, err
}

// timestampIn looks through one segment.
func (p *Partition) timestampIn(ctx context.Context, e *Entry, ts, from int64) (offset, timestamp int64, ok bool, err error) {
	ix, err := p.tier.decoded.index(ctx, p.tier.bucket, p.catalog.dir, e)
	if err != nil {
		return 0, 0, false, err
	}
	s := newSegmentReader(ctx, p, e, ix)
	defer func() { err = errors.Join(err, s.blocks.release()) }()
	// Before the last point whose predecessors are all too old, there is nothing.
	k := sort.Search(len(ix.Points), func(k int) bool { return ix.Points[k].MaxTimestamp >= ts }) - 1
	first := ix.pointPos(from)
	if k >= 0 {
		first = max(first, ix.Points[k].Pos)
	}
	for _, v := range ix.Visible[ix.visibleAt(from):] {
		if v.Pos+v.Len <= first {
			continue
		}
		offset, timestamp, ok, err = s.timestampWithin(max(v.Pos, first), v.Pos+v.Len, ts, from)
		if err != nil || ok {
			return offset, timestamp, ok, err
		}
	}
	return 0, 0, false, nil
}

// timestampWithin looks through the batches in [pos, end).
func (s *segmentReader) timestampWithin(pos, end, ts, from int64) (offset, timestamp int64, ok bool, err error) {
	h := s.headers(end)
	defer h.Close()
	for pos < end {
		header, next, err := h.at(pos)
		if err != nil {
			return 0, 0, false, err
		}
		if header.MaxTimestamp() >= ts && header.EndOffset() > from {
			b, err := s.batch(pos, next, nil)
			if err != nil {
				return 0, 0, false, err
			}
			offset, timestamp, ok, err := b.FirstSince(nil, from, ts)
			if err != nil || ok {
				return offset, timestamp, ok, err
			}
		}
		pos = next
	}
	return 0, 0, false, nil
}
