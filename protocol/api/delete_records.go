package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/partition"
	"github.com/morrowmq/morrow/protocol"
)

// DeleteRecords, key 21, versions 0-2 (KIP-107).
//
// The reported log start moves durably before the answer; bytes go later. Offset -1 is the visible end, and what lies above it is out
// of range; what has been written is waited for, as in ListOffsets. Pending delayed records survive: they have not
// entered the log a consumer sees.

func (a *API) deleteRecords(_ context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.DeleteRecordsRequest)
	return func(ctx context.Context) (protocol.Answer, error) {
		ctx, cancel := within(ctx, req.TimeoutMillis)
		defer cancel()
		resp := req.ResponseKind().(*kmsg.DeleteRecordsResponse)
		for i := range req.Topics {
			t := &req.Topics[i]
			rt := kmsg.NewDeleteRecordsResponseTopic()
			rt.Topic = t.Topic
			for j := range t.Partitions {
				want := &t.Partitions[j]
				rp := kmsg.NewDeleteRecordsResponseTopicPartition()
				rp.Partition = want.Partition
				start, err := a.deleteBelow(ctx, t.Topic, want.Partition, want.Offset)
				rp.LowWatermark = start
				if err != nil {
					rp.LowWatermark = -1
					rp.ErrorCode = a.explain(err, "delete records", t.Topic, want.Partition)
				}
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return protocol.Answer{Message: resp}, nil
	}
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
