package log

import (
	"errors"
	"io/fs"
	"slices"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/producer"
	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/log/segment"
)

// A transaction that is open where a gap begins may have been ended in it. If it was, its marker
// must be there again: else the transaction would go on into the producer's next one, and what that
// becomes would decide over records of this one. What can tell:
//
//   - the index of aborted transactions names every abort marker by the first offset of its transaction;
//   - a snapshot of the producers that was taken above the gap says whether the transaction was open then;
//   - the producer's next marker above the gap ends it, if nothing in the gap did.
//
// Both files are caches, and are believed if their checksums are right. Where they say nothing, a
// person has to.

// candidate is a transaction that was open where a gap begins.
type candidate struct {
	id      int64
	epoch   int16
	coord   int32
	first   int64 // its first offset that is not lost
	gap     *gap
	next    *Marker // the producer's next one above the gap
	nextAt  int64   // its offset
	verdict verdict
	at      int64 // offset of the marker, if that is known; else -1
}

// verdict is what is known of a transaction's end.
type verdict int8

const (
	openStill verdict = iota // nothing in the gap has ended it, or it makes no difference
	abortedThere
	committedThere
	undecided
)

// findOpen notes the transactions that are open where a gap begins.
func (w *salvageWalk) findOpen(g *gap) {
	for _, i := range w.producers.Producers() {
		if i.TxnStart >= 0 && g.loss.From < g.loss.To {
			w.open = append(w.open, &candidate{id: i.ProducerID, epoch: i.Epoch, coord: i.CoordinatorEpoch, first: i.TxnStart, gap: g, at: -1})
		}
	}
}

// sawMarker notes the next marker of producers whose transactions were open at a gap.
func (w *salvageWalk) sawMarker(b record.Batch) {
	if !b.Control() || b.ProducerID() < 0 {
		return
	}
	m, err := ParseMarker(b)
	if err != nil {
		return // apply says so
	}
	for _, c := range w.open {
		if c.id == m.ProducerID && c.next == nil {
			c.next, c.nextAt = &m, b.BaseOffset()
		}
	}
}

// decided walks through a log until every transaction that was open at a gap is decided, or cannot
// be: a marker that is put back may show that another transaction was open at a later gap.
func (s *Salvage) decided(bases []int64) (*salvageWalk, error) {
	markers := map[int64][]record.Batch{}
	for {
		w, err := s.walk(bases, markers)
		if err != nil {
			return nil, err
		}
		more, err := s.decide(w, markers)
		if err != nil || !more {
			return w, err
		}
	}
}

// decide finds out about the transactions of a walk, and reports whether it has added markers.
func (s *Salvage) decide(w *salvageWalk, markers map[int64][]record.Batch) (more bool, err error) {
	for i, c := range w.open {
		later := slices.ContainsFunc(w.open[i+1:], func(o *candidate) bool { return o.id == c.id && o.first == c.first })
		if c.verdict, err = s.verdict(w, c, later); err != nil {
			return false, err
		}
		end := c.verdict
		if end == undecided {
			end = map[Outcome]verdict{Unsaid: undecided, Leave: openStill, Abort: abortedThere, Commit: committedThere}[s.o.Undecided]
			if end != undecided {
				c.verdict = openStill
			}
		}
		if end == abortedThere || end == committedThere {
			if b := w.lostMarker(c, end == committedThere, markers[c.gap.loss.From]); b != nil {
				from := c.gap.loss.From
				markers[from] = append(markers[from], b)
				slices.SortFunc(markers[from], func(a, b record.Batch) int { return int(a.BaseOffset() - b.BaseOffset()) })
				return true, nil
			}
			c.verdict = undecided
		}
	}
	return false, nil
}

