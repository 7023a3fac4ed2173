package log

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/compact"
	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/log/segment"
)

// ErrBusy means that a log cannot be cleaned just now: its segments have changed under the cleaner,
// or the log is being cleaned. It may be tried again.
var ErrBusy = errors.New("log cannot be cleaned at the moment")

// Compaction is what cleaning a log needs to know besides its configuration.
type Compaction struct {
	// Gate is an offset below which nothing is pending and no proof is needed: see [compact.Rules].
	Gate int64
	// MapBytes is how much memory the keys of the dirty part may take. If there are more, less is
	// cleaned at once.
	MapBytes int64
	// Pace waits until so many bytes may be read or written. May be nil.
	Pace func(ctx context.Context, bytes int) error
}

// Compacted is what cleaning a log has done.
type Compacted struct {
	compact.Result
	From, To int64         // what was cleaned
	Keys     int           // of it
	Took     time.Duration // by the wall clock
}

// CompactionPlan says what there is to be cleaned, with the gate as it is in [Compaction].
func (l *Log) CompactionPlan(now time.Time, gate int64) compact.Plan {
	cfg := l.config.Load()
	state, _ := l.compactionState(now)
	state.Gate = gate
	return compact.NewPlan(state, compact.Policy{MinLagMs: cfg.MinCompactionLagMs, MaxLagMs: cfg.MaxCompactionLagMs, MinDirtyRatio: cfg.MinCleanableDirtyRatio})
}

// Cleaned tells how far the log was cleaned, and when; the zero time if it never was.
func (l *Log) Cleaned() (end int64, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cleaned.at > 0 {
		at = time.UnixMilli(l.cleaned.at)
	}
	return l.cleaned.seen, at
}

// compactionState is what is known of the closed segments, and they themselves.
func (l *Log) compactionState(now time.Time) (compact.State, []*segment.Segment) {
	l.mu.Lock()
	_, stable := l.lastStableLocked(Offsets{HighWatermark: min(l.hw, l.durableEnd)})
	s := compact.State{Now: now.UnixMilli(), Clean: l.cleaned.clean, Seen: l.cleaned.seen, SeenGate: l.cleaned.gate, Stable: stable}
	closed := l.segments[:len(l.segments)-1]
	l.mu.Unlock()
	for _, seg := range closed {
		s.Segments = append(s.Segments, seg.Info())
	}
	return s, closed
}

// Compact cleans the log: of what lies in closed segments, is committed and older than
// min.compaction.lag.ms, it keeps the last record of each key, tombstones for delete.retention.ms,
// and what is needed otherwise (package compact). Offsets do not change. It does so whether it is
// due or not. One segment after the other is replaced; what was replaced when it ends with an error
// stays so.
//
// Errors: ErrBusy, ErrNoSpace and those of ctx may be tried again; a *CorruptError will come back.
// After an *OfflineError the log failed. Another error means that a segment could not be read.
func (l *Log) Compact(ctx context.Context, now time.Time, c Compaction) (Compacted, error) {
	if !l.compacting.CompareAndSwap(false, true) {
		return Compacted{}, ErrBusy
	}
	defer l.compacting.Store(false)
	if err := l.Failure(); err != nil {
		return Compacted{}, err
	}
	started := time.Now()
	plan := l.CompactionPlan(now, c.Gate)
	if plan.DirtyBytes == 0 {
		return Compacted{From: plan.From, To: plan.From}, nil
	}
	done, err := l.compact(ctx, now, plan, c)
	done.Took = time.Since(started)
	l.set.metrics.compacted(&done)
	switch {
	case err == nil:
		l.storeCleaned(cleaned{clean: done.Clean, seen: done.To, gate: c.Gate, at: now.UnixMilli()}, done.To == plan.To)
		return done, nil
	case l.Failure() != nil:
		return done, l.Failure()
	case errors.Is(err, ErrNoSpace):
	case vfs.IsFull(err):
		err = fmt.Errorf("%w: %w", ErrNoSpace, err)
	case errors.Is(err, errSuperseded), removed(err):
		err = fmt.Errorf("%w: %w", ErrBusy, err)
	}
	return done, l.wrap("clean", err)
}

