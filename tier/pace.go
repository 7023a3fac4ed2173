package tier

import (
	"context"

	"golang.org/x/time/rate"
)

// burstBytes is what may be sent or fetched at once before a rate limit is felt.
const burstBytes = 1 << 20

// newLimiter returns a limit in bytes per second, nil for none.
func newLimiter(bytesPerSecond int64) *rate.Limiter {
	if bytesPerSecond <= 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(bytesPerSecond), burstBytes)
}

// pace waits until n more bytes are within the limit.
func pace(ctx context.Context, l *rate.Limiter, n int) error {
	for l != nil && n > 0 {
		m := min(n, burstBytes)
		if err := l.WaitN(ctx, m); err != nil {
			return err
		}
		n -= m
	}
	return nil
}
