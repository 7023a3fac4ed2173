package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/protocol"
)

// DeleteRecords, key 21, versions 0-2 (KIP-107).
//
// The reported log start moves durably before the answer; bytes go later. Offset -1 is the visible end. Pending
// delayed records survive it: they have not entered the log a consumer sees.

func (a *API) deleteRecords(_ context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.DeleteRecordsRequest)
	return func(context.Context) (protocol.Answer, error) {
		resp := req.ResponseKind().(*kmsg.DeleteRecordsResponse)
		for i := range req.Topics {
			t := &req.Topics[i]
			rt := kmsg.NewDeleteRecordsResponseTopic()
			rt.Topic = t.Topic
			for j := range t.Partitions {
				rt.Partitions = append(rt.Partitions, a.deleteBelow(t.Topic, t.Partitions[j].Partition, t.Partitions[j].Offset))
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return protocol.Answer{Message: resp}, nil
	}
}

func (a *API) deleteBelow(topic string, number int32, offset int64) kmsg.DeleteRecordsResponseTopicPartition {
	rp := kmsg.NewDeleteRecordsResponseTopicPartition()
	rp.Partition, rp.LowWatermark = number, -1
	p, err := a.partition(false, topic, [16]byte{}, number)
	if err == nil {
		rp.LowWatermark, err = p.DeleteRecords(offset)
	}
	if err != nil {
		rp.LowWatermark = -1
		rp.ErrorCode = code(err)
	}
	return rp
}
