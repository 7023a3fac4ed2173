package partition

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/morrowmq/morrow/delay"
	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/log/segment"
)

const (
	// tendInterval is how often schedules are looked after.
	tendInterval = time.Second
	// tidyInterval is how often small runs of a partition are merged, and what is finished is
	// deleted; maxTidyWait, how long after failures.
	tidyInterval = time.Minute
	maxTidyWait  = 16 * time.Minute
	// progressBytes is about how much of a log may be read again at a start although it holds
	// nothing that is pending.
	progressBytes = 64 << 20
	// looseProgressBytes is that where producers are answered before what they send is durable: a
	// progress record has all of it synced first.
	looseProgressBytes = 1 << 30
)

// tend moves what is pending out of the way of retention, of memory and of the next start, until ctx ends.
func (t *Table) tend(ctx context.Context) error {
	ticker := time.NewTicker(tendInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			t.tendAll(ctx)
		case <-t.relief:
		}
		if t.relieve(ctx) {
			t.wantRelief()
		}
	}
}

func (t *Table) tendAll(ctx context.Context) {
	piece := pieceRecords(t.cfg.Store.Image().BrokerConfig())
	for p := range t.All {
		if ctx.Err() != nil {
			return
		}
		p.tellClosed() // idle segments are closed although nothing was appended
		if !p.loaded.Load() {
			continue
		}
		err := p.tend(ctx, piece)
		if ctx.Err() == nil {
			p.untended.note(p, "spill", err, tendInterval, tendInterval)
		}
	}
}

// tend does for one schedule what retention and the tier wait for: spill and progress. Both wait
// while what is finished is deleted (errBusy). Of more records than piece some are left to the next
// time: other partitions wait meanwhile.
func (p *Partition) tend(ctx context.Context, piece int64) error {
	p.prefetch()
	if !p.turn.take(ctx, false) {
		return errBusy
	}
	defer p.turn.end()
	o, segments := p.log.Offsets(), p.log.Segments()
	expired := max(p.expired(), min(p.wanted(), o.HighWatermark), p.cleanable(segments))
	if err := p.spill(ctx, min(expired, p.schedule.Oldest(piece, reliefBytes))); err != nil {
		return err
	}
	journal := p.scheduleLog()
	if journal == nil {
		return nil // the topic is being deleted
	}
	copied := p.copied(scheduleLog{journal})
	p.schedule.Copied(copied)
	p.caughtUp()
	if p.progressHelps(expired, segments, copied.Complete()) {
		if err := p.keeper.Progress(ctx, o.LogStart); err != nil {
			return err
		}
	}
	// The tier waits for progress to come up there, which it does when its segment is closed, and
	// then for the log to come up to what was folded in.
	complete := copied.Complete()
	complete.Journal = copied.Journal
	if p.schedule.CopyGate(complete) < min(p.wanted(), p.schedule.CopyGate(copied.Complete())) {
		return journal.log.Roll()
	}
	return nil
}

// progressHelps reports whether retention, here or in the tier, or the next start waits for
// progress. That opens no gate which a transaction that is not over keeps shut.
func (p *Partition) progressHelps(expired int64, segments []segment.Info, complete delay.Copy) bool {
	next := p.schedule.NextGate()
	from, to := p.schedule.Replay()
	return p.schedule.Gate() < min(expired, next) ||
		p.schedule.CopyGate(complete) < min(p.wanted(), next) ||
		log.Between(segments, from, to) > p.mayReplay()
}

// mayReplay is how much of the log a start may read again although it holds nothing that is pending.
func (p *Partition) mayReplay() int64 {
	if p.Topic().Config.FlushMessages > 1 {
		return looseProgressBytes
	}
	return progressBytes
}

// tidy merges the runs of schedules, one merge at a time, and deletes what is finished, until ctx
// ends. Merges take long: they run beside what else is done for schedules.
func (t *Table) tidy(ctx context.Context) error {
	ticker := time.NewTicker(tidyInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		for t.tidyAll(ctx) { // while runs are many, merges follow each other, of one partition after another
		}
	}
}

