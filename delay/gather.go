package delay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/morrowmq/morrow/log/record"
)

// workspace is the memory of one turn.
type workspace struct {
	// now is when the turn began. In a burst, what is read is needed now, and the next window needs
	// something else.
	now   int64
	burst bool
	// order is the positions in the flight by ticket.
	order []int32
	// found are the records, by position in the flight.
	found []payload
	// arena holds those that come from batches which are not kept.
	arena   []byte
	gone    []bool
	batch   []byte
	builder record.Builder
	stamper stamper
	view    record.View
}

// payload is an encoded record and what is known from its batch. Raw is nil if the record was not found.
type payload struct {
	raw           []byte
	baseTimestamp int64
	codec         record.Codec
	// ready: it has the headers of a delivery already.
	ready bool
}

const (
	// maxKeptArena is the largest arena kept between turns.
	maxKeptArena = 4 << 20
	// maxKeptRecords likewise, for what is kept per record.
	maxKeptRecords = 64 << 10
	// minCached is the smallest batch that is worth keeping decoded, in bytes.
	minCached = 16 << 10
)

// reset makes room for n records. What was found before is forgotten.
func (w *workspace) reset(n int) {
	w.arena = w.arena[:0]
	w.order = slices.Grow(w.order[:0], n)
	w.found = slices.Grow(w.found[:0], n)[:n]
	w.gone = slices.Grow(w.gone[:0], n)[:n]
	clear(w.gone)
}

// forget lets go of records, and of memory that only a burst needs.
func (w *workspace) forget() {
	clear(w.found)
	if len(w.found) > maxKeptRecords {
		w.found, w.order, w.gone = nil, nil, nil
	}
	if cap(w.arena) > maxKeptArena {
		w.arena = nil
	}
	if cap(w.batch) > maxKeptBuffer {
		w.batch = nil
	}
}

// gather finds the records of a flight in the log, wherever they lie, each batch decoded once. On
// an error, what could be found is in w.found all the same.
func (w *workspace) gather(ctx context.Context, src Source, shelf *shelf, f *flight, now int64) error {
	entries := f.Entries
	w.now, w.burst = now, len(entries) >= minWindow
	w.reset(len(entries))
	copy(w.found, f.payloads)
	for i := range entries {
		if w.found[i].raw == nil {
			w.order = append(w.order, int32(i))
		}
	}
	if w.burst {
		// In a burst nearly all come to the arena.
		size := 0
		for _, i := range w.order {
			size += int(entries[i].Size)
		}
		w.arena = slices.Grow(w.arena, size)
	}
	slices.SortFunc(w.order, func(i, j int32) int { return cmp.Compare(entries[i].Ticket, entries[j].Ticket) })
	var first error
	for rest := w.order; len(rest) > 0; {
		n, err := w.gatherBatch(ctx, src, shelf, entries, rest)
		if err != nil && first == nil {
			first = fmt.Errorf("ticket %d: %w", entries[rest[min(n, len(rest)-1)]].Ticket, err)
		}
		if err != nil {
			n++
		}
		rest = rest[n:]
	}
	return first
}

// gatherBatch finds the first record of order, and those that follow it in the same batch. It
// returns how many; after an error, the next one is the one that was not found.
func (w *workspace) gatherBatch(ctx context.Context, src Source, shelf *shelf, entries []Entry, order []int32) (n int, err error) {
	ticket := entries[order[0]].Ticket
	if d := shelf.find(ticket); d != nil && d.record(ticket) != nil {
		return w.pick(d, entries, order)
	}
	b, err := src.BatchAt(ctx, ticket, w.batch)
	if err != nil {
		return 0, err
	}
	w.batch = b[:0]
	if !b.Hidden() {
		return 0, errNotDelayed
	}
	wanted := 0
	for wanted < len(order) && entries[order[wanted]].Ticket < b.EndOffset() {
		wanted++
	}
	if w.burst || wanted > int(b.Count())/2 || len(b) < minCached {
		return w.copyFrom(b, entries, order[:wanted])
	}
	d, err := soon(b, wanted, func(i int) int64 { return entries[order[i]].Ticket }, w.now, shelf.cache.horizon(w.now, math.MaxInt64))
	if err != nil {
		return 0, err
	}
	if len(d.offsets) > wanted {
		shelf.add(d)
	}
	if d.record(ticket) == nil {
		return 0, errNotDelayed
	}
	return w.pick(d, entries, order)
}

