package delay

import (
	"errors"
	"slices"
	"sort"
)

// flight is a window of due entries that was taken out of the near index and is on its way into the
// log. Its entries are pending until a delivery or a cancel in the log finishes them; until then
// they are in no other flight.
//
// Entries is constant and may be read by its taker; everything else belongs to the schedule.
type flight struct {
	// Entries in the order of delivery.
	Entries []Entry
	// payloads are the records that were read from runs, by position; nil if there are none.
	payloads []payload

	gone []bool
	left int
	// next is where the entry finished last was, plus one.
	next int
	// changes counts entries that ended otherwise than by the taker's own delivery.
	changes int
	// returned says that something was not delivered.
	returned bool
}

// depart ends the loading.
func (f *flight) depart() {
	f.gone, f.left = make([]bool, len(f.Entries)), len(f.Entries)
}

// find returns the position of an entry that is still pending, or -1.
func (f *flight) find(e Entry) int {
	i := f.next
	if i >= len(f.Entries) || f.Entries[i].Ticket != e.Ticket || f.Entries[i].Due != e.Due {
		i = sort.Search(len(f.Entries), func(i int) bool { return !f.Entries[i].Less(e) })
	}
	if i == len(f.Entries) || f.Entries[i].Ticket != e.Ticket || f.Entries[i].Due != e.Due || f.gone[i] {
		return -1
	}
	return i
}

func (f *flight) finish(i int) Entry {
	f.gone[i] = true
	f.left--
	f.next = i + 1
	return f.Entries[i]
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

// errRunsChanged means that the readers given to take are not those of the present runs.
var errRunsChanged = errors.New("runs changed")

// take moves entries due at or before now into a flight: up to maxCount of them, or about maxBytes
// of encoded records. They come from the readers, which readers returned with the version, and from
// the near index if near is set. There is no flight if nothing is due. More tells whether more is
// due.
func (s *Schedule) take(now int64, maxCount, maxBytes int, readers []*reader, version int, near bool) (f *flight, more bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if version != s.runs.installs {
		return nil, true, errRunsChanged
	}
	s.release(releaseStep)
	s.moveMark(now)
	f = new(flight)
	switch {
	case len(readers) > 0:
		more = s.takeRuns(f, now, maxCount, maxBytes, readers, near)
	case near:
		f.Entries = s.near.PopDue(nil, now, maxCount, maxBytes)
	}
	s.findEarliest()
	more = more || near && s.earliest <= now
	if len(f.Entries) == 0 {
		return nil, more, nil
	}
	f.depart()
	s.flights = append(s.flights, f)
	return f, more, nil
}

// giveBack ends a flight; what is left of it is due as before.
func (s *Schedule) giveBack(f *flight) {
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
			s.near.Insert(e)
			s.earliest = min(s.earliest, e.Due)
		}
	}
}
