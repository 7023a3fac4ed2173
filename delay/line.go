package delay

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"sort"
	"sync"
	"time"
)

const (
	// minWindow is how many records the first window of a burst holds, so that its delivery begins
	// at once; each following one may be four times as large, up to maxWindow, so that what lies
	// together is read together.
	minWindow = 1 << 10
	maxWindow = 256 << 10
	// windowBytes is about how much a window may hold; and how much may be on its way to the disk.
	windowBytes = 32 << 20
	// maxUncommitted is how many appends may be on their way to the disk.
	maxUncommitted = 32
	// lease is how long a turn may last before another partition gets one too; if maxLoans have
	// large windows that way already, only one that has lasted for stuckAfter. It bounds the memory
	// of many partitions that share little of a processor.
	lease      = 100 * time.Millisecond
	maxLoans   = 2
	stuckAfter = 5 * time.Second
)

// appended is a delivery that may not be committed yet.
type appended struct {
	end   int64
	bytes int
}

// run delivers until nothing is due, or everything that is has to rest.
func (l *Line) run(ctx context.Context) {
	window := minWindow
	for ctx.Err() == nil {
		more, err := l.turn(ctx, window)
		if err == nil {
			err = l.await(ctx)
		}
		if err != nil {
			if ctx.Err() == nil {
				l.fail(&l.stop, err)
			}
			return
		}
		l.resumed(&l.stop)
		if !more {
			return
		}
		if l.warmed == 0 {
			window = min(4*window, maxWindow)
		}
	}
}

// await holds the line back while too much of what it appended is not committed.
func (l *Line) await(ctx context.Context) error {
	committed := l.schedule.committed()
	bytes := 0
	l.appended = slices.DeleteFunc(l.appended, func(a appended) bool { return a.end <= committed })
	for _, a := range l.appended {
		bytes += a.bytes
	}
	for len(l.appended) > 0 && (len(l.appended) > maxUncommitted || bytes > windowBytes) {
		oldest := l.appended[0]
		if err := l.target.Wait(ctx, oldest.end); err != nil {
			return err
		}
		bytes -= oldest.bytes
		l.appended = l.appended[1:]
	}
	return nil
}

// turn delivers one window, when it is this line's turn.
func (l *Line) turn(ctx context.Context, window int) (more bool, err error) {
	turns := l.d.express
	if window > minWindow {
		turns = l.d.bulk
	}
	var w *workspace
	select {
	case w = <-turns:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	loan := l.d.lend(turns)
	more, err = l.deliver(ctx, w, window)
	l.d.metrics.turns.Observe(time.Since(loan.began).Seconds())
	loan.end(w)
	return more, err
}

// loan gives another line a turn if one lasts too long.
type loan struct {
	d     *Dispatcher
	turns chan *workspace
	began time.Time

	mu    sync.Mutex
	timer *time.Timer
	given bool // guarded by mu
	ended bool // guarded by mu
}

func (d *Dispatcher) lend(turns chan *workspace) *loan {
	x := &loan{d: d, turns: turns, began: time.Now()}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.timer = time.AfterFunc(lease, x.expire)
	return x
}

func (x *loan) expire() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended {
		return
	}
	if x.turns == x.d.bulk {
		if x.d.loans.Load() >= maxLoans && time.Since(x.began) < stuckAfter {
			x.timer.Reset(lease)
			return
		}
		x.d.loans.Add(1)
	}
	x.given = true
	x.turns <- new(workspace)
}

// end gives the turn back, unless somebody has another one in its place.
func (x *loan) end(w *workspace) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.ended = true
	x.timer.Stop()
	switch {
	case !x.given:
		x.turns <- w
	case x.turns == x.d.bulk:
		x.d.loans.Add(-1)
	}
}

// deliver takes a window of due records and appends what it can of it. What it cannot is due as before.
func (l *Line) deliver(ctx context.Context, w *workspace, window int) (more bool, err error) {
	at := l.d.c.Now()
	now := at.UnixMilli()
	version := l.read(ctx, at, window)
	near := l.near.rest(at) <= 0
	f, more, err := l.schedule.take(now, window, windowBytes, l.ready(), version, near)
	if errors.Is(err, errRunsChanged) {
		return true, nil
	}
	defer l.schedule.settle(l.readers)
	if f == nil {
		if near {
			more = l.warm(ctx, w, now) || more
		}
		return more, nil
	}
	l.warmed = 0
	defer w.forget()
	reading, cancel := context.WithTimeout(ctx, patience) // the log may lie anywhere, too
	missing := w.gather(reading, l.target, &l.shelf, f, now)
	cancel()
	err = l.append(ctx, w, f)
	l.schedule.giveBack(f)
	if f.returned {
		l.schedule.rewind(l.readers)
	}
	switch {
	case ctx.Err() != nil:
	case missing != nil && l.schedule.installed() != version: // it may lie in a run by now
	case missing != nil:
		l.fail(&l.near, missing)
	case near:
		l.resumed(&l.near)
	}
	return more && ctx.Err() == nil, ignoreEarly(err)
}

// ignoreEarly: if the clock went back, what is left is due another time.
func ignoreEarly(err error) error {
	if errors.Is(err, ErrEarly) {
		return nil
	}
	return err
}

// read brings the readers up to the present runs and lets them read what will be due soon, a window
// together. A run that cannot be read, or not in time, is left out; the others go on.
func (l *Line) read(ctx context.Context, now time.Time, window int) (version int) {
	until := now.Add(horizon).UnixMilli()
	readers, version := l.schedule.readers(l.readers, until)
	l.d.mu.Lock()
	l.readers = readers
	l.d.mu.Unlock()
	window, maxBytes := max(minWindow, window/max(1, len(readers))), windowBytes/max(1, len(readers))
	for _, d := range l.readers {
		if d.stop.rest(now) > 0 {
			continue
		}
		reading, cancel := context.WithTimeout(ctx, patience)
		err := d.fill(reading, until, window, maxBytes)
		cancel()
		switch {
		case err == nil:
			l.resumed(&d.stop)
		case ctx.Err() == nil && l.schedule.installed() == version: // else the run may be no more
			l.fail(&d.stop, err)
		}
	}
	return version
}

