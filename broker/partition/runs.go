package partition

import (
	"context"
	"errors"

	"github.com/morrowmq/morrow/delay"
	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/log/record"
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

// Segments implements delay.Journal.
func (j scheduleLog) Segments(context.Context) (bases []int64, end int64, err error) {
	if err := j.p.log.Failure(); err != nil {
		return nil, 0, err
	}
	for _, s := range j.p.log.Segments() {
		bases, end = append(bases, s.Base), s.End
	}
	return bases, end, nil
}

// Drop implements delay.Journal.
func (j scheduleLog) Drop(_ context.Context, from, to int64) error {
	_, err := j.p.log.Drop(from, to)
	return err
}

// errNoSchedule means that the partition of the schedule topic cannot be used.
var errNoSchedule = errors.New("the partition's schedule log is not available")
