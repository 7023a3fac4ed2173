package share

import (
	"fmt"
	"math"
)

// The ways to acknowledge a record, by Kafka's numbers.
const (
	AckGap     int8 = 0 // there is no such record
	AckAccept  int8 = 1
	AckRelease int8 = 2
	AckReject  int8 = 3
	AckRenew   int8 = 4 // go on holding it (KIP-1222)
)

// Ack acknowledges the records of [First, End): all in the same way, or each in
// its own.
type Ack struct {
	First, End int64
	Types      []int8
}

// change is a new fate for a range of records.
type change struct {
	run
	outcome outcome // what it is counted as; not journaled
}

// outcome is how a record was finished.
type outcome uint8

const (
	unfinished outcome = iota
	accepted
	archived // nobody will get it again; it may still go to the dead-letter topic
	buried   // it is in the dead-letter topic
)

// checkAcks refuses acknowledgements that no state could make right.
func checkAcks(acks []Ack, last int8) error {
	end := int64(math.MinInt64)
	for _, a := range acks {
		switch {
		case a.First < 0 || a.First >= a.End:
			return fmt.Errorf("%w: offsets %d to %d are not a range", ErrBadAck, a.First, a.End-1)
		case a.First < end:
			return fmt.Errorf("%w: batches overlap or are out of order at offset %d", ErrBadAck, a.First)
		case len(a.Types) != 1 && int64(len(a.Types)) != a.End-a.First:
			return fmt.Errorf("%w: %d types for %d offsets", ErrBadAck, len(a.Types), a.End-a.First)
		}
		for _, t := range a.Types {
			if t < AckGap || t > last {
				return fmt.Errorf("%w: there is no acknowledgement of type %d here", ErrBadAck, t)
			}
		}
		end = a.End
	}
	return nil
}

// resolve works out what a member's acknowledgements change. All of them are good,
// or none counts. Records below the start are finished already, and are left out.
func (p *partition) resolve(c Config, member string, acks []Ack, now int64) ([]change, error) {
	var changes []change
	for _, a := range acks {
		if a.End > p.end {
			return nil, fmt.Errorf("%w: offset %d was never acquired", ErrBadAck, max(a.First, p.end))
		}
		for _, x := range p.within(max(a.First, p.start), a.End) {
			if x.state != acquired || x.member != member {
				return nil, fmt.Errorf("%w: offset %d", ErrRecordState, x.first)
			}
			changes = a.apply(c, x, now, changes)
		}
	}
	return changes, nil
}

// apply appends what an acknowledgement makes of a run within its range.
func (a Ack) apply(c Config, x run, now int64, changes []change) []change {
	if len(a.Types) == 1 {
		return append(changes, c.after(a.Types[0], x, now))
	}
	for first := x.first; first < x.end; {
		t, end := a.Types[first-a.First], first+1
		for end < x.end && a.Types[end-a.First] == t {
			end++
		}
		changes = append(changes, c.after(t, run{first, end, x.fate}, now))
		first = end
	}
	return changes
}

// after is what becomes of acquired records that were acknowledged.
func (c Config) after(ack int8, x run, now int64) change {
	switch ack {
	case AckRelease:
		return c.released(x, now)
	case AckReject:
		return c.givenUp(x, rejected)
	case AckRenew:
		x.at = now + c.LockDuration.Milliseconds()
		return change{run: x}
	case AckAccept:
		return change{run{x.first, x.end, fate{state: done}}, accepted}
	}
	return change{run: run{x.first, x.end, fate{state: done}}}
}

// released is what becomes of records with which a member failed: it said so, or
// its lock ended.
func (c Config) released(x run, now int64) change {
	next := fate{count: x.count}
	switch d := c.retryDelay(x.count); {
	case x.count >= c.DeliveryLimit:
		return c.givenUp(x, exhausted)
	case d > 0:
		next.state, next.at = waiting, now+d.Milliseconds()
	}
	return change{run: run{x.first, x.end, next}}
}

// givenUp is what becomes of records that nobody will be given again.
func (c Config) givenUp(x run, why state) change {
	next := fate{state: done}
	if c.DeadLetters != "" {
		next = fate{state: why, count: x.count}
	}
	return change{run{x.first, x.end, next}, archived}
}

// timedOut lists what becomes of the records whose lock has ended.
func (p *partition) timedOut(c Config, now int64) []change {
	var changes []change
	for _, x := range p.all(func(f fate) bool { return f.state == acquired && f.at <= now }) {
		changes = append(changes, c.released(x, now))
	}
	return changes
}

// left lists what becomes of the records a member held that is gone. Clients fetch
// ahead of what they hand to the application, so that most of these were given to
// nobody: the delivery is taken back, as Kafka does. Were it counted, members that
// come and go would exhaust records that nobody has seen.
func (p *partition) left(member string) []change {
	var changes []change
	for _, x := range p.all(func(f fate) bool { return f.state == acquired && f.member == member }) {
		changes = append(changes, change{run: run{x.first, x.end, fate{count: x.count - 1}}})
	}
	return changes
}