// ready are the readers that need not rest.
func (l *Line) ready() []*reader {
	if !slices.ContainsFunc(l.readers, func(d *reader) bool { return d.stop.err != nil }) {
		return l.readers
	}
	return slices.DeleteFunc(slices.Clone(l.readers), func(d *reader) bool { return d.stop.err != nil })
}

// append delivers a flight, batch by batch, up to what is missing.
func (l *Line) append(ctx context.Context, w *workspace, f *flight) error {
	d := Delivery{flight: f}
	d.changes = l.schedule.remaining(f, w.gone)
	for i := 0; i < len(f.Entries); {
		next, err := w.build(&d, i, l.d.now())
		if err != nil {
			return err
		}
		if len(d.Batches) == 0 {
			return nil
		}
		end, err := l.target.Deliver(ctx, &d)
		if errors.Is(err, ErrChanged) {
			d.changes = l.schedule.remaining(f, w.gone)
			continue
		}
		if err != nil {
			return err
		}
		l.lateness.observe(f.Entries[d.first:d.next], w.gone[d.first:d.next], l.d.now())
		l.appended = append(l.appended, appended{end, len(d.Batches[0])})
		i = next
	}
	return nil
}

// fail lets the line, or one of its sources, rest, and says so once in an outage.
func (l *Line) fail(s *stop, err error) {
	l.d.metrics.failures.Inc()
	l.d.mu.Lock()
	now := l.d.c.Now()
	s.fail(err, now)
	news := s.news(now)
	l.d.mu.Unlock()
	if news {
		l.log.Error("delayed records cannot be delivered; trying again until they can", "err", err)
	}
}

// resumed notes that the line, or one of its sources, goes on.
func (l *Line) resumed(s *stop) {
	if s.err == nil {
		return
	}
	l.d.mu.Lock()
	told := s.resume(l.d.c.Now())
	l.d.mu.Unlock()
	if told {
		l.log.Info("delivering delayed records again")
	}
}

const (
	// warmAhead is how long before something is due, after nothing was, its batch is read for the first time.
	warmAhead = time.Second
	// warmRecords is how many records are looked for then: the first windows of a burst.
	warmRecords = 4 * minWindow
	// warmBatches is how many batches are read in a turn.
	warmBatches = 8
	// warmShare is the part of the cache that may be filled with what is due after those.
	warmShare = 4
)

// warm keeps of large batches what will be due next, so that a burst does not begin with reading
// all of them at once. What cannot be read is left to the delivery to complain about. It reports
// whether another turn is needed.
func (l *Line) warm(ctx context.Context, w *workspace, now int64) (more bool) {
	entries := l.schedule.upcoming(now+2*warmAhead.Milliseconds(), warmRecords)
	from := l.warmed
	l.warmed = 0
	if len(entries) == 0 {
		return false
	}
	first, most := entries[0].Due, l.warmReach(entries)
	slices.SortFunc(entries, func(e, f Entry) int { return cmp.Compare(e.Ticket, f.Ticket) })
	for read := 0; len(entries) > 0 && ctx.Err() == nil; {
		ticket := entries[0].Ticket
		if d := l.shelf.find(ticket); ticket < from || d != nil && d.record(ticket) != nil {
			entries = entries[1:]
			continue
		}
		if read++; read > warmBatches {
			l.warmed = ticket
			return true
		}
		b, err := l.target.BatchAt(ctx, ticket, w.batch)
		if err != nil {
			return false
		}
		w.batch = b[:0]
		n := sort.Search(len(entries), func(i int) bool { return entries[i].Ticket >= b.EndOffset() })
		if len(b) >= minCached && b.Hidden() {
			d, err := soon(b, n, func(i int) int64 { return entries[i].Ticket }, now, l.shelf.cache.horizon(first, most))
			if err != nil {
				return false
			}
			l.shelf.add(d)
		}
		entries = entries[n:]
	}
	return false
}

// warmReach is for how many milliseconds, from the first of what is due next on, more is kept than
// that: until it would take too much of the cache, if it comes on as dense as it begins.
func (l *Line) warmReach(entries []Entry) int64 {
	bytes := int64(1)
	for i := range entries {
		bytes += int64(entries[i].Size)
	}
	span := 1 + entries[len(entries)-1].Due - entries[0].Due
	return span * int64(l.shelf.cache.maxBytes/warmShare) / bytes
}

// next is when the line has to be looked at again, in milliseconds since the epoch.
func (l *Line) next() int64 {
	near, runs := l.schedule.nextDues()
	now := l.d.c.Now()
	next := min(resting(warmAt(near, now.UnixMilli()), &l.near, now), runs)
	for _, d := range l.readers {
		if d.stop.err != nil {
			next = min(next, resting(now.UnixMilli(), &d.stop, now))
		}
	}
	return resting(next, &l.stop, now)
}

// warmAt is when to look for what is due next; math.MaxInt64, if that is nothing, stays.
func warmAt(due, now int64) int64 {
	if ahead := warmAhead.Milliseconds(); now+2*ahead < due && due < math.MaxInt64 {
		return due - ahead
	}
	return due
}

// resting puts a due time off until a stop is over.
func resting(due int64, s *stop, now time.Time) int64 {
	if s.err == nil {
		return due
	}
	return max(due, now.Add(s.rest(now)).UnixMilli()+1)
}
