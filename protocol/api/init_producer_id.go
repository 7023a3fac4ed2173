package api

import (
	"context"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/protocol"
)

// InitProducerID, key 22, versions 0-5 (KIP-98, KIP-360), for idempotent producers. Transactional ids are refused.

func (a *API) initProducerID(_ context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.InitProducerIDRequest)
	return func(ctx context.Context) (protocol.Answer, error) {
		resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
		id, epoch, err := a.newProducer(ctx, req)
		if err != nil {
			resp.ErrorCode, resp.ProducerID, resp.ProducerEpoch = code(err), -1, -1
			return protocol.Answer{Message: resp}, nil
		}
		resp.ProducerID, resp.ProducerEpoch = id, epoch
		return protocol.Answer{Message: resp}, nil
	}
}

func (a *API) newProducer(ctx context.Context, req *kmsg.InitProducerIDRequest) (id int64, epoch int16, err error) {
	switch {
	case req.TransactionalID != nil:
		return -1, -1, kerr.TransactionalIDAuthorizationFailed
	case (req.ProducerID < 0) != (req.ProducerEpoch < 0):
		return -1, -1, kerr.InvalidRequest
	}
	id, err = a.producers.next(ctx)
	return id, 0, err
}

// producerIDs hands out producer ids from durable blocks, so that one costs no sync.
type producerIDs struct {
	store cluster.Store

	mu         sync.Mutex
	first, end int64
}

const producerIDBlock = 1000

func (p *producerIDs) next(ctx context.Context) (int64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.first == p.end {
		first, err := p.store.ProducerIDs(ctx, producerIDBlock)
		if err != nil {
			return 0, err
		}
		p.first, p.end = first, first+producerIDBlock
	}
	p.first++
	return p.first - 1, nil
}
