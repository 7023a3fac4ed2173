package tier

import (
	"context"
	"time"
)

const (
	// A block that takes longer is given up; readers try again.
	fetchTimeout = 60 * time.Second
	// One partition fetches so many blocks at the same time at most, so that a slow object slows its readers only.
	fetchesPerPartition = 8
)

// fetcher makes a function that reads a range of an object, within the limits on concurrency and rate.
func (p *Partition) fetcher(key string, pos int64) loadFunc {
	return func(ctx context.Context, into []byte) error {
		if err := p.fetches.Acquire(ctx, 1); err != nil {
			return err
		}
		defer p.fetches.Release(1)
		if err := p.tier.fetches.Acquire(ctx, 1); err != nil {
			return err
		}
		defer p.tier.fetches.Release(1)
		if err := pace(ctx, p.tier.fetchLimit, len(into)); err != nil {
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
