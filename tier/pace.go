package tier

import (
	"context"

	"golang.org/x/time/rate"
)

// burstBytes is what may be sent or fetched at once before a rate limit is felt.
const burstBytes = 1 << 20

// SetRates changes the limits of Options.CopyRate and Options.FetchRate.
func (t *Tier) SetRates(copyRate, fetchRate int64) {
	t.copyLimit.SetLimit(limitOf(copyRate))
	t.fetchLimit.SetLimit(limitOf(fetchRate))
}

func newLimiter(bytesPerSecond int64) *rate.Limiter {
	return rate.NewLimiter(limitOf(bytesPerSecond), burstBytes)
}

func limitOf(bytesPerSecond int64) rate.Limit {
	if bytesPerSecond <= 0 {
		return rate.Inf
	}
	return rate.Limit(bytesPerSecond)
}

// pace waits until n more bytes are within the limit.
func pace(ctx context.Context, l *rate.Limiter, n int) error {
	for n > 0 {
		m := min(n, burstBytes)
		if err := l.WaitN(ctx, m); err != nil {
			return err
		}
		n -= m
	}
	return nil
}
