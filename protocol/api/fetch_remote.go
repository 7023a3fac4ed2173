package api

import (
	"context"
	"errors"
	"time"

	"github.com/morrowmq/morrow/log"
)

// readRemote reads what lies in the tier, all such partitions of the request at once, each with an equal share of the bytes left. It waits
// until the deadline at most, and not for a stopping server. A partition whose store does not answer in time comes back empty, not as an
// error: the consumer asks again, and finds what was begun.
func (f *fetching) readRemote(ctx context.Context, deadline time.Time, parts []*fetchPart, left int, minOne bool) (total int, failed bool) {
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	done := make(chan struct{}, len(parts))
	for _, fp := range parts {
		go func() {
			defer func() { done <- struct{}{} }()
			fp.read, fp.err = fp.partition.ReadRemote(ctx, fp.request(f.req, left/len(parts), minOne))
		}()
	}
	for range parts {
		select {
		case <-done:
		case <-f.conn.Stopping():
			cancel()
			<-done
		}
	}
	for _, fp := range parts {
		switch {
		case fp.err == nil:
			total += fp.read.Size
		case errors.Is(fp.err, context.DeadlineExceeded), errors.Is(fp.err, context.Canceled):
			fp.read, fp.err = fp.partition.Nothing(), nil
		default:
			failed = true
		}
	}
	return total, failed
}

// inTier reports whether a read failed only because the records are not on this disk.
func inTier(err error) bool {
	_, ok := errors.AsType[*log.TieredError](err)
	return ok
}
