package segment

import (
	"fmt"

	"github.com/morrowmq/morrow/log/batches"
	"github.com/morrowmq/morrow/log/record"
)

// locate is the position of the batch that contains offset, or of the first after it.
func (s *Segment) locate(h headers, offset int64) (int64, error) {
	pos, err := s.floorOffset(offset)
	if err != nil {
		return 0, err
	}
	for first := true; pos < h.End(); first = false {
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

// floorBatch is the position of a batch at or before the one that contains offset.
func (s *Segment) floorBatch(offset int64) (pos int64, err error) {
	err = s.repairing(func() error {
		f, err := s.log.acquire()
		if err != nil {
			return err
		}
		defer s.log.release()
		h := s.headers(f)
		defer h.Close()
		pos, err = s.locate(h, offset)
		return err
	})
	return pos, err
}

// FloorGroup is the position and base offset of the group that contains offset, or of the first
// after it. At the end they are the segment's size and end.
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
		defer h.Close()
		inGroup := false
		for at < h.End() {
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

// BatchAt reads the batch that contains offset, or the first after it, into buf (grown if needed),
// and checks its checksum. It returns nil if there is none, and a *CorruptError for damage.
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
	defer h.Close()
	if pos >= h.End() {
		return nil, nil
	}
	_, end, err := h.at(pos)
	if err != nil {
		return nil, err
	}
	b, err := batches.Read(f, pos, end, buf)
	if err != nil {
		return nil, s.badBatch(pos, err)
	}
	return b, nil
}

// Visible calls visit for the headers of the visible batches that end above from, in order, until
// it returns false. The header is valid during the call.
func (s *Segment) Visible(from int64, visit func(header record.Batch, end int64) bool) error {
	f, err := s.log.acquire()
	if err != nil {
		return err
	}
	defer s.log.release()
	h := s.headers(f)
	defer h.Close()
	for {
		p, ok := s.span(from)
		if !ok {
			return nil
		}
		p.EndPos = min(p.EndPos, h.End()) // it may have grown since
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

// LastVisible is the end of the last visible batch that ends at or below an offset, which must be
// where some batch ends. It is None if there is none.
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
	defer h.Close()
	err = s.repairing(func() error {
		stop, err := s.locate(h, below)
		if err != nil {
			return err
		}
		// A batch of the span is at most minSpanGap bytes of hidden ones away, but batches may be large.
		for back := int64(2 * minSpanGap); end == 0; back *= 4 {
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