// tidyAll tidies each schedule once, and reports whether there may be more to do.
func (t *Table) tidyAll(ctx context.Context) (more bool) {
	for p := range t.All {
		// While the tier is down, runs that lie there cannot be merged. Nothing waits for it.
		if !p.loaded.Load() || p.untidy.wait(p.now()) {
			continue
		}
		merged, err := p.tidy(ctx)
		if ctx.Err() != nil {
			return false
		}
		p.untidy.note(p, "merge", err, tidyInterval, maxTidyWait)
		more = more || merged && err == nil
	}
	return more
}

// tidy deletes what is finished, and what an earlier merge that was ended has left, and merges runs
// if that is worth it, which may make more of that. A merge fails if a run cannot be read. errBusy:
// it must wait, or gave way.
func (p *Partition) tidy(ctx context.Context) (merged bool, err error) {
	start := p.log.Offsets().LogStart
	err = p.dropFinished(ctx, start)
	if errors.Is(err, errBusy) {
		return false, err
	}
	merged, mergeErr := p.keeper.Merge(ctx, start, func(write func() error) error { return p.mergeStep(ctx, write) })
	err = errors.Join(err, mergeErr)
	if merged && mergeErr == nil {
		if dropErr := p.dropFinished(ctx, start); !errors.Is(dropErr, errBusy) { // or with the next tidy
			err = errors.Join(err, dropErr)
		}
	}
	return merged, err
}

// mergeStep writes a part of a merge. Until it ends it takes room for as much again as it replaces:
// not from the disk's reserve, which deliveries and progress need.
func (p *Partition) mergeStep(ctx context.Context, write func() error) error {
	if p.log.Full() {
		return fmt.Errorf("runs are merged when there is more room: %w", log.ErrNoSpace)
	}
	return p.turn.briefly(ctx, write)
}

// dropFinished deletes what is finished from the schedule log and the tier, which it may have to
// wait for. errBusy: it must wait, or gave way.
func (p *Partition) dropFinished(ctx context.Context, start int64) error {
	ctx, ok := p.turn.lend(ctx)
	if !ok {
		return errBusy
	}
	defer p.turn.end()
	err := p.keeper.Tidy(ctx, start)
	if ctx.Err() != nil { // it gave way
		return errBusy
	}
	return err
}

// wanted is the end of what retention wants to remove from the tier; 0 if it is not tiered.
func (p *Partition) wanted() int64 {
	if r := p.remote.Load(); r != nil {
		return r.Wanted()
	}
	return 0
}

// caughtUp tells the schedule how far the log concerns it: every batch that does is applied in the
// append section.
func (p *Partition) caughtUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.schedule.CaughtUp(p.log.Offsets().LogEnd)
}

// expired is where the log would begin after retention, if nothing was pending and all was in the
// tier.
func (p *Partition) expired() int64 {
	f := p.wishes()
	f.Gate, f.Confirmed = math.MaxInt64, math.MaxInt64
	return p.log.Outlook(p.now(), f).LocalStart
}

// openKeeper reads what the schedule log knows.
func (p *Partition) openKeeper(ctx context.Context) error {
	journal := p.scheduleLog()
	if journal == nil {
		return errNoSchedule
	}
	o := p.log.Offsets()
	lost, err := p.lost(ctx, o)
	if err != nil {
		return err
	}
	p.keeper, p.schedule, err = delay.OpenKeeper(ctx, delay.KeeperConfig{
		Journal:   scheduleLog{journal},
		Topic:     p.Topic().ID,
		Partition: p.number,
		Lost:      lost,
		FS:        p.fs,
		Dir:       p.scratch,
		Flush:     p.log.Flush,
		Logger:    p.logger,
		Now:       p.now,
	}, delay.Range{From: o.RealStart, To: o.LogEnd})
	return err
}

// lost lists what is missing of the log because it was restored without. The tier is asked only if
// it may know of anything, so that it need not be there at a start.
func (p *Partition) lost(ctx context.Context, o log.Offsets) (lost []delay.Range, err error) {
	remote := p.remote.Load()
	if remote == nil || o.LocalStart <= o.RealStart {
		return nil, nil
	}
	ranges, err := remote.Lost(ctx)
	for _, r := range ranges {
		lost = append(lost, delay.Range(r))
	}
	return lost, err
}