func (l *Log) compact(ctx context.Context, now time.Time, plan compact.Plan, c Compaction) (done Compacted, err error) {
	done.From, done.To = plan.From, plan.To
	cfg := l.config.Load()
	_, closed := l.compactionState(now)
	job := compact.Job{Options: l.segmentOptions(), SegmentBytes: cfg.SegmentBytes, IndexBytes: cfg.SegmentIndexBytes}
	for _, s := range closed {
		if s.Base() < plan.To {
			job.Segments = append(job.Segments, s)
		}
	}
	job.Pace = func(bytes int) error {
		if err := ctx.Err(); err != nil || c.Pace == nil {
			return err
		}
		return c.Pace(ctx, bytes)
	}
	job.Fits = l.draftFits
	rules, err := l.rules(&job, plan, now, c, &done)
	if err != nil {
		return done, err
	}
	done.To, done.Keys = rules.End, rules.Keys.Len()
	if err := l.settleBelow(plan.To); err != nil {
		return done, err
	}
	l.mu.Lock()
	lineage := l.lineage
	l.mu.Unlock()
	job.Swap = func(draft *segment.Draft, old []*segment.Segment) error { return l.swap(lineage, draft, old) }
	read := done.Read
	done.Result, err = job.Rewrite(rules)
	done.Read += read
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil && l.lineage != lineage {
		err = fmt.Errorf("%w: %w", errSuperseded, err) // cut while it was read
	}
	return done, err
}

// rules reads the dirty part, and finds out what else decides about records. It notes in done from
// where on it has read, and how much.
func (l *Log) rules(job *compact.Job, plan compact.Plan, now time.Time, c Compaction, done *Compacted) (r compact.Rules, err error) {
	cfg := l.config.Load()
	r = compact.Rules{Now: now.UnixMilli(), DeleteRetentionMs: cfg.DeleteRetentionMs, Gate: c.Gate}
	last := job.Segments[len(job.Segments)-1]
	var txns Read
	l.mu.Lock()
	segments := l.segments
	l.mu.Unlock()
	if err = l.aborted(&txns, segments, job.Segments[0].Base(), last.End()); err != nil {
		return r, err
	}
	r.Aborted = txns.Aborted
	if err = l.fill(job, plan, c, &r, done); err != nil {
		return r, err
	}
	r.LastVisible = segment.None
	if l.Offsets().LastStable <= r.End { // else there is a later one
		if r.LastVisible, err = job.LastVisible(r.End); err != nil {
			return r, err
		}
	}
	producers, err := l.replay(segments, last.End(), last.End(), 0, nil)
	if err != nil {
		return r, err
	}
	r.Needed = func(b record.Batch) bool { return producers.Needs(b) && l.remembers(b.ProducerID()) }
	return r, nil
}

// fill reads the keys of the dirty part, as many as there is room for. It begins where a delivery
// had to stay. If that still must, and there is no room for the keys that were seen behind it, it
// begins above these, as it would never get any further: they supersede nothing that could go.
func (l *Log) fill(job *compact.Job, plan compact.Plan, c Compaction, r *compact.Rules, done *Compacted) error {
	keys := func(from int64) (err error) {
		var read int64
		r.Keys = compact.NewKeys(c.MapBytes, plan.To-from)
		r.End, read, err = job.Fill(r.Keys, from, plan.To, r.Aborted)
		done.From, done.Read = from, done.Read+read
		return err
	}
	if err := keys(plan.From); err != nil {
		return err
	}
	seen, _ := l.Cleaned()
	if plan.From >= seen || r.End > seen || r.End == plan.To {
		return nil
	}
	pinned, err := job.Pinned(plan.From, c.Gate)
	if err != nil || !pinned {
		return err
	}
	return keys(min(seen, plan.To))
}

// remembers reports whether a producer is known at the moment.
func (l *Log) remembers(producerID int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.producers.Known(producerID)
}

// draftFits refuses to write more of a segment while the disk is nearly full: the reserve is not
// for the cleaner, except for as little as a part of it, which frees more than that.
func (l *Log) draftFits(bytes int64) error {
	if l.Full() && bytes > l.set.reserve/8 {
		return fmt.Errorf("%w: less than the reserve is free", ErrNoSpace)
	}
	return nil
}

// settleBelow makes sure that segments which end below an offset are durable, that a start will not
// look for more in them, and that neither the journal nor a checkpoint will be written to them any
// more.
func (l *Log) settleBelow(end int64) error {
	if err := l.voidJournal(); err != nil {
		return err
	}
	if err := l.storeCheckpoints(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.recovery.synced < end {
		return fmt.Errorf("%w: offset %d is not durable", errSuperseded, end)
	}
	return nil
}

// storeCleaned notes how far the log was cleaned, in a cache. Unless that was all there was to
// clean, what was seen above it, and judged by an earlier gate, stays so.
func (l *Log) storeCleaned(c cleaned, all bool) {
	l.cutMu.Lock() // no truncation meanwhile
	defer l.cutMu.Unlock()
	l.mu.Lock()
	c.clean, c.seen = min(c.clean, l.end), min(c.seen, l.end)
	if !all && c.seen < l.cleaned.seen {
		c.seen, c.gate = l.cleaned.seen, l.cleaned.gate
	}
	l.cleaned = c
	l.mu.Unlock()
	if err := vfs.WriteFile(l.set.fsys, l.path(cleanedName), c.encode()); err != nil {
		l.set.logger.Warn("how far a log was cleaned cannot be stored", "log", l.name, "err", err)
	}
}
