package tier

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/morrowmq/morrow/internal/pace"
	"github.com/morrowmq/morrow/tier/bucket"
	"github.com/morrowmq/morrow/tier/chunk"
)

const (
	// A block that takes longer is given up; readers try again.
	fetchTimeout = 60 * time.Second
	// One partition fetches so many blocks at the same time at most, so that a slow object slows
	// its readers only.
	fetchesPerPartition = 8
	// So many blocks that lie one after the other are asked for with one request at most: requests
	// cost time and money.
	runBlocks = 4
)

var errTooSlow = fmt.Errorf("no block in %v", fetchTimeout)

// fetcher makes a function that reads a range of an object, within the limits on concurrency and rate.
func (p *Partition) fetcher(key string, pos int64) chunk.LoadFunc {
	return func(ctx context.Context, into []byte) error {
		release, err := p.fetchSlot(ctx)
		if err != nil {
			return err
		}
		defer release()
		if err := pace.Wait(ctx, p.tier.fetchLimit, len(into)); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
		defer cancel()
		p.stats.fetchRequests.Add(1)
		if err := readInto(ctx, p.tier.bucket, key, pos, into); err != nil {
			p.stats.fetchErrors.Add(1)
			return err
		}
		p.stats.fetchBytes.Add(int64(len(into)))
		return nil
	}
}

// fetchSlot waits until one more request is within the limits.
func (p *Partition) fetchSlot(ctx context.Context) (release func(), err error) {
	if err := p.fetches.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	if err := p.tier.fetches.Acquire(ctx, 1); err != nil {
		p.fetches.Release(1)
		return nil, err
	}
	return func() {
		p.tier.fetches.Release(1)
		p.fetches.Release(1)
	}, nil
}

// openRun asks for n bytes of an object, within the same limits. They are read block by block; one
// that takes too long ends it.
func (p *Partition) openRun(ctx context.Context, key string, pos, n int64) (next chunk.LoadFunc, done func(), err error) {
	release, err := p.fetchSlot(ctx)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	tooLong := time.AfterFunc(fetchTimeout, func() { cancel(errTooSlow) })
	end := func() { tooLong.Stop(); cancel(nil) }
	p.stats.fetchRequests.Add(1)
	r, _, err := p.tier.bucket.Get(ctx, key, pos, n)
	if err != nil {
		p.stats.fetchErrors.Add(1)
		end()
		release()
		return nil, nil, err
	}
	next = func(_ context.Context, into []byte) error {
		tooLong.Stop()
		if err := pace.Wait(ctx, p.tier.fetchLimit, len(into)); err != nil {
			return err
		}
		tooLong.Reset(fetchTimeout)
		if _, err := io.ReadFull(r, into); err != nil {
			p.stats.fetchErrors.Add(1)
			return &bucket.Error{Op: "get", Key: key, Kind: bucket.ErrUnknown, Err: err}
		}
		p.stats.fetchBytes.Add(int64(len(into)))
		return nil
	}
	return next, func() {
		end()
		_ = r.Close() // what was wanted of it has been read
		release()
	}, nil
}
