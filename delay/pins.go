package delay

import (
	"math"
	"sort"
)

// pinSpan is how many records share a counter of pins.
const pinSpan = 4096

// pins counts pending records by ranges of tickets, to know a floor below which none is pending. Tickets
// are added in ascending order, except when a truncation brings one back.
type pins struct {
	spans []span
	// end is above every ticket that ever came here. What comes below it comes again, after a truncation.
	end int64
}

type span struct {
	// from is the first ticket of the span; the next span's from ends it.
	from int64
	// added is how many tickets ever came here, or more, live how many are pending.
	added, live int32
}

func (p *pins) add(ticket int64) {
	i := p.find(ticket)
	last := len(p.spans) - 1
	again := ticket < p.end
	p.end = max(p.end, ticket+1)
	switch {
	case i < 0:
		first := span{from: ticket}
		if again { // others above it were here and are forgotten: the span is never whole
			first.added = 1
		}
		p.spans = append([]span{first}, p.spans...)
		i = 0
	case i == last && p.spans[i].added >= pinSpan && !again:
		p.spans = append(p.spans, span{from: ticket})
		i++
	}
	p.spans[i].added++
	p.spans[i].live++
}

func (p *pins) remove(ticket int64) {
	i := p.find(ticket)
	if i < 0 {
		return
	}
	p.spans[i].live--
	if i == 0 {
		for len(p.spans) > 0 && p.spans[0].live == 0 {
			p.spans = p.spans[1:]
		}
	}
}

// forgetBelow drops the spans that lie below a ticket as a whole. Those from the returned ticket on
// have to be removed one by one.
func (p *pins) forgetBelow(ticket int64) (partial int64) {
	i := p.find(ticket)
	if i < 0 {
		return math.MaxInt64
	}
	p.spans = p.spans[i:]
	return p.spans[0].from
}

// oldest returns a ticket below which n pending records lie, or a few more.
func (p *pins) oldest(n int64) int64 {
	for i, s := range p.spans {
		if n <= 0 {
			return p.spans[i].from
		}
		n -= int64(s.live)
	}
	return math.MaxInt64
}

// find returns the span that a ticket belongs to, or -1.
func (p *pins) find(ticket int64) int {
	if last := len(p.spans) - 1; last >= 0 && p.spans[last].from <= ticket {
		return last
	}
	return sort.Search(len(p.spans), func(i int) bool { return p.spans[i].from > ticket }) - 1
}

// whole reports whether everything that came here is pending between a ticket and the returned end:
// then a ticket from there need not be looked up. The end is above the ticket.
func (p *pins) whole(ticket int64) (end int64, whole bool) {
	i := p.find(ticket)
	end = math.MaxInt64
	if i+1 < len(p.spans) {
		end = p.spans[i+1].from
	}
	return end, i >= 0 && p.spans[i].live == p.spans[i].added
}

// floor returns a lower bound of the pending tickets, math.MaxInt64 if there are none.
func (p *pins) floor() int64 {
	if len(p.spans) == 0 {
		return math.MaxInt64
	}
	return p.spans[0].from
}
