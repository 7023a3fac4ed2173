package delay

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sort"
	"time"

	"github.com/morrowmq/morrow/delay/index"
	"github.com/morrowmq/morrow/log/record"
)

// horizon is how long before it is due the first part of a run is read.
const horizon = 2 * time.Second

// patience is how long a line waits for a run to be read, before others go on without it.
const patience = 200 * time.Millisecond

// reader reads one run front to back, for the line that delivers it.
type reader struct {
	run     *run
	journal Journal
	// after is where reading began; fence the next batch to load.
	after Entry
	fence int
	// queue is what was read and not handed out, in order, and queued its size.
	queue  []runItem
	queued int
	// handed was handed out, or skipped because it was finished; all of the run between the cursor
	// and the queue, in order.
	handed []Entry
	stop   stop
	view   record.View
}

type runItem struct {
	Entry
	payload
}

// newReader returns a reader that begins behind an entry, a cursor of the run.
func newReader(r *run, j Journal, after Entry) *reader {
	d := &reader{run: r, journal: j}
	d.rewind(after)
	return d
}

// rewind begins anew behind an entry.
func (d *reader) rewind(after Entry) {
	d.after, d.queue, d.queued, d.handed = after, nil, 0, nil
	d.fence = max(0, sort.Search(len(d.run.data), func(i int) bool { return after.Less(d.run.data[i].first()) })-1)
}

func (f dataFence) first() Entry { return Entry{Due: f.due, Ticket: f.ticket} }

// fill reads until want records are queued, or those due until a time, or about maxBytes; one batch
// at least if nothing is queued.
func (d *reader) fill(ctx context.Context, until int64, want, maxBytes int) error {
	for d.fence < len(d.run.data) {
		if len(d.queue) > 0 && (len(d.queue) >= want || d.queued > maxBytes || d.run.data[d.fence].due > until) {
			return nil
		}
		if err := d.load(ctx); err != nil {
			return fmt.Errorf("run %d, offset %d of the schedule log: %w", d.run.from, d.run.data[d.fence].offset, err)
		}
		d.fence++
	}
	return nil
}

// load queues the records of one batch, all or none.
func (d *reader) load(ctx context.Context) error {
	f := &d.run.data[d.fence]
	b, err := d.journal.BatchAt(ctx, f.offset, nil)
	if err != nil {
		return err
	}
	if b.BaseOffset() != f.offset || b.Hidden() {
		return fmt.Errorf("%w: not a batch of delayed records", errUnreadable)
	}
	batch, err := decode(b, func(*record.View, int64) (bool, error) { return true, nil })
	if err != nil {
		return err
	}
	queue, had, queued := d.queue, len(d.queue), d.queued
	for i := range batch.positions {
		raw := batch.at(i)
		if err := d.view.Load(raw, batch.baseTimestamp); err != nil {
			return err
		}
		e, err := delivered(&d.view)
		if err != nil {
			return err
		}
		if i == 0 && e != f.first() {
			return fmt.Errorf("%w: it begins with ticket %d, expected %d", errUnreadable, e.Ticket, f.ticket)
		}
		if d.after.Less(e) {
			e.Size = index.StoredSize(len(raw))
			queued += int(e.Size)
			queue = append(queue, runItem{e, payload{raw: raw, baseTimestamp: batch.baseTimestamp, codec: batch.codec, ready: true}})
		}
	}
	if len(queue) > had && had > 0 && !queue[had-1].Less(queue[had].Entry) {
		return fmt.Errorf("%w: records are not in order", errUnreadable)
	}
	d.queue, d.queued = queue, queued
	return nil
}

// pop hands out the first record queued.
func (d *reader) pop() runItem {
	it := d.queue[0]
	d.queue = d.queue[1:]
	d.queued -= int(it.Size)
	d.handed = append(d.handed, it.Entry)
	return it
}

