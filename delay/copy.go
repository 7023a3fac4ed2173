package delay

import (
	"math"
	"slices"
	"sort"
)

// A copy of the journal, in a bucket say, is behind: it ends at an offset that lies below the
// journal's. It is of use only with a copy of the partition's log that holds what a start from it
// would read. So whoever deletes parts of the copies asks what the last progress record needs that
// the copy of the journal has, not what the journal needs itself.

// journalCopy is what a copy of the journal can do that ends behind a certain progress record, and
// before the next.
type journalCopy struct {
	// end is the end of the progress record; 0 if there is none in the copy.
	end int64
	// floor and folded are those of the record; runs says that it names any.
	floor, folded int64
	runs          bool
	// needs are the record, with those before it that it builds on, and the runs it names.
	needs []Range
	// unsure says that the record is not known to be committed. It may come up to a copy all the same.
	unsure bool
	// dropped says that some of the records were dropped from the journal before it was known that
	// the copy has them. Perhaps it never will.
	dropped bool
}

// copyOf describes a copy that ends behind a progress record, which together with those before it
// takes a range of the journal.
func copyOf(p *progress, at Range) journalCopy {
	c := journalCopy{end: at.To, floor: p.floor, folded: p.folded, runs: len(p.runs) > 0, needs: []Range{at}}
	for _, r := range p.runs {
		c.needs = append(c.needs, Range{r.from, r.to})
	}
	return c
}

// trim takes out of what is needed what lies in the gaps of runs.
func (c *journalCopy) trim(runs []*run) {
	var needs []Range
	for _, n := range c.needs {
		if i := slices.IndexFunc(runs, func(r *run) bool { return n == Range{r.from, r.to} }); i >= 0 {
			needs = append(needs, runs[i].parts()...)
		} else {
			needs = append(needs, n)
		}
	}
	c.needs = needs
}

// written says that a progress record was appended, which takes a range of the journal with those
// before it, and announces a change.
func (s *Schedule) written(p *progress, at Range, c change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	written := copyOf(p, at)
	written.unsure = true
	written.trim(s.runs.list)
	if c.run != nil {
		written.trim([]*run{c.run})
	}
	s.copies = append(s.copies, written)
}

// Copied says that a copy of the journal has come up to end, and will not be asked about below that
// any more; math.MaxInt64 if there is none.
func (s *Schedule) Copied(end int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.copied = end; end == math.MaxInt64 { // there is no copy; one that is begun has nothing
		s.copied = 0
	}
	if copies := s.copiesFrom(end); copies != nil {
		s.copies = copies
	}
}

// copiesFrom lists what a copy of the journal that has come up to end can do, now and as it goes
// on, and before that what it can do if it lacks what was dropped; nil if that is not known.
func (s *Schedule) copiesFrom(end int64) []journalCopy {
	i := sort.Search(len(s.copies), func(i int) bool { return s.copies[i].end > end }) - 1
	for i >= 0 && (s.copies[i].dropped || s.copies[i].unsure && end == math.MaxInt64) { // the journal itself may yet lose what is unsure
		i--
	}
	if i < 0 {
		return nil
	}
	return s.copies[i:]
}

// dropping says that a range is about to be dropped from the journal: a copy that has not come up
// to it will have a hole there.
func (s *Schedule) dropping(r Range) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.copies {
		c := &s.copies[i]
		c.dropped = c.dropped || c.end > s.copied && len(c.needs) > 0 && r.overlaps(c.needs[0])
	}
}

// CopyGate is what [Schedule.Gate] is for a copy of the partition's log that goes with a copy of
// the journal up to end: with what lies above it the two suffice to know everything that is
// pending.
func (s *Schedule) CopyGate(end int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	copies := s.copiesFrom(end)
	if copies == nil {
		return 0
	}
	gate := s.settledFloor()
	if i := slices.IndexFunc(copies, func(c journalCopy) bool { return c.runs }); i >= 0 {
		gate = min(gate, copies[i].folded)
	} else if s.namesRuns { // by a record that is not known to be committed, and may come up all the same
		gate = min(gate, s.folded)
	}
	for _, r := range s.runs.list {
		if floor := copies[0].floor; r.high > floor { // the copy does not know it
			gate = min(gate, max(r.low, floor))
		}
	}
	return gate
}

// NextGate is what CopyGate will be of a copy that has the next progress record, if that was written at once.
func (s *Schedule) NextGate() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	gate := s.settledFloor()
	if slices.ContainsFunc(s.runs.list, func(r *run) bool { return r.live > 0 }) {
		gate = min(gate, s.highWatermark, s.end)
	}
	return gate
}

// CopyNeeds lists what may not be deleted from a copy of the journal that has come up to end; all
// is set if nothing may. It is in no order.
func (s *Schedule) CopyNeeds(end int64) (needs []Range, all bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	copies := s.copiesFrom(end)
	for _, c := range copies {
		needs = append(needs, c.needs...)
	}
	return needs, copies == nil
}

// Needs reports whether anything that a progress record names lies in a range of the journal. Where
// a journal has a hole in which nothing is needed, what was there was dropped on record.
func (s *Schedule) Needs(r Range) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.runs.list {
		if slices.ContainsFunc(x.parts(), r.overlaps) {
			return true
		}
	}
	for _, c := range slices.Backward(s.copies) {
		if !c.unsure { // the present progress, and what is written behind it
			return len(c.needs) == 0 || r.To > c.needs[0].From
		}
	}
	return true
}
