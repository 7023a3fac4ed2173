package broker

import (
	"context"
	"errors"

	"github.com/morrowmq/morrow/broker/coord"
	"github.com/morrowmq/morrow/broker/txn"
	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/log"
)

// transactionConfig is the limits of transactions as they are now.
func (b *broker) transactionConfig() txn.Config {
	r := b.store.Image().BrokerConfig()
	return txn.Config{
		MaxTimeout:      millis(r, "transaction.max.timeout.ms"),
		AbortInterval:   millis(r, "transaction.abort.timed.out.transaction.cleanup.interval.ms"),
		IDExpiration:    millis(r, "transactional.id.expiration.ms"),
		ExpireInterval:  millis(r, "transaction.remove.expired.transaction.cleanup.interval.ms"),
		VerifyPartition: r.Bool("transaction.partition.verification.enable"),
	}
}

// transactionCluster is the cluster as the transaction coordinator sees it.
type transactionCluster struct{ b *broker }

var errNoOffsets = errors.New("the topic of the groups' offsets is not there yet")

// Partitions implements txn.Cluster.
func (c transactionCluster) Partitions(name string) (n int32, id [16]byte, ok bool) {
	return groupTopics{c.b.store}.Partitions(name)
}

// OffsetsPartition implements txn.Cluster.
func (c transactionCluster) OffsetsPartition(group string) (txn.Partition, error) {
	_, id, ok := c.Partitions(cluster.OffsetsTopic)
	if !ok {
		return txn.Partition{}, errNoOffsets
	}
	return txn.Partition{Topic: cluster.OffsetsTopic, TopicID: id, Number: c.b.groups.FindShard(group)}, nil
}

// ReserveProducerIDs implements txn.Cluster.
func (c transactionCluster) ReserveProducerIDs(ctx context.Context, n int64) (first int64, err error) {
	return c.b.store.ProducerIDs(ctx, n)
}

// WriteMarker implements txn.Cluster. A partition where the producer is in a newer epoch already needs no marker of an older one.
func (c transactionCluster) WriteMarker(ctx context.Context, p txn.Partition, m txn.Marker) error {
	if p.Topic == cluster.OffsetsTopic {
		return c.endOffsets(ctx, p.Number, m)
	}
	part, err := c.b.partitions.Get(p.TopicID, p.Number)
	if err != nil {
		return err
	}
	pending, err := part.EndTransaction(log.Marker(m), c.b.cfg.Now())
	if _, fenced := errors.AsType[*log.ProducerFencedError](err); fenced {
		c.b.logger.Warn("marker not written: the producer has a newer epoch", "partition", part.String(), "producer", m.ProducerID, "epoch", m.Epoch, "err", err)
		return nil
	}
	if err != nil {
		return err
	}
	return pending.Wait(ctx)
}

// endOffsets ends a transaction in a partition that is a group shard's journal.
func (c transactionCluster) endOffsets(ctx context.Context, shard int32, m txn.Marker) error {
	err := c.b.groups.EndTransaction(ctx, shard, m.ProducerID, m.Epoch, m.CoordinatorEpoch, m.Commit)
	if errors.Is(err, coord.ErrFenced) {
		c.b.logger.Warn("marker not written: the producer has a newer epoch", "topic", cluster.OffsetsTopic, "partition", shard, "producer", m.ProducerID, "epoch", m.Epoch, "err", err)
		return nil
	}
	return err
}
