package history

import (
	"fmt"
	"time"
)

// Check returns what in a history cannot be, in no particular order; nothing if all of it can.
func Check(h *History) []Violation {
	c := newChecker(h)
	c.log()
	c.sends()
	c.txns()
	c.cancels()
	c.reads(&h.Log)
	c.reads(&h.Visible)
	for i := range h.Sessions {
		c.session(&h.Sessions[i])
	}
	c.positions()
	return c.found
}

// place is an offset of a partition.
type place struct {
	partition int32
	offset    int64
}

func (p place) String() string { return fmt.Sprintf("%d@%d", p.partition, p.offset) }

type checker struct {
	h     *History
	found []Violation

	sent    map[string]*Send
	txn     map[string]*Txn
	at      map[place]string   // what lies where, from the whole log
	where   map[string][]place // where a record lies, from the whole log
	visible map[string]bool    // what read_committed consumers see
	// One record of each transaction that was acknowledged and is visible, and one that is not, if
	// there is one.
	seen, missing map[string]string
}

func newChecker(h *History) *checker {
	c := &checker{
		h: h, sent: map[string]*Send{}, txn: map[string]*Txn{},
		at: map[place]string{}, where: map[string][]place{}, visible: map[string]bool{},
		seen: map[string]string{}, missing: map[string]string{},
	}
	for i := range h.Sends {
		c.sent[h.Sends[i].ID] = &h.Sends[i]
	}
	for i := range h.Txns {
		c.txn[h.Txns[i].ID] = &h.Txns[i]
	}
	for i := range h.Visible.Reads {
		c.visible[h.Visible.Reads[i].ID] = true
	}
	for i := range h.Sends {
		s := &h.Sends[i]
		switch {
		case s.Txn == "" || s.Outcome != Done:
		case c.visible[s.ID]:
			c.seen[s.Txn] = s.ID
		default:
			c.missing[s.Txn] = s.ID
		}
	}
	return c
}

func (c *checker) violated(rule Rule, format string, args ...any) {
	c.found = append(c.found, Violation{rule, fmt.Sprintf(format, args...)})
}

// log learns what lies where, and checks order and uniqueness.
func (c *checker) log() {
	type stream struct {
		producer  string
		partition int32
	}
	last := map[stream]*Send{}
	for i := range c.h.Log.Reads {
		r := &c.h.Log.Reads[i]
		p := place{r.Partition, r.Offset}
		c.at[p] = r.ID
		c.where[r.ID] = append(c.where[r.ID], p)
		s := c.sent[r.ID]
		if s == nil || s.Guarantee == AtLeastOnce {
			continue
		}
		if places := c.where[r.ID]; len(places) > 1 {
			c.violated(Duplicate, "%s lies at %s and %s", r.ID, places[0], p)
			continue
		}
		if s.Delay > 0 {
			continue // ordered by when it is due
		}
		of := stream{s.Producer, r.Partition}
		if before := last[of]; before != nil && before.Seq > s.Seq {
			c.violated(Order, "%s at %s follows %s", r.ID, p, before.ID)
		}
		last[of] = s
	}
}

// sends checks that what was acknowledged is there, where it was said to be.
func (c *checker) sends() {
	cancelled := map[string]bool{} // or perhaps
	for _, k := range c.h.Cancels {
		cancelled[k.ID] = cancelled[k.ID] || k.Outcome != Refused
	}
	for i := range c.h.Sends {
		s := &c.h.Sends[i]
		places := c.where[s.ID]
		switch {
		case s.Outcome == Refused && len(places) > 0:
			c.violated(Phantom, "%s was refused and lies at %s", s.ID, places[0])
		case s.Outcome != Done || cancelled[s.ID] || s.Delay > 0 && !c.decided(s):
		case len(places) == 0:
			c.violated(Lost, "%s, acknowledged at %s", s.ID, place{s.Partition, s.Offset})
		case s.Txn == "" && !c.visible[s.ID]:
			c.violated(Lost, "%s lies at %s and no read_committed consumer is given it", s.ID, places[0])
		case s.Delay == 0 && c.at[place{s.Partition, s.Offset}] != s.ID:
			c.violated(Moved, "%s was acknowledged at %s and lies at %s", s.ID, place{s.Partition, s.Offset}, places[0])
		}
	}
}

// decided reports whether a delayed record is known to have been scheduled: at once, or by its
// transaction's commit.
func (c *checker) decided(s *Send) bool {
	if s.Txn == "" {
		return true
	}
	t := c.txn[s.Txn]
	return t != nil && t.committed() == Done
}

