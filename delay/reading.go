package delay

import (
	"cmp"
	"slices"
	"sort"
)

// This file says which parts of the journal are read when, for whoever keeps some of them closer than others.

// runRanges are the parts of the journal that live runs occupy.
func (s *Schedule) runRanges() (ranges []Range) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.runs.list {
		ranges = append(ranges, r.parts()...)
	}
	return ranges
}

// ReadSoon lists the parts of the journal from which records will be delivered until a time, in
// milliseconds since the epoch, by when they are due.
func (s *Schedule) ReadSoon(until int64) []Range {
	s.mu.Lock()
	defer s.mu.Unlock()
	var soon []*run
	for _, r := range s.runs.list {
		if r.nextDue() <= until {
			soon = append(soon, r)
		}
	}
	slices.SortFunc(soon, func(a, b *run) int { return cmp.Compare(a.nextDue(), b.nextDue()) })
	var ranges []Range
	for _, r := range soon {
		ranges = append(ranges, r.within(r.upcoming(until))...)
	}
	return ranges
}

// ReadLate lists the parts of the journal that hold nothing but delayed records of which none will
// be delivered until a time, in milliseconds since the epoch; in order. Runs of fewer bytes than
// minBytes are left out: they are read again when they are merged.
func (s *Schedule) ReadLate(until, minBytes int64) []Range {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ranges []Range
	for _, r := range s.runs.list {
		if len(r.data) == 0 || r.bytes < minBytes {
			continue
		}
		soon := r.upcoming(until)
		ranges = append(ranges, r.within(Range{r.data[0].offset, soon.From})...)
		ranges = append(ranges, r.within(Range{soon.To, r.trailer})...)
	}
	slices.SortFunc(ranges, func(a, b Range) int { return cmp.Compare(a.From, b.From) })
	return ranges
}

// upcoming is the part of the run in which what is due until a time, and not finished, lies.
func (r *run) upcoming(until int64) Range {
	at := func(i int) int64 {
		if i < len(r.data) {
			return r.data[i].offset
		}
		return r.trailer
	}
	first := max(0, sort.Search(len(r.data), func(i int) bool { return r.cursor.Less(r.data[i].first()) })-1)
	end := sort.Search(len(r.data), func(i int) bool { return r.data[i].due > until })
	if r.live == 0 || end < first {
		end = first
	}
	return Range{at(first), at(end)}
}
