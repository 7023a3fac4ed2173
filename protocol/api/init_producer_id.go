package api

import (
	"context"
	"errors"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/protocol"
)

// InitProducerID, key 22, versions 0-5 (KIP-98, KIP-360), for idempotent producers.
//
// A producer without transactional id gets a new id, also if it names the one it had, as in Kafka. Transactional ids are
// refused: see FindCoordinator.

func (a *API) initProducerID(_ context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.InitProducerIDRequest)
	return func(ctx context.Context) (protocol.Answer, error) {
		resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
		id, err := a.newProducer(ctx, req)
		if err != nil {
			resp.ErrorCode, resp.ProducerID, resp.ProducerEpoch = a.explainProducerID(err), -1, -1
			return protocol.Answer{Message: resp}, nil
		}
		resp.ProducerID, resp.ProducerEpoch = id, 0
		return protocol.Answer{Message: resp}, nil
	}
}

func (a *API) newProducer(ctx context.Context, req *kmsg.InitProducerIDRequest) (id int64, err error) {
	switch {
	case (req.ProducerID == -1) != (req.ProducerEpoch == -1):
		return -1, kerr.InvalidRequest
	case req.TransactionalID == nil:
		return a.producers.next(ctx)
	case *req.TransactionalID == "":
		return -1, kerr.InvalidRequest
	}
	return -1, errTransactions
}

// explainProducerID is the code of a request that got no id. Producers try again while none can be reserved.
func (a *API) explainProducerID(err error) int16 {
	if _, ok := errors.AsType[*kerr.Error](err); ok || errors.Is(err, context.Canceled) {
		return code(err)
	}
	a.unexplained.Do(func() { a.logger.Error("no producer ids can be reserved", "err", err) })
	return kerr.CoordinatorLoadInProgress.Code
}

// producerIDs hands out producer ids from blocks reserved durably, so that one costs no sync.
type producerIDs struct {
	reserve func(ctx context.Context, n int64) (first int64, err error)

	mu         sync.Mutex
	first, end int64         // what is left of the block; guarded by mu
	reserving  chan struct{} // closed when the reservation under way has ended; nil if there is none; guarded by mu
}

const producerIDBlock = 1000

// next returns an id nobody else has. One of those who find no id left reserves the next block, and the others wait for it.
func (p *producerIDs) next(ctx context.Context) (int64, error) {
	for {
		id, ended, ok := p.take()
		switch {
		case ok:
			return id, nil
		case ended == nil:
			if err := p.fill(ctx); err != nil {
				return -1, err
			}
			continue
		}
		select {
		case <-ended:
		case <-ctx.Done():
			return -1, ctx.Err()
		}
	}
}

// take returns an id, or if there is none the end of the reservation under way, or else nil: the caller is to reserve.
func (p *producerIDs) take() (id int64, ended <-chan struct{}, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.first < p.end {
		p.first++
		return p.first - 1, nil, true
	}
	if p.reserving != nil {
		return -1, p.reserving, false
	}
	p.reserving = make(chan struct{})
	return -1, nil, false
}

func (p *producerIDs) fill(ctx context.Context) error {
	first, err := p.reserve(ctx, producerIDBlock)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		p.first, p.end = first, first+producerIDBlock
	}
	close(p.reserving)
	p.reserving = nil
	return err
}
