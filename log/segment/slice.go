package segment

import (
	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/record"
)

// Range is bytes of a log file: whole batches.
type Range struct {
	File     vfs.File
	Pos, Len int64
}

// Query says what [Segment.Slice] looks for.
type Query struct {
	Offset   int64 // the first batch is the one that contains it, or the next one
	End      int64 // no batch ends above it
	MaxBytes int64
	MinOne   bool // one batch is returned even if it is larger than MaxBytes
}

// Slice appends to dst where the visible batches lie that a query asks for, and returns their
// bytes. Neighbours are merged. full means that the next visible batch, here or in a later segment,
// is not to be returned. The caller holds the segment ([Segment.Hold]), whose file is f.
func (s *Segment) Slice(dst []Range, f vfs.File, q Query) (_ []Range, bytes int64, full bool, err error) {
	sl := slice{s: s, q: q, f: f, dst: dst, next: q.Offset, h: s.headers(f)}
	defer sl.h.Close()
	err = s.repairing(func() (err error) {
		full, err = sl.run()
		return err
	})
	return sl.dst, sl.bytes, full, err
}

// slice is a query at work.
type slice struct {
	s     *Segment
	q     Query
	f     vfs.File
	h     headers
	dst   []Range
	bytes int64
	next  int64 // offset after the last batch taken
}

func (q *slice) run() (full bool, err error) {
	for q.next < q.q.End {
		p, ok := q.s.span(q.next)
		if !ok {
			return false, nil
		}
		if p.Start >= q.q.End {
			return true, nil
		}
		p.EndPos = min(p.EndPos, q.h.End()) // it may have grown since
		pos := p.Pos
		if q.next > p.Start {
			at, err := q.s.locate(q.h, q.next)
			if err != nil {
				return false, err
			}
			pos = max(pos, at)
		}
		if p.Pure {
			full, err = q.pure(p, pos)
		} else {
			full, err = q.mixed(p, pos)
		}
		if err != nil || full {
			return full, err
		}
	}
	return true, nil
}

// pure takes from a span without hidden batches: only where to stop must be found out.
func (q *slice) pure(p Span, pos int64) (full bool, err error) {
	stop, next := p.EndPos, p.End
	if q.q.End < p.End {
		if stop, next, err = q.boundary(pos, func(b record.Batch, _ int64) bool { return b.EndOffset() <= q.q.End }, true); err != nil {
			return false, err
		}
		full = true
	}
	if limit := pos + q.q.MaxBytes - q.bytes; stop > limit {
		full = true
		if stop, next, err = q.boundary(pos, func(_ record.Batch, end int64) bool { return end <= limit }, false); err != nil {
			return false, err
		}
		if stop == pos && q.q.MinOne && q.bytes == 0 {
			b, end, err := q.h.at(pos)
			if err != nil {
				return false, err
			}
			if b.EndOffset() > q.q.End {
				return true, nil
			}
			stop, next = end, b.EndOffset()
		}
	}
	if stop > pos {
		q.take(pos, stop, next)
	}
	return full, nil
}

// boundary finds the end of the last batch, from the one at pos on, that fits. It starts at the index
// entry nearest to where the query must stop: by offset, or by position.
func (q *slice) boundary(pos int64, fits func(b record.Batch, end int64) bool, byOffset bool) (stop, next int64, err error) {
	var at int64
	if byOffset {
		at, err = q.s.floorOffset(q.q.End - 1)
	} else {
		at, err = q.s.floorPos(pos + q.q.MaxBytes - q.bytes)
	}
	if err != nil {
		return 0, 0, err
	}
	at = max(pos, at)
	stop, next = pos, q.next
	for at < q.h.End() {
		b, end, err := q.h.at(at)
		if err != nil {
			return 0, 0, err
		}
		if !fits(b, end) {
			return at, b.BaseOffset(), nil
		}
		at, stop, next = end, end, b.EndOffset()
	}
	return stop, next, nil
}

// mixed steps through a span batch by batch.
func (q *slice) mixed(p Span, pos int64) (full bool, err error) {
	for pos < p.EndPos {
		b, end, err := q.h.at(pos)
		if err != nil {
			return false, err
		}
		if b.EndOffset() > q.q.End {
			return true, nil
		}
		if !b.Hidden() && b.LastOffset() >= q.q.Offset {
			if q.bytes+end-pos > q.q.MaxBytes && !(q.q.MinOne && q.bytes == 0) {
				return true, nil
			}
			q.take(pos, end, b.EndOffset())
		}
		pos = end
	}
	q.next = max(q.next, p.End)
	return false, nil
}

// take adds the bytes [pos, end).
func (q *slice) take(pos, end, next int64) {
	q.bytes += end - pos
	q.next = next
	if n := len(q.dst); n > 0 && q.dst[n-1].File == q.f && q.dst[n-1].Pos+q.dst[n-1].Len == pos {
		q.dst[n-1].Len += end - pos
		return
	}
	q.dst = append(q.dst, Range{File: q.f, Pos: pos, Len: end - pos})
}
