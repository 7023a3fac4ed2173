package tier

import (
	"context"
	"errors"
	"io"
	"sort"

	"github.com/morrowmq/morrow/log/record"
)

// OffsetForTimestamp finds the first visible record at or above an offset whose timestamp is at least ts; ok is false
// if none is remote. Timestamps may be in any order.
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

// MaxTimestamp finds the visible record at or above an offset with the largest timestamp, the first of them (KIP-734); ok is false if none is
// remote.
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

// newestIn is the largest timestamp of the visible records of a segment from an offset on, NoTimestamp if there are none.
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
		for walk := (headers{r: s, pos: pos, end: v.Pos + v.Len}); ; {
			h, err := walk.next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err == nil && h.base < from {
				h.timestamp, err = s.newestOf(h, from)
			}
			if err != nil {
				return 0, err
			}
			newest = max(newest, h.timestamp)
		}
	}
	return newest, nil
}

// newestOf is the largest timestamp of a batch's records from an offset on, NoTimestamp if there are none.
func (s *segmentReader) newestOf(h header, from int64) (newest int64, err error) {
	b := make(record.Batch, h.length)
	if _, err := s.ReadAt(b, h.pos); err != nil {
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
	walk := headers{r: s, pos: pos, end: end}
	for {
		h, err := walk.next()
		if errors.Is(err, io.EOF) {
			return 0, 0, false, nil
		}
		if err != nil {
			return 0, 0, false, err
		}
		if h.timestamp < ts || h.end <= from {
			continue
		}
		b := make([]byte, h.length)
		if _, err := s.ReadAt(b, h.pos); err != nil {
			return 0, 0, false, err
		}
		offset, timestamp, ok, err := record.Batch(b).FirstSince(nil, from, ts)
		if err != nil || ok {
			return offset, timestamp, ok, err
		}
	}
}
