package delay

import (
	"fmt"
	"math"
	"sync"

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

// opLists has lists of changes that nobody uses: a schedule needs one for a moment, a large batch makes a large one, and schedules may be many.
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

// Apply takes in the next batch of the log, of whatever kind. An error means that a batch of ours cannot be
// read, which is corruption (or data of a newer version); the schedule is then as before.
func (s *Schedule) Apply(b record.Batch) error {
	if err := s.read(b); err != nil {
		return fmt.Errorf("batch at offset %d: %w", b.BaseOffset(), err)
	}
	received := int64(math.MinInt64)
	if b.Hidden() {
		received = b.MaxTimestamp()
	}
	s.doAll(b.EndOffset(), received)
	return nil
}

// ApplyPlan is Apply for the batches of a plan that was stamped and appended at base, without reading them again
// where that can be avoided.
func (s *Schedule) ApplyPlan(p *Plan, base int64) error {
	if p.rebuild || p.Plain() {
		for _, b := range p.batches {
			if err := s.Apply(b); err != nil {
				return err
			}
		}
		return nil
	}
	s.noOps()
	for i := range p.splitter.items {
		it := &p.splitter.items[i]
		o := op{kind: opSchedule, at: base + int64(it.index)}
		o.entry = Entry{Due: it.value, Ticket: o.at, Size: storedSize(int(it.size))}
		if it.relative {
			o.entry.Due = dueAfter(p.receive, it.value)
		}
		if it.name > 0 {
			o.name = p.name(it)
		}
		if p.batch.Transactional() {
			o.kind, o.producerID = opStage, p.batch.ProducerID()
		}
		s.ops = append(s.ops, o)
	}
	s.doAll(base+int64(p.batch.Count()), p.receive)
	return nil
}

// ApplyDelivery is Apply for the batches of a delivery that was admitted and appended.
func (s *Schedule) ApplyDelivery(d *Delivery) {
	s.noOps()
	at := d.Batches[0].BaseOffset()
	for i := d.first; i < d.next; i++ {
		if !d.gone[i] {
			s.ops = append(s.ops, op{kind: opDeliver, at: at, entry: d.flight.Entries[i]})
			at++
		}
	}
	s.doAll(at, math.MinInt64)
}

// noOps begins a list of changes.
func (s *Schedule) noOps() {
	if s.ops == nil {
		s.ops = takeOps()
	}
	s.ops = s.ops[:0]
}

// doAll carries out s.ops, which bring the schedule to the offset end.
func (s *Schedule) doAll(end, received int64) {
	s.mu.Lock()
	due := int64(math.MaxInt64)
	s.received = max(s.received, received)
	for i := range s.ops {
		if o := &s.ops[i]; s.do(o) {
			if o.kind == opSchedule {
				due = min(due, o.entry.Due)
			}
			if o.at >= s.highWatermark {
				if s.undo == nil {
					s.undo = takeOps()
				}
				s.undo = append(s.undo, *o)
			} else {
				s.fold(o)
			}
		}
	}
	s.end = end
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
	giveOps(s.ops)
	s.ops = nil
}

// read fills s.ops with what a batch means.
func (s *Schedule) read(b record.Batch) error {
	s.noOps()
	switch {
	case b.Hidden():
		return b.Walk(nil, func(v *record.View) error { return s.readHidden(b, v) })
	case b.Delivery():
		return b.Walk(nil, func(v *record.View) error {
			e, err := delivered(v)
			s.ops = append(s.ops, op{kind: opDeliver, at: b.BaseOffset() + int64(v.OffsetDelta), entry: e})
			return err
		})
	case b.Control():
		return b.Walk(nil, func(v *record.View) error { return s.readMarker(b, v) })
	}
	return nil
}

func (s *Schedule) readHidden(b record.Batch, v *record.View) error {
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
		s.ops = append(s.ops, o)
	}
	if !r.scheduled {
		return nil
	}
	o.kind = opSchedule
	o.entry = Entry{Due: r.due, Ticket: o.at, Size: storedSize(len(v.Raw))}
	if b.Transactional() {
		o.kind, o.producerID = opStage, b.ProducerID()
	}
	s.ops = append(s.ops, o)
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
		s.place(o.entry, o.name)
		return true
	case opStage:
		if o.entry.Ticket < s.floor {
			return false
		}
		s.pins.add(o.entry.Ticket)
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
	s.near.insert(e)
	s.tally.add(e)
	if name != "" {
		s.names.add(name, e)
	}
}