// soon takes out of a batch the n records that are wanted, whose tickets ascend, and what else will
// be due until a time.
func soon(b record.Batch, n int, wanted func(i int) (ticket int64), now, until int64) (*decoded, error) {
	i := 0
	return decode(b, func(v *record.View, offset int64) (bool, error) {
		for i < n && wanted(i) < offset {
			i++
		}
		if i < n && wanted(i) == offset {
			return true, nil
		}
		r, err := readStored(v, b.MaxTimestamp())
		return r.scheduled && now < r.due && r.due <= until, err
	})
}

// pick finds records among those of a batch, up to the first that is not there.
func (w *workspace) pick(d *decoded, entries []Entry, order []int32) (n int, err error) {
	for ; n < len(order) && entries[order[n]].Ticket < d.end; n++ {
		e := entries[order[n]]
		raw := d.record(e.Ticket)
		if raw == nil {
			return n, nil
		}
		if err := w.view.Load(raw, d.baseTimestamp); err != nil {
			return n, err
		}
		if err := checkScheduled(&w.view, d.receive, e); err != nil {
			return n, err
		}
		w.found[order[n]] = payload{raw: raw, baseTimestamp: d.baseTimestamp, codec: d.codec}
	}
	return n, nil
}

// copyFrom copies the records of order, all of which belong into b, to the arena.
func (w *workspace) copyFrom(b record.Batch, entries []Entry, order []int32) (n int, err error) {
	base, receive, codec := b.BaseOffset(), b.MaxTimestamp(), b.Attributes().Codec()
	err = b.Walk(nil, func(v *record.View) error {
		e := entries[order[n]]
		at := base + int64(v.OffsetDelta)
		if at < e.Ticket {
			return nil
		}
		if at > e.Ticket {
			return errNotDelayed
		}
		if err := checkScheduled(v, receive, e); err != nil {
			return err
		}
		from := len(w.arena)
		w.arena = append(w.arena, v.Raw...)
		w.found[order[n]] = payload{raw: w.arena[from:len(w.arena):len(w.arena)], baseTimestamp: b.BaseTimestamp(), codec: codec}
		if n++; n == len(order) {
			return errEnough
		}
		return nil
	})
	switch {
	case errors.Is(err, errEnough):
		return n, nil
	case err == nil:
		return n, errNotDelayed
	default:
		return n, err
	}
}

// checkScheduled makes sure that a record is the one the schedule means.
func checkScheduled(v *record.View, receive int64, e Entry) error {
	r, err := readStored(v, receive)
	if err != nil {
		return err
	}
	if !r.scheduled || r.due != e.Due {
		return fmt.Errorf("the record in the log is due at %d, the schedule says %d", r.due, e.Due)
	}
	return nil
}

// build encodes what is found from position i of a flight on into a batch of at most deliveryBytes,
// and returns where it stopped: at the end, at what is not found, or at the limit. There is no
// batch if all before that is gone already.
func (w *workspace) build(d *Delivery, i int, now int64) (next int, err error) {
	entries := d.flight.Entries
	d.Batches, d.first, d.gone = d.Batches[:0], i, w.gone
	codec := record.None
	w.builder.Reset(record.Delivery, now)
	for ; i < len(entries); i++ {
		if w.gone[i] {
			continue
		}
		p := &w.found[i]
		if p.raw == nil || w.builder.Count() > 0 && w.full(len(p.raw)) {
			break
		}
		if err := w.view.Load(p.raw, p.baseTimestamp); err != nil {
			return i, err
		}
		if codec == record.None {
			codec = p.codec
		}
		d.latest = entries[i].Due
		if p.ready {
			w.builder.AddEdited(&w.view, int32(w.builder.Count()), now, isDelayHeader)
			continue
		}
		w.builder.AddEdited(&w.view, int32(w.builder.Count()), now, isDelayHeader, w.stamper.of(entries[i], w.view.CreateTime())...)
	}
	d.next = i
	if w.builder.Count() == 0 {
		return i, nil
	}
	w.builder.SetAttributes(record.Delivery.WithCodec(codec))
	b, err := w.builder.Finish()
	if err != nil {
		return i, err
	}
	d.Batches = append(d.Batches, b)
	return i, nil
}

// full reports whether the batch being built has no room for another record.
func (w *workspace) full(size int) bool {
	return w.builder.Count() == deliveryRecords || w.builder.Len()+size+addedLen > deliveryBytes
}
