package delay

import (
	"math"
	"slices"
	"sort"

	"github.com/morrowmq/morrow/delay/index"
)

// A run is a part of a partition's schedule that was taken out of memory: its records, with their
// payload, in order of delivery, in a range of the partition's schedule log. Runs hold disjoint
// ranges of tickets, all below Schedule.floor; what is pending at or above the floor is in the near
// index.

// runInfo is what the journal says of a run, constant.
type runInfo struct {
	// from and to delimit the run in the journal, from its header to its trailer; from is its id.
	from, to int64
	// trailer is the offset of the batch that holds this.
	trailer int64
	// low and high delimit the tickets that may be in it.
	low, high int64
	// count is how many records were written, and bytes how many they had in the partition's log; first
	// and last its first and last records.
	count, bytes int64
	first, last  Entry
	// data finds batches of records, tickets and keys those of the tables. All ascend.
	data    []dataFence
	tickets []ticketFence
	keys    []keyFence
	filter  filter
	// gaps are what lies between from and to and is not the run's, in order: others wrote while it
	// was being written.
	gaps []Range
}

// within is what of a range of the journal belongs to the run, in order.
func (r *runInfo) within(x Range) (parts []Range) {
	x = Range{max(x.From, r.from), min(x.To, r.to)}
	for _, gap := range r.gaps {
		if !gap.overlaps(x) {
			continue
		}
		if x.From < gap.From {
			parts = append(parts, Range{x.From, gap.From})
		}
		x.From = gap.To
	}
	if x.From < x.To {
		parts = append(parts, x)
	}
	return parts
}

// parts is where the run lies in the journal.
func (r *runInfo) parts() []Range { return r.within(Range{r.from, r.to}) }

// dataFence is where a batch of records begins: its first record, and how many come before it.
type dataFence struct {
	due, ticket int64
	before      int64
	offset      int64
}

type ticketFence struct{ ticket, offset int64 }

type keyFence struct {
	key    string
	offset int64
}

// run is a run and what of it is finished, by the proofs below the schedule's high watermark.
type run struct {
	runInfo
	// cursor: all of the run up to it is finished. It moves only when somebody who has read the run says so.
	cursor Entry
	// exceptions are those above the cursor that are finished.
	exceptions *index.Index
	// fresh are exceptions that no progress record names yet.
	fresh []Entry
	// live is how many are not finished.
	live int64
	// pending is live without those finished above the high watermark.
	pending int64
	// next is a lower bound of when the first one is due that is neither finished nor in flight,
	// for waking up in time. It is that of [index.Last] while the run cannot be read: the line knows
	// when to try again.
	next int64
	// due is a lower bound of when the first pending one is due, as its last reader has seen.
	due int64
}

func newRun(info runInfo) *run {
	return &run{
		runInfo: info, cursor: index.First, exceptions: index.New(), live: info.count,
		pending: info.count, next: info.first.Due - horizon.Milliseconds(), due: info.first.Due,
	}
}

// finished reports whether a record of the run is finished, by what lies below the high watermark.
func (r *run) finished(e Entry) bool {
	return !r.cursor.Less(e) || r.exceptions.Contains(e)
}

// finish notes that a record of the run is finished.
func (r *run) finish(e Entry) {
	if r.finished(e) {
		return
	}
	r.exceptions.Insert(e)
	r.fresh = append(r.fresh, e)
	r.live--
}

// exclude notes that a record is not in the run, though its tables may say so.
func (r *run) exclude(e Entry) {
	if !r.finished(e) {
		r.exceptions.Insert(e)
		r.fresh = append(r.fresh, e)
	}
}

// advance moves the cursor: everything up to e is finished. Those that no exception names were finished
// in a state that the run was read from.
func (r *run) advance(e Entry) {
	if !r.cursor.Less(e) {
		return
	}
	r.cursor = e
	for {
		x, ok := r.exceptions.Min()
		if !ok || e.Less(x) {
			return
		}
		r.exceptions.Remove(x)
	}
}

// nextDue is at or before the time the first pending record is due.
func (r *run) nextDue() int64 {
	if r.pending == 0 {
		return math.MaxInt64
	}
	return max(r.due, r.cursor.Due)
}

// share is how many bytes so many records of the run have, if they are of average size.
func (r *run) share(n int64) int64 {
	return int64(math.Round(float64(r.bytes) * float64(n) / float64(max(1, r.count))))
}

// rank estimates how many records of the run are due at or before now, to within a batch.
func (r *run) rank(now int64) int64 {
	i := sort.Search(len(r.data), func(i int) bool { return r.data[i].due > now })
	switch {
	case now >= r.last.Due:
		return r.count
	case i == 0:
		return 0
	case i == len(r.data):
		return (r.data[i-1].before + r.count) / 2
	default:
		return (r.data[i-1].before + r.data[i].before) / 2
	}
}

// overdue estimates how many pending records are due at or before now. It is exact about there
// being none, but for what was delivered a moment ago.
func (r *run) overdue(now int64) int64 {
	if now < r.next && r.next != index.Last.Due {
		return 0
	}
	return min(max(0, r.rank(now)-(r.count-r.pending)), r.pending)
}

// runs are the live runs of a partition, by ticket.
type runs struct {
	list []*run
	// above are tickets that were finished at or above the high watermark.
	above map[int64]struct{}
	// installs counts changes of the list.
	installs int
}

// of returns the run that a ticket belongs to, or nil.
func (rs *runs) of(ticket int64) *run {
	i := sort.Search(len(rs.list), func(i int) bool { return rs.list[i].high > ticket })
	if i == len(rs.list) || rs.list[i].low > ticket {
		return nil
	}
	return rs.list[i]
}

// contains reports whether an entry that is in a run is pending.
func (rs *runs) contains(e Entry) bool {
	r := rs.of(e.Ticket)
	if r == nil || r.finished(e) {
		return false
	}
	_, gone := rs.above[e.Ticket]
	return !gone
}

// finish notes that a record was finished at or above the high watermark; fold that it is below now.
func (rs *runs) finish(e Entry) (ok bool) {
	if !rs.contains(e) {
		return false
	}
	rs.mark(e.Ticket)
	rs.of(e.Ticket).pending--
	return true
}

func (rs *runs) mark(ticket int64) {
	if rs.above == nil {
		rs.above = make(map[int64]struct{})
	}
	rs.above[ticket] = struct{}{}
}

func (rs *runs) unfinish(e Entry) {
	delete(rs.above, e.Ticket)
	r := rs.of(e.Ticket)
	r.pending++
	r.due = min(r.due, e.Due)
}

func (rs *runs) fold(e Entry) {
	delete(rs.above, e.Ticket)
	if r := rs.of(e.Ticket); r != nil {
		r.finish(e)
	}
}

// replace puts a run in the place of others, which it took over. Either may be missing.
func (rs *runs) replace(old []*run, r *run) {
	rs.list = slices.DeleteFunc(rs.list, func(r *run) bool { return slices.Contains(old, r) })
	if r != nil {
		i := sort.Search(len(rs.list), func(i int) bool { return rs.list[i].low > r.low })
		rs.list = slices.Insert(rs.list, i, r)
	}
	rs.installs++
}

// pending is how many records are pending in runs.
func (rs *runs) pending() (n int64) {
	for _, r := range rs.list {
		n += r.pending
	}
	return n
}

// next is a lower bound of the dues of what is in the runs and not in flight.
func (rs *runs) next() int64 {
	next := int64(math.MaxInt64)
	for _, r := range rs.list {
		if r.pending > 0 {
			next = min(next, r.next)
		}
	}
	return next
}
