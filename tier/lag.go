package tier

import (
	"errors"
	"slices"
	"strings"
	"time"
)

// Lag is what is not yet confirmed in the bucket.
type Lag struct {
	Segments int       // closed ones
	Bytes    int64     // of them
	Since    time.Time // when the oldest of them was first seen waiting; zero if there is none
	// AtRisk is since when there have been records that would be lost with the disk, closed or not; zero if there are none.
	AtRisk time.Time
}

// Lag measures the partition.
func (p *Partition) Lag() (Lag, error) {
	closed, err := p.unconfirmed()
	if err != nil {
		return Lag{}, err
	}
	var l Lag
	for _, s := range closed {
		l.Segments++
		l.Bytes += s.Size
	}
	l.Since = p.waitingSince(closed)
	l.AtRisk = p.source.Since(p.copiedEnd())
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

// unconfirmed returns the closed segments that are not in the bucket.
func (p *Partition) unconfirmed() ([]LocalSegment, error) { return p.allClosed(p.copiedEnd()) }

// allClosed returns the closed local segments that end above an offset.
func (p *Partition) allClosed(from int64) ([]LocalSegment, error) {
	var all []LocalSegment
	for {
		closed, err := p.source.Closed(from)
		if err != nil || len(closed) == 0 {
			return all, err
		}
		all = append(all, closed...)
		from = closed[len(closed)-1].End
	}
}

// waitingSince notes which segments are waiting and returns since when the longest of them has been.
func (p *Partition) waitingSince(closed []LocalSegment) time.Time {
	p.lagMu.Lock()
	defer p.lagMu.Unlock()
	seen := make(map[int64]time.Time, len(closed))
	var oldest time.Time
	for _, s := range closed {
		since, ok := p.waiting[s.Base]
		if !ok {
			since = p.tier.now()
		}
		seen[s.Base] = since
		if oldest.IsZero() || since.Before(oldest) {
			oldest = since
		}
	}
	p.waiting = seen
	return oldest
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
		return []Alarm{{Name: "store_refused", Subject: t.bucket.String(), Text: "nothing is uploaded: " + advice(a.err)}}
	}
	var alarms []Alarm
	for _, p := range t.all() {
		if err := p.Err(); err != nil {
			name := "store_failing"
			if stopped(err) {
				name = "partition_stopped"
			}
			alarms = append(alarms, Alarm{Name: name, Subject: p.id.String(), Text: advice(err)})
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
func stopped(err error) bool {
	for _, stop := range []error{ErrGap, ErrFenced, ErrRolledBack, ErrConflict, ErrCorrupt, ErrLost} {
		if errors.Is(err, stop) {
			return true
		}
	}
	return false
}

// advice is an error with what a person can do about it.
func advice(err error) string {
	for _, a := range []struct {
		kind error
		text string
	}{
		{ErrUnfit, "choose another store, or switch its checksum or conditional-write support on"},
		{ErrDenied, "check the credentials, their expiry, the bucket policy and this machine's clock"},
		{ErrConfig, "check bucket, region, endpoint and TLS certificates"},
		{ErrFull, "make room in the store or raise its quota"},
		{ErrThrottled, "the store limits requests; lower remote.log.manager.copy.max.bytes.per.second or ask for more"},
		{ErrRolledBack, "somebody replaced or removed the manifest; restore it before anything else"},
		{ErrGap, "local data was removed before it was uploaded; deleting records up to what is left lets uploads go on behind the gap"},
		{ErrConflict, "somebody else writes under this cluster id"},
	} {
		if errors.Is(err, a.kind) {
			return err.Error() + " (" + a.text + ")"
		}
	}
	return err.Error()
}

const maxForecast = 10 * 365 * 24 * time.Hour

// DiskFull estimates when the disk is full if the bucket stays away: at the pace at which what waits
// for it has grown. ok is false if nothing is waiting.
func (t *Tier) DiskFull() (in time.Duration, ok bool) {
	u, err := t.fs.Usage(t.dir)
	if err != nil {
		return 0, false
	}
	var bytes int64
	var since time.Time
	for _, p := range t.all() {
		l, err := p.Lag()
		if err != nil || l.Segments == 0 {
			continue
		}
		bytes += l.Bytes
		since = earlier(since, l.Since)
	}
	waited := t.now().Sub(since)
	if bytes == 0 || waited <= 0 {
		return 0, false
	}
	in = maxForecast
	if f := float64(u.Free) / float64(bytes) * float64(waited); f < float64(maxForecast) {
		in = time.Duration(f)
	}
	return in, true
}
