package api

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/txn"
	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/protocol"
)

// AddOffsetsToTxn, key 25, versions 0-4. Producers send it before they look for the coordinator of
// the group, which is what otherwise creates the topic that keeps its offsets.

func (a *API) addOffsetsToTxn(_ context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.AddOffsetsToTxnRequest)
	return func(ctx context.Context) (protocol.Answer, error) {
		if _, err := a.statePartition(ctx, cluster.OffsetsTopic, a.groups.FindShard(req.Group)); err != nil {
			a.logger.Warn("the topic of the groups' offsets cannot be created", "err", err) // the producer is told to try again
		}
		return protocol.Answer{Message: a.transactions.AddOffsetsToTxn(ctx, req)}, nil
	}
}

// TxnOffsetCommit, key 28, versions 0-6 (KIP-98, KIP-447, KIP-890).
//
// From version 5 on the partition that keeps the group's offsets becomes part of the transaction by
// this request; clients of older versions have added it before. Version 6 names topics by id.

func (a *API) txnOffsetCommit(_ context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.TxnOffsetCommitRequest)
	return func(ctx context.Context) (protocol.Answer, error) {
		verify := func(ctx context.Context) error { return offsetCommitError(a.joinOffsets(ctx, req), req.Version) }
		return protocol.Answer{Message: a.groups.TxnOffsetCommit(ctx, req, verify)}, nil
	}
}

func (a *API) joinOffsets(ctx context.Context, req *kmsg.TxnOffsetCommitRequest) error {
	claim := txn.Claim{TransactionalID: req.TransactionalID, ProducerID: req.ProducerID, Epoch: req.ProducerEpoch}
	if req.Version >= 5 {
		return a.transactions.AddOffsets(ctx, claim, req.Group, transactionVersion2)
	}
	return a.transactions.VerifyOffsets(ctx, claim, req.Group)
}

// offsetCommitError turns an answer of the transaction coordinator into one that producers handle
// when they commit offsets.
func offsetCommitError(err error, version int16) error {
	switch {
	case errors.Is(err, kerr.ProducerFenced):
		return kerr.InvalidProducerEpoch
	case errors.Is(err, kerr.TransactionAbortable) && version < 4:
		return kerr.InvalidTxnState
	case errors.Is(err, kerr.ConcurrentTransactions):
		return kerr.CoordinatorLoadInProgress // will pass
	case errors.Is(err, kerr.NotCoordinator), errors.Is(err, kerr.CoordinatorNotAvailable):
		return kerr.CoordinatorLoadInProgress // the transaction's coordinator, not the group's
	}
	return err
}
