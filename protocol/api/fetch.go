package api

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/partition"
	"github.com/morrowmq/morrow/protocol"
)

// Fetch, key 1, versions 4-18.
//
// The high watermark and last stable offset reported are the visible ends (see docs/ARCHITECTURE.md): hidden batches
// are never served and never counted. Batches go out of the segment files by sendfile.
// There are no preferred read replicas (KIP-392) on one broker.

// fetching is one fetch request while it is being answered.
type fetching struct {
	api      *API
	req      *kmsg.FetchRequest
	parts    []fetchPart
	maxBytes int
	wake     chan struct{}
}

// fetchPart is one partition of a fetch and what was read for it.
type fetchPart struct {
	key  fetchKey
	want fetchWant

	partition *partition.Partition
	read      *partition.Read
	err       error
}

func (a *API) fetch(ctx context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.FetchRequest)
	return func(ctx context.Context) (protocol.Answer, error) {
		session, err := a.sessions.begin(req)
		if err != nil {
			resp := req.ResponseKind().(*kmsg.FetchResponse)
			resp.ErrorCode = code(err)
			return protocol.Answer{Message: resp}, nil
		}
		f := &fetching{
			api:      a,
			req:      req,
			parts:    session.parts(),
			maxBytes: min(int(req.MaxBytes), a.intConfig("fetch.max.bytes")),
			wake:     make(chan struct{}, 1),
		}
		f.run(ctx)
		body := f.encode(session)
		return protocol.Answer{Body: body, Errors: f.codes()}, nil
	}
}

// run reads every partition, and if that is not enough waits once for wake-ups and
// reads again, until min.bytes are there, an error is, or max.wait is over.
func (f *fetching) run(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(f.req.MaxWaitMillis)*time.Millisecond)
	defer cancel()
	subscribed := false
	defer func() {
		if subscribed {
			for i := range f.parts {
				if p := f.parts[i].partition; p != nil {
					p.Unsubscribe(f.wake)
				}
			}
		}
	}()
	f.lookup()
	for {
		n, failed := f.readAll(ctx)
		if n >= int(f.req.MinBytes) || failed || f.req.MaxWaitMillis <= 0 || len(f.parts) == 0 && ctx.Err() != nil {
			return
		}
		if !subscribed {
			// Subscribe, then look once more: what arrived in between must not be slept over.
			subscribed = true
			for i := range f.parts {
				if p := f.parts[i].partition; p != nil {
					p.Subscribe(f.wake)
				}
			}
			continue
		}
		select {
		case <-f.wake:
		case <-ctx.Done():
			return
		}
	}
}

func (f *fetching) lookup() {
	for i := range f.parts {
		fp := &f.parts[i]
		fp.partition, fp.err = f.api.partition(f.req.Version >= 13, fp.key.name, fp.key.id, fp.key.partition)
	}
}

// readAll reads every partition within the request's limits, in order, and returns the bytes found and whether one has an error.
// What an earlier pass read is given back first.
func (f *fetching) readAll(ctx context.Context) (total int, failed bool) {
	left := f.maxBytes
	var remote []*fetchPart
	for i := range f.parts {
		fp := &f.parts[i]
		fp.release()
		if fp.partition == nil {
			failed = true
			continue
		}
		fp.readLocal(f.req, left, total == 0)
		switch {
		case inTier(fp.err):
			remote = append(remote, fp)
			continue
		case fp.err != nil:
			failed = true
			continue
		case fp.read.Diverged():
			failed = true
		}
		total += fp.read.Size
		left -= fp.read.Size
	}
	if len(remote) > 0 {
		n, bad := f.readRemote(ctx, remote, max(left, 0), total == 0)
		total, failed = total+n, failed || bad
	}
	return total, failed
}

func (fp *fetchPart) readLocal(req *kmsg.FetchRequest, left int, minOne bool) {
	fp.read, fp.err = fp.partition.Read(fp.request(req, left, minOne))
}

func (fp *fetchPart) request(req *kmsg.FetchRequest, left int, minOne bool) partition.ReadRequest {
	return partition.ReadRequest{
		Offset:           fp.want.offset,
		MaxBytes:         min(int(fp.want.maxBytes), left),
		MinOne:           minOne,
		Committed:        req.IsolationLevel == 1,
		LeaderEpoch:      fp.want.leaderEpoch,
		LastFetchedEpoch: fp.want.lastFetchedEpoch,
	}
}

func (fp *fetchPart) release() {
	if fp.read != nil {
		fp.read.Release()
		fp.read = nil
	}
	if fp.partition != nil {
		fp.err = nil
	}
}

// errorCode is the code of the partition's answer.
func (fp *fetchPart) errorCode() int16 {
	if fp.err == nil {
		return 0
	}
	return code(fp.err)
}

// codes lists the error codes of the answer, for the metrics.
func (f *fetching) codes() []int16 {
	var codes []int16
	for i := range f.parts {
		if c := f.parts[i].errorCode(); c != 0 {
			codes = append(codes, c)
		}
	}
	return codes
}
