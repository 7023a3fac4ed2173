package log

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/morrowmq/morrow/log/producer"
	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/log/segment"
)

// part is a segment of a log that is being salvaged.
type part struct {
	base int64
	next int64 // where the next one begins; forever for the last
	size int64 // of the file; -1 if there is none
	// rewritten: it is written anew, of items.
	rewritten bool
	items     []item
	visible   int64 // end of its last visible batch, 0 if there is none
	recorded  segment.Recorded
}

// replaced is the end of the range that the rewritten segment replaces.
func (p *part) replaced() int64 {
	if p.next == forever {
		return p.base + 1
	}
	return p.next
}

// rest reports whether anything follows the last batch that is kept.
func (p *part) rest() bool {
	end := int64(0)
	for i := range p.items {
		end = max(end, p.items[i].end)
	}
	return p.size > end
}

// gap is offsets that were lost, in a log that is being walked.
type gap struct {
	part int // index of the segment it begins in
	loss Loss
	hole int64 // where the next segment begins, if nothing of the one it begins in follows; else 0
	// Of the batch before.
	time  int64
	epoch int32
}

// salvageWalk goes through a log and finds what of it is whole, as it would be read after the salvage.
type salvageWalk struct {
	s      *Salvage
	parts  []*part
	before []byte // snapshot at the local start; nil if there is none

	end       int64 // of the last batch
	good      int64 // of the last group
	inGroup   bool
	producers *producer.State
	last      record.Batch // header of the last batch kept; nil if there is none
	held      *found       // not judged before the next one is seen
	gap       *gap         // what is missing before the next batch
	gaps      []*gap
	open      []*candidate
	markers   map[int64][]record.Batch // decided, by the offset at which a gap begins
}

// errTail ends a walk where nothing further was acknowledged: recovery cuts it.
var errTail = errors.New("the rest was never acknowledged")

func (s *Salvage) walk(bases []int64, markers map[int64][]record.Batch) (*salvageWalk, error) {
	start := s.facts.localStart
	w := &salvageWalk{s: s, end: start, good: start, markers: markers}
	if err := w.begin(bases, start); err != nil {
		return nil, err
	}
	for i := range w.parts {
		err := w.segment(i)
		if errors.Is(err, errTail) {
			w.parts = w.parts[:i+1]
			break
		}
		if err != nil {
			return nil, err
		}
	}
	w.finish()
	sortGaps(w.gaps)
	return w, nil
}

// begin lists the segments. One that is missing at the start is made.
func (w *salvageWalk) begin(bases []int64, start int64) error {
	if len(bases) == 0 || bases[0] > start {
		w.parts = append(w.parts, &part{base: start, next: forever, size: -1, rewritten: true})
	} else {
		w.end, w.good = bases[0], bases[0]
	}
	for _, base := range bases {
		if n := len(w.parts); n > 0 {
			w.parts[n-1].next = base
		}
		recorded, err := segment.ReadRecorded(w.s.options(), base, w.s.durable)
		if err != nil {
			return err
		}
		w.parts = append(w.parts, &part{base: base, next: forever, recorded: recorded})
	}
	state, err := w.s.snapshot(w.end)
	if err != nil {
		return err
	}
	if w.producers = state; state == nil {
		w.producers = producer.New(w.end)
	} else {
		w.before = state.Encode()
	}
	return nil
}

// segment walks through the i-th segment.
func (w *salvageWalk) segment(i int) error {
	p := w.parts[i]
	name := w.name(p)
	if p.size < 0 {
		w.miss(i, 0, 0, errNoFile)
		return nil
	}
	if err := w.join(i); err != nil {
		return err
	}
	f, err := w.s.o.FS.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // nothing was written
	if p.size, err = f.Size(); err != nil {
		return err
	}
	err = segment.Dump(f, p.base, p.size, func(piece segment.Piece) error { return w.piece(i, piece) })
	if err != nil {
		return err
	}
	if err := w.judge(i, nil); err != nil {
		return err
	}
	if w.inGroup {
		return w.damage(i, p.size, 0, errHalfGroup)
	}
	return nil
}

var errHalfGroup = errors.New("the rest of a group of batches is missing")

func (w *salvageWalk) name(p *part) string {
	return w.s.path(segment.FileName(p.base, segment.LogSuffix))
}

