package delay

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/morrowmq/morrow/log/record"
)

// Pending is one pending record, as a list shows it.
type Pending struct {
	Entry
	// Key is the name its producer gave it, "" without one.
	Key string
	// InFlight: it is being delivered right now. Run is the run it lies in, -1 for the partition's log.
	InFlight bool
	Run      int64
}

// Filter selects pending records.
type Filter struct {
	// From and Until bound the due time: From <= due < Until.
	From, Until int64
	// KeyPrefix, if not empty, selects records whose key begins with it.
	KeyPrefix string
}

// listEffort bounds how many entries of the near index, and of each run, one call of List looks at.
const listEffort = 16 << 10

// Page is a part of a list.
type Page struct {
	// Records in order of delivery.
	Records []Pending
	// Next is the position to go on from. Done tells that nothing is left; a page can be short, or
	// empty, without being the last.
	Next Entry
	Done bool
}

// List returns the pending records at or after a position that pass the filter, up to limit.
// Records that come and go between two pages may or may not be seen. It reads the runs; errors are
// the journal's.
func (s *Schedule) List(ctx context.Context, position Entry, f Filter, limit int) (p Page, err error) {
	err = s.steadily(func() error {
		p, err = s.list(ctx, position, f, limit)
		return err
	})
	return p, err
}

func (s *Schedule) list(ctx context.Context, position Entry, f Filter, limit int) (Page, error) {
	if position.Due < f.From {
		position = Entry{Due: f.From, Ticket: math.MinInt64}
	}
	p := s.listNear(position, f, limit)
	s.mu.Lock()
	list := slices.Clone(s.runs.list)
	s.mu.Unlock()
	for _, r := range list {
		q, err := s.listRun(ctx, r, position, f, limit)
		if err != nil {
			return Page{}, fmt.Errorf("list run %d: %w", r.from, err)
		}
		p = joinPages(p, q, limit)
	}
	return p, nil
}

// joinPages makes one page of two from different sources: both are known only up to the nearer of their ends.
func joinPages(p, q Page, limit int) Page {
	switch {
	case p.Done && q.Done:
	case p.Done || !q.Done && q.Next.Less(p.Next):
		p.Next, p.Done = q.Next, false
	}
	p.Records = append(p.Records, q.Records...)
	slices.SortFunc(p.Records, func(a, b Pending) int { return a.Entry.Compare(b.Entry) })
	if !p.Done {
		n, _ := slices.BinarySearchFunc(p.Records, p.Next, func(r Pending, e Entry) int { return r.Entry.Compare(e) })
		p.Records = p.Records[:n]
	}
	if len(p.Records) > limit {
		p.Next, p.Done = p.Records[limit].Entry, false
		p.Records = p.Records[:limit]
	}
	return p
}

// listNear lists what is in memory.
func (s *Schedule) listNear(position Entry, f Filter, limit int) Page {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := Page{Next: position, Done: true}
	effort := listEffort
	s.near.Ascend(position, func(e Entry) bool {
		if e.Due >= f.Until {
			return false
		}
		if len(p.Records) == limit || effort == 0 {
			p.Next, p.Done = e, false
			return false
		}
		effort--
		p.add(f, Pending{Entry: e, Key: s.names.of[e.Ticket], Run: -1})
		return true
	})
	flying := Page{Done: true}
	for _, fl := range s.flights {
		for i, e := range fl.Entries {
			if !fl.gone[i] && e.Ticket >= s.floor && !e.Less(position) && e.Due < f.Until {
				flying.add(f, Pending{Entry: e, Key: s.names.of[e.Ticket], InFlight: true, Run: -1})
			}
		}
	}
	return joinPages(p, flying, limit)
}

func (p *Page) add(f Filter, r Pending) {
	if strings.HasPrefix(r.Key, f.KeyPrefix) {
		p.Records = append(p.Records, r)
	}
}

// listRun lists what is in a run.
func (s *Schedule) listRun(ctx context.Context, r *run, position Entry, f Filter, limit int) (Page, error) {
	p := Page{Next: position, Done: true}
	if f.KeyPrefix != "" && len(r.keys) == 0 || r.last.Less(position) || r.first.Due >= f.Until {
		return p, nil
	}
	// A reader begins behind an entry; the position itself is to be listed.
	d := newReader(r, s.journal, Entry{Due: position.Due, Ticket: max(position.Ticket, math.MinInt64+1) - 1})
	for effort := listEffort; ; effort-- {
		if err := d.fill(ctx, f.Until, 1, 0); err != nil {
			return p, err
		}
		if len(d.queue) == 0 || d.queue[0].Due >= f.Until {
			return p, nil
		}
		it := d.queue[0]
		if len(p.Records) == limit || effort == 0 {
			p.Next, p.Done = it.Entry, false
			return p, nil
		}
		d.queue = d.queue[1:]
		if !s.Contains(it.Entry) {
			continue
		}
		if err := d.view.Load(it.raw, it.baseTimestamp); err != nil {
			return p, err
		}
		p.add(f, Pending{Entry: it.Entry, Key: keyOf(&d.view), Run: r.from, InFlight: s.inFlight(it.Entry)})
	}
}

// keyOf returns the key of a record in a run, "" if it has none.
func keyOf(v *record.View) string {
	for key, value := range v.Headers {
		if string(key) == HeaderKey {
			return string(value)
		}
	}
	return ""
}

func (s *Schedule) inFlight(e Entry) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.flights, func(f *flight) bool { return f.find(e) >= 0 })
}

// Timeline counts the pending records by when they are due: counts[i] are those with bounds[i] <=
// due < bounds[i+1]. Bounds ascend. What is in runs is counted to within a batch of each.
func (s *Schedule) Timeline(bounds []int64) (counts []int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts = make([]int64, max(0, len(bounds)-1))
	for i := range counts {
		counts[i] = int64(s.near.CountBetween(bounds[i]-1, bounds[i+1]-1))
		for _, r := range s.runs.list {
			counts[i] += r.overdue(bounds[i+1]-1) - r.overdue(bounds[i]-1)
		}
	}
	for _, f := range s.flights {
		for i, e := range f.Entries {
			j, exact := slices.BinarySearchFunc(bounds, e.Due, func(bound, due int64) int { return cmp.Compare(bound, due) })
			if !exact {
				j--
			}
			if !f.gone[i] && e.Ticket >= s.floor && 0 <= j && j < len(counts) {
				counts[j]++
			}
		}
	}
	return counts
}
