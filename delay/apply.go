package delay

import (
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/morrowmq/morrow/delay/index"
	"github.com/morrowmq/morrow/log/record"
)

// op is one change to the schedule.
type op struct {
	kind opKind
	// at is the offset of the record that did it.
	at    int64
	entry Entry
	// name of the entry, "" without one.
	name string
	// producerID of an entry or a marker within a transaction.
	producerID int64
}

// opLists has lists of changes that nobody uses: a schedule needs one or two for a moment, a large
// batch makes a large one, and schedules may be many.
var opLists = sync.Pool{New: func() any { return new([]op) }}

func takeOps() []op { return (*opLists.Get().(*[]op))[:0] }

// giveOps clears the list, because names are kept by it.
func giveOps(list []op) {
	clear(list)
	opLists.Put(&list)
}

type opKind uint8

const (
	// opSchedule makes entry pending.
	opSchedule opKind = iota
	// opDeliver, opCancel and opReplace finish entry, if it is pending.
	opDeliver
	opCancel
	opReplace
	// opStage makes entry wait for the end of a transaction; opCommit and opAbort are that end.
	opStage
	opCommit
	opAbort
)

func (k opKind) finishes() bool { return opDeliver <= k && k <= opReplace }

func (k opKind) String() string {
	return [...]string{"scheduled", "delivered", "cancelled", "replaced", "staged", "committed", "aborted"}[k]
}

// Changes are what batches of the log mean to a schedule. They do not refer to the batches, and can
// be made once.
type Changes struct {
	ops []op
	// end is the offset after the last batch, received the latest receive time.
	end, received int64
}

// Len is how many changes there are.
func (c *Changes) Len() int { return len(c.ops) }

// Read returns what the next batches of the log mean, of whatever kind they are. An error means
// that a batch of ours cannot be read, which is corruption (or data of a newer version).
func Read(batches ...record.Batch) (Changes, error) {
	c := Changes{ops: takeOps(), end: math.MinInt64, received: math.MinInt64}
	for _, b := range batches {
		if err := c.read(b); err != nil {
			giveOps(c.ops)
			return Changes{}, fmt.Errorf("batch at offset %d: %w", b.BaseOffset(), err)
		}
		c.end = b.EndOffset()
		if b.Hidden() {
			c.received = max(c.received, b.MaxTimestamp())
		}
	}
	return c, nil
}

// Changes is Read for the batches of a plan that was stamped and appended at base, without reading them again
// where that can be avoided.
func (p *Plan) Changes(base int64) (Changes, error) {
	if p.rebuild || p.Plain() {
		return Read(p.batches...)
	}
	items, transactional := p.splitter.items, p.batch.Transactional()
	ops := slices.Grow(takeOps(), len(items))[:len(items)]
	for i := range items {
		it, o := &items[i], &ops[i]
		o.kind, o.at, o.name, o.producerID = opSchedule, base+int64(it.index), "", 0
		o.entry = Entry{Due: it.value, Ticket: o.at, Size: index.StoredSize(int(it.size))}
		if it.relative {
			o.entry.Due = dueAfter(p.receive, it.value)
		}
		if it.name > 0 {
			o.name = p.name(it)
		}
		if transactional {
			o.kind, o.producerID = opStage, p.batch.ProducerID()
		}
	}
	return Changes{ops, base + int64(p.batch.Count()), p.receive}, nil
}

// changed is Read for the batches of a delivery.
func (d *Delivery) changed() Changes {
	ops, at := takeOps(), d.Batches[0].BaseOffset()
	for i := d.first; i < d.next; i++ {
		if !d.gone[i] {
			ops = append(ops, op{kind: opDeliver, at: at, entry: d.flight.Entries[i]})
			at++
		}
	}
	return Changes{ops, at, math.MinInt64}
}

// Apply takes in the next batch of the log, of whatever kind. After an error, which is one of
// [Read], the schedule is as before.
func (s *Schedule) Apply(b record.Batch) error {
	c, err := Read(b)
	if err == nil {
		s.Make(c)
	}
	return err
}

