package tier

import (
	"sort"
	"sync"
	"time"
)

// Lag is what is not yet confirmed in the bucket, and is to be: the zero Lag where copying is
// switched off.
type Lag struct {
	Segments int       // closed ones
	Bytes    int64     // of them
	Since    time.Time // when the oldest of them was first seen waiting; zero if there is none
	// AtRisk is since when there have been records that would be lost with the disk, closed or not;
	// zero if there are none.
	AtRisk time.Time
}

// Lag measures the partition.
func (p *Partition) Lag() (Lag, error) {
	var l Lag
	if !p.config().Copy {
		return l, nil
	}
	end, from := NoOffset, p.copiedEnd()
	err := p.eachClosed(from, func(s LocalSegment) {
		if l.Segments == 0 {
			end = s.End
		}
		l.Segments++
		l.Bytes += s.Size
	})
	if err != nil {
		return Lag{}, err
	}
	if l.Segments > 0 {
		if err := p.lookAtWaiting(); err != nil {
			return Lag{}, err
		}
		l.Since = p.waiting.since(end, p.tier.now())
	}
	l.AtRisk = p.source.Since(from)
	return l, nil
}

// copiedEnd is the offset from which on the log is not in the bucket.
func (p *Partition) copiedEnd() int64 {
	end := p.source.Offsets().Start
	if m := p.view.Load().manifest; m != nil {
		end = max(end, m.End)
	}
	return end
}

// eachClosed visits the closed local segments that end above an offset.
func (p *Partition) eachClosed(from int64, visit func(LocalSegment)) error {
	for {
		closed, err := p.source.Closed(from)
		if err != nil || len(closed) == 0 {
			return err
		}
		for _, s := range closed {
			visit(s)
		}
		from = closed[len(closed)-1].End
	}
}

// lookAtWaiting notes what has been closed since it was called last. It costs as much as that is,
// however much waits.
func (p *Partition) lookAtWaiting() error {
	end := p.waiting.end()
	if err := p.eachClosed(max(end, p.copiedEnd()), func(s LocalSegment) { end = s.End }); err != nil {
		return err
	}
	p.waiting.note(end, p.copiedEnd(), p.source.Offsets().End, p.tier.now())
	return nil
}

// waiting remembers since when closed segments have waited for the bucket.
type waiting struct {
	mu sync.Mutex
	// seen are the times at which something more was found closed, and up to where, both ascending.
	// Guarded by mu.
	seen []closedAt
}

type closedAt struct {
	end int64
	at  time.Time
}

// end is up to where segments are known to be closed.
func (w *waiting) end() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.seen); n > 0 {
		return w.seen[n-1].end
	}
	return NoOffset
}

// note says that segments are closed up to end, that what lies below copied does not wait any more,
// and where the log ends: it may have been truncated.
func (w *waiting) note(end, copied, logEnd int64, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for n := len(w.seen); n > 0 && w.seen[n-1].end > logEnd; n-- {
		w.seen = w.seen[:n-1]
	}
	w.seen = w.seen[w.firstLocked(copied+1):]
	if n := len(w.seen); end > copied && end <= logEnd && (n == 0 || w.seen[n-1].end < end) {
		w.seen = append(w.seen, closedAt{end, now})
	}
}

// firstLocked is the index of the look that first found what ends at end.
func (w *waiting) firstLocked(end int64) int {
	return sort.Search(len(w.seen), func(i int) bool { return w.seen[i].end >= end })
}

// since is when the segment that ends at end was first seen closed; now if that is not known.
func (w *waiting) since(end int64, now time.Time) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	if i := w.firstLocked(end); i < len(w.seen) {
		return w.seen[i].at
	}
	return now
}

const (
	// maxForecast is what is looked ahead: a disk that lasts longer is no worry.
	maxForecast = 365 * 24 * time.Hour
	// minForecast is the least time over which a pace is measured: a segment that has just closed
	// was not written in that moment.
	minForecast = time.Minute
)

// DiskFull estimates when the disk is full if the bucket stays away: at the pace at which what waits
// for it has grown. ok is false if nothing is waiting, or if the disk lasts for a year.
func (t *Tier) DiskFull() (in time.Duration, ok bool) {
	var all Lag
	for _, p := range t.all() {
		if l, err := p.Lag(); err == nil {
			all.add(l)
		}
	}
	return t.diskFull(all)
}

// diskFull is DiskFull, given what waits.
func (t *Tier) diskFull(l Lag) (in time.Duration, ok bool) {
	u, err := t.fs.Usage(t.dir)
	if err != nil {
		return 0, false
	}
	if l.Bytes == 0 {
		return 0, false
	}
	waited := max(t.now().Sub(l.Since), minForecast)
	f := float64(u.Free) / float64(l.Bytes) * float64(waited)
	if f >= float64(maxForecast) {
		return 0, false
	}
	return time.Duration(f), true
}

// add adds what is not confirmed of another partition.
func (l *Lag) add(other Lag) {
	l.Segments += other.Segments
	l.Bytes += other.Bytes
	l.Since, l.AtRisk = earlier(l.Since, other.Since), earlier(l.AtRisk, other.AtRisk)
}
