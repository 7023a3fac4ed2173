package partition

import (
	"context"
	"fmt"

	"github.com/morrowmq/morrow/delay"
	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/log/record"
)

// source lets the schedule read the partition's log, hidden batches included, wherever they lie.
type source struct{ p *Partition }

// BatchAt implements delay.Source. What compaction has emptied is gone.
func (s source) BatchAt(ctx context.Context, offset int64, buf []byte) (record.Batch, error) {
	b, err := s.p.batchAt(ctx, offset, buf)
	if err == nil && b.Count() == 0 {
		return nil, fmt.Errorf("%w: compaction has dropped offset %d", delay.ErrGone, offset)
	}
	return b, err
}

// Scan implements delay.Source.
func (s source) Scan(ctx context.Context, from, to int64, visit func(record.Batch) error) error {
	return s.p.scan(ctx, from, to, visit)
}

// OffsetForTimestamp implements delay.Source.
func (s source) OffsetForTimestamp(ctx context.Context, ms int64) (offset int64, ok bool, err error) {
	offset, _, ok, err = s.p.offsetForTimestamp(ctx, ms)
	return offset, ok, err
}

// spilled is the source of a spill, which scans from the schedule's floor on. The log may start
// above it: below, nothing is pending.
type spilled struct{ source }

// Scan implements delay.Source.
func (s spilled) Scan(ctx context.Context, from, to int64, visit func(record.Batch) error) error {
	if from = max(from, s.p.log.Offsets().RealStart); from >= to {
		return nil
	}
	return s.source.Scan(ctx, from, to, visit)
}

// target is where the dispatcher delivers to.
type target struct{ source }

var _ delay.Target = target{}

// Deliver implements delay.Target: the append section of a delivery.
func (t target) Deliver(_ context.Context, d *delay.Delivery) (end int64, err error) {
	p := t.p
	groups := make([]log.Group, len(d.Batches))
	for i, b := range d.Batches {
		groups[i] = group(b, b)
		groups[i].Reserved = true
	}
	in := p.mu.enterSettled()
	defer in.leave()
	now := p.now()
	if err := p.schedule.AdmitDelivery(d, now.UnixMilli()); err != nil {
		return 0, err
	}
	a, err := p.log.Append(p.epoch.Load(), now, groups...)
	if err != nil {
		return 0, err
	}
	in.written()
	p.schedule.ApplyDelivery(d)
	return a.EndOffset, nil
}

// Wait implements delay.Target.
func (t target) Wait(ctx context.Context, end int64) error { return t.p.log.Wait(ctx, end) }

// load brings the schedule up to the log and begins to deliver. Producers go on meanwhile, but for batches that
// concern the schedule, so the last step, under the append section's lock, is short.
func (p *Partition) load(ctx context.Context) error {
	if err := p.openKeeper(ctx); err != nil {
		return err
	}
	// What is committed is applied for good: to remember how to undo it would take several times
	// the memory of the index.
	p.schedule.AdvanceHighWatermark(p.log.Offsets().HighWatermark)
	from := p.schedule.End()
	for to := p.log.Offsets().LogEnd; from < to; from, to = to, p.log.Offsets().LogEnd {
		if err := p.scan(ctx, from, to, p.schedule.Apply); err != nil {
			return err
		}
	}
	p.caughtUp()
	if err := p.keeper.Renew(ctx, p.log.Offsets().LogStart); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.line = p.dispatcher.Attach(p.String(), p.schedule, target{source{p}})
	p.loaded.Store(true)
	// After loaded is set, so that a sync that ends just now is told by synced or seen here.
	p.schedule.AdvanceHighWatermark(p.log.Offsets().HighWatermark)
	return nil
}

// ScheduleStats describes the partition's schedule; ok is false if it has none, or it is not loaded yet.
func (p *Partition) ScheduleStats(now int64) (s delay.Stats, ok bool) {
	if !p.loaded.Load() {
		return s, false
	}
	p.mu.settle()
	return p.schedule.Stats(now), true
}

// Setbacks tells how often in a row spills, and merges and deletions of runs, have failed; 0 if the
// last one went well.
func (p *Partition) Setbacks() (spills, merges int64) {
	return p.untended.count.Load(), p.untidy.count.Load()
}
