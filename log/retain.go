package log

import (
	"time"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/segment"
)

// Floor is how far deletion may go, whatever the configuration allows.
type Floor struct {
	// Gate is an offset the log start may not pass: what is above is still needed. Local copies of what
	// is confirmed in the tier may go all the same.
	Gate int64
	// Tiered says that old segments are in the tier, and local retention applies to those below Confirmed.
	Tiered    bool
	Confirmed int64
	// Remote is the latest record or receive time, ms, of what lies in the tier below the local
	// start: before that has expired, nothing behind it does because of its age. math.MaxInt64: it
	// is not known.
	Remote int64
}

// Retain removes the segments that retention, DeleteRecords or, in a tiered log, local retention
// have released, and returns how many those were. The log start, the reported start and the delete
// bound are durable before any file goes. The active segment is closed first if all of it has
// expired. Appends go on.
func (l *Log) Retain(now time.Time, f Floor) (removed int, err error) {
	if err := l.Failure(); err != nil {
		return 0, err
	}
	if l.planRetention(now, f).rollFirst {
		if err := l.Roll(); err != nil {
			return 0, err
		}
	}
	l.cutMu.Lock()
	defer l.cutMu.Unlock()
	gone, err := l.expire(now, f)
	if err != nil {
		return 0, err
	}
	for _, s := range gone {
		if err := s.Remove(); err != nil {
			return removed, l.wrap("remove segment of", err)
		}
		removed++
	}
	if removed > 0 {
		if err := l.removeSnapshots(0, l.Offsets().LocalStart); err != nil {
			return removed, l.wrap("remove snapshots of", err)
		}
	}
	return removed, nil
}

// expire takes the segments out of the log that retention has released, durably, under cutMu.
func (l *Log) expire(now time.Time, f Floor) (gone []*segment.Segment, err error) {
	p := l.planRetention(now, f)
	l.mu.Lock()
	segments, deleteBound := l.segments, max(l.deleteBound, deleteBoundOf(f))
	moved := p.gone > 0 || deleteBound != l.deleteBound
	l.mu.Unlock()
	if !moved {
		return nil, nil
	}
	if p.gone > 0 {
		if err := l.keepProducers(segments, p.gone); err != nil {
			return nil, err
		}
	}
	gone = segments[:p.gone]
	return gone, l.moveFacts(func(f *facts) {
		f.deleteBound = deleteBound
		f.localStart = segments[p.gone].Base()
		f.passed(gone)
		f.start = max(f.start, p.start)
		f.reportedStart = max(f.reportedStart, p.reported)
	}, gone)
}

// keepProducers makes the snapshot durable that is taken where the log will begin. Until then snapshots are a
// cache; this one will be all that is left of producers whose last batches go.
func (l *Log) keepProducers(segments []*segment.Segment, removed int) error {
	start := segments[removed].Base()
	state, err := l.replay(segments, start, start, l.set.now().UnixMilli(), nil)
	if err != nil || state.Empty() {
		return err
	}
	err = l.set.writeVital(l.snapshotName(start), state.Encode())
	if err != nil && !vfs.IsFull(err) {
		return l.fail(err)
	}
	return err
}

func deleteBoundOf(f Floor) int64 {
	if f.Tiered {
		return f.Confirmed
	}
	return -1
}

// plan is what retention decided.
type plan struct {
	gone      int   // so many segments go, from the first one on
	start     int64 // new log start
	reported  int64 // new reported log start
	rollFirst bool  // the active segment has expired too
}

// planRetention decides what may go.
func (l *Log) planRetention(now time.Time, f Floor) plan {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.planRetentionLocked(now, f)
}

func (l *Log) planRetentionLocked(now time.Time, f Floor) plan {
	in := retention{cfg: l.config.Load(), now: now.UnixMilli(), floor: f, hw: l.hw, start: l.start, reported: l.reportedStart, deleteBound: l.deleteBound}
	_, in.stable = l.lastStableLocked(Offsets{HighWatermark: l.hw})
	for _, s := range l.segments {
		in.segments = append(in.segments, s.Info())
	}
	return in.plan()
}

// retention is what the decision is made of.
type retention struct {
	cfg         *Config
	now         int64 // ms
	floor       Floor
	hw, stable  int64
	start       int64
	reported    int64
	deleteBound int64
	segments    []segment.Info
}

