// Package pace keeps reading and writing within a rate.
package pace

import (
	"context"
	"io"

	"golang.org/x/time/rate"
)

// burst is how many bytes may go at once before the limit is felt.
const burst = 1 << 20

// NewLimiter makes a limiter; 0 or less is no limit.
func NewLimiter(bytesPerSecond int64) *rate.Limiter {
	return rate.NewLimiter(Limit(bytesPerSecond), burst)
}

// Limit is what [rate.Limiter.SetLimit] takes; 0 or less is no limit.
func Limit(bytesPerSecond int64) rate.Limit {
	if bytesPerSecond <= 0 {
		return rate.Inf
	}
	return rate.Limit(bytesPerSecond)
}

// Wait returns when so many more bytes are within the limit of l, which may be more than a limiter
// lets pass at once. The error is ctx's, or says that its deadline would be passed.
func Wait(ctx context.Context, l *rate.Limiter, bytes int) error {
	for bytes > 0 {
		n := min(bytes, burst)
		if err := l.WaitN(ctx, n); err != nil {
			return err
		}
		bytes -= n
	}
	return nil
}

// NewReader reads r, and returns what it has read when wait, told how much that is, has returned.
// What was read before wait failed is returned with its error.
func NewReader(ctx context.Context, r io.Reader, wait func(ctx context.Context, bytes int) error) io.Reader {
	return reader{ctx, r, wait}
}

type reader struct {
	ctx  context.Context
	r    io.Reader
	wait func(context.Context, int) error
}

func (r reader) Read(b []byte) (int, error) {
	n, err := r.r.Read(b)
	if n > 0 {
		if werr := r.wait(r.ctx, n); werr != nil {
			return n, werr
		}
	}
	return n, err
}
