package delay

import "sort"

// Flight is a window of due entries that was taken out of the near index and is on its way into the log. Its
// entries are pending until a delivery or a cancel in the log finishes them; until then they are in no other flight.
//
// Entries is constant and may be read by its taker; everything else belongs to the schedule.
type Flight struct {
	// Entries in the order of delivery.
	Entries []Entry

	gone []bool
	left int
	// next is where the entry finished last was, plus one.
	next int
	// changes counts entries that ended otherwise than by the taker's own delivery.
	changes int
}

func newFlight(entries []Entry) *Flight {
	return &Flight{Entries: entries, gone: make([]bool, len(entries)), left: len(entries)}
}

// find returns the position of an entry that is still pending, or -1.
func (f *Flight) find(e Entry) int {
	i := f.next
	if i >= len(f.Entries) || f.Entries[i].Ticket != e.Ticket || f.Entries[i].Due != e.Due {
		i = sort.Search(len(f.Entries), func(i int) bool { return !f.Entries[i].less(e) })
	}
	if i == len(f.Entries) || f.Entries[i].Ticket != e.Ticket || f.Entries[i].Due != e.Due || f.gone[i] {
		return -1
	}
	return i
}

func (f *Flight) finish(i int) Entry {
	f.gone[i] = true
	f.left--
	f.next = i + 1
	return f.Entries[i]
}
