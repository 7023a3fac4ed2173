package delay

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/morrowmq/morrow/log/record"
)

// Schedule knows what is pending in one partition. It is a function of the partition's log: apply every batch
// in order, and two schedules of the same log are equal, whoever leads and whenever it was started. Batches that are neither
// hidden, nor deliveries, nor the ends of transactions may be left out.
//
// Apply, ApplyPlan, ApplyDelivery, CaughtUp and Truncate are called one at a time, in the partition's append section or
// while it is loaded; Admit and AdmitDelivery right before what they admit is appended and applied. Everything else may be called at any time.
//
// Invariants: what is pending at or above floor is in near or in a flight, what is pending below is in exactly one run; an entry
// in a flight is in no other; a run changes only by proofs below the high watermark, those above are in undo and runs.above.
type Schedule struct {
	// ops is Apply's scratch.
	ops []op

	// mu guards everything below. It is held for memory operations only.
	mu   sync.Mutex
	near *index
	// floor: what is pending below it is in runs, the rest in near.
	floor int64
	runs  runs
	// folded is the offset up to which a committed progress record has folded in the proofs; namesRuns says that it names any
	// runs, which need the proofs above.
	folded    int64
	namesRuns bool
	// journal is where the runs are, nil without any.
	journal Journal
	// rewrite is the run being written, nil mostly.
	rewrite *rewrite
	// flights are the windows taken and not yet finished, oldest first.
	flights []*Flight
	pins    pins
	names   names
	open    transactions
	// end is the offset after the last batch applied.
	end int64
	// highWatermark is the offset below which nothing is ever truncated.
	highWatermark int64
	// received is the latest receive time seen.
	received int64
	// undo holds what was done at or above the high watermark, oldest first.
	undo []op
	tally
	// earliest is a lower bound of the dues in near; math.MinInt64 while ended transactions are being moved.
	earliest int64
	// wake tells the dispatcher that something is due earlier than all before. Called without mu.
	wake func(due int64)
}

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

// NewSchedule returns the schedule of a log that begins at offset start, and of which nothing was applied yet. [OpenKeeper] makes
// one that also knows what lies in runs.
func NewSchedule(start int64) *Schedule {
	return &Schedule{near: newIndex(), floor: start, end: start, highWatermark: start, earliest: math.MaxInt64, wake: func(int64) {}}
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
	s.ops = s.ops[:0]
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
	s.ops = s.ops[:0]
	at := d.Batches[0].BaseOffset()
	for i := d.first; i < d.next; i++ {
		if !d.gone[i] {
			s.ops = append(s.ops, op{kind: opDeliver, at: at, entry: d.flight.Entries[i]})
			at++
		}
	}
	s.doAll(at, math.MinInt64)
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
	clear(s.ops)
	s.ops = s.ops[:0]
}