// plan decides which segments go. It is a pure function.
//
// Invariant: a segment expires after all before it, for the log start moves over those. Timestamps
// need not ascend: old records may be imported behind young ones that are in the tier only.
//
// Invariant: a segment is evicted once the tier goes on where the next one begins. A hole between
// the two is recorded there with what follows it, and this log knows of it until then.
func (r *retention) plan() plan {
	p := plan{start: r.start, reported: r.reported}
	size := int64(0)
	for _, s := range r.segments {
		size += s.Size
	}
	localMs, localBytes := r.cfg.local()
	first := r.start >= min(r.segments[0].Base, r.deleteBound) || r.old(r.floor.Remote) // nothing before has to stay
	for i := range r.segments {
		s := &r.segments[i]
		active := i == len(r.segments)-1
		if active && s.Size == 0 || !r.decided(s) {
			return p
		}
		drop := s.End <= r.floor.Gate && r.expired(s, first, size)
		evict := !active && r.floor.Tiered && r.segments[i+1].Base <= r.floor.Confirmed && (s.OlderThan(localMs, r.now) || over(size, s.Size, localBytes))
		if !drop && !evict {
			return p
		}
		if active {
			p.rollFirst = true
			return p
		}
		p.gone++
		size -= s.Size
		if first = drop; drop {
			p.start = r.segments[i+1].Base // there may be a hole before it
			p.reported = max(p.reported, s.LastVisible)
		}
	}
	return p
}

// expired reports whether nobody is to read a segment any more, of a log of size bytes from there
// on. If it is too large, or was deleted, so is what lies before; its age says nothing about that.
func (r *retention) expired(s *segment.Info, first bool, size int64) bool {
	switch {
	case s.End <= r.reported, r.cfg.Delete && over(size, s.Size, r.cfg.RetentionBytes):
		return true
	case !first:
		return false
	}
	return s.Size == 0 || r.cfg.Delete && s.OlderThan(r.cfg.RetentionMs, r.now)
}

// old reports whether records of a time, ms, have expired by their age.
func (r *retention) old(time int64) bool {
	return r.cfg.Delete && r.cfg.RetentionMs >= 0 && r.now-time > r.cfg.RetentionMs
}

// decided reports whether nothing in a segment is still undecided: it is committed, and it holds no
// delayed record of an open transaction.
func (r *retention) decided(s *segment.Info) bool {
	return s.End <= r.hw && (s.HiddenBytes == 0 || s.End <= r.stable)
}

// over reports whether a log of size bytes is still large enough without a segment.
func over(size, segment, bound int64) bool {
	return bound >= 0 && size-segment >= bound
}

// DeleteRecords moves the reported log start up to offset, or with -1 to the visible end, durably,
// and returns it; with an error it has not moved. Bytes go in a later Retain, when the gate allows.
//
// What lies below is durable before: a log that a power loss has left shorter than its start would
// hide what is appended next.
func (l *Log) DeleteRecords(offset int64) (reportedStart int64, err error) {
	o := l.Offsets()
	if offset == -1 {
		offset = o.VisibleEnd
	}
	if offset >= 0 && offset <= o.VisibleEnd {
		if err := l.Flush(offset); err != nil {
			return o.LogStart, err
		}
	}
	l.cutMu.Lock() // the offset may not be cut off meanwhile
	defer l.cutMu.Unlock()
	o = l.Offsets()
	if offset < 0 || offset > o.VisibleEnd {
		return o.LogStart, &OutOfRangeError{Offset: offset, Start: o.LogStart, End: o.VisibleEnd}
	}
	err = l.moveFacts(func(f *facts) { f.reportedStart = max(f.reportedStart, offset) }, nil)
	return l.Offsets().LogStart, err
}

// AdvanceStart moves the log start and the reported start up, durably: for a tier, before it
// removes remote segments. Neither goes back, nor above what is local and visible; with an error
// they have not moved.
func (l *Log) AdvanceStart(start, reported int64) error {
	l.cutMu.Lock()
	defer l.cutMu.Unlock()
	o := l.Offsets()
	return l.moveFacts(func(f *facts) {
		f.start = max(f.start, min(start, o.LocalStart))
		f.reportedStart = max(f.reportedStart, min(reported, o.VisibleEnd))
	}, nil)
}