// join judges where a segment begins.
func (w *salvageWalk) join(i int) error {
	base := w.parts[i].base
	switch {
	case base < w.end:
		return &CorruptError{File: w.name(w.parts[i]), Err: fmt.Errorf("%w: the segment before ends at %d", errOverlap, w.end)}
	case w.gap == nil && (base == w.end || w.s.facts.knowsHole(w.end, base)):
	case w.gap == nil && w.good >= w.s.durable:
		return errTail
	case w.gap == nil:
		w.miss(max(i-1, 0), 0, 0, fmt.Errorf("%w: nothing has offsets [%d, %d)", errLost, w.end, base))
		fallthrough
	default:
		w.close(base)
	}
	w.end, w.good = base, base
	return nil
}

// piece takes in the next stretch of a segment.
func (w *salvageWalk) piece(i int, piece segment.Piece) error {
	p := w.parts[i]
	if piece.Err == nil {
		n := record.HeaderLen
		if piece.Batch.Control() {
			n = len(piece.Batch) // the state of producers needs more of it
		}
		b := &found{b: bytes.Clone(piece.Batch[:n]), pos: piece.Pos, end: piece.EndPos}
		err := w.judge(i, b)
		w.held = b
		return err
	}
	if err := w.judge(i, nil); err != nil {
		return err
	}
	reason := piece.Err
	if errors.Is(reason, segment.ErrUnused) {
		if w.ends(p) {
			return nil
		}
		reason = errZeros
	}
	end := piece.EndPos
	if piece.Next == segment.None {
		end = 0
	}
	return w.damage(i, piece.Pos, end, reason)
}

// ends reports whether a segment may end where the log is at.
func (w *salvageWalk) ends(p *part) bool {
	return !w.inGroup && w.gap == nil && (p.next == forever || p.next == w.end || w.s.facts.knowsHole(w.end, p.next))
}

var errZeros = errors.New("there are zeros where batches were")

// damage notes that bytes are no batches of this log; endPos is 0 if the file ends with them. It
// returns errTail if none of them, and nothing behind them, was acknowledged.
func (w *salvageWalk) damage(i int, pos, endPos int64, reason error) error {
	p := w.parts[i]
	if w.gap == nil && w.good >= w.s.durable {
		return errTail
	}
	if w.inGroup {
		p.items[len(p.items)-1].single = true
		w.inGroup, w.good = false, w.end
	}
	p.rewritten = true
	if w.gap == nil {
		w.miss(i, pos, endPos, reason)
	} else {
		w.gap.loss.EndPos = endPos
	}
	end := endPos
	if end == 0 {
		end = p.size
	}
	w.gap.loss.Delayed = w.gap.loss.Delayed || p.recorded.Hidden(pos, end)
	return nil
}

// miss begins a gap.
func (w *salvageWalk) miss(i int, pos, endPos int64, reason error) {
	p := w.parts[i]
	w.gap = &gap{part: i, loss: Loss{From: w.end, File: w.name(p), Pos: pos, EndPos: endPos, Err: reason}}
	w.gap.loss.Delayed = pos == 0 && endPos == 0 // nothing is known of it
	if w.last != nil {
		w.gap.time, w.gap.epoch = w.last.MaxTimestamp(), w.last.LeaderEpoch()
	}
}

// close ends the gap where the log goes on.
func (w *salvageWalk) close(to int64) {
	g := w.gap
	w.gap = nil
	g.loss.To = to
	w.gaps = append(w.gaps, g)
	p := w.parts[g.part]
	if to == p.next {
		g.hole = to
	}
	for _, m := range w.markers[g.loss.From] {
		p.rewritten = true
		p.items = append(p.items, item{marker: m})
		_, _, _ = w.producers.Apply(m, m.MaxTimestamp()) // it was made here
	}
	w.findOpen(g)
}

// finish judges where the log ends.
func (w *salvageWalk) finish() {
	s := w.s
	if w.end >= s.durable && w.gap == nil {
		return
	}
	i := len(w.parts) - 1
	if w.gap == nil {
		w.miss(i, max(w.parts[i].size, 0), 0, fmt.Errorf("%w: at offset %d, durable were %d", errShort, w.end, s.durable))
	}
	w.close(max(w.end, s.durable))
	w.end = max(w.end, s.durable) + spareOffsets
	w.parts[i].next = w.end
	w.parts[i].rewritten = w.parts[i].rewritten || w.parts[i].rest()
	w.gaps[len(w.gaps)-1].hole = w.end
	w.parts = append(w.parts, &part{base: w.end, next: forever, size: -1, rewritten: true})
}

// visibleBelow is the end of the last visible batch below a segment.
func (w *salvageWalk) visibleBelow(base int64) (end int64) {
	for _, p := range w.parts {
		if p.base < base {
			end = max(end, p.visible)
		}
	}
	return end
}
