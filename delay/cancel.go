package delay

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/morrowmq/morrow/log/record"
)

// ErrChanged means that what was decided outside the partition's append section is no longer so,
// and must be decided again.
var ErrChanged = errors.New("schedule changed meanwhile")

// TooManyPendingError refuses a batch that would exceed delay.max.pending. It passes: records become due.
type TooManyPendingError struct {
	Pending, Max int64
}

func (e *TooManyPendingError) Error() string {
	return fmt.Sprintf("%d delayed records are pending in the partition, delay.max.pending is %d", e.Pending, e.Max)
}

// resolution is what the cancels and keyed records of a batch finish, as Prepare found it. Admit makes sure
// that it is still so.
type resolution struct {
	// targets are pending entries that records of the batch finish.
	targets []Entry
	// finished are their tickets.
	finished map[int64]bool
	// latest is the last live record of the batch with a key, as a position in Splitter.items.
	latest map[string]int
	// absent are keys under which nothing is pending.
	absent []string
	// undecided are tickets asked for that belong to transactions that are not over.
	undecided []int64
	// version is that of the runs that were looked at.
	version int
	// beyond is the lowest ticket asked for that did not exist.
	beyond int64
	// missed counts the cancels that came too late; refused are those of them that are strict.
	missed  int
	refused []record.RecordError
	// dropped is how many records to schedule the batch itself finishes.
	dropped int
}

// Grows reports, once the plan is prepared, whether more records will be pending with the batch
// than without it. One that moves records, or replaces them, does not.
func (p *Plan) Grows() bool { return p.scheduled > p.dropped+len(p.targets) }

const nothingBeyond = int64(1<<63 - 1)

func (r *resolution) reset() {
	r.targets, r.absent, r.undecided, r.refused = r.targets[:0], r.absent[:0], r.undecided[:0], r.refused[:0]
	clear(r.finished)
	clear(r.latest)
	r.beyond, r.dropped, r.missed = nothingBeyond, 0, 0
}

// empty reports whether the batch refers to nothing that the schedule might hold.
func (r *resolution) empty() bool { return len(r.targets)+len(r.absent)+r.missed == 0 }

// Prepare finds what the batch's cancels and keys refer to, and builds the pieces. It is called
// outside the partition's append section, and again whenever Admit answers [ErrChanged]. It reads
// the log, or the schedule's runs, only for cancels by ticket and for keys. Errors are the
// source's: nothing is known then, and the producer should retry.
func (p *Plan) Prepare(ctx context.Context, s *Schedule, src Source) error {
	for {
		err := p.resolve(ctx, s, src)
		switch {
		case err == nil:
			return p.build()
		case s.installed() == p.version:
			return err
		} // else a run that was asked may be no more
	}
}