// verdict judges a transaction. later says that it was open at a later gap too.
func (s *Salvage) verdict(w *salvageWalk, c *candidate, later bool) (verdict, error) {
	if a, ok := w.abortOf(c.id, c.first); ok {
		if a.LastOffset >= c.gap.loss.To {
			return openStill, nil
		}
		if a.LastOffset >= c.gap.loss.From {
			c.at = a.LastOffset
		}
		return abortedThere, nil
	}
	state, err := s.snapshotFrom(c.gap.loss.To)
	if err != nil {
		return undecided, err
	}
	next := int64(forever) // where another transaction of the producer is known to begin
	if state != nil {
		first, open := state.OpenTransaction(c.id)
		if open && first < c.gap.loss.From {
			return openStill, nil
		}
		if open {
			next = first
		}
	}
	switch {
	case !w.covered(c.gap):
		return undecided, nil
	case w.endedBefore(c, next):
		return committedThere, nil
	case later:
		return openStill, nil // it is judged there
	}
	return c.notAborted(state), nil
}

// endedBefore reports whether the next transaction of a producer that is known to have begun above
// the start of a gap, at next or where the index of aborted ones says, did so while no marker had
// ended the one that was open there. So that one was ended in the gap, and not by an abort.
func (w *salvageWalk) endedBefore(c *candidate, next int64) bool {
	for _, p := range w.parts {
		for _, a := range p.recorded.Aborted {
			if a.ProducerID == c.id && a.FirstOffset >= c.gap.loss.From {
				next = min(next, a.FirstOffset)
			}
		}
	}
	return next < forever && (c.next == nil || next < c.nextAt)
}

// notAborted judges a transaction that was not aborted in the gap. state is of above it, nil if
// nothing is known, and knows the transaction to be over.
func (c *candidate) notAborted(state *producer.State) verdict {
	switch {
	case state != nil && (c.next == nil || c.nextAt >= state.End()):
		return committedThere
	case c.next != nil && c.next.Commit:
		return openStill // whichever of the two has committed it
	}
	return undecided
}

// abortOf finds the abort of the transaction that an offset belongs to.
func (w *salvageWalk) abortOf(id, offset int64) (segment.AbortedTxn, bool) {
	for _, p := range w.parts {
		for _, a := range p.recorded.Aborted {
			if a.ProducerID == id && a.FirstOffset <= offset && offset <= a.LastOffset {
				return a, true
			}
		}
	}
	return segment.AbortedTxn{}, false
}

// covered reports whether every abort marker in a gap is known.
func (w *salvageWalk) covered(g *gap) bool {
	return w.parts[g.part].recorded.End >= g.loss.To
}

// lostMarker is the marker of a transaction that was ended in a gap, in one of the offsets of the
// gap. It is nil if all of them are taken.
func (w *salvageWalk) lostMarker(c *candidate, commit bool, taken []record.Batch) record.Batch {
	free := func(o int64) bool {
		return !slices.ContainsFunc(taken, func(b record.Batch) bool { return b.BaseOffset() == o })
	}
	at := max(c.at, c.gap.loss.From)
	for at < c.gap.loss.To && !free(at) {
		at++
	}
	if at >= c.gap.loss.To {
		return nil
	}
	m := Marker{ProducerID: c.id, Epoch: c.epoch, CoordinatorEpoch: max(c.coord, 0), Commit: commit}
	b := m.Batch(c.gap.time)
	b.SetBaseOffset(at)
	b.SetLeaderEpoch(c.gap.epoch)
	return b
}

// snapshot reads the producers at an offset; nil if there is no snapshot that is whole.
func (s *Salvage) snapshot(offset int64) (*producer.State, error) {
	b, err := vfs.ReadFile(s.o.FS, s.path(segment.FileName(offset, snapshotSuffix)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	state, err := decodeSnapshot(b, offset)
	if errors.Is(err, producer.ErrSnapshot) {
		return nil, nil
	}
	return state, err
}

// snapshotFrom reads the first snapshot at or above an offset; nil if there is none.
func (s *Salvage) snapshotFrom(offset int64) (*producer.State, error) {
	names, err := s.o.FS.List(s.o.Dir)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if at, suffix, ok := segment.ParseName(name); ok && suffix == snapshotSuffix && at >= offset {
			state, err := s.snapshot(at)
			if state != nil || err != nil {
				return state, err
			}
		}
	}
	return nil, nil
}
