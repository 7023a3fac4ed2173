package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"

	"github.com/morrowmq/morrow/broker/partition"
	"github.com/morrowmq/morrow/protocol"
)

// DeleteRecords, key 21, versions 0-2 (KIP-107).
//
// The reported log start moves durably before the answer; bytes go later. Offset -1 is the visible
// end, and what lies above it is out of range; what has been written is waited for, as in
// ListOffsets. Pending delayed records survive: they have not entered the log a consumer sees.
// Partitions are waited for together.

// deletionsAtOnce is how many log starts of one request are made durable at the same time.
const deletionsAtOnce = 16

func (a *API) deleteRecords(_ context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.DeleteRecordsRequest)
	return func(ctx context.Context) (protocol.Answer, error) {
		ctx, cancel := within(ctx, req.TimeoutMillis)
		defer cancel()
		resp := req.ResponseKind().(*kmsg.DeleteRecordsResponse)
		resp.Topics = make([]kmsg.DeleteRecordsResponseTopic, len(req.Topics))
		var g errgroup.Group
		g.SetLimit(deletionsAtOnce)
		for i := range req.Topics {
			t, rt := &req.Topics[i], &resp.Topics[i]
			*rt = kmsg.NewDeleteRecordsResponseTopic()
			rt.Topic = t.Topic
			rt.Partitions = make([]kmsg.DeleteRecordsResponseTopicPartition, len(t.Partitions))
			for j := range t.Partitions {
				g.Go(func() error {
					rt.Partitions[j] = a.deletedBelow(ctx, t.Topic, &t.Partitions[j])
					return nil
				})
			}
		}
		_ = g.Wait() // errors are kept per partition
		return protocol.Answer{Message: resp}, nil
	}
}

func (a *API) deletedBelow(ctx context.Context, topic string, want *kmsg.DeleteRecordsRequestTopicPartition) kmsg.DeleteRecordsResponseTopicPartition {
	rp := kmsg.NewDeleteRecordsResponseTopicPartition()
	rp.Partition = want.Partition
	start, err := a.deleteBelow(ctx, topic, want.Partition, want.Offset)
	rp.LowWatermark = start
	if err != nil {
		rp.LowWatermark = -1
		rp.ErrorCode = a.explain(err, "delete records", topic, want.Partition)
	}
	return rp
}

// deleteBelow deletes the records of a partition below an offset and returns the first that is left.
func (a *API) deleteBelow(ctx context.Context, topic string, number int32, offset int64) (logStart int64, err error) {
	if t, ok := a.store.Image().Topic(topic); ok && t.Internal {
		return -1, kerr.InvalidTopicException
	}
	p, err := a.partitionNamed(topic, number)
	switch {
	case err != nil:
		return -1, err
	case p.Topic().Config.Compact && !p.Topic().Config.Delete:
		return -1, kerr.PolicyViolation // only compaction removes records here; where nothing does, a client may (KIP-1161)
	case offset < partition.Latest:
		return -1, kerr.OffsetOutOfRange
	}
	writtenBy(p, nil).awaitVisible(ctx)
	return p.DeleteRecords(offset)
}
