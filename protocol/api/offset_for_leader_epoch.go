package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/protocol"
)

// OffsetForLeaderEpoch, key 23, versions 2-4 (KIP-101, KIP-320).
//
// The end of the current epoch is the real end of the log, hidden batches included: it guards
// against truncation, which knows no visibility. An epoch the log has not heard of is answered with
// -1, not with an error.

func (a *API) offsetForLeaderEpoch(_ context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.OffsetForLeaderEpochRequest)
	return func(context.Context) (protocol.Answer, error) {
		resp := req.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
		for i := range req.Topics {
			t := &req.Topics[i]
			rt := kmsg.NewOffsetForLeaderEpochResponseTopic()
			rt.Topic = t.Topic
			for j := range t.Partitions {
				rt.Partitions = append(rt.Partitions, a.epochEnd(t.Topic, &t.Partitions[j]))
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return protocol.Answer{Message: resp}, nil
	}
}

func (a *API) epochEnd(topic string, want *kmsg.OffsetForLeaderEpochRequestTopicPartition) kmsg.OffsetForLeaderEpochResponseTopicPartition {
	rp := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
	rp.Partition = want.Partition
	p, err := a.partitionNamed(topic, want.Partition)
	if err == nil {
		err = p.Log().Failure()
	}
	if err == nil {
		err = p.CheckLeaderEpoch(want.CurrentLeaderEpoch)
	}
	if err != nil {
		rp.ErrorCode = a.explain(err, "find the end of a leader epoch", topic, want.Partition)
		return rp
	}
	rp.LeaderEpoch, rp.EndOffset = p.EpochEnd(want.LeaderEpoch)
	return rp
}
