package txn

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/coord"
)

// InitProducerID serves key 22, versions 0 to 5 (KIP-98, KIP-360).
//
// A producer without transactional id gets a new id, also if it names the one it
// had, as in Kafka. Unlike in Kafka, a new instance that meets an open transaction
// is answered once that is aborted, if this takes no longer than a moment.
func (c *Coordinator) InitProducerID(ctx context.Context, req *kmsg.InitProducerIDRequest) *kmsg.InitProducerIDResponse {
	resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
	p, err := c.initProducer(ctx, req)
	if err != nil {
		resp.ErrorCode, resp.ProducerID, resp.ProducerEpoch = fencedCode(err, req.Version >= 4), noID, noEpoch
		return resp
	}
	resp.ProducerID, resp.ProducerEpoch = p.id, p.epoch
	return resp
}

// producer is a producer id and epoch, as a client is told, or claims to have.
type producer struct {
	id    int64
	epoch int16
}

// errExhausted says that the transactional id needs another producer id.
var errExhausted = errors.New("no epoch is left, or no producer id was given yet")

func (c *Coordinator) initProducer(ctx context.Context, req *kmsg.InitProducerIDRequest) (producer, error) {
	had := producer{req.ProducerID, req.ProducerEpoch}
	switch {
	case (had.id == noID) != (had.epoch == noEpoch):
		return producer{}, kerr.InvalidRequest
	case req.TransactionalID == nil:
		id, err := c.newProducerID(ctx)
		return producer{id, 0}, err
	case *req.TransactionalID == "":
		return producer{}, kerr.InvalidRequest
	case req.TransactionTimeoutMillis <= 0 || time.Duration(req.TransactionTimeoutMillis)*time.Millisecond > c.cfg().MaxTimeout:
		return producer{}, kerr.InvalidTransactionTimeout
	}
	i := initiation{id: *req.TransactionalID, had: had, timeoutMs: req.TransactionTimeoutMillis, fresh: noID}
	p, err := c.initiate(ctx, i)
	if !errors.Is(err, errExhausted) {
		return p, err
	}
	if i.fresh, err = c.newProducerID(ctx); err != nil {
		return producer{}, err
	}
	return c.initiate(ctx, i)
}

// newProducerID returns an id nobody else has. Producers try again while none can be reserved.
func (c *Coordinator) newProducerID(ctx context.Context) (int64, error) {
	id, err := c.ids.next(ctx)
	if err == nil || errors.Is(err, context.Canceled) {
		return id, err
	}
	c.unexplained.Do(func() { c.log.Error("no producer ids can be reserved", "err", err) })
	return noID, fmt.Errorf("reserve producer ids: %w", errors.Join(kerr.CoordinatorLoadInProgress, err))
}

// initiation is one request to begin, or to go on, as a transactional id.
type initiation struct {
	id        string
	had       producer // what the client had, noID if it is new
	timeoutMs int32
	fresh     int64 // a producer id to use where one is needed, noID at the first try
}

func (c *Coordinator) initiate(ctx context.Context, i initiation) (producer, error) {
	a, err := coord.Call(ctx, c.shards.Of(i.id), func(m *machine, tx *coord.Tx, reply *coord.Reply[answer[producer]]) {
		m.initiate(tx, i, reply)
	})
	return a.value, errors.Join(err, a.err)
}

// initiate answers a new instance of a transactional id. An open transaction, of an instance that
// is gone or that has failed, is aborted first.
func (m *machine) initiate(tx *coord.Tx, i initiation, reply *coord.Reply[answer[producer]]) {
	whenComplete(m, tx, i.id, reply.Fail, func(tx *coord.Tx) {
		t := m.transactions[i.id]
		err := i.admit(t)
		if err == nil && t != nil && t.state == ongoing {
			if err = m.fenceFor(tx, t, i.had.epoch); err == nil {
				m.initiate(tx, i, reply)
				return
			}
		}
		var p producer
		if err == nil {
			p, err = m.begin(tx, t, i)
		}
		reply.Send(tx, answer[producer]{p, err})
	})
}

// admit tells a client that goes on from a zombie.
func (i initiation) admit(t *transaction) error {
	switch {
	case t == nil:
		return nil
	case t.state.decided():
		return kerr.ConcurrentTransactions
	case i.had.id == noID:
		return nil
	case i.had == t.producer() || t.before(i.had):
		return nil
	}
	return kerr.ProducerFenced
}

// begin gives a client its producer id and epoch.
func (m *machine) begin(tx *coord.Tx, t *transaction, i initiation) (producer, error) {
	var n transaction
	if t == nil {
		n = transaction{id: i.id, producerID: noID, epoch: lastEpoch, previousID: noID, nextID: noID}
	} else {
		n = t.next(tx.Now())
	}
	switch {
	case t != nil && t.before(i.had) && t.epoch <= lastEpoch:
		return t.producer(), nil // a retry: it has been answered before
	case n.exhausted() && i.fresh == noID:
		return producer{}, errExhausted
	case n.exhausted():
		n.previousID, n.producerID, n.epoch = n.producerID, i.fresh, 0
	default:
		n.epoch++
	}
	n.lastEpoch = i.had.epoch
	n.state, n.timeoutMs, n.partitions, n.startMs, n.updateMs = empty, i.timeoutMs, nil, -1, tx.Now().UnixMilli()
	if err := tx.Append(n.record()); err != nil {
		return producer{}, err
	}
	return n.producer(), nil
}

// fence aborts an open transaction in an epoch of its own, so that its producer can write no more.
func (m *machine) fence(tx *coord.Tx, t *transaction) error { return m.fenceFor(tx, t, noEpoch) }

// fenceFor is fence for a producer that gave its transaction up and goes on in the new epoch.
func (m *machine) fenceFor(tx *coord.Tx, t *transaction, had int16) error {
	n := t.next(tx.Now())
	n.state, n.epoch, n.lastEpoch = prepareAbort, t.epoch+1, had
	return tx.Append(n.record())
}