// resolve finds what the batch's cancels and keys refer to.
func (p *Plan) resolve(ctx context.Context, s *Schedule, src Source) error {
	p.resolution.reset()
	p.version = s.installed()
	items := p.splitter.items
	for i := range items {
		it := &items[i]
		it.done, it.target = false, 0
		var err error
		switch {
		case it.kind == itemDelayed && it.name > 0:
			err = p.replace(ctx, s, i)
		case it.kind == itemCancel && it.name > 0:
			err = p.cancelName(ctx, s, it)
		case it.kind == itemCancel:
			err = p.cancelTicket(ctx, s, src, it)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// replace resolves a delayed record with a key.
func (p *Plan) replace(ctx context.Context, s *Schedule, i int) error {
	it := &p.splitter.items[i]
	name := p.name(it)
	if !p.finishOwn(name) {
		e, ok, err := p.lookUp(ctx, s, name)
		if err != nil {
			return err
		}
		if ok {
			p.hit(it, e)
		}
	}
	if p.latest == nil {
		p.latest = make(map[string]int)
	}
	p.latest[name] = i
	return nil
}

func (p *Plan) cancelName(ctx context.Context, s *Schedule, it *item) error {
	name := p.name(it)
	if p.finishOwn(name) {
		it.done, p.rebuild = true, true
		return nil
	}
	e, ok, err := p.lookUp(ctx, s, name)
	switch {
	case err != nil:
		return err
	case ok:
		p.hit(it, e)
	default:
		p.miss(it, fmt.Sprintf("nothing is pending under the key %.60q", name))
	}
	return nil
}

func (p *Plan) name(it *item) string { return string(p.splitter.names[it.name-1]) }

// finishOwn finishes the record of this batch that is pending under a key, if there is one.
func (p *Plan) finishOwn(name string) bool {
	i, ok := p.latest[name]
	if ok {
		delete(p.latest, name)
		p.splitter.items[i].done, p.rebuild = true, true
		p.dropped++
	}
	return ok
}

// lookUp finds what was pending under a key before this batch.
func (p *Plan) lookUp(ctx context.Context, s *Schedule, name string) (e Entry, ok bool, err error) {
	e, ok = s.named(name)
	if !ok {
		if e, ok, err = s.keyInRuns(ctx, name); err != nil {
			return e, false, fmt.Errorf("looking up key %.60q: %w", name, err)
		}
	}
	if ok && !p.finished[e.Ticket] {
		return e, true, nil
	}
	p.absent = append(p.absent, name)
	return e, false, nil
}

func (p *Plan) hit(it *item, e Entry) {
	p.targets = append(p.targets, e)
	it.target = int32(len(p.targets))
	if p.finished == nil {
		p.finished = make(map[int64]bool)
	}
	p.finished[e.Ticket] = true
	p.rebuild = true
}

func (p *Plan) miss(it *item, reason string) {
	p.missed++
	if it.strict {
		p.refused = append(p.refused, record.RecordError{Index: it.index, Reason: "cannot cancel: " + reason})
		return
	}
	it.done, p.rebuild = true, true
}

func (p *Plan) cancelTicket(ctx context.Context, s *Schedule, src Source, it *item) error {
	ticket := it.value
	if ticket >= s.End() {
		p.beyond = min(p.beyond, ticket)
		p.miss(it, fmt.Sprintf("no delayed record was stored at offset %d yet", ticket))
		return nil
	}
	if p.finished[ticket] {
		p.miss(it, fmt.Sprintf("offset %d is cancelled by an earlier record of the same batch", ticket))
		return nil
	}
	e, spilled, err := s.ticketInRuns(ctx, ticket)
	if err == nil && !spilled {
		e, err = find(ctx, src, ticket)
	}
	switch why := noTicket(ticket, err); {
	case why != "":
		p.miss(it, why)
	case err != nil:
		return fmt.Errorf("looking up ticket %d: %w", ticket, err)
	case s.undecided(ticket):
		p.undecided = append(p.undecided, ticket)
		p.miss(it, fmt.Sprintf("the record at offset %d belongs to %s", ticket, openTransaction))
	case (spilled || ticket >= s.nearFloor()) && s.Contains(e):
		p.hit(it, e)
	default:
		how, err := ending(ctx, src, e, s.End())
		if err != nil {
			return fmt.Errorf("looking up how ticket %d ended: %w", ticket, err)
		}
		p.miss(it, fmt.Sprintf("the record at offset %d was %s", ticket, how))
	}
	return nil
}

// Admit decides, in the partition's append section and after duplicates were told, whether a plan may be
// appended. Errors: [ErrChanged]; a *[record.RecordErrors] for cancels that came too late; a
// *[TooManyPendingError]. After nil, the pieces must be appended and applied before anything else is.
func (s *Schedule) Admit(p *Plan) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.end > p.beyond || p.version != s.runs.installs && !p.empty() {
		return ErrChanged
	}
	for _, e := range p.targets {
		if !s.contains(e) {
			return ErrChanged
		}
	}
	for _, ticket := range p.undecided {
		if !s.open.holds(ticket) {
			return ErrChanged
		}
	}
	for _, name := range p.absent {
		if e, ok := s.names.entries[name]; ok && !p.finished[e.Ticket] {
			return ErrChanged
		}
	}
	if len(p.refused) > 0 {
		return &record.RecordErrors{Err: record.ErrInvalid, Records: slices.Clone(p.refused), Count: len(p.refused)}
	}
	limit := p.splitter.rules.maxPending
	added := int64(p.scheduled - p.dropped - len(p.targets))
	if added <= 0 || limit == math.MaxInt64 {
		return nil
	}
	if held := s.pending + s.open.count + s.runs.pending(); held+added > limit {
		return &TooManyPendingError{Pending: held, Max: limit}
	}
	return nil
}

// Contains reports whether a record is pending.
func (s *Schedule) Contains(e Entry) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.contains(e)
}

// named returns what is pending under a key.
func (s *Schedule) named(name string) (Entry, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.names.entries[name]
	return e, ok
}
