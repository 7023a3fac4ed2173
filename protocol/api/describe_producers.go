package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/protocol"
)

// DescribeProducers, key 61, version 0 (KIP-664): what partitions remember of the producers that
// wrote to them. A producer is forgotten after producer.id.expiration.ms, unless its transaction is
// open.

func (a *API) describeProducers(_ context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.DescribeProducersRequest)
	return func(context.Context) (protocol.Answer, error) {
		resp := req.ResponseKind().(*kmsg.DescribeProducersResponse)
		for _, t := range req.Topics {
			rt := kmsg.NewDescribeProducersResponseTopic()
			rt.Topic = t.Topic
			for _, n := range t.Partitions {
				rt.Partitions = append(rt.Partitions, a.producersOf(t.Topic, n))
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return protocol.Answer{Message: resp}, nil
	}
}

func (a *API) producersOf(topic string, number int32) kmsg.DescribeProducersResponseTopicPartition {
	rp := kmsg.NewDescribeProducersResponseTopicPartition()
	rp.Partition = number
	p, err := a.partitionNamed(topic, number)
	if err != nil {
		rp.ErrorCode, rp.ErrorMessage = refusal(err)
		return rp
	}
	for _, i := range p.Producers() {
		ap := kmsg.NewDescribeProducersResponseTopicPartitionActiveProducer()
		ap.ProducerID, ap.ProducerEpoch, ap.LastSequence, ap.LastTimestamp = i.ProducerID, int32(i.Epoch), i.LastSequence, i.LastTimestamp
		ap.CoordinatorEpoch, ap.CurrentTxnStartOffset = i.CoordinatorEpoch, i.TxnStart
		rp.ActiveProducers = append(rp.ActiveProducers, ap)
	}
	return rp
}
