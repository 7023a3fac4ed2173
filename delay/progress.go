package delay

import "slices"

// progress is the memory that outlives the proofs: what of the runs is finished by the proofs below
// folded. Progress records are folded one after another, from the last complete one on.
type progress struct {
	// complete records hold all of the state, others only exceptions that are new.
	complete bool
	// folded is X: the offset in the partition's log up to which proofs are folded in. The log may
	// not lose what lies above it.
	folded int64
	// floor: what is pending below it is in the runs; the near index is made from the log from here on.
	floor int64
	// received is the latest receive time.
	received int64
	// logStart is the partition's reported log start.
	logStart int64
	// drops are ranges of the journal whose deletion was decided and perhaps not carried out.
	drops []Range
	runs  []runProgress
}

// runProgress is what is finished of a run. A run that a progress record does not name is no more.
type runProgress struct {
	from, to, trailer int64
	cursor            Entry
	live              int64
	exceptions        []Entry
}

func (p *progress) encode() []byte {
	var e encoder
	e.int(journalVersion)
	complete := int64(0)
	if p.complete {
		complete = 1
	}
	e.int(complete)
	e.int(p.folded)
	e.int(p.floor)
	e.int(p.received)
	e.int(p.logStart)
	e.int(int64(len(p.drops)))
	for _, d := range p.drops {
		e.int(d.From)
		e.int(d.To - d.From)
	}
	e.int(int64(len(p.runs)))
	for _, r := range p.runs {
		e.int(r.from)
		e.int(r.to - r.from)
		e.int(r.trailer - r.from)
		e.entry(r.cursor)
		e.int(r.live)
		e.int(int64(len(r.exceptions)))
		var last Entry
		for _, x := range r.exceptions {
			e.entry(Entry{Due: x.Due - last.Due, Ticket: x.Ticket - last.Ticket})
			last = x
		}
	}
	return e
}

func decodeProgress(b []byte) (*progress, error) {
	d := decoder{b: b}
	d.version()
	p := &progress{complete: d.int() == 1, folded: d.int(), floor: d.int(), received: d.int(), logStart: d.int()}
	for range d.count() {
		from := d.int()
		p.drops = append(p.drops, Range{from, from + d.int()})
	}
	for range d.count() {
		r := runProgress{from: d.int()}
		r.to, r.trailer, r.cursor, r.live = r.from+d.int(), r.from+d.int(), d.entry(), d.int()
		var last Entry
		for range d.count() {
			x := d.entry()
			last = Entry{Due: last.Due + x.Due, Ticket: last.Ticket + x.Ticket}
			r.exceptions = append(r.exceptions, last)
		}
		p.runs = append(p.runs, r)
	}
	return p, d.end()
}

// fold brings p up to the next progress record.
func (p *progress) fold(next *progress) {
	for i := range next.runs {
		r := &next.runs[i]
		j := slices.IndexFunc(p.runs, func(q runProgress) bool { return q.from == r.from })
		if j >= 0 && !next.complete {
			r.exceptions = append(p.runs[j].exceptions, r.exceptions...)
		}
	}
	complete := p.complete
	*p = *next
	p.complete = complete
}