// txns checks that of a transaction all is visible or nothing, as it ended.
func (c *checker) txns() {
	for i := range c.h.Txns {
		t := &c.h.Txns[i]
		in, out := c.seen[t.ID], c.missing[t.ID]
		switch t.committed() {
		case Done:
			if out != "" {
				c.violated(Lost, "%s of transaction %s, which was committed", out, t.ID)
			}
		case Refused:
			if in != "" {
				c.violated(Dirty, "%s of transaction %s, which was not committed, stays visible", in, t.ID)
			}
		case Unknown:
			if in != "" && out != "" {
				c.violated(Torn, "of transaction %s %s is visible and %s is not", t.ID, in, out)
			}
		}
	}
}

func (c *checker) cancels() {
	for _, k := range c.h.Cancels {
		places := c.where[k.ID]
		s := c.sent[k.ID]
		switch {
		case k.Outcome == Done && len(places) > 0:
			c.violated(Uncanceled, "%s lies at %s", k.ID, places[0])
		case k.Outcome == Refused && s != nil && s.Outcome == Done && len(places) == 0 && !c.cancelledOtherwise(k.ID):
			c.violated(Lost, "%s could not be cancelled and was not delivered", k.ID)
		}
	}
}

func (c *checker) cancelledOtherwise(id string) bool {
	for _, k := range c.h.Cancels {
		if k.ID == id && k.Outcome != Refused {
			return true
		}
	}
	return false
}

// reads checks every record of a session by itself.
func (c *checker) reads(s *Session) {
	for i := range s.Reads {
		r := &s.Reads[i]
		p := place{r.Partition, r.Offset}
		sent := c.sent[r.ID]
		switch {
		case sent == nil:
			c.violated(Phantom, "%s was given %q at %s", s.Name, r.ID, p)
			continue
		case c.at[p] != r.ID:
			c.violated(Rewritten, "%s was given %s at %s, where %q lies in the end", s.Name, r.ID, p, c.at[p])
		}
		if sent.Delay > 0 {
			c.delivery(s, r, sent)
		}
		if s.Committed && sent.Txn != "" {
			c.dirty(s, r, sent)
		}
	}
}

// clockStep is how far the times of two clients of one clock may be apart when both are cut to milliseconds.
const clockStep = time.Millisecond

func (c *checker) delivery(s *Session, r *Read, sent *Send) {
	p := place{r.Partition, r.Offset}
	due := sent.Sent.Add(sent.Delay)
	switch {
	case r.Due.Before(due.Add(-clockStep)):
		c.violated(Early, "%s at %s says it was due at %s, which is %s after it was sent, expected %s", r.ID, p, clock(r.Due), r.Due.Sub(sent.Sent), sent.Delay)
	case r.Appended.Before(r.Due), r.At.Before(r.Due):
		c.violated(Early, "%s was due at %s, appended at %s and given to %s at %s", r.ID, clock(r.Due), clock(r.Appended), s.Name, clock(r.At))
	case sent.Outcome == Done && r.Ticket != sent.Offset:
		c.violated(Moved, "%s has ticket %d, at %s it has %d", r.ID, sent.Offset, p, r.Ticket)
	}
}

func (c *checker) dirty(s *Session, r *Read, sent *Send) {
	t := c.txn[sent.Txn]
	switch {
	case t == nil || t.committed() == Refused:
		c.violated(Dirty, "%s was given %s of transaction %s, which was not committed", s.Name, r.ID, sent.Txn)
	case r.At.Before(t.Ending):
		c.violated(Dirty, "%s was given %s at %s, and transaction %s was to be committed only at %s", s.Name, r.ID, clock(r.At), t.ID, clock(t.Ending))
	case !c.visible[r.ID]:
		c.violated(Dirty, "%s was given %s of transaction %s, which is not visible in the end", s.Name, r.ID, t.ID)
	}
}

func clock(t time.Time) string { return t.Format("15:04:05.000") }

// session checks what one consumer read, one by one and as a whole.
func (c *checker) session(s *Session) {
	c.reads(s)
	first, last := map[int32]int64{}, map[int32]int64{}
	given := map[place]bool{}
	for i := range s.Reads {
		r := &s.Reads[i]
		if at, ok := last[r.Partition]; ok && r.Offset <= at {
			c.violated(Backwards, "%s was given %s at offset %d of partition %d after offset %d", s.Name, r.ID, r.Offset, r.Partition, at)
		}
		if _, ok := first[r.Partition]; !ok {
			first[r.Partition] = r.Offset
		}
		last[r.Partition] = r.Offset
		given[place{r.Partition, r.Offset}] = true
	}
	all := &c.h.Log
	if s.Committed {
		all = &c.h.Visible
	}
	for i := range all.Reads {
		r := &all.Reads[i]
		from, ok := first[r.Partition]
		if ok && r.Offset > from && r.Offset < last[r.Partition] && !given[place{r.Partition, r.Offset}] {
			c.violated(Skipped, "%s read partition %d from %d to %d without %s at %d", s.Name, r.Partition, from, last[r.Partition], r.ID, r.Offset)
		}
	}
}
