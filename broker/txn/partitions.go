package txn

import (
	"context"
	"errors"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/coord"
)

// Claim is who says that a transaction is its own.
type Claim struct {
	TransactionalID string
	ProducerID      int64
	Epoch           int16
}

// find returns the claimed transactional id's transaction if the claim is right.
func (m *machine) find(c Claim) (*transaction, error) {
	t := m.transactions[c.TransactionalID]
	switch {
	case t == nil || t.producerID != c.ProducerID:
		return nil, kerr.InvalidProducerIDMapping
	case t.epoch != c.Epoch, t.epoch > lastEpoch: // nobody may write in the epoch that only fences
		return nil, kerr.ProducerFenced
	case t.state.decided():
		return nil, kerr.ConcurrentTransactions
	}
	return t, nil
}

// Add makes partitions part of a transaction, and begins it if none is open. version is the
// transaction.version of the client. Errors are Kafka's (*kerr.Error): INVALID_PRODUCER_ID_MAPPING,
// PRODUCER_FENCED, CONCURRENT_TRANSACTIONS, and those of a coordinator that does not answer.
func (c *Coordinator) Add(ctx context.Context, claim Claim, partitions []Partition, version int16) error {
	_, err := settled(ctx, c, claim.TransactionalID, func(m *machine, tx *coord.Tx) (struct{}, error) {
		return struct{}{}, m.add(tx, claim, partitions, version)
	})
	return toKafka(err)
}

func (m *machine) add(tx *coord.Tx, claim Claim, partitions []Partition, version int16) error {
	t, err := m.find(claim)
	if err != nil {
		return err
	}
	missing := make([]Partition, 0, len(partitions))
	for _, p := range partitions {
		if t.state != ongoing || !t.holds(p) {
			missing = append(missing, p)
		}
	}
	if len(missing) == 0 && t.state == ongoing {
		return nil
	}
	n := t.next(tx.Now())
	n.version = version
	if t.state != ongoing {
		n.state, n.partitions, n.startMs = ongoing, nil, n.updateMs
	}
	n.partitions = n.with(missing)
	return tx.Append(n.record())
}

// Verify makes sure that partitions are part of an open transaction (KIP-890, for clients that name them
// beforehand). Errors are those of Add, and TRANSACTION_ABORTABLE if any is not.
func (c *Coordinator) Verify(ctx context.Context, claim Claim, partitions []Partition) error {
	outside, err := c.outside(ctx, claim, partitions)
	if err == nil && len(outside) > 0 {
		return kerr.TransactionAbortable
	}
	return err
}

// outside returns those of some partitions that are not part of an open transaction: none if that
// is not verified. Errors are those of Add.
func (c *Coordinator) outside(ctx context.Context, claim Claim, partitions []Partition) ([]Partition, error) {
	if !c.cfg().VerifyPartition {
		return nil, nil
	}
	outside, err := settled(ctx, c, claim.TransactionalID, func(m *machine, _ *coord.Tx) ([]Partition, error) {
		return m.outside(claim, partitions)
	})
	return outside, toKafka(err)
}

func (m *machine) outside(claim Claim, partitions []Partition) (outside []Partition, err error) {
	t, err := m.find(claim)
	if err != nil {
		return nil, err
	}
	for _, p := range partitions {
		if t.state != ongoing || !t.holds(p) {
			outside = append(outside, p)
		}
	}
	return outside, nil
}

// answer is what a command answers: a value or an error.
type answer[R any] struct {
	value R
	err   error
}

// settled runs a command that answers at once, after the id's decided transaction is complete: see
// whenComplete.
func settled[R any](ctx context.Context, c *Coordinator, id string, command func(*machine, *coord.Tx) (R, error)) (R, error) {
	a, err := coord.Call(ctx, c.shards.Of(id), func(m *machine, tx *coord.Tx, reply *coord.Reply[answer[R]]) {
		whenComplete(m, tx, id, reply.Fail, func(tx *coord.Tx) {
			v, err := command(m, tx)
			reply.Send(tx, answer[R]{v, err})
		})
	})
	return a.value, errors.Join(err, a.err)
}

