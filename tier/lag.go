package tier

import (
	"errors"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"
)

// Lag is what is not yet confirmed in the bucket.
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

// Alarm is something a person should look at.
type Alarm struct {
	Name    string // for machines: store_refused, store_failing, partition_stopped, damage
	Subject string // the bucket or the partition
	Text    string
}

// Alarms returns what is wrong now, in a stable order.
func (t *Tier) Alarms() []Alarm {
	a := t.admitted.Load()
	if !a.ok {
		if errors.Is(a.err, ErrNotAdmitted) {
			return nil // just started
		}
		return []Alarm{{Name: "store_refused", Subject: t.bucket.String(), Text: "nothing is uploaded: " + Advice(a.err)}}
	}
	var alarms []Alarm
	for _, p := range t.all() {
		if err := p.Err(); err != nil {
			name := "store_failing"
			if stopped(err) {
				name = "partition_stopped"
			}
			alarms = append(alarms, Alarm{Name: name, Subject: p.id.String(), Text: Advice(err)})
		}
		if s := p.scrubbed.Load(); s != nil && len(s.result.Damaged) > s.result.Repaired {
			alarms = append(alarms, Alarm{Name: "damage", Subject: p.id.String(), Text: s.result.Damaged[0].Err.Error()})
		}
	}
	slices.SortFunc(alarms, func(x, y Alarm) int {
		return strings.Compare(x.Name+" "+x.Subject, y.Name+" "+y.Subject)
	})
	return alarms
}

// stopped reports whether an error is one that does not pass by itself, though the store works.
func stopped(err error) bool { return stopKind(err) != nil }

// stopKind is in which way an error is one that does not pass by itself; nil: it may.
func stopKind(err error) error {
	for _, stop := range []error{ErrGap, ErrFenced, ErrDiverged, ErrRolledBack, ErrConflict, ErrCorrupt, ErrLost} {
		if errors.Is(err, stop) {
			return stop
		}
	}
	return nil
}

// Advice is an error, on one line, with what a person can do about it.
func Advice(err error) string {
	text := strings.ReplaceAll(err.Error(), "\n", "; ") // joined errors
	for _, a := range []struct {
		kind error
		help string
	}{
		{errCopied, "stop the one that is not to go on. If this one is to go on, stop it too, remove remote/claim in its data directory, and start it five minutes after the other was last seen; a copy that is to go on without the bucket is started with remote.log.storage.system.enable=false"},
		{ErrUnfit, "choose another store, or switch its checksum or conditional-write support on"},
		{ErrDenied, "check the credentials, their expiry, the bucket policy and this machine's clock; new credentials in a file or a role are found within half a minute, those in the environment after a restart"},
		{ErrConfig, "check bucket, region, endpoint and TLS certificates; what is put right in the store is found within half a minute, tier.url and certificates after a restart"},
		{ErrFull, "make room in the store or raise its quota"},
		{ErrThrottled, "the store is overloaded, or limits requests; if that lasts, lower remote.log.manager.copy.max.bytes.per.second or ask for more"},
		{ErrRolledBack, "somebody replaced or removed the manifest, or tier.url names another place than before; put it back, or tier.url, before anything else"},
		{ErrDiverged, "two brokers have run on copies of one data directory, or this one is an older copy; nothing more of the partition is uploaded or removed here. Stop this broker if another is to go on"},
		{ErrGap, "local data was removed before it was uploaded; deleting records up to what is left lets uploads go on behind the gap"},
		{ErrConflict, "somebody else writes under this cluster id"},
	} {
		if errors.Is(err, a.kind) {
			return text + " (" + a.help + ")"
		}
	}
	return text
}

const (
	maxForecast = 10 * 365 * 24 * time.Hour
	// minForecast is the least time over which a pace is measured: a segment that has just closed
	// was not written in that moment.
	minForecast = time.Minute
)

// DiskFull estimates when the disk is full if the bucket stays away: at the pace at which what waits
// for it has grown. ok is false if nothing is waiting.
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
	in = maxForecast
	if f := float64(u.Free) / float64(l.Bytes) * float64(waited); f < float64(maxForecast) {
		in = time.Duration(f)
	}
	return in, true
}

// add adds what is not confirmed of another partition.
func (l *Lag) add(other Lag) {
	l.Segments += other.Segments
	l.Bytes += other.Bytes
	l.Since, l.AtRisk = earlier(l.Since, other.Since), earlier(l.AtRisk, other.AtRisk)
}
