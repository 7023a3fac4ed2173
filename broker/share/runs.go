package share

import (
	"cmp"
	"slices"
)

// state is where a record stands in its share-partition.
type state uint8

const (
	available state = iota // waits for a member
	waiting                // becomes available when its time has come
	acquired               // a member holds it until its time is over
	done                   // acknowledged, archived or a gap: nobody gets it any more
	exhausted              // delivered as often as is allowed; to be written to the dead-letter topic
	rejected               // refused by a member; to be written to the dead-letter topic
	states                 // how many there are
)

func (s state) String() string {
	return [...]string{"available", "waiting", "acquired", "done", "exhausted", "rejected"}[s]
}

// dying reports whether a record is on its way to the dead-letter topic.
func (s state) dying() bool { return s == exhausted || s == rejected }

// fate is what is known of a record besides its offset.
type fate struct {
	state  state
	count  int16  // deliveries begun and not taken back
	at     int64  // milliseconds: when waiting ends, or the lock of what is acquired
	member string // who has acquired it
}

// run is neighbouring records of one fate.
type run struct {
	first, end int64
	fate
}

// runs are the records of a share-partition from its start offset on.
//
// Invariant: list covers [start, end) in order and without holes, neighbours
// differ in fate, and the first run is not done.
type runs struct {
	start, end int64
	list       []run
	count      [states]int64 // records in each state
}

func newRuns(start int64) runs { return runs{start: start, end: start} }

// find returns the index of the run that contains an offset, or of the first one
// above it.
func (r *runs) find(offset int64) int {
	i, _ := slices.BinarySearchFunc(r.list, offset, func(x run, offset int64) int { return cmp.Compare(x.end, offset+1) })
	return i
}

// set gives the records of [first, end) a fate. What lies below the start is left
// out; what lies between the present end and first becomes available.
func (r *runs) set(first, end int64, f fate) {
	first = max(first, r.start)
	if first >= end {
		return
	}
	if first > r.end {
		r.set(r.end, first, fate{})
	}
	i, j := r.find(first), r.find(end-1)
	if j < len(r.list) && r.list[j].first < end {
		j++
	}
	next := make([]run, 0, 3)
	if i < j && r.list[i].first < first {
		next = append(next, run{r.list[i].first, first, r.list[i].fate})
	}
	next = append(next, run{first, end, f})
	if i < j && r.list[j-1].end > end {
		next = append(next, run{end, r.list[j-1].end, r.list[j-1].fate})
	}
	// The neighbours may now be of the same fate.
	if i > 0 {
		i--
		next = slices.Insert(next, 0, r.list[i])
	}
	if j < len(r.list) {
		next = append(next, r.list[j])
		j++
	}
	r.tally(r.list[i:j], -1)
	next = joined(next)
	r.tally(next, 1)
	r.list = slices.Replace(r.list, i, j, next...)
	r.end = max(r.end, end)
	r.advance()
}

// joined merges neighbours of the same fate.
func joined(list []run) []run {
	out := list[:0]
	for _, x := range list {
		if n := len(out); n > 0 && out[n-1].fate == x.fate {
			out[n-1].end = x.end
		} else {
			out = append(out, x)
		}
	}
	return out
}

func (r *runs) tally(list []run, sign int64) {
	for _, x := range list {
		r.count[x.state] += sign * (x.end - x.first)
	}
}

// advance moves the start over what is done.
func (r *runs) advance() {
	if len(r.list) > 0 && r.list[0].state == done {
		r.tally(r.list[:1], -1)
		r.start = r.list[0].end
		r.list = slices.Delete(r.list, 0, 1)
	}
}

// drop finishes everything below an offset, except for what still has to be
// written to the dead-letter topic.
func (r *runs) drop(below int64) {
	for _, x := range r.within(r.start, below) {
		if !x.state.dying() {
			r.set(x.first, x.end, fate{state: done})
		}
	}
	if below > r.end {
		r.set(r.end, below, fate{state: done})
	}
}

// within returns what is known of [first, end): copies, cut to the range.
func (r *runs) within(first, end int64) []run {
	var out []run
	for i := r.find(first); i < len(r.list) && r.list[i].first < end; i++ {
		x := r.list[i]
		x.first, x.end = max(x.first, first), min(x.end, end)
		out = append(out, x)
	}
	return out
}

// all returns copies of the runs that want says.
func (r *runs) all(want func(fate) bool) []run {
	var out []run
	for _, x := range r.list {
		if want(x.fate) {
			out = append(out, x)
		}
	}
	return out
}

// live is how many records are not done.
func (r *runs) live() int64 { return r.end - r.start - r.count[done] }
