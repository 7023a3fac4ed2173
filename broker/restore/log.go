package restore

import (
	"context"
	"fmt"

	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/log/producer"
	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/log/segment"
	"github.com/morrowmq/morrow/tier"
)

// partitionLog is a log to be made.
type partitionLog struct {
	topic   *tier.RemoteTopic
	number  int32
	epoch   int32
	atLeast int64 // the lowest next offset that will do
}

// makeLog makes a log that begins behind what is in the bucket, unless an earlier run has, and ends
// the transactions in it.
func (r *restorer) makeLog(ctx context.Context, p partitionLog, made map[log.ID]bool) (Partition, error) {
	id := log.ID{Topic: p.topic.ID, Partition: p.number}
	o := log.Options{Name: fmt.Sprintf("%s-%d", p.topic.Name, p.number), Config: log.DefaultConfig(), Start: r.cfg.Gap}
	m := manifest(p.topic, p.number)
	if made[id] {
		l, err := r.logs.OpenLog(id, o)
		if err != nil {
			return Partition{}, err
		}
		return r.finishLog(l, p, m)
	}
	var givenUp []tier.Entry
	// Else nothing of the partition was ever confirmed, unless its schedule knows of it.
	if m != nil || p.atLeast > 0 {
		restored, err := r.claim(ctx, p, &o)
		if err != nil {
			return Partition{}, err
		}
		givenUp = restored.GivenUp
	}
	l, err := r.logs.Create(id, o)
	if err != nil {
		return Partition{}, err
	}
	out, err := r.finishLog(l, p, m)
	for _, e := range givenUp {
		out.GivenUp++
		out.Segments--
		out.Bytes -= e.Bytes
		out.End = e.Base
	}
	return out, err
}

// claim claims a partition's manifest and works out with what its log begins.
func (r *restorer) claim(ctx context.Context, p partitionLog, o *log.Options) (tier.Restored, error) {
	restored, err := tier.Restore(ctx, r.cfg.Bucket, p.topic.Cluster, p.topic.ID, p.number, tier.RestoreOptions{
		Epoch: p.epoch, AtLeast: p.atLeast, Gap: r.cfg.Gap, Topic: p.topic, AcceptLoss: r.cfg.AcceptLoss, Now: r.cfg.Now(),
	})
	if err != nil {
		return restored, err
	}
	o.Start = restored.Next
	o.Before = &log.Before{Start: restored.Start, ReportedStart: restored.ReportedStart, VisibleEnd: restored.VisibleEnd}
	for _, e := range restored.Epochs {
		o.Before.Epochs = append(o.Before.Epochs, segment.Epoch{Epoch: e.Epoch, Start: e.Start})
	}
	if restored.Snapshot != nil {
		if o.Before.Producers, err = producer.Decode(restored.Snapshot); err != nil {
			return restored, err
		}
	}
	return restored, nil
}

// finishLog aborts what was open, and describes what came back.
func (r *restorer) finishLog(l *log.Log, p partitionLog, m *tier.Manifest) (Partition, error) {
	out := Partition{Topic: p.topic.Name, Partition: p.number}
	if m != nil {
		s := m.Summary()
		out.Segments, out.Bytes, out.End = s.Segments, s.Bytes, max(m.End, 0)
	}
	for _, i := range l.ActiveProducers() {
		r.note(i.ProducerID)
		if i.TxnStart < 0 {
			continue
		}
		if err := r.abort(l, p.epoch, i); err != nil {
			return out, fmt.Errorf("abort the transaction of producer %d: %w", i.ProducerID, err)
		}
		out.Aborted++
	}
	o := l.Offsets()
	out.Start, out.Next = o.LogStart, o.LogEnd
	out.End = max(out.End, out.Start) // nothing came back
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ranges[partitionKey{p.topic.ID, p.number}] = visibleRange{o.LogStart, o.VisibleEnd}
	return out, nil
}

// abort ends a transaction whose outcome was not confirmed, and whose coordinator is lost: nobody else would.
func (r *restorer) abort(l *log.Log, epoch int32, i producer.Info) error {
	now := r.cfg.Now()
	m := producer.Marker{ProducerID: i.ProducerID, Epoch: i.Epoch, CoordinatorEpoch: i.CoordinatorEpoch}
	b := m.Batch(now.UnixMilli())
	_, err := l.Append(epoch, now, log.Group{
		Pieces: []record.Batch{b}, ProducerID: i.ProducerID, ProducerEpoch: i.Epoch,
		BaseSequence: b.BaseSequence(), LastSequence: b.LastSequence(), Span: 1, Reserved: true,
	})
	return err
}