// ApplyDelivery is Apply for the batches of a delivery that was admitted and appended.
func (s *Schedule) ApplyDelivery(d *Delivery) { s.Make(d.changed()) }

// Make carries out the next changes.
func (s *Schedule) Make(c Changes) {
	s.mu.Lock()
	due := int64(math.MaxInt64)
	s.received.Store(max(s.received.Load(), c.received))
	above := 0 // of the changes made, those that may be undone are moved to the front
	for i := range c.ops {
		o := &c.ops[i]
		if !s.do(o) {
			continue
		}
		if o.kind == opSchedule {
			due = min(due, o.entry.Due)
		}
		if o.at < s.highWatermark {
			s.fold(o)
			continue
		}
		if above < i {
			c.ops[above] = *o
		}
		above++
	}
	clear(c.ops[above:])
	s.undo.add(c.ops[:above])
	s.end = max(s.end, c.end)
	if s.open.releasing() {
		due = math.MinInt64
	}
	earlier := due < s.earliest
	s.earliest = min(s.earliest, due)
	wake := s.wake
	s.mu.Unlock()
	if earlier {
		wake(due)
	}
}

// read adds what a batch means.
func (c *Changes) read(b record.Batch) error {
	switch {
	case b.Hidden():
		return b.Walk(nil, func(v *record.View) error { return c.readHidden(b, v) })
	case b.Delivery():
		return b.Walk(nil, func(v *record.View) error {
			e, err := delivered(v)
			c.ops = append(c.ops, op{kind: opDeliver, at: b.BaseOffset() + int64(v.OffsetDelta), entry: e})
			return err
		})
	case b.Control():
		return b.Walk(nil, func(v *record.View) error { return c.readMarker(b, v) })
	}
	return nil
}

func (c *Changes) readHidden(b record.Batch, v *record.View) error {
	r, err := readStored(v, b.MaxTimestamp())
	if err != nil {
		return err
	}
	o := op{at: b.BaseOffset() + int64(v.OffsetDelta), name: string(r.key)}
	if r.ends {
		o.kind, o.entry = opCancel, r.finishes
		if r.scheduled {
			o.kind = opReplace
		}
		c.ops = append(c.ops, o)
	}
	if !r.scheduled {
		return nil
	}
	o.kind = opSchedule
	o.entry = Entry{Due: r.due, Ticket: o.at, Size: index.StoredSize(len(v.Raw))}
	if b.Transactional() {
		o.kind, o.producerID = opStage, b.ProducerID()
	}
	c.ops = append(c.ops, o)
	return nil
}

// do carries out one change and reports whether there was anything to change.
func (s *Schedule) do(o *op) bool {
	switch o.kind {
	case opSchedule:
		if o.entry.Ticket < s.floor {
			return false
		}
		s.pins.add(o.entry.Ticket)
		s.newest = o.entry.Ticket
		s.place(o.entry, o.name)
		return true
	case opStage:
		if o.entry.Ticket < s.floor {
			return false
		}
		s.pins.add(o.entry.Ticket)
		s.newest = o.entry.Ticket
		s.open.stage(o.producerID, o.entry)
		return true
	case opCommit, opAbort:
		var ok bool
		o.entry, ok = s.open.end(o.producerID, o.kind == opCommit)
		return ok
	}
	var ok bool
	if o.entry.Ticket < s.floor {
		ok = o.at >= s.folded && s.runs.finish(o.entry)
		if ok {
			s.land(o.entry, o.kind)
		}
	} else if o.entry, ok = s.remove(o.entry, o.kind); ok {
		s.pins.remove(o.entry.Ticket)
		s.tally.remove(o.entry)
		o.name = s.names.remove(o.entry.Ticket)
	}
	if ok {
		s.tally.finished(o.kind)
	}
	return ok
}

// place makes an entry pending whose ticket is already pinned.
func (s *Schedule) place(e Entry, name string) {
	s.near.Insert(e)
	s.tally.add(e)
	if name != "" {
		s.names.add(name, e)
	}
}
