package tier

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// This file holds the changes that can be made to a copy of a manifest before it is committed. Each keeps it
// contiguous, and turns what becomes unreachable into garbage, to be deleted later (R7).

// ErrGap is a refused change: the manifest would not be contiguous (R5).
var ErrGap = errors.New("remote range would not be contiguous")

// newManifest is that of a partition of which nothing is remote.
func newManifest(cluster string, id PartitionID) *Manifest {
	m := &Manifest{Cluster: cluster, PartitionID: id, SourceEnd: NoOffset}
	m.reset()
	return m
}

// reset forgets all offsets, so that the next entry may begin anywhere.
func (m *Manifest) reset() {
	m.Start, m.End = NoOffset, NoOffset
	m.Pages, m.Tail, m.Epochs = nil, nil, nil
}

// Empty reports whether nothing is remote. Start and End may still be known: then the next entry begins there.
func (m *Manifest) Empty() bool { return len(m.Pages) == 0 && len(m.Tail) == 0 }

// append adds an entry at the end.
func (m *Manifest) append(e Entry, epochs []EpochStart) error {
	if m.End == NoOffset {
		m.Start, m.End = e.Base, e.Base
	}
	if e.Base != m.End || e.End <= e.Base {
		return fmt.Errorf("%w: [%d, %d) after %d", ErrGap, e.Base, e.End, m.End)
	}
	m.End = e.End
	if n := len(m.Tail); n > 0 && e.isDrop() && m.Tail[n-1].isDrop() {
		m.Tail[n-1].End = e.End
		return nil
	}
	m.Tail = append(m.Tail, e)
	for _, x := range epochs {
		if n := len(m.Epochs); n == 0 || m.Epochs[n-1].Epoch < x.Epoch {
			m.Epochs = append(m.Epochs, x)
		}
	}
	return nil
}

// dropEntry stands for offsets that were dropped on record.
func dropEntry(from, to int64) Entry {
	e := Entry{Span: emptySpan(from)}
	e.End = to
	return e
}

// discardAll makes everything garbage.
func (m *Manifest) discardAll(now int64) {
	for i := range m.Pages {
		m.discardPage(&m.Pages[i], garbagePageAll, now)
	}
	m.discard(m.Tail, now)
	m.reset()
}

func (m *Manifest) discard(entries []Entry, now int64) {
	for i := range entries {
		e := &entries[i]
		if !e.isDrop() {
			m.Garbage = append(m.Garbage, Garbage{ObjectID: e.id(), Kind: garbageSegment, Segments: 1, Bytes: e.Bytes, Since: now})
		}
	}
}

func (m *Manifest) discardPage(p *PageRef, kind garbageKind, now int64) {
	g := Garbage{ObjectID: p.id(), Kind: kind, Size: p.Size, Sum: p.Sum, Since: now}
	if kind == garbagePageAll {
		g.Segments, g.Bytes = p.Segments, p.Bytes
	}
	m.Garbage = append(m.Garbage, g)
}

// cutFront removes what lies below start, which must be where an entry begins, or m.End.
func (c *catalog) cutFront(ctx context.Context, m *Manifest, start int64, now int64) error {
	for len(m.Pages) > 0 && m.Pages[0].End <= start {
		m.discardPage(&m.Pages[0], garbagePageAll, now)
		m.Pages = m.Pages[1:]
	}
	if len(m.Pages) > 0 {
		if err := c.cutFrontPage(ctx, m, start, now); err != nil {
			return err
		}
	} else {
		n := 0
		for n < len(m.Tail) && m.Tail[n].End <= start {
			n++
		}
		if n < len(m.Tail) && m.Tail[n].Base < start {
			return fmt.Errorf("%w: cut at %d, within [%d, %d)", ErrGap, start, m.Tail[n].Base, m.Tail[n].End)
		}
		m.discard(m.Tail[:n], now)
		m.Tail = m.Tail[n:]
	}
	m.Start = start
	m.pruneEpochs()
	return nil
}

// cutFrontPage replaces the first page by one without the entries below start.
func (c *catalog) cutFrontPage(ctx context.Context, m *Manifest, start, now int64) error {
	old := m.Pages[0]
	if old.Base >= start {
		return nil
	}
	entries, err := c.page(ctx, &old)
	if err != nil {
		return err
	}
	n := slices.IndexFunc(entries, func(e Entry) bool { return e.End > start })
	if entries[n].Base != start {
		return fmt.Errorf("%w: cut at %d, within [%d, %d)", ErrGap, start, entries[n].Base, entries[n].End)
	}
	m.Pages[0], err = c.putPage(ctx, m.Epoch, entries[n:])
	if err != nil {
		return err
	}
	m.discard(entries[:n], now)
	m.discardPage(&old, garbagePage, now)
	return nil
}

