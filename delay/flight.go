package delay

import "sort"

// Flight is a window of due entries that was taken out of the near index and is on its way into the log. Its
// entries are pending until a delivery or a cancel in the log finishes them; until then they are in no other flight.
//
// Entries is constant and may be read by its taker; everything else belongs to the schedule.
type Flight struct {
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
func (f *Flight) depart() {
	f.gone, f.left = make([]bool, len(f.Entries)), len(f.Entries)
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
