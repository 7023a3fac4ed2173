package partition

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/morrowmq/morrow/delay"
	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/log/segment"
	"github.com/morrowmq/morrow/tier"
)

// scheduleLog is the partition of the schedule topic that belongs to a partition, as its keeper uses it.
type scheduleLog struct{ p *Partition }

var _ delay.Journal = scheduleLog{}

// Append implements delay.Journal. The keeper is the only writer.
func (j scheduleLog) Append(_ context.Context, roll bool, batches ...record.Batch) (base int64, err error) {
	if roll {
		if err := j.p.log.Roll(); err != nil {
			return 0, err
		}
	}
	groups := make([]log.Group, len(batches))
	for i, b := range batches {
		b.SetBaseOffset(0)
		groups[i] = group(b, b)
		groups[i].Reserved = true
	}
	a, err := j.p.log.Append(j.p.epoch.Load(), j.p.now(), groups...)
	return a.BaseOffset, err
}

// Wait implements delay.Journal.
func (j scheduleLog) Wait(ctx context.Context, end int64) error { return j.p.log.Wait(ctx, end) }

// BatchAt implements delay.Journal.
func (j scheduleLog) BatchAt(ctx context.Context, offset int64, buf []byte) (record.Batch, error) {
	return source(j).BatchAt(ctx, offset, buf)
}

// Scan implements delay.Journal.
func (j scheduleLog) Scan(ctx context.Context, from, to int64, visit func(record.Batch) error) error {
	return source(j).Scan(ctx, from, to, visit)
}

// Segments implements delay.Journal. The tier is asked only for what lies in front of the first
// hole, so that it need not be there at a start.
func (j scheduleLog) Segments(ctx context.Context, visit func(delay.Range) (more bool)) error {
	if err := j.p.log.Failure(); err != nil {
		return err
	}
	local, start := j.p.log.Segments(), j.p.log.Offsets().RealStart
	after := local[len(local)-1].End
	for i, s := range slices.Backward(local) {
		if s.End < after {
			return j.segmentsInTier(ctx, local[:i+1], after, visit)
		}
		if !visit(delay.Range{From: s.Base, To: s.End}) {
			return nil
		}
		after = s.Base
	}
	if start < after {
		return j.segmentsInTier(ctx, nil, after, visit)
	}
	return nil
}

// segmentsInTier visits the segments that end at or below an offset, those that are local and those
// that are not.
func (j scheduleLog) segmentsInTier(ctx context.Context, local []segment.Info, end int64, visit func(delay.Range) (more bool)) error {
	var all []delay.Range
	for _, s := range local {
		all = append(all, delay.Range{From: s.Base, To: s.End})
	}
	if remote := j.p.remote.Load(); remote != nil {
		spans, err := remote.Segments(ctx)
		if err != nil {
			return err
		}
		for _, s := range spans {
			if s.End <= end && firstMissing(local, s.Base) < s.End {
				all = append(all, delay.Range{From: s.Base, To: s.End})
			}
		}
	}
	slices.SortFunc(all, func(a, b delay.Range) int { return cmp.Compare(b.From, a.From) })
	for _, r := range all {
		if !visit(r) {
			break
		}
	}
	return nil
}

// Drop implements delay.Journal. In the tier it may not be possible yet, because of what was or was
// not copied there, or it fails; then it is tried with the next Tidy, for which the segments are
// still there.
func (j scheduleLog) Drop(ctx context.Context, r delay.Range) error {
	if _, err := j.p.log.Drop(r.From, r.To); err != nil {
		return err
	}
	remote, owner := j.p.remote.Load(), j.p.owner()
	if remote == nil || owner == nil || !owner.loaded.Load() {
		return nil
	}
	needs, all := owner.schedule.CopyNeeds(owner.copied(j))
	if all {
		return nil
	}
	spare := func(s tier.Span) bool {
		return slices.ContainsFunc(needs, func(n delay.Range) bool { return n.From < s.End && s.Base < n.To })
	}
	if err := remote.Drop(ctx, r.From, r.To, spare); err != nil {
		return fmt.Errorf("in the tier: %w", err)
	}
	return nil
}

// copied is how far the tier has the partition's log and that of its schedule, or, if nothing is
// copied there, [delay.NoCopy].
func (p *Partition) copied(journal scheduleLog) delay.Copy {
	c, remote := journal.p.Topic().Config, p.remote.Load()
	if remote == nil || journal.p.remote.Load() == nil || !c.RemoteStorageEnable || c.RemoteCopyDisable {
		return delay.NoCopy
	}
	return delay.Copy{Journal: journal.p.confirmed(), Log: remote.Confirmed(), LogStart: remote.Start()}
}

// errNoSchedule means that the partition of the schedule topic cannot be used.
var errNoSchedule = errors.New("the partition's schedule log is not available")