// bound is at or below all that was not handed out.
func (d *reader) bound() (Entry, bool) {
	switch {
	case len(d.queue) > 0:
		return d.queue[0].Entry, true
	case d.fence < len(d.run.data):
		return d.run.data[d.fence].first(), true
	default:
		return Entry{}, false
	}
}

// takeRuns moves due entries from readers and the near index into a flight, in order of delivery
// over all of them. It stops where a reader would have to read on.
func (s *Schedule) takeRuns(f *flight, now int64, maxCount, maxBytes int, readers []*reader, near bool) (more bool) {
	end := Entry{Due: now + 1, Ticket: math.MinInt64}
	for maxCount > 0 && maxBytes > 0 {
		first, dry := s.firstOf(readers, end)
		if near {
			bound := end
			if first != nil {
				bound, _ = first.bound()
			}
			had := len(f.Entries)
			f.Entries = s.near.PopBefore(f.Entries, bound, maxCount, maxBytes)
			for _, e := range f.Entries[had:] {
				maxCount--
				maxBytes -= int(e.Size)
				f.payloads = append(f.payloads, payload{})
			}
		}
		if first == nil {
			return false
		}
		if dry || maxCount <= 0 || maxBytes <= 0 {
			return true
		}
		it := first.pop()
		f.Entries = append(f.Entries, it.Entry)
		f.payloads = append(f.payloads, it.payload)
		maxCount--
		maxBytes -= int(it.Size)
	}
	return true
}

// firstOf returns the reader with the first record before end, nil if there is none, and whether
// that has to be read first.
func (s *Schedule) firstOf(readers []*reader, end Entry) (first *reader, dry bool) {
	for _, d := range readers {
		for len(d.queue) > 0 && !s.runs.contains(d.queue[0].Entry) {
			d.pop()
		}
		bound, ok := d.bound()
		if !ok || !bound.Less(end) {
			continue
		}
		if first != nil {
			if other, _ := first.bound(); !bound.Less(other) {
				continue
			}
		}
		first, dry = d, len(d.queue) == 0
	}
	return first, dry
}

// settle moves the cursors of runs behind what is finished by the proofs below the high watermark,
// and notes when each has to be looked at again.
func (s *Schedule) settle(readers []*reader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range readers {
		n := 0
		for n < len(d.handed) && d.run.finished(d.handed[n]) {
			n++
		}
		if n > 0 {
			d.run.advance(d.handed[n-1])
			d.handed = d.handed[n:]
		}
		s.look(d)
	}
}

// look notes when a run has to be looked at again, and when it is due. Nothing is in flight.
func (s *Schedule) look(d *reader) {
	bound, ok := d.bound()
	if !ok {
		bound = index.Last
	}
	d.run.due = max(d.run.due, bound.Due)
	switch {
	case !ok || d.stop.err != nil:
		// The line knows when a reader that rests may go on.
		d.run.next = index.Last.Due
	case len(d.queue) > 0:
		d.run.next = bound.Due
	default:
		d.run.next = bound.Due - horizon.Milliseconds()
	}
}

// readers returns a reader for every run that has something due at or before a time; those that
// exist are kept. Version is for take, which wants to know that the runs are still the same.
func (s *Schedule) readers(have []*reader, until int64) (readers []*reader, version int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.runs.list {
		i := slices.IndexFunc(have, func(d *reader) bool { return d.run == r })
		switch {
		case i >= 0:
			readers = append(readers, have[i])
		case r.next <= until && r.pending > 0:
			readers = append(readers, newReader(r, s.journal, r.cursor))
		}
	}
	return readers, s.runs.installs
}

// forgetReaders has every run looked at again, by new readers.
func (s *Schedule) forgetReaders() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.runs.list {
		r.next = max(r.first.Due, r.cursor.Due) - horizon.Milliseconds()
	}
}

// rewind makes readers hand out again what is pending.
func (s *Schedule) rewind(readers []*reader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range readers {
		d.rewind(d.run.cursor)
		s.look(d)
	}
}
