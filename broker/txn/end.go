package txn

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/coord"
)

// EndTxn serves key 26, versions 0 to 5. It is answered when the outcome is
// committed to the journal, and thus certain; the markers are written meanwhile.
// From version 5 on the transaction ends with a new epoch, which is in the answer (KIP-890).
func (c *Coordinator) EndTxn(ctx context.Context, req *kmsg.EndTxnRequest) *kmsg.EndTxnResponse {
	resp := req.ResponseKind().(*kmsg.EndTxnResponse)
	resp.ProducerID, resp.ProducerEpoch = noID, noEpoch
	e := ending{claim: Claim{req.TransactionalID, req.ProducerID, req.ProducerEpoch}, commit: req.Commit, fresh: noID}
	if req.Version >= 5 {
		e.version = version2
	}
	p, err := c.end(ctx, e)
	if errors.Is(err, errExhausted) {
		if e.fresh, err = c.newProducerID(ctx); err == nil {
			p, err = c.end(ctx, e)
		}
	}
	if err != nil {
		resp.ErrorCode = fencedCode(err, req.Version >= 2)
		return resp
	}
	resp.ProducerID, resp.ProducerEpoch = p.id, p.epoch
	return resp
}

// ending is one request to end a transaction.
type ending struct {
	claim   Claim
	commit  bool
	version int16 // transaction.version of the client
	fresh   int64 // a producer id to use where one is needed, noID at the first try
}

func (c *Coordinator) end(ctx context.Context, e ending) (producer, error) {
	if e.claim.TransactionalID == "" {
		return producer{}, kerr.InvalidRequest
	}
	return coord.Do(ctx, c.shards.Of(e.claim.TransactionalID), func(m *machine, tx *coord.Tx) (producer, error) {
		return m.end(tx, e)
	})
}

// end decides about a transaction, and returns what the producer goes on with.
func (m *machine) end(tx *coord.Tx, e ending) (producer, error) {
	t := m.transactions[e.claim.TransactionalID]
	switch {
	case t == nil:
		return producer{}, kerr.InvalidProducerIDMapping
	case e.version < version2:
		return m.endSameEpoch(tx, t, e)
	}
	return m.endNewEpoch(tx, t, e)
}

// endSameEpoch is end for clients that keep their epoch. A request that comes twice is told from
// others by the outcome only.
func (m *machine) endSameEpoch(tx *coord.Tx, t *transaction, e ending) (producer, error) {
	switch {
	case e.claim.ProducerID != t.producerID:
		return producer{}, kerr.InvalidProducerIDMapping
	case e.claim.Epoch != t.epoch:
		return producer{}, kerr.ProducerFenced
	case t.state == ongoing:
		return m.settle(tx, t, e)
	case t.state == empty || t.state.commits() != e.commit:
		return producer{}, kerr.InvalidTxnState
	case t.state.decided():
		return producer{}, kerr.ConcurrentTransactions
	}
	return t.producer(), nil
}

// endNewEpoch is end for clients that go on in a new epoch: a request that comes twice has the one before.
func (m *machine) endNewEpoch(tx *coord.Tx, t *transaction, e ending) (producer, error) {
	claimed := producer{e.claim.ProducerID, e.claim.Epoch}
	same, current := claimed.id == t.producerID, claimed == t.producer()
	bumped := same && claimed.epoch == t.epoch-1 && t.version >= version2
	replaced := !same && t.before(claimed)
	before := bumped || replaced && !t.state.decided()
	switch {
	case !same && !replaced:
		return producer{}, kerr.InvalidProducerIDMapping
	case t.state == ongoing && current:
		return m.settle(tx, t, e)
	case t.state.decided() && current:
		// The producer has gone on already, and ends its next transaction before anything was
		// written in it: it is to try again when the last one is complete. Kafka fences it,
		// although nobody else has the id.
		return producer{}, kerr.ConcurrentTransactions
	case t.state == ongoing || t.state == empty && !current || t.state.decided() && !bumped || !current && !before:
		return producer{}, kerr.ProducerFenced
	case !current && t.epoch > lastEpoch && !t.state.decided(): // nobody may write in the epoch that only fences
		return producer{}, kerr.ProducerFenced
	case before && t.state.commits() != e.commit:
		return producer{}, kerr.InvalidTxnState
	case t.state.decided():
		return producer{}, kerr.ConcurrentTransactions
	case before:
		return t.producer(), nil
	case e.commit:
		return producer{}, kerr.InvalidTxnState
	}
	return m.settle(tx, t, e) // to abort before anything was written is allowed
}

// settle records how a transaction ends. From then on it is certain.
func (m *machine) settle(tx *coord.Tx, t *transaction, e ending) (producer, error) {
	n := t.next(tx.Now())
	n.state = prepared(e.commit)
	if t.state != ongoing {
		n.partitions, n.startMs = nil, n.updateMs
	}
	n.version = e.version
	told := t.producer()
	if e.version >= version2 {
		n.epoch, n.lastEpoch = t.epoch+1, t.epoch
		told.epoch = n.epoch
		if t.exhausted() {
			if e.fresh == noID {
				return producer{}, errExhausted
			}
			n.nextID = e.fresh
			told = producer{e.fresh, 0}
		}
	}
	if err := tx.Append(n.record()); err != nil {
		return producer{}, err
	}
	return told, nil
}

// decision is how a transaction ends, and where markers have to tell so.
type decision struct {
	marker     Marker
	partitions []Partition
}

// decision returns what is committed to happen to a transactional id's transaction; false if nothing is.
func (m *machine) decision(id string) (decision, bool) {
	t := m.transactions[id]
	if t == nil || !t.state.decided() {
		return decision{}, false
	}
	return decision{Marker{t.producerID, t.epoch, m.epoch, t.state.commits(), t.version >= version2}, t.list()}, true
}

// complete notes that every marker of a decision is written, and lets go on what has waited for that.
func (m *machine) complete(tx *coord.Tx, id string, d decision) error {
	t := m.transactions[id]
	if t == nil || !t.state.decided() || t.producerID != d.marker.ProducerID || t.epoch != d.marker.Epoch {
		return nil
	}
	n := t.next(tx.Now())
	n.state, n.partitions = t.state.over(), nil
	if t.nextID != noID {
		n.previousID, n.producerID, n.nextID, n.epoch, n.lastEpoch = t.producerID, t.nextID, noID, 0, t.lastEpoch
	}
	if err := tx.Append(n.record()); err != nil {
		return err
	}
	m.metrics.completed(t.state)
	m.resume(tx, m.transactions[id])
	return nil
}
