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

// MaxTimestamp finds the visible record with the largest timestamp, the first of them (KIP-734); ok is false if there is none.
func (p *Partition) MaxTimestamp(ctx context.Context) (offset, timestamp int64, ok bool, err error) {
	m, err := p.manifest(ctx)
	if err != nil {
		return 0, 0, false, err
	}
	largest := m.Summary().MaxTimestamp
	if largest == NoTimestamp {
		return 0, 0, false, nil
	}
	return p.OffsetForTimestamp(ctx, largest, m.Start)
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
