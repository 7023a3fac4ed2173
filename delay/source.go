package delay

import (
	"context"
	"errors"
	"fmt"

	"github.com/morrowmq/morrow/log/record"
)

// ErrGone is what a [Source] answers for an offset below its start.
var ErrGone = errors.New("no longer in the log")

// Source reads a partition's log, wherever it lies.
type Source interface {
	// BatchAt returns the physical batch that holds an offset, hidden ones included. It may read
	// into buf, and grow it; the batch is then valid until buf is used again. The error wraps
	// ErrGone if the offset is below the start of the log.
	BatchAt(ctx context.Context, offset int64, buf []byte) (record.Batch, error)
	// Scan calls visit for every batch, hidden ones included, from the one that holds offset from
	// up to the offset to. The batch is valid during the call. It stops at the first error of visit
	// and returns it. The error wraps ErrGone if from is below the start of the log.
	Scan(ctx context.Context, from, to int64, visit func(record.Batch) error) error
	// OffsetForTimestamp returns the offset of the first visible batch with a timestamp at or after
	// ms; ok is false if there is none.
	OffsetForTimestamp(ctx context.Context, ms int64) (offset int64, ok bool, err error)
}

var (
	errNotDelayed = errors.New("not a delayed record")
	// errNothing is said of a hidden record that means nothing any more.
	errNothing = errors.New("neither a delayed record nor a cancel")
)

// noTicket says in words why the record at an offset cannot be a pending one, by what reading it from
// the log has met; "" if that says nothing about it.
func noTicket(ticket int64, err error) string {
	switch {
	case errors.Is(err, ErrGone):
		return fmt.Sprintf("offset %d is no longer in the log", ticket)
	case errors.Is(err, errNotDelayed):
		return fmt.Sprintf("the record at offset %d is not a delayed one", ticket)
	case errors.Is(err, errNothing):
		return fmt.Sprintf("the record at offset %d was cancelled or replaced in its own batch, or is a cancel that came too late", ticket)
	}
	return ""
}

// find reads from the log when a ticket is due.
func find(ctx context.Context, src Source, ticket int64) (e Entry, err error) {
	err = readTicket(ctx, src, ticket, func(_ record.Batch, _ *record.View, r stored) {
		e = Entry{Due: r.due, Ticket: ticket}
	})
	return e, err
}

// readTicket calls visit with the delayed record at an offset of the log, whether it is pending or
// not. The error is the source's, errNotDelayed or errNothing.
func readTicket(ctx context.Context, src Source, ticket int64, visit func(b record.Batch, v *record.View, r stored)) error {
	b, err := src.BatchAt(ctx, ticket, nil)
	if err != nil {
		return err
	}
	if !b.Hidden() {
		return errNotDelayed
	}
	err = b.Walk(nil, func(v *record.View) error {
		if b.BaseOffset()+int64(v.OffsetDelta) != ticket {
			return nil
		}
		r, err := readStored(v, b.MaxTimestamp())
		if err != nil {
			return err
		}
		switch {
		case r.ends && !r.scheduled:
			return errNotDelayed
		case !r.scheduled:
			return errNothing
		}
		visit(b, v, r)
		return errEnough
	})
	switch {
	case errors.Is(err, errEnough):
		return nil
	case err == nil:
		return errNotDelayed
	}
	return err
}

// errEnough ends a walk or a scan.
var errEnough = errors.New("found what was looked for")

// endingBytes is how much of the log is searched for how a schedule ended, right behind the
// record and right behind its due time.
const endingBytes = 8 << 20

// openTransaction is why nothing can be said yet of a record.
const openTransaction = "a transaction that is still open"

// ending says in words how a schedule that is not pending any more ended, as far as it can be found
// with little effort.
func ending(ctx context.Context, src Source, e Entry, end int64) (string, error) {
	x := endSearch{ticket: e.Ticket}
	if err := x.scan(ctx, src, e.Ticket, end); x.how != "" || err != nil {
		return x.how, err
	}
	// A delivery is visible, and stamped at or after it was due.
	from, ok, err := src.OffsetForTimestamp(ctx, e.Due)
	if err != nil {
		return "", err
	}
	if ok && from > e.Ticket {
		if err := x.scan(ctx, src, from, end); x.how != "" || err != nil {
			return x.how, err
		}
	}
	if x.staged {
		return "already delivered or cancelled, or aborted with its transaction", nil
	}
	return "already delivered or cancelled", nil
}

// endSearch looks for how a ticket ended.
type endSearch struct {
	ticket int64
	// staged says that the ticket belongs to a transaction of a producer, and no end of it was seen.
	staged     bool
	producerID int64
	// how it ended, "" until that is found.
	how string
}

// scan looks through a part of the log.
func (x *endSearch) scan(ctx context.Context, src Source, from, end int64) error {
	budget := endingBytes
	err := src.Scan(ctx, from, end, func(b record.Batch) error {
		if budget -= len(b); budget < 0 {
			return errEnough
		}
		c, err := Read(b)
		if err != nil {
			return err
		}
		defer giveOps(c.ops)
		for i := range c.ops {
			if x.look(&c.ops[i]); x.how != "" {
				return errEnough
			}
		}
		return nil
	})
	if errors.Is(err, errEnough) || errors.Is(err, ErrGone) {
		err = nil
	}
	return err
}

func (x *endSearch) look(o *op) {
	ends := x.staged && o.producerID == x.producerID
	switch {
	case o.kind == opStage && o.entry.Ticket == x.ticket:
		x.staged, x.producerID = true, o.producerID
	case o.kind == opCommit && ends:
		x.staged = false
	case o.kind == opAbort && ends:
		x.how = fmt.Sprintf("%s with its transaction at offset %d", o.kind, o.at)
	case o.kind.finishes() && o.entry.Ticket == x.ticket:
		x.how = fmt.Sprintf("%s at offset %d", o.kind, o.at)
	}
}
