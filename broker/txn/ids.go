package txn

import (
	"context"
	"sync"
)

// producerIDs hands out producer ids from blocks reserved durably, so that one costs no sync.
type producerIDs struct {
	reserve func(ctx context.Context, n int64) (first int64, err error)

	mu         sync.Mutex
	first, end int64         // what is left of the block; guarded by mu
	reserving  chan struct{} // closed when the reservation under way has ended; nil if there is none; guarded by mu
}

const producerIDBlock = 1000

// next returns an id nobody else has. One of those who find no id left reserves the next block, and
// the others wait for it.
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

// take returns an id, or if there is none the end of the reservation under way, or else nil: the
// caller is to reserve.
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
