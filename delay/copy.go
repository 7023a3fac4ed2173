package delay

import (
	"math"
	"slices"
	"sort"
)

// Copies of the journal and of the partition's log, in a bucket say, are behind, each as far as it
// happens to be. Who has lost all else goes on from the last progress record that both suffice for:
// that the copy of the journal has, and that has folded in nothing which the copy of the log has
// not. A later one would say of a record that it was delivered, and the delivery would be nowhere
// (see [KeeperConfig.Lost]). So whoever deletes parts of the copies asks what that record needs and
// those behind it, which will be the ones to go on from when the copies have come on; not what the
// schedule needs itself.

// Copy is how far copies have come.
type Copy struct {
	// Journal and Log are the ends of the copies of the journal and of the partition's log; that one
	// begins at LogStart.
	Journal, Log, LogStart int64
}

// NoCopy is where nothing is copied: the journal and the log themselves are what will be there.
var NoCopy = Copy{math.MaxInt64, math.MaxInt64, math.MaxInt64}

// Complete is the copies when they have all that there is now.
func (c Copy) Complete() Copy { return Copy{math.MaxInt64, math.MaxInt64, c.LogStart} }

// journalCopy is what copies can do that suffice for a certain progress record, and not for the
// next.
type journalCopy struct {
	// end is the end of the progress record; 0 if there is none.
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

// copyOf describes copies that suffice for a progress record, which together with those before it
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

// Copied says how far the copies have come, and that nobody will ask about less any more.
func (s *Schedule) Copied(at Copy) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.copied = at.Journal; at == NoCopy { // one that is begun has nothing
		s.copied = 0
	}
	if copies := s.copiesFrom(at); copies != nil {
		s.copies = copies
	}
}

// copiesFrom lists what the copies suffice for, now and as they go on, and before that what they
// suffice for if they lack what was dropped; nil if that is not known.
func (s *Schedule) copiesFrom(at Copy) []journalCopy {
	i := sort.Search(len(s.copies), func(i int) bool { return s.copies[i].end > at.Journal || s.copies[i].folded > at.Log }) - 1
	for i >= 0 && (s.copies[i].dropped || s.copies[i].unsure && at.Journal == math.MaxInt64) { // the journal itself may yet lose what is unsure
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

// CopyGate is the first offset that is needed of the copy of the partition's log: with what lies at
// or above it the copies suffice to know everything that is pending. Unlike [Schedule.Gate] it
// takes nothing for finished because this broker knows that it is.
func (s *Schedule) CopyGate(at Copy) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	copies := s.copiesFrom(at)
	if copies == nil {
		return 0
	}
	gate, newest := int64(math.MaxInt64), s.newest
	if at.LogStart < s.began { // whatever the copy has below
		newest = max(newest, s.began-1)
	}
	if floor := copies[0].floor; newest >= floor {
		gate = floor
	}
	if i := slices.IndexFunc(copies, func(c journalCopy) bool { return c.runs }); i >= 0 {
		gate = min(gate, copies[i].folded)
	} else if s.namesRuns { // by a record that is not known to be committed, and may come up all the same
		gate = min(gate, s.folded)
	}
	return gate
}

// NextGate is at or below what [Schedule.Gate] will be when progress has been written, and, as far
// as the copies have come by now, what [Schedule.CopyGate] will be when it has come up as well.
func (s *Schedule) NextGate() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	gate := s.settledFloor()
	if slices.ContainsFunc(s.runs.list, func(r *run) bool { return r.live > 0 }) {
		gate = min(gate, s.highWatermark, s.end)
	}
	return gate
}

// CopyNeeds lists what may not be deleted from the copy of the journal; all is set if nothing may.
// It is in no order.
func (s *Schedule) CopyNeeds(at Copy) (needs []Range, all bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	copies := s.copiesFrom(at)
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
