package delay

import (
	"context"
	"errors"
	"fmt"

	"github.com/morrowmq/morrow/delay/index"
)

// mergeWork is a run being made of others. What it will hold is what was live in them, by the
// proofs below the high watermark, at the moment each part was looked at.
type mergeWork struct {
	low, high int64
	// positions are the entries up to which the merge has looked in each run.
	positions map[*run]Entry
	// collected were finished after they were looked at, so they are in the run; excluded before,
	// so that they are not among its records, but perhaps in its tables, which are written first.
	collected, excluded []Entry
}

// finish notes that an entry of the run from is finished by a proof below the high watermark.
func (w *mergeWork) finish(e Entry, from *run) {
	if w == nil || e.Ticket < w.low || e.Ticket >= w.high {
		return
	}
	if position, ok := w.positions[from]; ok && !position.Less(e) {
		w.collected = append(w.collected, e)
	} else {
		w.excluded = append(w.excluded, e)
	}
}

// fold notes in the run that was written what was finished meanwhile.
func (w *mergeWork) fold(r *run) {
	for _, e := range w.collected {
		r.finish(e)
	}
	for _, e := range w.excluded {
		r.exclude(e)
	}
	w.collected, w.excluded = nil, nil
}

// Turn calls write when nobody else uses the keeper, and returns its error, or why it was not called.
// A merge calls it once before it reads anything, to write nothing.
type Turn func(write func() error) error

// atOnce is the turn of whoever has the keeper already.
func atOnce(write func() error) error { return write() }

// Merge rewrites some neighbouring runs as one, without what is finished, if that is worth it;
// merged tells whether it was. There may be more to do then. If it fails, all is as before. It
// fails soon if ctx ends. It uses the keeper only during calls of turn, and between them others
// may, but not for Merge and Tidy: so nothing waits for a merge, and nothing that others do in the
// middle undoes what a merge has done.
func (k *Keeper) Merge(ctx context.Context, logStart int64, turn Turn) (merged bool, err error) {
	s := k.schedule
	old := s.beginMerge(k.pick)
	defer s.endMerge()
	if len(old) == 0 {
		return false, nil
	}
	if err := turn(func() error { return nil }); err != nil {
		return false, fmt.Errorf("merge %d runs: %w", len(old), err)
	}
	w := newRunWriter(ctx, k, "merge", turn, old[0].low, old[len(old)-1].high)
	defer func() { err = errors.Join(err, w.close()) }()
	for _, r := range old {
		if err := k.copyTables(ctx, w, r); err != nil {
			return false, fmt.Errorf("merge run %d: %w", r.from, err)
		}
	}
	w.ordered = func(yield func(key, value []byte) error) error { return k.mergeRecords(ctx, w, old, yield) }
	return true, k.finish(ctx, w, change{old: old}, logStart)
}

// beginMerge picks what to merge.
func (s *Schedule) beginMerge(pick func([]*run) []*run) []*run {
	s.mu.Lock()
	defer s.mu.Unlock()
	// A copy: the list is changed when the new run is installed.
	old := append([]*run(nil), pick(s.runs.list)...)
	if len(old) > 0 {
		s.merging = &mergeWork{low: old[0].low, high: old[len(old)-1].high, positions: make(map[*run]Entry)}
	}
	return old
}

func (s *Schedule) endMerge() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.merging = nil
}

// copyTables copies from a run's tables what is live.
func (k *Keeper) copyTables(ctx context.Context, w *runWriter, r *run) error {
	var entries []Entry
	for _, f := range r.tickets {
		value, err := ownBatch(ctx, k.c.Journal, f.offset, kindTickets)
		if err != nil {
			return err
		}
		entries = entries[:0]
		err = readTickets(value, func(e Entry) error {
			entries = append(entries, e)
			return nil
		})
		if err != nil {
			return err
		}
		for _, e := range k.schedule.live(r, entries, false) {
			if err := w.ticket(e); err != nil {
				return err
			}
		}
	}
	for _, f := range r.keys {
		value, err := ownBatch(ctx, k.c.Journal, f.offset, kindKeys)
		if err != nil {
			return err
		}
		err = readKeys(value, func(name []byte, e Entry) error {
			if len(k.schedule.live(r, []Entry{e}, false)) == 0 {
				return nil
			}
			return w.key(string(name), e)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// cursorOf is the run's cursor: what lies before it need not be read.
func (s *Schedule) cursorOf(r *run) Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return r.cursor
}

// live returns those of a run's entries, which are in order, that are not finished by the proofs
// below the high watermark. If looked is set, the merge will not look at them again.
func (s *Schedule) live(r *run, entries []Entry, looked bool) (live []Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range entries {
		if !r.finished(e) {
			live = append(live, e)
		}
	}
	if looked && len(entries) > 0 {
		s.merging.positions[r] = entries[len(entries)-1]
	}
	return live
}

// mergeRecords yields what is live in runs, in order over all of them, as a sorter does. In the end it
// tells the writer how many bytes that had in the partition's log, which is not what is read.
func (k *Keeper) mergeRecords(ctx context.Context, w *runWriter, old []*run, yield func(key, value []byte) error) error {
	readers := make([]*liveReader, len(old))
	for i, r := range old {
		readers[i] = &liveReader{reader: newReader(r, k.c.Journal, k.schedule.cursorOf(r)), schedule: k.schedule}
	}
	var key, value []byte
	for {
		var first *liveReader
		for _, d := range readers {
			if err := d.advance(ctx); err != nil {
				return err
			}
			if len(d.live) > 0 && (first == nil || d.live[0].Less(first.live[0].Entry)) {
				first = d
			}
		}
		if first == nil {
			for _, d := range readers {
				w.info.bytes += d.run.share(d.merged)
			}
			return nil
		}
		it := first.live[0]
		first.live = first.live[1:]
		first.merged++
		key = sortable(key[:0], it.Entry)
		value = appendSortable(value[:0], it.payload)
		if err := yield(key, value); err != nil {
			return err
		}
	}
}

// liveReader reads what is live in a run.
type liveReader struct {
	*reader
	schedule *Schedule
	live     []runItem
	// merged is how many records were taken out of live.
	merged int64
}

// advance makes sure that something is in live unless the run is at its end.
func (d *liveReader) advance(ctx context.Context) error {
	for len(d.live) == 0 && d.fence < len(d.run.data) {
		if err := ctx.Err(); err != nil { // the journal may not look
			return err
		}
		if err := d.fill(ctx, index.First.Due, 0, 0); err != nil {
			return err
		}
		entries := make([]Entry, len(d.queue))
		for i := range d.queue {
			entries[i] = d.queue[i].Entry
		}
		live := d.schedule.live(d.run, entries, true)
		for _, it := range d.queue {
			if len(live) > 0 && it.Entry == live[0] {
				d.live, live = append(d.live, it), live[1:]
			}
		}
		d.queue, d.queued = nil, 0
	}
	return nil
}
