package delay

import (
	"cmp"
	"encoding/binary"
	"errors"
	"math"
	"slices"

	"github.com/morrowmq/morrow/log/record"
)

// releaseStep is how many entries of ended transactions are moved per call, so that a marker
// that decides about millions does not stall the log.
const releaseStep = 4096

// transactions holds what producers have scheduled in transactions that are not over, or over and
// not yet moved.
type transactions struct {
	staged map[int64][]Entry
	ended  []ended
	// count is how many entries there are in all.
	count int64
}

type ended struct {
	entries []Entry
	commit  bool
}

func (t *transactions) stage(producerID int64, e Entry) {
	if t.staged == nil {
		t.staged = make(map[int64][]Entry)
	}
	t.staged[producerID] = append(t.staged[producerID], e)
	t.count++
}

// unstage takes back the producer's last entry.
func (t *transactions) unstage(producerID int64) {
	entries := t.staged[producerID]
	t.count--
	if n := len(entries) - 1; n > 0 {
		t.staged[producerID] = entries[:n]
	} else {
		delete(t.staged, producerID)
	}
}

// end decides about a producer's transaction. It returns the first that was scheduled in it, if anything was.
func (t *transactions) end(producerID int64, commit bool) (first Entry, ok bool) {
	entries, ok := t.staged[producerID]
	if !ok {
		return first, false
	}
	delete(t.staged, producerID)
	t.ended = append(t.ended, ended{entries, commit})
	return entries[0], true
}

// floor is at or below every ticket that waits here.
func (t *transactions) floor() int64 {
	floor := int64(math.MaxInt64)
	for _, entries := range t.staged {
		floor = min(floor, entries[0].Ticket)
	}
	for _, e := range t.ended {
		floor = min(floor, e.entries[0].Ticket)
	}
	return floor
}

// holds reports whether a ticket was scheduled in a transaction that is not over.
func (t *transactions) holds(ticket int64) bool {
	for _, entries := range t.staged {
		if _, ok := slices.BinarySearchFunc(entries, ticket, func(e Entry, ticket int64) int { return cmp.Compare(e.Ticket, ticket) }); ok {
			return true
		}
	}
	return false
}

// undecided reports whether a ticket belongs to a transaction that is not over. It is to be asked
// before Contains: what is neither then has ended.
func (s *Schedule) undecided(ticket int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open.holds(ticket)
}

// releasing reports whether ended transactions wait to be moved.
func (t *transactions) releasing() bool { return len(t.ended) > 0 }

// release moves up to n entries of ended transactions to where they belong.
func (s *Schedule) release(n int) {
	for n > 0 && s.open.releasing() {
		t := &s.open.ended[0]
		step := min(n, len(t.entries))
		for _, e := range t.entries[:step] {
			if t.commit {
				s.place(e, "")
			} else {
				s.pins.remove(e.Ticket)
			}
		}
		n -= step
		s.open.count -= int64(step)
		if t.entries = t.entries[step:]; len(t.entries) == 0 {
			s.open.ended = s.open.ended[1:]
		}
	}
}

// readMarker reads the end of a transaction. Its key is a version and a type, int16 each (KIP-98).
func (c *Changes) readMarker(b record.Batch, v *record.View) error {
	if len(v.Key) < 4 {
		return errors.New("control record without a type")
	}
	o := op{at: b.BaseOffset() + int64(v.OffsetDelta), producerID: b.ProducerID()}
	switch binary.BigEndian.Uint16(v.Key[2:]) {
	case 0:
		o.kind = opAbort
	case 1:
		o.kind = opCommit
	default:
		return nil
	}
	c.ops = append(c.ops, o)
	return nil
}
