package partition

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/morrowmq/morrow/broker/coord"
	"github.com/morrowmq/morrow/log/record"
)

// Journal is the partition as a coordinator's shard uses it: records appended as one batch each, read back in order.
// It may use the disk's reserve, because offsets must be committed before anything can be freed.
type Journal struct {
	p       *Partition
	builder record.Builder
}

var _ coord.Journal = (*Journal)(nil)

// Journal returns the partition's journal. Only one may be in use.
func (p *Partition) Journal() *Journal { return &Journal{p: p} }

// Append implements coord.Journal.
func (j *Journal) Append(rs []coord.Record, now time.Time) (end int64, err error) {
	j.builder.Reset(0, now.UnixMilli())
	for i, r := range rs {
		j.builder.Add(int32(i), now.UnixMilli(), r.Key, r.Value)
	}
	b, err := j.builder.Finish()
	if err != nil {
		return 0, err
	}
	if limit := j.p.topic.Load().Config.MaxMessageBytes; int64(len(b)) > limit {
		return 0, fmt.Errorf("%w: %d bytes, at most %d", coord.ErrTooLarge, len(b), limit)
	}
	g := group(b, b)
	g.Reserved = true
	a, err := j.p.log.Append(j.p.epoch.Load(), now, g)
	return a.EndOffset, err
}

// Wait implements coord.Journal.
func (j *Journal) Wait(ctx context.Context, end int64) error { return j.p.log.Wait(ctx, end) }

// Load implements coord.Journal.
func (j *Journal) Load(ctx context.Context, replay func(offset int64, r coord.Record) error) (end int64, err error) {
	o := j.p.log.Offsets()
	d := record.GetDecompressor()
	defer d.Release()
	err = j.p.log.Scan(o.LogStart, o.HighWatermark, func(b record.Batch) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if b.Control() {
			return nil
		}
		return b.Walk(d, func(v *record.View) error {
			return replay(b.BaseOffset()+int64(v.OffsetDelta), coord.Record{Key: v.Key, Value: v.Value})
		})
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		err = fmt.Errorf("load %s: %w", j.p, err)
	}
	return o.HighWatermark, err
}