// AddPartitionsToTxn serves key 24, versions 0 to 5. From version 4 on it is what brokers ask each
// other, many transactions at once, and may only verify.
func (c *Coordinator) AddPartitionsToTxn(ctx context.Context, req *kmsg.AddPartitionsToTxnRequest) *kmsg.AddPartitionsToTxnResponse {
	resp := req.ResponseKind().(*kmsg.AddPartitionsToTxnResponse)
	if req.Version >= 4 {
		for i := range req.Transactions {
			resp.Transactions = append(resp.Transactions, c.addTransaction(ctx, &req.Transactions[i]))
		}
		return resp
	}
	t := kmsg.NewAddPartitionsToTxnRequestTransaction()
	t.TransactionalID, t.ProducerID, t.ProducerEpoch = req.TransactionalID, req.ProducerID, req.ProducerEpoch
	for _, rt := range req.Topics {
		tt := kmsg.NewAddPartitionsToTxnRequestTransactionTopic()
		tt.Topic, tt.Partitions = rt.Topic, rt.Partitions
		t.Topics = append(t.Topics, tt)
	}
	for _, at := range c.addTransaction(ctx, &t).Topics {
		rt := kmsg.NewAddPartitionsToTxnResponseTopic()
		rt.Topic = at.Topic
		for _, p := range at.Partitions {
			rp := kmsg.NewAddPartitionsToTxnResponseTopicPartition()
			rp.Partition, rp.ErrorCode = p.Partition, oldFenced(p.ErrorCode, req.Version >= 2)
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

// addTransaction adds the partitions of one transaction: all, or none if any is refused. If it is to
// verify them only, each has an answer of its own, but for those beside one that is refused.
func (c *Coordinator) addTransaction(ctx context.Context, req *kmsg.AddPartitionsToTxnRequestTransaction) kmsg.AddPartitionsToTxnResponseTransaction {
	claim := Claim{req.TransactionalID, req.ProducerID, req.ProducerEpoch}
	partitions, refused := c.resolve(req.Topics)
	var outside []Partition
	var err error
	switch {
	case req.TransactionalID == "":
		err = kerr.InvalidRequest
	case len(refused) > 0:
		err = kerr.OperationNotAttempted
	case req.VerifyOnly:
		outside, err = c.outside(ctx, claim, partitions)
	default:
		err = c.Add(ctx, claim, partitions, 0)
	}
	resp := kmsg.NewAddPartitionsToTxnResponseTransaction()
	resp.TransactionalID = req.TransactionalID
	for _, t := range req.Topics {
		rt := kmsg.NewAddPartitionsToTxnResponseTransactionTopic()
		rt.Topic = t.Topic
		for _, n := range t.Partitions {
			rp := kmsg.NewAddPartitionsToTxnResponseTransactionTopicPartition()
			rp.Partition, rp.ErrorCode = n, codeOf(err)
			switch {
			case refused[Partition{Topic: t.Topic, Number: n}] != nil:
				rp.ErrorCode = refused[Partition{Topic: t.Topic, Number: n}].Code
			case slices.ContainsFunc(outside, func(p Partition) bool { return p.Topic == t.Topic && p.Number == n }):
				rp.ErrorCode = kerr.TransactionAbortable.Code
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

// resolve looks up partitions, and tells which no transaction can hold.
func (c *Coordinator) resolve(topics []kmsg.AddPartitionsToTxnRequestTransactionTopic) (found []Partition, refused map[Partition]*kerr.Error) {
	for _, t := range topics {
		for _, n := range t.Partitions {
			p, err := c.partition(t.Topic, n)
			if err == nil {
				found = append(found, p)
				continue
			}
			if refused == nil {
				refused = make(map[Partition]*kerr.Error)
			}
			refused[Partition{Topic: t.Topic, Number: n}] = err
		}
	}
	return found, refused
}

// partition looks up a partition that a transaction can hold.
func (c *Coordinator) partition(topic string, n int32) (Partition, *kerr.Error) {
	count, id, ok := c.cluster.Partitions(topic)
	switch {
	case !ok || n < 0 || n >= count:
		return Partition{}, kerr.UnknownTopicOrPartition
	case !c.cluster.Writable(topic):
		return Partition{}, kerr.InvalidTopicException
	}
	return Partition{topic, id, n}, nil
}

// AddOffsetsToTxn serves key 25, versions 0 to 4: it adds the partition that keeps the offsets of a group.
func (c *Coordinator) AddOffsetsToTxn(ctx context.Context, req *kmsg.AddOffsetsToTxnRequest) *kmsg.AddOffsetsToTxnResponse {
	resp := req.ResponseKind().(*kmsg.AddOffsetsToTxnResponse)
	err := error(kerr.InvalidRequest)
	if req.TransactionalID != "" {
		err = c.AddOffsets(ctx, Claim{req.TransactionalID, req.ProducerID, req.ProducerEpoch}, req.Group, 0)
	}
	resp.ErrorCode = fencedCode(err, req.Version >= 2)
	return resp
}

// AddOffsets is Add for the partition that keeps the offsets of a group.
func (c *Coordinator) AddOffsets(ctx context.Context, claim Claim, group string, version int16) error {
	p, err := c.cluster.OffsetsPartition(group)
	if err != nil {
		return toKafka(err)
	}
	return c.Add(ctx, claim, []Partition{p}, version)
}

// VerifyOffsets is Verify for the partition that keeps the offsets of a group.
func (c *Coordinator) VerifyOffsets(ctx context.Context, claim Claim, group string) error {
	p, err := c.cluster.OffsetsPartition(group)
	if err != nil {
		return toKafka(err)
	}
	return c.Verify(ctx, claim, []Partition{p})
}
