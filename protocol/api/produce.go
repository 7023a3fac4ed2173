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
// The appends happen in order of arrival on the connection, before its earlier requests are
// answered; only the wait for the commit happens in the reply, so a producer's requests are
// pipelined and share syncs. Deviations from Kafka: a delayed record's offset is that of its hidden
// batch, its ticket. Records of a partition that are not exactly one whole batch are refused to the
// last byte. What begins a transaction in a partition is verified first: see
// produce_transaction.go. A timeout that is not positive bounds nothing; in Kafka it never ran out
// on a single replica either. Every error comes with a message.

// producing is one produce request while it is being answered.
type producing struct {
	api      *API
	req      *kmsg.ProduceRequest // its records are not touched after the append
	listener string
	clientID string
	deadline time.Time // zero: none
	outcomes []produced
}

// produced is what became of one partition of a request.
type produced struct {
	pending partition.Pending
	err     error
}

func (a *API) produce(ctx context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.ProduceRequest)
	p := &producing{api: a, req: req, listener: r.Conn.Listener, clientID: r.ClientID}
	if req.TimeoutMillis > 0 {
		p.deadline = r.Received.Add(time.Duration(req.TimeoutMillis) * time.Millisecond)
	}
	p.append(ctx)
	r.Release() // all is written; the wait needs nothing of the frame
	r.Ready = p.ready
	return p.reply
}

// append appends what the request holds, partition by partition.
func (p *producing) append(ctx context.Context) {
	n := 0
	for i := range p.req.Topics {
		n += len(p.req.Topics[i].Partitions)
	}
	p.outcomes = make([]produced, 0, n)
	now := p.api.now()
	verified := p.verify(ctx, n)
	for i := range p.req.Topics {
		t := &p.req.Topics[i]
		for j := range t.Partitions {
			pending, err := p.appendPartition(ctx, t, &t.Partitions[j], verified.at(len(p.outcomes)), now)
			p.outcomes = append(p.outcomes, produced{pending, err})
		}
	}
}

func (p *producing) appendPartition(ctx context.Context, t *kmsg.ProduceRequestTopic, rp *kmsg.ProduceRequestTopicPartition, v verification, now time.Time) (partition.Pending, error) {
	part, b, err := p.find(t, rp)
	if err != nil {
		return partition.Pending{}, err
	}
	if p.req.Acks < -1 || p.req.Acks > 1 {
		return partition.Pending{}, coded(kerr.InvalidRequiredAcks, "acks is %d, must be -1 (all), 0 or 1", p.req.Acks)
	}
	if topic := part.Topic(); topic.Internal {
		return partition.Pending{}, coded(kerr.InvalidTopicException, "topic %s belongs to the broker; clients cannot write to it", topic.Name)
	}
	if v.err != nil {
		return partition.Pending{}, v.err
	}
	pending, err := part.Append(ctx, b, v.guard, now)
	if err != nil {
		p.noteRefused(part, err)
	}
	return pending, err
}

// noteRefused logs why records were refused for what they are, which librdkafka, franz-go and others do
// not show their users.
func (p *producing) noteRefused(part *partition.Partition, err error) {
	if c := code(err); c != kerr.InvalidRecord.Code && c != kerr.InvalidTimestamp.Code {
		return
	}
	p.api.refused.Do(func() {
		p.api.logger.Info("records refused", "partition", part, "client", p.clientID, "err", message(err))
	})
}

// find returns a partition of the request and the batch for it.
func (p *producing) find(t *kmsg.ProduceRequestTopic, rp *kmsg.ProduceRequestTopicPartition) (*partition.Partition, record.Batch, error) {
	part, err := p.api.partition(topicKey{t.TopicID, t.Topic}, p.req.Version >= 13, rp.Partition)
	if err != nil {
		return nil, nil, err
	}
	b, err := onlyBatch(p.req.Version, rp.Records)
	return part, b, err
}

// onlyBatch returns the one batch that the records of a partition must be.
func onlyBatch(version int16, records []byte) (record.Batch, error) {
	if len(records) == 0 {
		return nil, coded(kerr.InvalidRecord, "a produce must hold exactly one record batch per partition, there is none")
	}
	b, rest, err := record.Next(records)
	switch {
	case errors.Is(err, record.ErrMagic), errors.Is(err, record.ErrTorn):
		return nil, coded(kerr.InvalidRecord, "a produce must hold exactly one record batch of format version 2 per partition: %v", err)
	case err != nil:
		return nil, err
	case len(rest) > 0:
		return nil, coded(kerr.InvalidRecord, "a produce must hold exactly one record batch per partition, %d bytes follow the first", len(rest))
	case version < 7 && b.Attributes().Codec() == record.Zstd:
		return nil, coded(kerr.UnsupportedCompressionType, "version %d of Produce does not know zstd, expected at least version 7", version)
	}
	return b, nil
}

// ready reports whether nothing is left to wait for.
func (p *producing) ready() bool {
	if p.req.Acks != -1 {
		return true
	}
	for i := range p.outcomes {
		if o := &p.outcomes[i]; o.err == nil && !o.pending.Committed() {
			return false
		}
	}
	return true
}

func (p *producing) reply(ctx context.Context) (protocol.Answer, error) {
	if p.req.Acks == 0 {
		return protocol.Answer{}, p.unacknowledged()
	}
	if !p.ready() {
		p.wait(ctx)
	}
	body, codes := p.encode()
	return protocol.Answer{Body: body, Errors: codes}, nil
}

// wait waits until everything is committed, or has failed, or the client's time is up.
func (p *producing) wait(ctx context.Context) {
	if !p.deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, p.deadline)
		defer cancel()
	}
	for i := range p.outcomes {
		if o := &p.outcomes[i]; o.err == nil {
			o.err = o.pending.Wait(ctx)
		}
	}
}

// unacknowledged makes the connection close when a produce with acks=0 failed: the only way to tell
// its producer.
func (p *producing) unacknowledged() error {
	for i := range p.outcomes {
		if err := p.outcomes[i].err; err != nil {
			return fmt.Errorf("produce with acks=0 failed: %w", err)
		}
	}
	return nil
}