// read fills s.ops with what a batch means.
func (s *Schedule) read(b record.Batch) error {
	s.ops = s.ops[:0]
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

// fold notes that a change is below the high watermark and will not be undone.
func (s *Schedule) fold(o *op) {
	if !o.kind.finishes() {
		return
	}
	if s.rewrite != nil {
		s.rewrite.finish(o.entry, s.runs.of(o.entry.Ticket))
	}
	if o.entry.Ticket < s.floor {
		s.runs.fold(o.entry)
	}
}

// place makes an entry pending whose ticket is already pinned.
func (s *Schedule) place(e Entry, name string) {
	s.near.insert(e)
	s.tally.add(e)
	if name != "" {
		s.names.add(name, e)
	}
}

// remove takes a pending entry out of the near index, or out of a flight.
func (s *Schedule) remove(e Entry, kind opKind) (Entry, bool) {
	if e, ok := s.land(e, kind); ok {
		return e, true
	}
	found, ok := s.near.remove(e)
	if !ok && s.open.releasing() {
		s.release(math.MaxInt)
		found, ok = s.near.remove(e)
	}
	return found, ok
}

// land takes an entry out of a flight, if it is in one.
func (s *Schedule) land(e Entry, kind opKind) (Entry, bool) {
	for i, f := range s.flights {
		j := f.find(e)
		if j < 0 {
			continue
		}
		e = f.finish(j)
		if kind != opDeliver {
			f.changes++
		}
		if f.left == 0 {
			s.flights = slices.Delete(s.flights, i, i+1)
		}
		return e, true
	}
	return e, false
}

// contains reports whether an entry is pending.
func (s *Schedule) contains(e Entry) bool {
	if e.Ticket < s.floor {
		return s.runs.contains(e)
	}
	for _, f := range s.flights {
		if f.find(e) >= 0 {
			return true
		}
	}
	if s.open.releasing() {
		s.release(math.MaxInt)
	}
	return s.near.contains(e)
}

// AdvanceHighWatermark says that nothing below end will be truncated.
func (s *Schedule) AdvanceHighWatermark(end int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if end <= s.highWatermark {
		return
	}
	s.highWatermark = end
	n := 0
	for n < len(s.undo) && s.undo[n].at < end {
		s.fold(&s.undo[n])
		n++
	}
	if n == len(s.undo) {
		s.undo = s.undo[:0]
		return
	}
	s.undo = s.undo[n:]
}

// ErrRebuild is returned by Truncate when the end of a transaction was truncated: the schedule must be made anew from the log.
var ErrRebuild = errors.New("schedule must be rebuilt from the log")

// Truncate undoes all batches from offset end on. End must not be below the high watermark.
func (s *Schedule) Truncate(end int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if end < s.highWatermark {
		return fmt.Errorf("truncation to %d below the high watermark %d", end, s.highWatermark)
	}
	s.end = min(s.end, end)
	for n := len(s.undo); n > 0 && s.undo[n-1].at >= end; n-- {
		if err := s.revert(&s.undo[n-1]); err != nil {
			return err
		}
		s.undo = s.undo[:n-1]
	}
	return nil
}

func (s *Schedule) revert(o *op) error {
	switch o.kind {
	case opSchedule:
		if _, ok := s.remove(o.entry, opCancel); ok {
			s.pins.remove(o.entry.Ticket)
			s.tally.remove(o.entry)
			s.names.remove(o.entry.Ticket)
		}
	case opStage:
		s.pins.remove(o.entry.Ticket)
		s.open.unstage(o.producerID)
	case opCommit, opAbort:
		return ErrRebuild
	default:
		s.tally.unfinished(o.kind)
		if o.entry.Ticket < s.floor {
			s.runs.unfinish(o.entry)
			return nil
		}
		s.pins.add(o.entry.Ticket)
		s.place(o.entry, o.name)
		s.earliest = min(s.earliest, o.entry.Due)
	}
	return nil
}

// errRunsChanged means that the readers given to take are not those of the present runs.
var errRunsChanged = errors.New("runs changed")

// take moves entries due at or before now into a flight: up to maxCount of them, or about maxBytes of encoded records. They
// come from the readers, which readers returned with the version, and from the near index if near is set. There is no flight if nothing is due. More tells
// whether more is due.
func (s *Schedule) take(now int64, maxCount, maxBytes int, readers []*reader, version int, near bool) (f *Flight, more bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if version != s.runs.installs {
		return nil, true, errRunsChanged
	}
	s.release(releaseStep)
	s.moveMark(now)
	f = new(Flight)
	switch {
	case len(readers) > 0:
		more = s.takeRuns(f, now, maxCount, maxBytes, readers, near)
	case near:
		f.Entries = s.near.popDue(nil, now, maxCount, maxBytes)
	}
	s.earliest = math.MaxInt64
	if s.open.releasing() {
		s.earliest = math.MinInt64
	} else if e, ok := s.near.min(); ok {
		s.earliest = e.Due
	}
	more = more || near && s.earliest <= now
	if len(f.Entries) == 0 {
		return nil, more, nil
	}
	f.depart()
	s.flights = append(s.flights, f)
	return f, more, nil
}

// giveBack ends a flight; what is left of it is due as before.
func (s *Schedule) giveBack(f *Flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.flights, f)
	if i < 0 {
		return
	}
	s.flights = slices.Delete(s.flights, i, i+1)
	f.returned = true
	for i, e := range f.Entries {
		if !f.gone[i] && e.Ticket >= s.floor {
			s.near.insert(e)
			s.earliest = min(s.earliest, e.Due)
		}
	}
}

// NextDue is when the next entry not in flight is due; math.MaxInt64 if there is none.
func (s *Schedule) NextDue() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nextDue()
}

func (s *Schedule) nextDue() int64 { return min(s.earliest, s.runs.next()) }

// nextDues is NextDue for the near index and for the runs.
func (s *Schedule) nextDues() (near, runs int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.earliest, s.runs.next()
}

// onEarlier sets the function that is told when something is due earlier than all before.
func (s *Schedule) onEarlier(wake func(due int64)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wake = wake
}

// Floor is a ticket at or below every one that is pending in the near index; math.MaxInt64 if nothing is.
func (s *Schedule) Floor() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.settledFloor()
}

// Receive turns the time of an append into its receive time, which never goes back.
func (s *Schedule) Receive(now int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(now, s.received)
}

// End is the offset after the last batch applied.
func (s *Schedule) End() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end
}

// committed is the high watermark as the schedule knows it.
func (s *Schedule) committed() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.highWatermark
}

// upcoming returns the tickets of what is due next in the near index, up to a time and a number.
func (s *Schedule) upcoming(until int64, limit int) (tickets []int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.earliest > until {
		return nil
	}
	s.near.ascend(firstEntry, func(e Entry) bool {
		if e.Due > until || len(tickets) == limit {
			return false
		}
		tickets = append(tickets, e.Ticket)
		return true
	})
	return tickets
}