// cutBack removes what lies at or above end, which must be where an entry ends, or the start. It
// makes no garbage: whoever else believes in what is removed must find it until a sweep does.
func (c *catalog) cutBack(ctx context.Context, m *Manifest, end int64) (err error) {
	n := 0
	for n < len(m.Pages) && m.Pages[n].End <= end {
		n++
	}
	last := m.Tail
	if n < len(m.Pages) {
		if last, err = c.page(ctx, &m.Pages[n]); err != nil {
			return err
		}
	}
	k := 0
	for k < len(last) && last[k].End <= end {
		k++
	}
	if k < len(last) && last[k].Base < end {
		return fmt.Errorf("%w: cut at %d, within [%d, %d)", ErrGap, end, last[k].Base, last[k].End)
	}
	m.Pages, m.Tail, m.End = m.Pages[:n], slices.Clone(last[:k]), end
	m.Epochs = slices.DeleteFunc(m.Epochs, func(x EpochStart) bool { return x.Start >= end })
	m.Lost = slices.DeleteFunc(m.Lost, func(r OffsetRange) bool { return r.To > end }) // another log's
	return nil
}

// pruneEpochs forgets leader epochs that ended at or below Start.
func (m *Manifest) pruneEpochs() {
	n := 0
	for n+1 < len(m.Epochs) && m.Epochs[n+1].Start <= m.Start {
		n++
	}
	m.Epochs = m.Epochs[n:]
}

// cutMiddle replaces the segments that lie wholly in [from, to) and are not spared by drops. It
// reports whether there were any.
func (c *catalog) cutMiddle(ctx context.Context, m *Manifest, from, to int64, spare func(Span) bool, now int64) (changed bool, err error) {
	for i := range m.Pages {
		p := m.Pages[i]
		if p.End <= from || p.Base >= to || p.Segments == 0 {
			continue
		}
		entries, err := c.page(ctx, &p)
		if err != nil {
			return false, err
		}
		kept := m.dropWithin(entries, from, to, spare, now)
		if kept == nil {
			continue
		}
		if m.Pages[i], err = c.putPage(ctx, m.Epoch, kept); err != nil {
			return false, err
		}
		m.discardPage(&p, garbagePage, now)
		changed = true
	}
	if kept := m.dropWithin(m.Tail, from, to, spare, now); kept != nil {
		m.Tail = kept
		changed = true
	}
	return changed, nil
}

// dropWithin returns entries with the segments in [from, to) that are not spared replaced by drops,
// nil if there are none.
func (m *Manifest) dropWithin(entries []Entry, from, to int64, spare func(Span) bool, now int64) []Entry {
	var kept []Entry
	changed := false
	for _, e := range entries {
		if !e.isDrop() && from <= e.Base && e.End <= to && !spare(e.Span) {
			m.discard([]Entry{e}, now)
			e = dropEntry(e.Base, e.End)
			changed = true
		}
		if n := len(kept); n > 0 && e.isDrop() && kept[n-1].isDrop() {
			kept[n-1].End = e.End
			continue
		}
		kept = append(kept, e)
	}
	if !changed {
		return nil
	}
	return kept
}

// replace puts another object in the place of the one that holds the same offsets (repair).
func (c *catalog) replace(ctx context.Context, m *Manifest, e Entry, now int64) error {
	swap := func(entries []Entry) bool {
		i := slices.IndexFunc(entries, func(x Entry) bool { return x.Base == e.Base && x.End == e.End && !x.isDrop() })
		if i < 0 {
			return false
		}
		m.discard(entries[i:i+1], now)
		entries[i] = e
		return true
	}
	if swap(m.Tail) {
		return nil
	}
	for i := range m.Pages {
		p := m.Pages[i]
		if p.Base > e.Base || e.End > p.End {
			continue
		}
		entries, err := c.page(ctx, &p)
		if err != nil {
			return err
		}
		if entries = slices.Clone(entries); !swap(entries) {
			break
		}
		m.Pages[i], err = c.putPage(ctx, m.Epoch, entries)
		m.discardPage(&p, garbagePage, now)
		return err
	}
	return fmt.Errorf("%w: no segment [%d, %d)", ErrMoved, e.Base, e.End)
}
