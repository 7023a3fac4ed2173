package api

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/partition"
	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/protocol"
)

// Fetch, key 1, versions 4-18.
//
// The high watermark and last stable offset reported are the visible ends (see
// docs/ARCHITECTURE.md): hidden batches are never served and never counted. Batches go out of the
// segment files by sendfile. As in Kafka, partitions that do not exist end no long poll, unless
// there are no others; every other error does. A stopping server answers at once with what there
// is. There are no preferred read replicas (KIP-392) on one broker.

// fetching is one fetch request while it is being answered.
type fetching struct {
	api      *API
	req      *kmsg.FetchRequest
	conn     *protocol.Conn
	turn     *fetchTurn
	maxBytes int
	minBytes int
	wake     chan struct{}
}

// fetchPart is one partition of a fetch and what was read for it.
type fetchPart struct {
	key  fetchKey
	want fetchWant
	kept *keptPart // what the session remembers; nil without one

	partition *partition.Partition // nil if the client cannot have it: err says why
	read      *partition.Read
	err       error
}

func (a *API) fetch(_ context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.FetchRequest)
	return func(ctx context.Context) (protocol.Answer, error) {
		f, err := a.beginFetch(req, r.Conn)
		if err != nil {
			return sessionError(req, err), nil
		}
		f.run(ctx)
		if err := f.turn.finish(); err != nil {
			f.release()
			return sessionError(req, err), nil
		}
		body, codes := f.encode()
		body.OnRelease(f.release)
		return protocol.Answer{Body: body, Errors: codes}, nil
	}
}

func (a *API) beginFetch(req *kmsg.FetchRequest, conn *protocol.Conn) (*fetching, error) {
	turn, err := a.sessions.begin(req)
	if err != nil {
		return nil, err
	}
	f := &fetching{api: a, req: req, conn: conn, turn: turn, maxBytes: min(int(req.MaxBytes), a.intConfig("fetch.max.bytes"))}
	f.minBytes = min(int(req.MinBytes), f.maxBytes)
	return f, nil
}

// sessionError is the answer to a request whose session cannot be used; the client begins a new one.
func sessionError(req *kmsg.FetchRequest, err error) protocol.Answer {
	resp := req.ResponseKind().(*kmsg.FetchResponse)
	resp.ErrorCode = code(err)
	return protocol.Answer{Message: resp}
}

// run reads every partition, and if that is not enough waits for more until min.bytes are there, a
// partition has an error, or max.wait is over.
func (f *fetching) run(ctx context.Context) {
	maxWait := time.Duration(f.req.MaxWaitMillis) * time.Millisecond
	f.lookup()
	if f.read(ctx) || maxWait <= 0 {
		return
	}
	f.subscribe()
	defer f.unsubscribe()
	await(ctx, f.conn, f.wake, maxWait, f.read)
}

// await looks until that is enough, once at first and then each time it is woken, for no longer
// than maxWait. Who subscribes, then calls it, does not sleep over what arrived in between.
func await(ctx context.Context, conn *protocol.Conn, wake <-chan struct{}, maxWait time.Duration, look func(context.Context) (enough bool)) {
	over := time.NewTimer(maxWait)
	defer over.Stop()
	for !look(ctx) {
		select {
		case <-wake:
		case <-over.C:
			return
		case <-conn.Stopping():
			return
		case <-ctx.Done():
			return
		}
	}
}

// lookup finds the partitions the client may have.
func (f *fetching) lookup() {
	for i := range f.turn.parts {
		f.lookupPart(&f.turn.parts[i])
	}
}

func (f *fetching) lookupPart(fp *fetchPart) {
	fp.partition, fp.err = f.api.partition(fp.key.topicKey, f.req.Version >= 13, fp.key.partition)
	if fp.err == nil && f.req.Version < 10 && fp.partition.Topic().Config.CompressionType == "zstd" {
		fp.partition, fp.err = nil, kerr.UnsupportedCompressionType
	}
}

// lookupGone says why a partition cannot be read any more: its topic was deleted meanwhile. One that
// has its name again is another, which the client has yet to find.
func (f *fetching) lookupGone(fp *fetchPart) {
	gone := fp.err
	if f.lookupPart(fp); fp.err == nil {
		fp.partition, fp.err = nil, gone
	}
}

func (f *fetching) subscribe() {
	f.wake = make(chan struct{}, 1)
	for i := range f.turn.parts {
		if p := f.turn.parts[i].partition; p != nil {
			p.Subscribe(f.wake)
		}
	}
}

func (f *fetching) unsubscribe() {
	for i := range f.turn.parts {
		if p := f.turn.parts[i].partition; p != nil {
			p.Unsubscribe(f.wake)
		}
	}
}

// read reads every partition within the request's limits, in order, and reports whether the answer
// may leave. What an earlier pass read is given back first. What lies in the tier is answered as
// soon as it is there, whatever min.bytes says, as in Kafka. It is read last, but up to half of the
// answer is kept for it when it is its turn: what is here may be more than the client ever takes,
// and the tier may have nothing to say for long.
func (f *fetching) read(ctx context.Context) (enough bool) {
	total, kept, found, first := 0, 0, false, false
	var remote []*fetchPart
	for i := range f.turn.parts {
		fp := &f.turn.parts[i]
		if fp.partition == nil {
			enough = enough || !missing(fp.err)
			continue
		}
		found = true
		fp.release()
		fp.read, fp.err = fp.partition.Read(fp.request(f.req, f.maxBytes-total-kept, total == 0))
		if errors.Is(fp.err, log.ErrClosed) {
			f.lookupGone(fp)
		}
		switch {
		case inTier(fp.err):
			remote = append(remote, fp)
			first = first || total == 0
			kept = max(min(kept+int(fp.want.maxBytes), (f.maxBytes-total)/2), 0)
		case fp.err != nil:
			enough = true
		default:
			enough = enough || fp.read.Diverged()
			total += fp.read.Size
		}
	}
	if len(remote) > 0 {
		f.readRemote(ctx, remote, max(f.maxBytes-total, 0), first)
		enough = true
	}
	return enough || total >= f.minBytes || !found
}

// missing reports whether a partition does not exist as far as this broker knows.
func missing(err error) bool {
	return errors.Is(err, kerr.UnknownTopicID) || errors.Is(err, kerr.UnknownTopicOrPartition)
}

func (fp *fetchPart) request(req *kmsg.FetchRequest, left int, minOne bool) partition.ReadRequest {
	return partition.ReadRequest{
		Offset:           fp.want.offset,
		MaxBytes:         max(min(int(fp.want.maxBytes), left), 0),
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
}

// release gives back everything the request holds, once its answer has left.
func (f *fetching) release() {
	for i := range f.turn.parts {
		f.turn.parts[i].release()
	}
	f.turn.end()
}
