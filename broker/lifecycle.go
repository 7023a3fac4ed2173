package broker

import (
	"context"

	"github.com/morrowmq/morrow/broker/partition"
	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/tier"
)

// partitionOpened hands a partition of an internal topic to the coordinator that keeps its state there.
func (b *broker) partitionOpened(p *partition.Partition) {
	switch p.Topic().Name {
	case cluster.OffsetsTopic:
		b.groups.Elect(p.Number(), p.Journal())
	case cluster.TransactionsTopic:
		b.transactions.Elect(p.Number(), p.LeaderEpoch(), p.Journal())
	case cluster.ShareStateTopic:
		b.shares.Elect(p.Number(), p.Journal(), p.TrimJournal)
	}
}

func (b *broker) partitionClosed(p *partition.Partition) {
	switch p.Topic().Name {
	case cluster.OffsetsTopic:
		b.groups.Resign(p.Number())
	case cluster.TransactionsTopic:
		b.transactions.Resign(p.Number())
	case cluster.ShareStateTopic:
		b.shares.Resign(p.Number())
	}
}

// topicDeleted removes what groups have committed for a deleted topic (P5), and confirms what is
// gone. The tier has its own durable list of what it has still to delete: the bucket may be down
// for long.
func (b *broker) topicDeleted(ctx context.Context, d *cluster.Deletion) error {
	if err := b.groups.TopicDeleted(ctx, d.ID, d.Name); err != nil {
		return err
	}
	if err := b.shares.TopicDeleted(ctx, d.ID); err != nil {
		return err
	}
	if err := b.deleteTiered(tier.TopicID(d.ID), d.Name); err != nil {
		return err
	}
	for _, what := range []cluster.Cleanup{cluster.CleanupData(b.nodeID()), cluster.CleanupOffsets, cluster.CleanupTier} {
		if _, err := b.store.Apply(ctx, cluster.ConfirmDeleted{IDs: []cluster.TopicID{d.ID}, What: what}); err != nil {
			return err
		}
	}
	return nil
}

// elect begins a new leader epoch in every partition this broker leads. What was lost of an
// unsynced tail may be written anew with other records; the epoch tells the two apart (KIP-101).
func (b *broker) elect(ctx context.Context) error {
	var change cluster.ChangePartitions
	for _, t := range b.store.Image().Topics() {
		for n := range t.Partitions {
			p := &t.Partitions[n]
			if p.Leader == b.nodeID() && !t.IsSchedule() {
				change.Partitions = append(change.Partitions, cluster.PartitionChange{
					Topic: t.ID, Partition: int32(n), LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch,
					Leader: p.Leader, ISR: p.ISR, Elected: true,
				})
			}
		}
	}
	if len(change.Partitions) == 0 {
		return nil
	}
	_, err := b.store.Apply(ctx, change)
	return err
}
