package delay

import (
	"cmp"
	"slices"
	"strings"
)

// Pending is one pending record, as a list shows it.
type Pending struct {
	Entry
	// Key is the name its producer gave it, "" without one.
	Key string
	// InFlight: it is being delivered right now.
	InFlight bool
}

// Filter selects pending records.
type Filter struct {
	// From and Until bound the due time: From <= due < Until.
	From, Until int64
	// KeyPrefix, if not empty, selects records whose key begins with it.
	KeyPrefix string
}

// listEffort bounds how many entries one call of List looks at.
const listEffort = 64 << 10

// List appends pending records to dst in order of delivery, those at or after the position that pass the filter, up
// to limit. Next is the position to go on from; done tells that nothing is left. A page can be short, or empty, without being the
// last. Records that come and go between two pages may or may not be seen.
func (s *Schedule) List(dst []Pending, position Entry, f Filter, limit int) (_ []Pending, next Entry, done bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if position.Due < f.From {
		position = Entry{Due: f.From}
	}
	page, effort := len(dst), listEffort
	next, done = position, true
	s.near.ascend(position, func(e Entry) bool {
		if e.Due >= f.Until {
			return false
		}
		next = e
		if len(dst)-page == limit || effort == 0 {
			done = false
			return false
		}
		effort--
		dst = s.appendPending(dst, e, f, false)
		return true
	})
	dst = s.appendFlights(dst, position, next, done, f)
	slices.SortFunc(dst[page:], func(a, b Pending) int { return a.Entry.compare(b.Entry) })
	return dst, next, done
}

// appendFlights adds what is in flight from a position up to next.
func (s *Schedule) appendFlights(dst []Pending, position, next Entry, done bool, f Filter) []Pending {
	for _, fl := range s.flights {
		for i, e := range fl.Entries {
			if !fl.gone[i] && !e.less(position) && (done || e.less(next)) && e.Due < f.Until {
				dst = s.appendPending(dst, e, f, true)
			}
		}
	}
	return dst
}

func (s *Schedule) appendPending(dst []Pending, e Entry, f Filter, inFlight bool) []Pending {
	key := s.names.of[e.Ticket]
	if !strings.HasPrefix(key, f.KeyPrefix) {
		return dst
	}
	return append(dst, Pending{Entry: e, Key: key, InFlight: inFlight})
}

// Timeline counts the pending records by when they are due: counts[i] are those with bounds[i] <= due < bounds[i+1]. Bounds
// ascend.
func (s *Schedule) Timeline(bounds []int64) (counts []int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts = make([]int64, max(0, len(bounds)-1))
	for i := range counts {
		counts[i] = int64(s.near.countBetween(bounds[i]-1, bounds[i+1]-1))
	}
	for _, f := range s.flights {
		for i, e := range f.Entries {
			j, exact := slices.BinarySearchFunc(bounds, e.Due, func(bound, due int64) int { return cmp.Compare(bound, due) })
			if !exact {
				j--
			}
			if !f.gone[i] && 0 <= j && j < len(counts) {
				counts[j]++
			}
		}
	}
	return counts
}
