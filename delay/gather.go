package delay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/morrowmq/morrow/log/record"
)

// workspace is the memory of one delivery step.
type workspace struct {
	// order is the positions in the flight by ticket.
	order []int32
	found []payload
	// arena holds the records found.
	arena   []byte
	gone    []bool
	batch   []byte
	builder record.Builder
	stamper stamper
	view    record.View
}

// payload is where a record lies in the arena, and what is known from its batch.
type payload struct {
	from, to      int
	baseTimestamp int64
	codec         record.Codec
}

// maxKeptArena is the largest arena kept between steps.
const maxKeptArena = 16 << 20

func (w *workspace) reset(n int) {
	if cap(w.arena) > maxKeptArena {
		w.arena = nil
	}
	if cap(w.batch) > maxKeptArena {
		w.batch = nil
	}
	w.arena = w.arena[:0]
	w.order = slices.Grow(w.order[:0], n)[:n]
	w.found = slices.Grow(w.found[:0], n)[:n]
	w.gone = slices.Grow(w.gone[:0], n)[:n]
	clear(w.found)
	clear(w.gone)
}

// gather copies the records of entries out of the log, each batch read and decoded once. On an error, what was found
// until then stays in w.found; the others' are empty there.
func (w *workspace) gather(ctx context.Context, src Source, entries []Entry) error {
	w.reset(len(entries))
	for i := range w.order {
		w.order[i] = int32(i)
	}
	slices.SortFunc(w.order, func(i, j int32) int { return cmp.Compare(entries[i].Ticket, entries[j].Ticket) })
	var first error
	for rest := w.order; len(rest) > 0; {
		n, err := w.gatherBatch(ctx, src, entries, rest)
		if err != nil && first == nil {
			first = fmt.Errorf("ticket %d: %w", entries[rest[0]].Ticket, err)
		}
		rest = rest[max(n, 1):]
	}
	return first
}

// errEnough ends a walk.
var errEnough = errors.New("found all")

// gatherBatch reads the batch of the first position of order, and takes as many records from it as follow in order. It
// returns how many.
func (w *workspace) gatherBatch(ctx context.Context, src Source, entries []Entry, order []int32) (n int, err error) {
	ticket := entries[order[0]].Ticket
	b, err := src.BatchAt(ctx, ticket, w.batch)
	if err != nil {
		return 0, err
	}
	w.batch = b[:0]
	if !b.Hidden() {
		return 0, errNotDelayed
	}
	base, codec, receive := b.BaseOffset(), b.Attributes().Codec(), b.MaxTimestamp()
	err = b.Walk(nil, func(v *record.View) error {
		e := entries[order[n]]
		at := base + int64(v.OffsetDelta)
		if at < e.Ticket {
			return nil
		}
		if at > e.Ticket {
			return errNotDelayed
		}
		r, err := readStored(v, receive)
		if err != nil {
			return err
		}
		if !r.scheduled || r.due != e.Due {
			return fmt.Errorf("the record is due at %d, the schedule says %d", r.due, e.Due)
		}
		from := len(w.arena)
		w.arena = append(w.arena, v.Raw...)
		w.found[order[n]] = payload{from: from, to: len(w.arena), baseTimestamp: b.BaseTimestamp(), codec: codec}
		if n++; n == len(order) || entries[order[n]].Ticket >= b.EndOffset() {
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

// build encodes what is found from position i of a flight on into batches of at most deliveryBytes, and
// returns where it stopped: at the end, at what is not found, or at the limit. There is no batch if all before that is gone already.
func (w *workspace) build(d *Delivery, i int, now int64) (next int, err error) {
	entries := d.flight.Entries
	d.Batches = d.Batches[:0]
	codec, started := record.None, false
	for ; i < len(entries); i++ {
		if w.gone[i] {
			continue
		}
		p := &w.found[i]
		if p.to == 0 {
			break
		}
		size := p.to - p.from + addedLen
		if started && (p.codec != codec || w.builder.Count() == deliveryRecords || w.builder.Len()+size > deliveryBytes) {
			break
		}
		if !started {
			codec, started = p.codec, true
			w.builder.Reset(record.Delivery.WithCodec(codec), now)
		}
		if err := w.view.Load(w.arena[p.from:p.to], p.baseTimestamp); err != nil {
			return i, err
		}
		d.latest = entries[i].Due
		w.builder.AddEdited(&w.view, int32(w.builder.Count()), now, isDelayHeader, w.stamper.of(entries[i], w.view.CreateTime())...)
	}
	if !started {
		return i, nil
	}
	b, err := w.builder.Finish()
	if err != nil {
		return i, err
	}
	d.Batches = append(d.Batches, b)
	return i, nil
}
