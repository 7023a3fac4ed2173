package partition

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/morrowmq/morrow/broker/coord"
	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/log/record"
)

// Journal is the partition as a coordinator's shard uses it: records appended as one batch each,
// read back in order. It may use the disk's reserve, because offsets must be committed before
// anything can be freed.
type Journal struct {
	p       *Partition
	builder record.Builder
}

var _ coord.Journal = (*Journal)(nil)

// Journal returns the partition's journal. Only one may be in use.
func (p *Partition) Journal() *Journal { return &Journal{p: p} }

// Append implements coord.Journal.
func (j *Journal) Append(rs []coord.Record, now time.Time) (end int64, err error) {
	b, err := j.batch(rs, now.UnixMilli())
	if err != nil {
		return 0, err
	}
	if limit := j.p.topic.Load().Config.MaxMessageBytes; int64(len(b)) > limit {
		return 0, fmt.Errorf("%w: %d bytes, at most %d", coord.ErrTooLarge, len(b), limit)
	}
	g := group(b, b)
	g.Reserved = true
	g.NewEpoch = rs[0].End != coord.NoEnd && rs[0].Producer.NewEpoch
	a, err := j.p.log.Append(j.p.epoch.Load(), now, g)
	_, producer := errors.AsType[*log.ProducerFencedError](err)
	_, coordinator := errors.AsType[*log.CoordinatorFencedError](err)
	if producer || coordinator {
		return 0, fmt.Errorf("%w: %w", coord.ErrFenced, err)
	}
	return a.EndOffset, err
}

// batch is records as one batch: a marker, records of a transaction, or ordinary ones. A
// coordinator writes in the name of a producer without sequence numbers.
func (j *Journal) batch(rs []coord.Record, now int64) (record.Batch, error) {
	p := rs[0].Producer
	if rs[0].End != coord.NoEnd {
		m := log.Marker{ProducerID: p.ID, Epoch: p.Epoch, CoordinatorEpoch: p.CoordinatorEpoch, Commit: rs[0].End == coord.Commit}
		return m.Batch(now), nil
	}
	j.builder.Reset(0, now)
	if p != nil {
		j.builder.SetAttributes(record.Transactional)
		j.builder.SetProducer(p.ID, p.Epoch, -1)
	}
	for i, r := range rs {
		j.builder.Add(int32(i), now, r.Key, r.Value)
	}
	return j.builder.Finish()
}

// TrimJournal removes what lies below an offset from a journal that is not compacted, durably. The
// bytes go with the next retention.
func (p *Partition) TrimJournal(below int64) error {
	_, err := p.log.DeleteRecords(below)
	return err
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
			return loadMarker(b, replay)
		}
		var producer *coord.Producer
		if b.Transactional() {
			producer = &coord.Producer{ID: b.ProducerID(), Epoch: b.ProducerEpoch()}
		}
		return b.Walk(d, func(v *record.View) error {
			return replay(b.BaseOffset()+int64(v.OffsetDelta), coord.Record{Key: v.Key, Value: v.Value, Producer: producer})
		})
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		err = fmt.Errorf("load %s: %w", j.p, err)
	}
	return o.HighWatermark, err
}

// loadMarker replays the end of a transaction.
func loadMarker(b record.Batch, replay func(offset int64, r coord.Record) error) error {
	m, err := log.ParseMarker(b)
	if err != nil {
		return err
	}
	r := coord.Record{Producer: &coord.Producer{ID: m.ProducerID, Epoch: m.Epoch, CoordinatorEpoch: m.CoordinatorEpoch}, End: coord.Abort}
	if m.Commit {
		r.End = coord.Commit
	}
	return replay(b.BaseOffset(), r)
}
