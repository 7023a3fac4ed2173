package delay

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/morrowmq/morrow/delay/index"
	"github.com/morrowmq/morrow/log/record"
)

// ErrNotPending is what [Schedule.Find] answers for a ticket that nothing waits under. The error
// around it says why.
var ErrNotPending = errors.New("not pending")

// Found is a pending record with its contents.
type Found struct {
	Pending
	// ProducedAt is the timestamp its producer gave it, in milliseconds since the epoch.
	ProducedAt int64
	// Codec is that of the batch the record lies in.
	Codec record.Codec
	// Record is a copy of what consumers will be given, without offset, timestamp and the headers
	// that a delivery adds.
	Record record.Record
}

// Find reads a pending record. Errors: one that wraps [ErrNotPending] and says how the schedule
// ended, as far as that can be found with little effort; else the source's, after which nothing is
// known.
func (s *Schedule) Find(ctx context.Context, src Source, ticket int64) (f Found, err error) {
	err = s.steadily(func() error {
		f, err = s.find(ctx, src, ticket)
		return err
	})
	return f, err
}

func (s *Schedule) find(ctx context.Context, src Source, ticket int64) (Found, error) {
	if ticket < 0 || ticket >= s.End() {
		return Found{}, fmt.Errorf("%w: no delayed record was stored at offset %d yet", ErrNotPending, ticket)
	}
	f, spilled, err := s.readSpilled(ctx, ticket)
	if err == nil && !spilled {
		f, err = read(ctx, src, ticket)
	}
	switch why := noTicket(ticket, err); {
	case why != "":
		return Found{}, fmt.Errorf("%w: %s", ErrNotPending, why)
	case err != nil:
		return Found{}, err
	case s.undecided(ticket):
		return Found{}, fmt.Errorf("%w: the record at offset %d belongs to %s", ErrNotPending, ticket, openTransaction)
	case (spilled || ticket >= s.nearFloor()) && s.Contains(f.Entry):
		f.InFlight = s.inFlight(f.Entry)
		return f, nil
	}
	how, err := ending(ctx, src, f.Entry, s.End())
	if err != nil {
		return Found{}, err
	}
	return Found{}, fmt.Errorf("%w: the record at offset %d was %s", ErrNotPending, ticket, how)
}

// read reads a delayed record from the log, whether it is pending or not.
func read(ctx context.Context, src Source, ticket int64) (f Found, err error) {
	err = readTicket(ctx, src, ticket, func(b record.Batch, v *record.View, r stored) {
		f.Entry = Entry{Due: r.due, Ticket: ticket, Size: index.StoredSize(len(v.Raw))}
		f.Key, f.Run = string(r.key), -1
		f.ProducedAt = v.CreateTime()
		f.Codec = b.Attributes().Codec()
		f.Record = contents(v)
	})
	return f, err
}

// contents copies what of a stored record will be delivered.
func contents(v *record.View) record.Record {
	r := record.Record{Key: bytes.Clone(v.Key), Value: bytes.Clone(v.Value)}
	for key, value := range v.Headers {
		if !isDelayHeader(key) {
			r.Headers = append(r.Headers, record.Header{Key: string(key), Value: bytes.Clone(value)})
		}
	}
	return r
}

// readSpilled reads a delayed record from the run that holds it, if one does, whether it is pending or not.
func (s *Schedule) readSpilled(ctx context.Context, ticket int64) (f Found, ok bool, err error) {
	e, ok, err := s.ticketInRuns(ctx, ticket)
	if err != nil || !ok {
		return f, false, err
	}
	s.mu.Lock()
	r := s.runs.of(ticket)
	s.mu.Unlock()
	if r == nil {
		return f, false, nil
	}
	d := newReader(r, s.journal, Entry{Due: e.Due, Ticket: ticket - 1})
	if err := d.fill(ctx, e.Due, 1, 0); err != nil {
		return f, false, err
	}
	if len(d.queue) == 0 || d.queue[0].Ticket != ticket {
		return f, false, nil
	}
	it := d.queue[0]
	if err := d.view.Load(it.raw, it.baseTimestamp); err != nil {
		return f, false, err
	}
	f.Entry, f.Key, f.Run, f.Codec = it.Entry, keyOf(&d.view), r.from, it.codec
	f.Record = contents(&d.view)
	// The last three headers are those of the delivery.
	added := len(f.Record.Headers) - 3
	f.ProducedAt, _ = parseInt(f.Record.Headers[added+2].Value)
	f.Record.Headers = f.Record.Headers[:added]
	return f, true, nil
}
