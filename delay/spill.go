package delay

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/morrowmq/morrow/log/record"
)

// spillWork is a run being made of the near index. What it will hold is what was pending, by the
// proofs below the high watermark, at the moment each part of the log was looked at; what is
// finished afterwards is collected for the footer.
type spillWork struct {
	low, high int64
	// scanned is the ticket up to which the spill has looked.
	scanned int64
	// collected were finished after they were looked at, so they are in the run.
	collected []Entry
}

// finish notes that an entry is finished by a proof below the high watermark.
func (w *spillWork) finish(e Entry) {
	if w != nil && w.low <= e.Ticket && e.Ticket < w.scanned {
		w.collected = append(w.collected, e)
	}
}

// fold notes in the run that was written what was finished meanwhile.
func (w *spillWork) fold(r *run) {
	for _, e := range w.collected {
		r.finish(e)
	}
	w.collected = nil
}

// Spill writes everything that is pending in the near index with a ticket below the given one into
// a run, and forgets it there. It stops at what is not committed, and at transactions that are not
// over. The log from [Schedule.Gate] on must still be there. If it fails, all is as before.
func (k *Keeper) Spill(ctx context.Context, src Source, below, logStart int64) (err error) {
	s := k.schedule
	low, high, ok := s.beginSpill(below)
	defer s.endSpill()
	if !ok {
		return nil
	}
	w := newRunWriter(ctx, k, "spill", atOnce, low, high)
	defer func() { err = errors.Join(err, w.close()) }()
	if low < high {
		if err := k.scan(ctx, src, w, low, high); err != nil {
			return fmt.Errorf("spill tickets %d to %d: %w", low, high, err)
		}
	}
	return k.finish(ctx, w, change{floor: high}, logStart)
}

// finish ends a run with its footer, a progress record that names it, and installs it as part of a
// change. It does without the run if nothing is in it.
func (k *Keeper) finish(ctx context.Context, w *runWriter, c change, logStart int64) error {
	if w.begun {
		info, err := w.finish()
		if err != nil {
			return fmt.Errorf("write run: %w", err)
		}
		c.run = newRun(info)
	}
	return w.turn(func() error { return k.commit(ctx, true, c, logStart) })
}

// candidate is a record of the log that may be pending.
type candidate struct {
	entry   Entry
	name    string
	payload payload
}

// scan adds what is pending in a range of the log to a run.
func (k *Keeper) scan(ctx context.Context, src Source, w *runWriter, low, high int64) error {
	var found []candidate
	var arena []byte
	var live []bool
	return src.Scan(ctx, low, high, func(b record.Batch) error {
		if !b.Hidden() {
			return nil
		}
		found, arena = found[:0], arena[:0]
		receive, base, codec := b.MaxTimestamp(), b.BaseOffset(), b.Attributes().Codec()
		err := b.Walk(nil, func(v *record.View) error {
			ticket := base + int64(v.OffsetDelta)
			r, err := readStored(v, receive)
			if err != nil || !r.scheduled || ticket < low || ticket >= high {
				return err
			}
			from := len(arena)
			arena = append(arena, v.Raw...)
			found = append(found, candidate{
				entry: Entry{Due: r.due, Ticket: ticket}, name: string(r.key),
				payload: payload{raw: arena[from:len(arena):len(arena)], baseTimestamp: b.BaseTimestamp(), codec: codec},
			})
			return nil
		})
		if err != nil {
			return fmt.Errorf("batch at offset %d: %w", base, err)
		}
		live = k.schedule.filterScanned(found, min(b.EndOffset(), high), live)
		return addLive(w, found, live)
	})
}

func addLive(w *runWriter, found []candidate, live []bool) error {
	for i := range found {
		c := &found[i]
		if !live[i] {
			continue
		}
		if err := w.ticket(c.entry); err != nil {
			return err
		}
		if c.name != "" {
			if err := w.key(c.name, c.entry); err != nil {
				return err
			}
		}
		if err := w.record(c.entry, c.payload); err != nil {
			return err
		}
	}
	return nil
}

// Oldest returns a ticket below which lie so many of the records that are pending in the near
// index, or so many bytes of them, whichever is less; math.MaxInt64 if all do. Both are
// approximate.
func (s *Schedule) Oldest(records, bytes int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	each := max(1, s.bytes/max(1, s.pending))
	return s.pins.oldest(min(records, bytes/each))
}

// beginSpill fixes the range of tickets to spill; ok is false if the floor has passed it already.
// The range may be empty: between the floor and the lowest ticket that is pending the log may be
// gone.
func (s *Schedule) beginSpill(below int64) (low, high int64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	high = min(below, s.highWatermark, s.end, s.open.floor(), s.undecidedFloor())
	low = min(s.settledFloor(), high)
	s.spilling = &spillWork{low: low, high: high, scanned: low}
	return low, high, s.floor < high
}

func (s *Schedule) endSpill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spilling = nil
}

// filterScanned tells which records of a batch are pending by the proofs below the high watermark,
// and notes that the spill has looked at them. Mostly all around them are, and none is looked up:
// that would cost more than the rest of a spill, and those who append wait meanwhile.
func (s *Schedule) filterScanned(found []candidate, to int64, live []bool) []bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	above := s.finishedAbove(s.spilling.scanned, to)
	live = live[:0]
	if s.open.releasing() {
		s.release(math.MaxInt)
	}
	end, whole := int64(math.MinInt64), false
	for i := range found {
		e := found[i].entry
		if e.Ticket >= end {
			end, whole = s.pins.whole(e.Ticket)
		}
		if whole {
			live = append(live, true)
			continue
		}
		_, gone := above[e.Ticket]
		live = append(live, gone || s.contains(e))
	}
	s.spilling.scanned = to
	return live
}
