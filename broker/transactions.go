package broker

import (
	"context"
	"errors"
	"fmt"

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

// Writable implements txn.Cluster.
func (transactionCluster) Writable(name string) bool {
	return name == cluster.OffsetsTopic || !cluster.IsReserved(name)
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

// WriteMarker implements txn.Cluster. The offsets of groups end with their own coordinator, whose
// journal the partition is.
func (c transactionCluster) WriteMarker(ctx context.Context, p txn.Partition, m txn.Marker) error {
	if p.Topic == cluster.OffsetsTopic {
		err := c.b.groups.EndTransaction(ctx, p.Number, coord.Producer{ID: m.ProducerID, Epoch: m.Epoch, CoordinatorEpoch: m.CoordinatorEpoch, NewEpoch: m.NewEpoch}, m.Commit)
		if errors.Is(err, coord.ErrFenced) {
			return fmt.Errorf("%w: %w", txn.ErrFenced, err)
		}
		return err
	}
	part, err := c.b.partitions.Get(p.TopicID, p.Number)
	if err != nil {
		return err
	}
	pending, err := part.EndTransaction(log.Marker{ProducerID: m.ProducerID, Epoch: m.Epoch, CoordinatorEpoch: m.CoordinatorEpoch, Commit: m.Commit}, m.NewEpoch, c.b.cfg.Now())
	if fenced(err) {
		return fmt.Errorf("%w: %w", txn.ErrFenced, err)
	}
	if err != nil {
		return err
	}
	return pending.Wait(ctx)
}

func fenced(err error) bool {
	_, producer := errors.AsType[*log.ProducerFencedError](err)
	_, coordinator := errors.AsType[*log.CoordinatorFencedError](err)
	return producer || coordinator
}
