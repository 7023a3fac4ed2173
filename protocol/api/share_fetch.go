package api

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/partition"
	"github.com/morrowmq/morrow/broker/share"
	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/protocol"
)

// ShareFetch, key 78, versions 1-2 (KIP-932, KIP-1206, KIP-1222).
//
// Acknowledgements that come along are applied first, and are durable before the answer. Then the
// partitions of the session are looked at, until min.bytes can be had or max.wait is over; only
// then records are acquired, so that no lock runs while the broker waits. Hidden batches, control
// batches and, for a group that is read_committed, those of aborted transactions are not handed
// out: their offsets are finished in passing. Unlike in Kafka a session is refused to those who are
// not members of a share group.

// shareFetching is one fetch of a share group while it is being answered.
type shareFetching struct {
	api     *API
	req     *kmsg.ShareFetchRequest
	conn    *protocol.Conn
	session *shareSession
	acks    []shareAck
	parts   []sharePart
	wake    chan struct{}
}

// sharePart is one partition of it.
type sharePart struct {
	key       fetchKey
	share     share.Key
	partition *partition.Partition // nil if the client cannot have it: err says why
	err       error

	found    share.Find
	read     *partition.Read
	batches  []shareBatch // what there is to acquire
	acquired []share.Acquired
}

// shareBatch is a batch that may be acquired.
type shareBatch struct {
	share.Span
	pos, endPos int64 // which bytes of the read
}

func (a *API) shareFetch(_ context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.ShareFetchRequest)
	return func(ctx context.Context) (protocol.Answer, error) {
		f, err := a.beginShareFetch(ctx, req, r.Conn)
		if err != nil {
			return a.shareFetchError(req, err), nil
		}
		f.run(ctx)
		body, codes := f.encode()
		body.OnRelease(f.release)
		return protocol.Answer{Body: body, Errors: codes}, nil
	}
}

func (a *API) shareFetchError(req *kmsg.ShareFetchRequest, err error) protocol.Answer {
	resp := req.ResponseKind().(*kmsg.ShareFetchResponse)
	resp.ErrorCode, resp.ErrorMessage = refusal(err)
	resp.AcquisitionLockTimeoutMillis = a.lockMillis(deref(req.GroupID))
	return protocol.Answer{Message: resp}
}

// beginShareFetch finds or makes the session of a request.
func (a *API) beginShareFetch(ctx context.Context, req *kmsg.ShareFetchRequest, conn *protocol.Conn) (*shareFetching, error) {
	m, err := checkShareMember(req.GroupID, req.MemberID)
	if err != nil {
		return nil, err
	}
	f := &shareFetching{api: a, req: req, conn: conn, acks: fetchAcks(req)}
	if err := f.check(); err != nil {
		return nil, err
	}
	if req.ShareSessionEpoch == shareInitialEpoch {
		if err := a.groups.ShareMember(ctx, m.group, m.member); err != nil {
			return nil, err
		}
		if err := a.ensureShareState(ctx); err != nil {
			return nil, err
		}
		f.session, err = a.shareSessions.create(m, conn)
	} else {
		f.session, err = a.shareSessions.find(m, conn)
	}
	if err == nil {
		err = f.session.turn(req.ShareSessionEpoch)
	}
	if err != nil {
		return nil, err
	}
	if err := a.shareSessions.update(f.session, req); err != nil {
		if a.shareSessions.remove(f.session) {
			a.leaveShares(f.session)
		}
		return nil, err
	}
	return f, nil
}

// check refuses what makes no sense whatever the session says.
func (f *shareFetching) check() error {
	req := f.req
	switch {
	case req.ShareSessionEpoch == shareInitialEpoch && len(f.acks) > 0:
		return coded(kerr.InvalidRequest, "a request that begins a share session has nothing to acknowledge")
	case req.ShareAcquireMode < 0 || req.ShareAcquireMode > 1:
		return coded(kerr.InvalidRequest, "acquire mode %d is neither 0 (whole batches) nor 1 (a limit of records)", req.ShareAcquireMode)
	case req.IsRenewAck && (req.MaxBytes != 0 || req.MinBytes != 0 || req.MaxRecords != 0 || req.MaxWaitMillis != 0):
		return coded(kerr.InvalidRequest, "a request that renews locks fetches nothing: its limits must be 0")
	}
	return nil
}

