package api

import (
	"context"
	"errors"
	"time"

	"github.com/morrowmq/morrow/log"
)

// readRemote reads what lies in the tier, all such partitions of the request at once, each with an
// equal share of the bytes left. It waits remote.fetch.max.wait.ms at most (KIP-1018), and not for
// a stopping server. A partition whose store does not answer in time comes back empty, not as an
// error: the consumer asks again, and finds what was begun.
func (f *fetching) readRemote(ctx context.Context, parts []*fetchPart, left int, minOne bool) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(f.api.intConfig("remote.fetch.max.wait.ms"))*time.Millisecond)
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
		if errors.Is(fp.err, context.DeadlineExceeded) || errors.Is(fp.err, context.Canceled) {
			fp.read, fp.err = fp.partition.Nothing(), nil
		}
	}
}

// inTier reports whether a read failed only because the records are not on this disk.
func inTier(err error) bool {
	_, ok := errors.AsType[*log.TieredError](err)
	return ok
}
