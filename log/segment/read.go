package segment

import (
	"fmt"

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

// Slice appends to dst where the visible batches lie that a query asks for, and returns their bytes. Neighbours are merged. full means that
// the next visible batch, here or in a later segment, is not to be returned. The caller holds the segment ([Segment.Hold]), whose
// file is f.
func (s *Segment) Slice(dst []Range, f vfs.File, q Query) (_ []Range, bytes int64, full bool, err error) {
	sl := slice{s: s, q: q, f: f, dst: dst, next: q.Offset, h: s.headers(f)}
	defer sl.h.close()
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
	h     *headers
	dst   []Range
	bytes int64
	next  int64 // offset after the last batch taken
}

// span returns the first span that ends above offset.
func (s *Segment) span(offset int64) (Span, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lo, hi := 0, len(s.spans)
	for lo < hi {
		if mid := (lo + hi) / 2; s.spans[mid].End > offset {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	if lo == len(s.spans) {
		return Span{}, false
	}
	return s.spans[lo], true
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
		p.EndPos = min(p.EndPos, q.h.end) // it may have grown since
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

// locate is the position of the batch that contains offset, or of the first after it.
func (s *Segment) locate(h *headers, offset int64) (int64, error) {
	pos, err := s.floorOffset(offset)
	if err != nil {
		return 0, err
	}
	for first := true; pos < h.end; first = false {
		b, end, err := h.at(pos)
		if err != nil {
			return 0, err
		}
		if first && pos > 0 && (b.BaseOffset() > offset || b.BaseOffset() < s.base) {
			return 0, fmt.Errorf("%w: no batch of offset %d at position %d", errTable, offset, pos)
		}
		if b.LastOffset() >= offset {
			return pos, nil
		}
		pos = end
	}
	return pos, nil
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
	for at < q.h.end {
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

// floorBatch is the position of a batch at or before the one that contains offset.
func (s *Segment) floorBatch(offset int64) (pos int64, err error) {
	err = s.repairing(func() error {
		f, err := s.log.acquire()
		if err != nil {
			return err
		}
		defer s.log.release()
		h := s.headers(f)
		defer h.close()
		pos, err = s.locate(h, offset)
		return err
	})
	return pos, err
}

// FloorGroup is the position and base offset of the group that contains offset, or of the first after it. At the end they
// are the segment's size and end.
func (s *Segment) FloorGroup(offset int64) (pos, base int64, err error) {
	err = s.repairing(func() error {
		f, err := s.log.acquire()
		if err != nil {
			return err
		}
		defer s.log.release()
		at, err := s.floorOffset(offset)
		if err != nil {
			return err
		}
		h := s.headers(f)
		defer h.close()
		inGroup := false
		for at < h.end {
			b, end, err := h.at(at)
			if err != nil {
				return err
			}
			if !inGroup {
				pos, base = at, b.BaseOffset()
			}
			if b.LastOffset() >= offset {
				return nil
			}
			inGroup = b.Continued()
			at = end
		}
		pos, base = at, s.End()
		return nil
	})
	return pos, base, err
}

// BatchAt reads the batch that contains offset, or the first after it, into buf (grown if needed), and checks its
// checksum. It returns nil if there is none.
func (s *Segment) BatchAt(offset int64, buf []byte) (record.Batch, error) {
	pos, err := s.floorBatch(offset)
	if err != nil {
		return nil, err
	}
	f, err := s.log.acquire()
	if err != nil {
		return nil, err
	}
	defer s.log.release()
	h := s.headers(f)
	defer h.close()
	if pos >= h.end {
		return nil, nil
	}
	_, end, err := h.at(pos)
	if err != nil {
		return nil, err
	}
	n := int(end - pos)
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	b := record.Batch(buf[:n])
	err = readFull(f, b, pos)
	if err == nil {
		err = b.CheckCRC()
	}
	if err != nil {
		return nil, &CorruptError{File: s.Name(), Pos: pos, Err: err}
	}
	return b, nil
}

// Visible calls visit for the headers of the visible batches that end above from, in order, until it returns false.
// The header is valid during the call.
func (s *Segment) Visible(from int64, visit func(header record.Batch, end int64) bool) error {
	f, err := s.log.acquire()
	if err != nil {
		return err
	}
	defer s.log.release()
	h := s.headers(f)
	defer h.close()
	for {
		p, ok := s.span(from)
		if !ok {
			return nil
		}
		p.EndPos = min(p.EndPos, h.end) // it may have grown since
		pos := p.Pos
		if from > p.Start {
			if err := s.repairing(func() (err error) { pos, err = s.locate(h, from); return err }); err != nil {
				return err
			}
		}
		for pos < p.EndPos {
			b, end, err := h.at(pos)
			if err != nil {
				return err
			}
			if !b.Hidden() && b.LastOffset() >= from && !visit(b, end) {
				return nil
			}
			pos = end
		}
		from = p.End
	}
}

// FloorTime is an offset at or before the first visible batch whose max timestamp is at least timestamp.
func (s *Segment) FloorTime(timestamp int64) (offset int64, err error) {
	err = s.repairing(func() error {
		offset, err = s.floorTime(timestamp)
		return err
	})
	return offset, err
}

// LastVisible is the end of the last visible batch that ends at or below an offset, which must be where some batch ends.
// It is None if there is none.
func (s *Segment) LastVisible(below int64) (end int64, err error) {
	p, ok := s.spanBelow(below)
	switch {
	case !ok:
		return None, nil
	case p.End <= below:
		return p.End, nil
	case p.Pure:
		return below, nil
	}
	f, err := s.log.acquire()
	if err != nil {
		return 0, err
	}
	defer s.log.release()
	h := s.headers(f)
	defer h.close()
	err = s.repairing(func() error {
		stop, err := s.locate(h, below)
		if err != nil {
			return err
		}
		// A batch of the span is at most spanGap bytes of hidden ones away, but batches may be large.
		for back := int64(2 * spanGap); end == 0; back *= 4 {
			from, err := s.floorPos(stop - back)
			if err != nil {
				return err
			}
			from = max(from, p.Pos)
			for pos := from; pos < stop; {
				b, next, err := h.at(pos)
				if err != nil {
					return err
				}
				if !b.Hidden() {
					end = b.EndOffset()
				}
				pos = next
			}
			if from == p.Pos {
				break
			}
		}
		return nil
	})
	return end, err
}

// spanBelow returns the last span that begins below offset.
func (s *Segment) spanBelow(offset int64) (Span, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lo, hi := 0, len(s.spans)
	for lo < hi {
		if mid := (lo + hi) / 2; s.spans[mid].Start >= offset {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	if lo == 0 {
		return Span{}, false
	}
	return s.spans[lo-1], true
}
