package api

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/morrowmq/morrow/broker/partition"
	"github.com/morrowmq/morrow/broker/txn"
	"github.com/morrowmq/morrow/log"
)

// transactionVersion2 is the transaction.version of the clients that write to partitions without naming them
// to the coordinator first: they use version 12 of Produce or a later one (KIP-890).
const transactionVersion2 = 2

// verification is what the first batch of a transaction in a partition needs to be appended;
// nothing for all others.
type verification struct {
	part  *partition.Partition
	guard *log.Verification
	err   error
}

// verifications are those of a request, in the order of its partitions; nil if it is not transactional.
type verifications []verification

func (v verifications) at(i int) verification {
	if v == nil {
		return verification{}
	}
	return v[i]
}

// verify asks the coordinator about every partition in which the request begins a transaction, with
// one question for all of them: newer clients' partitions are added to the transaction, those of
// older clients must be part of it already.
func (p *producing) verify(ctx context.Context, n int) verifications {
	if p.req.TransactionID == nil {
		return nil
	}
	all := make(verifications, 0, n)
	var partitions []txn.Partition
	var claim txn.Claim
	for i := range p.req.Topics {
		t := &p.req.Topics[i]
		for j := range t.Partitions {
			part, b, err := p.find(t, &t.Partitions[j])
			if err != nil || part.Topic().Internal {
				all = append(all, verification{}) // it is refused when it is appended
				continue
			}
			v := verification{part: part, guard: part.Verify(b, p.req.Version >= 12)}
			c := txn.Claim{TransactionalID: *p.req.TransactionID, ProducerID: b.ProducerID(), Epoch: b.ProducerEpoch()}
			switch {
			case v.guard == nil:
			case len(partitions) > 0 && c != claim:
				part.Unverify(v.guard)
				v.guard, v.err = nil, coded(kerr.InvalidProducerIDMapping, "the batches of one transaction are from two producers")
			default:
				claim = c
				partitions = append(partitions, txn.Partition{Topic: part.Topic().Name, TopicID: part.Topic().ID, Number: part.Number()})
			}
			all = append(all, v)
		}
	}
	if len(partitions) > 0 {
		all.fail(p.ask(ctx, claim, partitions))
	}
	return all
}

// ask asks the coordinator, and says what the client is told.
func (p *producing) ask(ctx context.Context, claim txn.Claim, partitions []txn.Partition) error {
	if p.req.Version >= 12 {
		return produceError(p.api.transactions.Add(ctx, claim, partitions, transactionVersion2), p.req.Version)
	}
	return produceError(p.api.transactions.Verify(ctx, claim, partitions), p.req.Version)
}

// fail ends the verifications under way if there was an error.
func (v verifications) fail(err error) {
	if err == nil {
		return
	}
	for i := range v {
		if one := &v[i]; one.guard != nil && one.err == nil {
			one.part.Unverify(one.guard)
			one.err = err
		}
	}
}

// produceError turns an answer of the coordinator into one that producers handle. What will pass becomes
// NOT_ENOUGH_REPLICAS, which all of them try again.
func produceError(err error, version int16) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, kerr.ProducerFenced):
		return coded(kerr.InvalidProducerEpoch, "the transactional id belongs to a newer instance of its producer")
	case errors.Is(err, kerr.TransactionAbortable) && version < 11, errors.Is(err, kerr.InvalidTxnState):
		return coded(kerr.InvalidTxnState, "the partition was not added to an open transaction")
	case errors.Is(err, kerr.TransactionAbortable):
		return coded(kerr.TransactionAbortable, "the partition was not added to an open transaction")
	case errors.Is(err, kerr.ConcurrentTransactions), errors.Is(err, kerr.CoordinatorLoadInProgress),
		errors.Is(err, kerr.CoordinatorNotAvailable), errors.Is(err, kerr.NotCoordinator):
		return coded(kerr.NotEnoughReplicas, "the transaction coordinator cannot tell whether the partition is part of the transaction: %s", message(err))
	}
	return err
}