// fetchAcks lists the acknowledgements that come along with a fetch.
func fetchAcks(req *kmsg.ShareFetchRequest) []shareAck {
	var acks []shareAck
	for i := range req.Topics {
		t := &req.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			if len(p.AcknowledgementBatches) == 0 {
				continue
			}
			ack := shareAck{key: shareKeyOf(t.TopicID, p.Partition)}
			for _, b := range p.AcknowledgementBatches {
				ack.acks = append(ack.acks, share.Ack{First: b.FirstOffset, End: shareEnd(b.LastOffset), Types: b.AcknowledgeTypes})
			}
			acks = append(acks, ack)
		}
	}
	return acks
}

// run applies the acknowledgements, then waits for records and acquires them.
func (f *shareFetching) run(ctx context.Context) {
	f.api.acknowledge(ctx, f.session.shareMember, f.req.IsRenewAck, f.acks)
	switch {
	case f.req.ShareSessionEpoch == shareFinalEpoch:
		if f.api.shareSessions.remove(f.session) {
			f.api.leaveShares(f.session)
		}
	case !f.req.IsRenewAck:
		f.lookup()
		f.fetch(ctx)
	}
}

func (f *shareFetching) lookup() {
	for _, k := range f.session.keys() {
		sp := sharePart{key: k}
		sp.share, sp.partition, sp.err = f.api.shared(f.session.group, k)
		f.parts = append(f.parts, sp)
	}
}

// fetch looks at every partition until there is enough, one of them fails, or max.wait is over, and
// acquires what there is.
func (f *shareFetching) fetch(ctx context.Context) {
	maxWait := time.Duration(f.req.MaxWaitMillis) * time.Millisecond
	if !f.look(ctx) && maxWait > 0 {
		f.subscribe()
		defer f.unsubscribe()
		await(ctx, f.conn, f.wake, maxWait, f.look)
	}
	if f.acquire(ctx) || maxWait <= 0 || f.failed() {
		return
	}
	f.fetchAgain(ctx)
}

// fetchAgain handles what was there when it was looked at and was gone when it was to be acquired:
// another member was faster.
func (f *shareFetching) fetchAgain(ctx context.Context) {
	if f.look(ctx) {
		f.acquire(ctx)
	}
}

func (f *shareFetching) failed() bool {
	for i := range f.parts {
		if f.parts[i].err != nil {
			return true
		}
	}
	return false
}

func (f *shareFetching) subscribe() {
	f.wake = make(chan struct{}, 1)
	for i := range f.parts {
		if sp := &f.parts[i]; sp.partition != nil {
			sp.partition.Subscribe(f.wake)
			f.api.shares.Subscribe(sp.share, f.wake)
		}
	}
}

func (f *shareFetching) unsubscribe() {
	for i := range f.parts {
		if sp := &f.parts[i]; sp.partition != nil {
			sp.partition.Unsubscribe(f.wake)
			f.api.shares.Unsubscribe(sp.share, f.wake)
		}
	}
}

// look finds what could be acquired, within the limits of the request, and reports whether that is enough.
func (f *shareFetching) look(ctx context.Context) (enough bool) {
	bytes, records := int64(0), int64(0)
	for i := range f.parts {
		sp := &f.parts[i]
		sp.release()
		if sp.partition == nil {
			enough = enough || !missing(sp.err)
			continue
		}
		left := int64(f.req.MaxBytes) - bytes
		if records >= f.maxRecords() || left <= 0 && bytes > 0 {
			continue
		}
		if sp.err = f.find(ctx, sp, max(left, 0), f.maxRecords()-records, bytes == 0); sp.err != nil {
			enough = true
		}
		for _, b := range sp.batches {
			bytes += b.endPos - b.pos
			records += b.End - b.First
		}
	}
	return enough || bytes > 0 && bytes >= int64(f.req.MinBytes)
}

// maxRecords is how many records the client wants; one that does not say wants any number.
func (f *shareFetching) maxRecords() int64 {
	if f.req.MaxRecords <= 0 {
		return math.MaxInt32
	}
	return int64(f.req.MaxRecords)
}

// holesAtOnce is how many stretches without records one look passes over. Those of a whole log need
// several fetches.
const holesAtOnce = 16

