package api

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/partition"
	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/protocol"
)

// Produce, key 0, versions 3-13 (0-2 are advertised because librdkafka before 2.8 switches
// features off otherwise, KAFKA-18659; their message formats are refused).
//
// The appends happen in order of arrival on the connection, before its earlier requests
// are answered; only the wait for the commit happens in the reply, so a producer's requests are
// pipelined and share syncs. Deviations from Kafka: a delayed record's offset is that of its hidden
// batch, its ticket; acks=1 means the same as in Kafka, but on Morrow it is the weaker choice for no gain in order.

// produced is what became of one partition of a produce request.
type produced struct {
	pending partition.Pending
	err     error
}

func (a *API) produce(ctx context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.ProduceRequest)
	n := 0
	for i := range req.Topics {
		n += len(req.Topics[i].Partitions)
	}
	outcomes := make([]produced, 0, n)
	for i := range req.Topics {
		t := &req.Topics[i]
		for j := range t.Partitions {
			outcomes = append(outcomes, a.producePartition(ctx, req, t, &t.Partitions[j]))
		}
	}
	r.Release() // all is written; the wait needs nothing of the frame
	deadline := r.Received.Add(time.Duration(req.TimeoutMillis) * time.Millisecond)
	return func(ctx context.Context) (protocol.Answer, error) {
		if req.Acks == 0 {
			return protocol.Answer{}, unacknowledged(outcomes)
		}
		if req.Acks == -1 {
			ctx, cancel := context.WithDeadline(ctx, deadline)
			defer cancel()
			for i := range outcomes {
				if o := &outcomes[i]; o.err == nil {
					o.err = o.pending.Wait(ctx)
				}
			}
		}
		return protocol.Answer{Message: produceResponse(req, outcomes)}, nil
	}
}

// unacknowledged makes the connection close when a produce with acks=0 failed: the only way to tell its producer.
func unacknowledged(outcomes []produced) error {
	for i := range outcomes {
		if err := outcomes[i].err; err != nil {
			return fmt.Errorf("produce with acks=0 failed: %w", err)
		}
	}
	return nil
}

func (a *API) producePartition(ctx context.Context, req *kmsg.ProduceRequest, t *kmsg.ProduceRequestTopic, rp *kmsg.ProduceRequestTopicPartition) produced {
	if req.Acks < -1 || req.Acks > 1 {
		return produced{err: coded(kerr.InvalidRequiredAcks, "acks is %d, must be -1 (all), 0 or 1", req.Acks)}
	}
	p, err := a.partition(req.Version >= 13, t.Topic, t.TopicID, rp.Partition)
	if err != nil {
		return produced{err: err}
	}
	if p.Topic().Internal {
		return produced{err: coded(kerr.InvalidTopicException, "topic %s is internal; clients cannot write it", p.Topic().Name)}
	}
	b, rest, err := record.Next(rp.Records)
	if err != nil {
		return produced{err: err}
	}
	if len(rest) > 0 {
		return produced{err: coded(kerr.InvalidRecord, "a produce must hold exactly one record batch per partition, %d bytes follow the first", len(rest))}
	}
	pending, err := p.Append(ctx, b, a.now())
	return produced{pending: pending, err: err}
}

func produceResponse(req *kmsg.ProduceRequest, outcomes []produced) *kmsg.ProduceResponse {
	resp := req.ResponseKind().(*kmsg.ProduceResponse)
	resp.Topics = make([]kmsg.ProduceResponseTopic, len(req.Topics))
	n := 0
	for i := range req.Topics {
		t, rt := &req.Topics[i], &resp.Topics[i]
		rt.Default()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		rt.Partitions = make([]kmsg.ProduceResponseTopicPartition, len(t.Partitions))
		for j := range t.Partitions {
			rp := &rt.Partitions[j]
			rp.Default()
			rp.Partition = t.Partitions[j].Partition
			outcomes[n].encode(rp)
			n++
		}
	}
	return resp
}

func (o *produced) encode(rp *kmsg.ProduceResponseTopicPartition) {
	if o.err == nil {
		rp.BaseOffset = o.pending.BaseOffset
		rp.LogAppendTime = o.pending.AppendTime
		rp.LogStartOffset = o.pending.LogStart
		return
	}
	rp.BaseOffset = -1
	rp.ErrorCode = code(o.err)
	rp.ErrorMessage = kmsg.StringPtr(message(o.err))
	var bad *record.RecordErrors
	if errors.As(o.err, &bad) {
		for _, r := range bad.Records {
			er := kmsg.NewProduceResponseTopicPartitionErrorRecord()
			er.RelativeOffset, er.ErrorMessage = r.Index, kmsg.StringPtr(r.Reason)
			rp.ErrorRecords = append(rp.ErrorRecords, er)
		}
	}
}
