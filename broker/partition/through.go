package partition

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/morrowmq/morrow/delay"
	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/log/segment"
	"github.com/morrowmq/morrow/tier"
)

// batchAt reads the batch that holds an offset, hidden ones included, wherever it lies. The error
// wraps delay.ErrGone if it lies nowhere any more.
func (p *Partition) batchAt(ctx context.Context, offset int64, buf []byte) (record.Batch, error) {
	b, err := p.log.BatchAt(offset, buf)
	if _, ok := errors.AsType[*log.TieredError](err); ok {
		b, err = p.remoteBatchAt(ctx, offset, buf)
	}
	if gone(err) {
		err = errors.Join(delay.ErrGone, err)
	}
	return b, err
}

func (p *Partition) remoteBatchAt(ctx context.Context, offset int64, buf []byte) (record.Batch, error) {
	remote := p.remote.Load()
	if remote == nil {
		return nil, ErrNotRemote
	}
	b, err := remote.BatchAt(ctx, offset, buf)
	return b, waiting(err)
}

// waiting says of a read that ended before the store had answered what it waits for.
func waiting(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("waiting for the store, see morrow tier status: %w", err)
	}
	return err
}

// gone reports whether an error says that an offset is no longer part of a log.
func gone(err error) bool {
	_, local := errors.AsType[*log.OutOfRangeError](err)
	_, remote := errors.AsType[*tier.OutOfRangeError](err)
	return local || remote || errors.Is(err, tier.ErrDropped)
}

// scan visits the batches of a range, hidden ones included, wherever they lie. The error wraps
// delay.ErrGone if the range begins below the log.
func (p *Partition) scan(ctx context.Context, from, to int64, visit func(record.Batch) error) error {
	counted := func(b record.Batch) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		from = b.EndOffset()
		return visit(b)
	}
	for {
		err := p.log.Scan(from, to, counted)
		missing, ok := errors.AsType[*log.TieredError](err)
		if !ok {
			return err
		}
		if missing.Offset < p.log.Offsets().RealStart {
			return errors.Join(delay.ErrGone, err)
		}
		remote := p.remote.Load()
		if remote == nil {
			return ErrNotRemote
		}
		end := min(to, missing.LocalStart)
		if err := remote.Scan(ctx, missing.Offset, end, counted); gone(err) {
			return errors.Join(delay.ErrGone, err)
		} else if err != nil {
			return waiting(err)
		}
		if from = max(from, end); from >= to {
			return nil
		}
	}
}

const (
	// prefetchAhead is how long before they are due records are brought near from the tier, and
	// before which they are not sent away.
	prefetchAhead = 30 * time.Second
	// prefetchBytes is how much of each run that is.
	prefetchBytes = 4 << 20
)

// prefetch has what will be delivered soon, and lies in the tier only, brought into its cache.
func (p *Partition) prefetch() {
	journal := p.scheduleLog()
	if journal == nil {
		return
	}
	remote := journal.remote.Load()
	if remote == nil {
		return
	}
	segments := journal.log.Segments()
	var offsets []int64
	for _, r := range p.schedule.ReadSoon(p.now().Add(prefetchAhead).UnixMilli()) {
		if offset := firstMissing(segments, r.From); offset < r.To {
			offsets = append(offsets, offset)
		}
	}
	if len(offsets) > 0 {
		remote.Prefetch(prefetchBytes, offsets...)
	}
}

// firstMissing is the first offset at or after one that no local segment holds.
func firstMissing(segments []segment.Info, offset int64) int64 {
	for _, s := range segments {
		if s.Base <= offset && offset < s.End {
			offset = s.End
		}
	}
	return offset
}