// find lists the batches of a partition that could be acquired now. Where there are none, although
// something was expected, that is told to the share-partition, and the next place is looked at.
func (f *shareFetching) find(ctx context.Context, sp *sharePart, maxBytes, maxRecords int64, minOne bool) error {
	for range holesAtOnce {
		from, until, ok, err := f.next(ctx, sp)
		if err != nil || !ok {
			return err
		}
		sp.found = share.Find{
			Member: f.session.member, From: from, To: from, LogStart: sp.partition.Log().Offsets().LogStart,
			Max: maxRecords, Exactly: f.req.ShareAcquireMode == 1,
		}
		if err := f.read(ctx, sp, until, int(maxBytes), minOne); err != nil {
			return err
		}
		if len(sp.batches) > 0 || sp.found.To == from {
			return nil
		}
		sp.release()
		if _, err := f.api.shares.Acquire(ctx, sp.share, sp.found); err != nil {
			return err
		}
	}
	return nil
}

// next is share.Coordinator.Next of a share-partition that begins with this, if it has not. While
// its state is loading there is nothing.
func (f *shareFetching) next(ctx context.Context, sp *sharePart) (from, until int64, ok bool, err error) {
	from, until, ok, err = f.api.shares.Next(sp.share)
	if errors.Is(err, share.ErrUnknown) {
		if err = f.api.openShare(ctx, sp.share, sp.partition); err == nil {
			from, until, ok, err = f.api.shares.Next(sp.share)
		}
	}
	if errors.Is(err, share.ErrLoading) || errors.Is(err, share.ErrNotLeader) {
		return 0, 0, false, nil // the client asks again
	}
	return from, until, ok, err
}

// read lists the batches from where sp.found begins up to an offset, and sets where it ends.
func (f *shareFetching) read(ctx context.Context, sp *sharePart, until int64, maxBytes int, minOne bool) (err error) {
	find := &sp.found
	want := partition.ReadRequest{
		Offset: max(find.From, find.LogStart), MaxBytes: maxBytes, MinOne: minOne,
		Committed: readsCommitted(f.api.store.Image().GroupConfig(f.session.group)), LeaderEpoch: -1, LastFetchedEpoch: -1,
	}
	if sp.read, err = readAnywhere(ctx, f.api, sp.partition, want); err != nil {
		if out, ok := errors.AsType[*log.OutOfRangeError](err); ok && out.Offset > out.End {
			return nil // offsets were set beyond the end: it will come
		}
		return err
	}
	records := int64(0)
	return sp.read.Batches(func(b partition.Batch) bool {
		span := share.Span{First: b.BaseOffset(), End: b.EndOffset()}
		if span.First >= until {
			find.To = until
			return false
		}
		if find.To = min(span.End, until); b.Void {
			return true
		}
		sp.batches = append(sp.batches, shareBatch{span, b.Pos, b.EndPos})
		records += span.End - max(span.First, find.From)
		return records < find.Max
	})
}

// readAnywhere reads a partition from the disk or, where that ends, from the tier.
func readAnywhere(ctx context.Context, a *API, p *partition.Partition, want partition.ReadRequest) (*partition.Read, error) {
	read, err := p.Read(want)
	if !inTier(err) {
		return read, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(a.intConfig("remote.fetch.max.wait.ms"))*time.Millisecond)
	defer cancel()
	read, err = p.ReadRemote(ctx, want)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return p.Nothing(), nil // the client asks again, and finds what was begun
	}
	return read, err
}

// acquire takes what was found, and reports whether there was anything to take.
func (f *shareFetching) acquire(ctx context.Context) (some bool) {
	left := f.maxRecords()
	for i := range f.parts {
		sp := &f.parts[i]
		if sp.err != nil || len(sp.batches) == 0 || left <= 0 {
			sp.acquired = nil
			continue
		}
		sp.found.Spans = sp.found.Spans[:0]
		for _, b := range sp.batches {
			sp.found.Spans = append(sp.found.Spans, b.Span)
		}
		sp.found.Max = min(sp.found.Max, left)
		sp.acquired, sp.err = f.api.shares.Acquire(ctx, sp.share, sp.found)
		for _, got := range sp.acquired {
			left -= got.End - got.First
			some = true
		}
		if len(sp.acquired) > 0 {
			f.session.served(sp.key)
		}
	}
	return some
}

func (sp *sharePart) release() {
	if sp.read != nil {
		sp.read.Release()
		sp.read = nil
	}
	sp.batches, sp.acquired = nil, nil
}

// release gives back everything the request holds, once its answer has left.
func (f *shareFetching) release() {
	for i := range f.parts {
		f.parts[i].release()
	}
}
