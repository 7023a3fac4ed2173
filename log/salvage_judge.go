package log

import (
	"errors"
	"fmt"

	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/log/segment"
)

// found is a batch that is whole, its header and perhaps more.
type found struct {
	b        record.Batch
	pos, end int64
	wrong    bool // something in the header was, and is put right
}

// judge decides on the batch held, now that the next one is known, nil if there is none behind it
// or damage. Offsets have no checksum: one that the next batch contradicts is wrong, and is put
// right if what it must be is certain.
func (w *salvageWalk) judge(i int, next *found) error {
	h, p := w.held, w.parts[i]
	w.held = nil
	if h == nil {
		return nil
	}
	at, delta := h.b.BaseOffset(), int64(h.b.LastOffsetDelta())
	fits := func(base int64) bool {
		return delta >= 0 && base >= w.end && base+delta < p.next && base+delta-p.base < segment.MaxBytes && base <= max(w.end, w.s.durable)+farOffsets
	}
	follows := next == nil || next.b.BaseOffset() < w.end || next.b.BaseOffset() > at+delta
	if over := w.end < w.s.durable && at >= w.s.durable && w.gap == nil && !w.s.facts.knowsHole(w.end, at); over {
		follows = false // no segment with a hole in it reaches up there
	}
	certain := w.gap == nil && fits(w.end) && w.knowsEnd(p, w.end+delta+1, next)
	switch {
	case fits(at) && (at == w.end || follows):
		return w.keep(i, h)
	case certain:
		h.b.SetBaseOffset(w.end)
		w.putRight(i, h, fmt.Errorf("%w, and is put right: %d instead of %d", errOffset, w.end, at))
		return w.keep(i, h)
	}
	return w.damage(i, h.pos, h.end, fmt.Errorf("%w: batch of offset %d where the log is at %d", errOffset, at, w.end))
}

// knowsEnd reports whether there is proof that the batch before the next one ends at an offset.
func (w *salvageWalk) knowsEnd(p *part, end int64, next *found) bool {
	if next != nil {
		return next.b.BaseOffset() == end
	}
	return end == p.next || end == p.recorded.End || end == w.s.durable
}

var (
	errOffset = errors.New("offset of a batch is wrong")
	errEpoch  = errors.New("leader epoch of a batch is wrong")
)

// putRight notes that a batch is whole but for what has no checksum.
func (w *salvageWalk) putRight(i int, h *found, reason error) {
	p := w.parts[i]
	p.rewritten, h.wrong = true, true
	w.gaps = append(w.gaps, &gap{part: i, loss: Loss{From: w.end, To: w.end, File: w.name(p), Pos: h.pos, EndPos: h.end, Err: reason}})
}

// farOffsets is more than is ever appended before the facts know of it: an offset that is further
// above is wrong.
const farOffsets = 1 << 28

// keep takes a batch in.
func (w *salvageWalk) keep(i int, h *found) error {
	p, b := w.parts[i], h.b
	if w.gap != nil {
		w.close(b.BaseOffset())
	}
	if epoch := b.LeaderEpoch(); !w.plausibleEpoch(epoch) {
		b.SetLeaderEpoch(w.s.epochAt(b.BaseOffset()))
		w.putRight(i, h, fmt.Errorf("%w, and is put right: %d instead of %d", errEpoch, b.LeaderEpoch(), epoch))
	}
	n := len(p.items)
	switch {
	case h.wrong:
		p.items = append(p.items, item{pos: h.pos, end: h.end, header: b})
	case n > 0 && p.items[n-1].takes(h):
		p.items[n-1].end = h.end
	default:
		p.items = append(p.items, item{pos: h.pos, end: h.end})
	}
	return w.apply(p, b)
}

// plausibleEpoch reports whether a batch may have a leader epoch. They have no checksum; that an
// epoch begins is a fact before its first batch is written.
func (w *salvageWalk) plausibleEpoch(epoch int32) bool {
	known := w.s.facts.epochs
	return len(known) == 0 || epoch <= known[len(known)-1].Epoch && (w.last == nil || epoch >= w.last.LeaderEpoch())
}

// epochAt is the leader epoch of an offset.
func (s *Salvage) epochAt(offset int64) int32 {
	epoch := s.facts.epochs[0].Epoch
	for _, e := range s.facts.epochs {
		if e.Start <= offset {
			epoch = e.Epoch
		}
	}
	return epoch
}

// apply takes a batch into the state at the end of what is kept.
func (w *salvageWalk) apply(p *part, b record.Batch) error {
	w.sawMarker(b)
	if _, _, err := w.producers.Apply(b, b.MaxTimestamp()); err != nil {
		return &CorruptError{File: w.name(p), Err: fmt.Errorf("batch of offset %d: %w", b.BaseOffset(), err)}
	}
	w.end, w.inGroup, w.last = b.EndOffset(), b.Continued(), b[:record.HeaderLen]
	if !w.inGroup {
		w.good = w.end
	}
	if !b.Hidden() {
		p.visible = w.end
	}
	return nil
}
