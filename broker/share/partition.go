package share

import (
	"errors"
	"math"
)

// partition is one partition as one group sees it: which records are whose, and
// how often they were delivered. What of it survives is in the journal: every
// fate but acquired, which a restart takes for available.
type partition struct {
	runs
	totals Totals
}

// Totals counts what has become of records since the shard was loaded.
type Totals struct {
	Delivered   int64 // acquired, redeliveries included
	Redelivered int64 // acquired again
	Accepted    int64
	Archived    int64 // given up: rejected, or delivered too often
	Buried      int64 // given up and written to the dead-letter topic
	TimedOut    int64 // locks that ended by themselves
}

// Add adds another's counts.
func (t *Totals) Add(o Totals) {
	t.Delivered += o.Delivered
	t.Redelivered += o.Redelivered
	t.Accepted += o.Accepted
	t.Archived += o.Archived
	t.Buried += o.Buried
	t.TimedOut += o.TimedOut
}

func (t *Totals) count(c change) {
	n := c.end - c.first
	switch c.outcome {
	case accepted:
		t.Accepted += n
	case archived:
		t.Archived += n
	case buried:
		t.Buried += n
	}
}

// Errors of acknowledgements.
var (
	// ErrRecordState means that a record is not acquired by the member that
	// acknowledges it, or not any more.
	ErrRecordState = errors.New("record is not acquired by this member")
	// ErrBadAck means that acknowledgements make no sense by themselves.
	ErrBadAck = errors.New("invalid acknowledgement")
)

func (p *partition) open(f fate, now int64) bool {
	return f.state == available || f.state == waiting && f.at <= now
}

// room is how many records beyond the end may be acquired.
func (p *partition) room(c Config) int64 {
	held := p.live() - p.count[waiting]
	return max(min(c.MaxLocks-held, retriesPerLock*c.MaxLocks-p.live()), 0)
}

// next finds what a member could acquire: records from an offset up to another,
// which is math.MaxInt64 for those nobody has acquired yet.
func (p *partition) next(c Config, now int64) (from, until int64, ok bool) {
	for i, x := range p.list {
		if !p.open(x.fate, now) {
			continue
		}
		for i++; i < len(p.list) && p.open(p.list[i].fate, now); i++ {
		}
		if until = p.list[i-1].end; until == p.end && p.room(c) > 0 {
			until = math.MaxInt64
		}
		return x.first, until, true
	}
	return p.end, math.MaxInt64, p.room(c) > 0
}

// ripen makes available what has waited long enough.
func (p *partition) ripen(now int64) {
	for _, x := range p.all(func(f fate) bool { return f.state == waiting && f.at <= now }) {
		p.set(x.first, x.end, fate{count: x.count})
	}
}

// Span is a range of offsets that one visible batch of the log holds.
type Span struct{ First, End int64 }

// Find is what was read from the log for a member.
type Find struct {
	Member   string
	From     int64  // where reading began
	Spans    []Span // of the batches found, in order
	To       int64  // where it ended: but for the batches, there is nothing to deliver in between
	LogStart int64
	// Max is how many records are wanted. Exactly makes it a limit; otherwise the
	// batch in which it is reached is acquired whole (KIP-1206).
	Max     int64
	Exactly bool
}

// Acquired are neighbouring records that a member has acquired, with the same
// number of deliveries, of one batch.
type Acquired struct {
	First, End int64
	Count      int16
}

// acquire gives a member what is available of what was found. Nothing of it is
// journaled: a broker that restarts has forgotten its locks, and the deliveries
// that were under way do not count.
func (p *partition) acquire(c Config, f Find, now int64) []Acquired {
	p.drop(f.LogStart)
	p.ripen(now)
	var got []Acquired
	lock, left, from := now+c.LockDuration.Milliseconds(), f.Max, max(f.From, p.start)
	for _, s := range f.Spans {
		if left <= 0 {
			return got
		}
		p.skip(from, s.First)
		limit := int64(math.MaxInt64)
		if f.Exactly {
			limit = left
		}
		for _, a := range p.offered(c, s, limit) {
			p.set(a.First, a.End, fate{acquired, a.Count, lock, f.Member})
			p.totals.Delivered += a.End - a.First
			if a.Count > 1 {
				p.totals.Redelivered += a.End - a.First
			}
			left -= a.End - a.First
			got = append(got, a)
		}
		if from = s.End; p.end < from {
			return got // no room for more
		}
	}
	if left > 0 {
		p.skip(from, f.To)
	}
	return got
}

// skip finishes offsets at which there is nothing to deliver.
func (p *partition) skip(first, end int64) {
	for _, x := range p.within(first, end) {
		if x.state == available {
			p.set(x.first, x.end, fate{state: done})
		}
	}
	p.set(max(first, p.end), end, fate{state: done})
}

// offered lists what of a batch may be acquired, at most limit records.
func (p *partition) offered(c Config, s Span, limit int64) []Acquired {
	var out []Acquired
	offer := func(first, end int64, count int16) {
		if n := min(end-first, limit); n > 0 {
			out = append(out, Acquired{first, first + n, count + 1})
			limit -= n
		}
	}
	for _, x := range p.within(s.First, s.End) {
		if x.state == available {
			offer(x.first, x.end, x.count)
		}
	}
	first := max(s.First, p.end)
	offer(first, min(s.End, first+p.room(c)), 0)
	return out
}

// deadline is when the next lock ends or the next record has waited long enough;
// 0 for never.
func (p *partition) deadline() int64 {
	at := int64(0)
	for _, x := range p.list {
		if (x.state == acquired || x.state == waiting) && (at == 0 || x.at < at) {
			at = x.at
		}
	}
	return at
}
