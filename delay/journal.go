package delay

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/morrowmq/morrow/log/record"
)

// Journal is the log of a partition of a schedule topic, __schedule.<topic>, on the broker that
// leads the partition. Nothing here knows whether a byte of it is local.
type Journal interface {
	// Append appends batches in one step; if roll is set, they begin a new segment. It returns the
	// offset of the first. It may use the space reserved for what must be written before anything
	// can be deleted. It does not wait for the commit. Any error means that nothing was appended.
	Append(ctx context.Context, roll bool, batches ...record.Batch) (base int64, err error)
	// Wait returns when everything below end is committed.
	Wait(ctx context.Context, end int64) error
	// BatchAt and Scan are those of [Source].
	BatchAt(ctx context.Context, offset int64, buf []byte) (record.Batch, error)
	Scan(ctx context.Context, from, to int64, visit func(record.Batch) error) error
	// Segments calls visit for every segment, from the newest to the oldest, until it returns false.
	Segments(ctx context.Context, visit func(Range) (more bool)) error
	// Drop deletes the segments of a range, wherever they lie; a copy that needs them is spared
	// (see [Schedule.CopyNeeds]). What is deleted already is no error.
	Drop(ctx context.Context, r Range) error
}

// Range is a part of a journal, or of a partition's log.
type Range struct{ From, To int64 }

// overlaps reports whether two ranges have offsets in common.
func (r Range) overlaps(other Range) bool { return r.From < other.To && other.From < r.To }

// The kinds of records in a journal besides the delayed ones; each is the key of a record in a hidden batch.
const (
	kindRun      = "run"      // the first batch of a run, and of a segment
	kindTickets  = "tickets"  // dues by ticket
	kindKeys     = "keys"     // tickets by key
	kindTrailer  = "trailer"  // the last batch of a run, which describes it
	kindProgress = "progress" // the state of the schedule; the one that begins a segment is complete
)

// kindOf returns the kind and value of the first record of a batch; "" for delayed records.
func kindOf(b record.Batch) (kind string, value []byte, err error) {
	if !b.Hidden() {
		return "", nil, nil
	}
	err = b.Walk(nil, func(v *record.View) error {
		kind = string(v.Key)
		value = append([]byte(nil), v.Value...)
		return errEnough
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return kind, value, err
}

// errUnreadable means that a record of ours cannot be what was written.
var errUnreadable = errors.New("unreadable")

// journalVersion begins every record of ours.
const journalVersion = 1

// encoder writes numbers as varints and byte strings with their length.
type encoder []byte

func (e *encoder) int(v int64) { *e = binary.AppendVarint(*e, v) }

func (e *encoder) bytes(b []byte) {
	*e = binary.AppendUvarint(*e, uint64(len(b)))
	*e = append(*e, b...)
}

func (e *encoder) entry(x Entry) {
	e.int(x.Due)
	e.int(x.Ticket)
}

// decoder reads what an encoder wrote. After an error everything reads as zero.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) int() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) bytes() []byte {
	size, n := binary.Uvarint(d.b)
	if n <= 0 || size > uint64(len(d.b)-n) {
		d.fail()
		return nil
	}
	b := d.b[n : n+int(size)]
	d.b = d.b[n+int(size):]
	return b
}

func (d *decoder) entry() Entry {
	due := d.int()
	return Entry{Due: due, Ticket: d.int()}
}

// count reads how many items follow, each of which takes at least a byte.
func (d *decoder) count() int {
	n := d.int()
	if n < 0 || n > int64(len(d.b)) {
		d.fail()
		return 0
	}
	return int(n)
}

func (d *decoder) version() {
	if v := d.int(); d.err == nil && v != journalVersion {
		d.err = fmt.Errorf("format version %d, this broker reads %d", v, journalVersion)
		d.b = nil
	}
}

func (d *decoder) fail() {
	if d.err == nil {
		d.err = errUnreadable
	}
	d.b = nil
}

// end returns the first error; what is left over is one too.
func (d *decoder) end() error {
	if d.err == nil && len(d.b) > 0 {
		d.fail()
	}
	return d.err
}

// encode writes the trailer of a run: all of its runInfo but where it lies.
func (r *runInfo) encode() []byte {
	var e encoder
	e.int(journalVersion)
	e.int(r.low)
	e.int(r.high)
	e.int(r.count)
	e.int(r.bytes)
	e.entry(r.first)
	e.entry(r.last)
	e.int(int64(len(r.data)))
	last := dataFence{offset: r.from}
	for _, f := range r.data {
		e.int(f.due - last.due)
		e.int(f.ticket - last.ticket)
		e.int(f.before - last.before)
		e.int(f.offset - last.offset)
		last = f
	}
	e.int(int64(len(r.tickets)))
	ticket := ticketFence{offset: r.from}
	for _, f := range r.tickets {
		e.int(f.ticket - ticket.ticket)
		e.int(f.offset - ticket.offset)
		ticket = f
	}
	e.int(int64(len(r.keys)))
	key := keyFence{offset: r.from}
	for _, f := range r.keys {
		e.bytes([]byte(f.key))
		e.int(f.offset - key.offset)
		key = f
	}
	e.bytes(r.filter)
	if len(r.gaps) > 0 {
		e.int(int64(len(r.gaps)))
		end := r.from
		for _, g := range r.gaps {
			e.int(g.From - end)
			e.int(g.To - g.From)
			end = g.To
		}
	}
	return e
}

// decode reads a trailer into r, whose from is set.
func (r *runInfo) decode(b []byte) error {
	d := decoder{b: b}
	d.version()
	r.low, r.high, r.count, r.bytes = d.int(), d.int(), d.int(), d.int()
	r.first, r.last = d.entry(), d.entry()
	last := dataFence{offset: r.from}
	for range d.count() {
		last = dataFence{due: last.due + d.int(), ticket: last.ticket + d.int(), before: last.before + d.int(), offset: last.offset + d.int()}
		r.data = append(r.data, last)
	}
	ticket := ticketFence{offset: r.from}
	for range d.count() {
		ticket = ticketFence{ticket: ticket.ticket + d.int(), offset: ticket.offset + d.int()}
		r.tickets = append(r.tickets, ticket)
	}
	key := keyFence{offset: r.from}
	for range d.count() {
		key = keyFence{key: string(d.bytes()), offset: key.offset + d.int()}
		r.keys = append(r.keys, key)
	}
	r.filter = filter(append([]byte(nil), d.bytes()...))
	if len(d.b) > 0 {
		end := r.from
		for range d.count() {
			from := end + d.int()
			end = from + d.int()
			r.gaps = append(r.gaps, Range{from, end})
		}
	}
	return d.end()
}
