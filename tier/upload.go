package tier

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/morrowmq/morrow/internal/pace"
	"github.com/morrowmq/morrow/log/batches"
	"github.com/morrowmq/morrow/tier/flight"
)

// A step uploads at most this much, so that the bound moves on and other partitions get their turn.
const (
	stepSegments = 8
	stepBytes    = 256 << 20
)

// upload is what becomes one entry of the manifest: the offsets [from, to) of a local segment, or dropped ones.
type upload struct {
	from, to int64
	drop     bool
	again    bool // an earlier attempt may have stored it already
	segment  LocalSegment
	file     SegmentFile
	sealed   sealed
}

// uploadStep takes the next closed segments of the log through the states of R2: prepared, uploaded, verified,
// committed. It reports whether there is more to do at once. The caller has the turn.
//
//	seal      read the segment; compute index, statistics, checksum                (effect: none)
//	prepare   state file: token, range, size, checksum; synced                     → a key that is used for nothing else
//	send      Put under that key, then Head: is exactly this object there?          → object, not yet referenced
//	verify    state file: verified; synced
//	commit    manifest with the new entries, If-Match; read back when in doubt      → readable, and ours for good
//	settle    state file: bound; synced                                            → the log may delete its copy
//
// A crash between any two leaves the state file behind, and the next step goes on from what the store says.
func (p *Partition) uploadStep(ctx context.Context) (more bool, err error) {
	if !p.config().Copy {
		return false, p.giveUpStale(nil) // their objects would never be swept
	}
	todo, more, err := p.next()
	if err != nil {
		return false, err
	}
	if len(todo) == 0 {
		return false, p.giveUpStale(nil)
	}
	defer func() { err = errors.Join(err, closeFiles(todo)) }()
	ready, err := p.prepare(ctx, todo)
	if err != nil || len(ready) == 0 {
		return false, err
	}
	sent, sendErr := p.send(ctx, ready)
	wanted, err := p.stillWanted(sent)
	if err == nil {
		err = p.commitUploads(ctx, wanted)
	}
	// Without progress there is time until the next look: nothing would be different at once.
	return more && len(wanted) > 0 && sendErr == nil && err == nil, errors.Join(sendErr, err)
}

// next decides what to upload. It opens and changes nothing.
func (p *Partition) next() (todo []upload, more bool, err error) {
	m := p.catalog.current
	at := position{end: m.End, empty: m.Empty(), logStart: p.source.Offsets().Start}
	closed, err := p.source.Closed(max(at.end, at.logStart))
	if err != nil {
		return nil, false, err
	}
	limit := stepSegments
	if p.failures > 0 {
		limit = 1 // enough to find out whether the bucket is back
	}
	return planUploads(closed, at, limit, p.source.Dropped)
}

// position is where uploading goes on.
type position struct {
	end      int64 // of the remote range; NoOffset: nothing was ever remote
	empty    bool  // nothing is remote now
	logStart int64
}

// planUploads picks what to upload next, contiguous from the remote end on (R5). Segments that lie
// differently than those already uploaded (another leader's) are taken up in their middle. Where
// nothing is remote and the log start has passed the remote end, the next segment may begin
// anywhere.
func planUploads(closed []LocalSegment, at position, limit int, dropped func(from, to int64) bool) (todo []upload, more bool, err error) {
	end, bytes := at.end, int64(0)
	for _, s := range closed {
		if s.End <= max(end, at.logStart) {
			continue
		}
		if end == NoOffset || at.empty && len(todo) == 0 && end < at.logStart {
			end = max(end, s.Base)
		}
		if bytes += s.Size; len(todo) >= limit || len(todo) > 0 && bytes > stepBytes {
			return todo, true, nil
		}
		if s.Base > end {
			if from := max(end, at.logStart); from < s.Base && !dropped(from, s.Base) { // below the log start nothing is owed to anybody
				if len(todo) > 0 {
					return todo, true, nil // first what can be
				}
				return todo, false, fmt.Errorf("%w: log has %d to %d next, remote end is %d", ErrGap, s.Base, s.End-1, end)
			}
			todo = append(todo, upload{from: end, to: s.Base, drop: true})
			end = s.Base
		}
		todo = append(todo, upload{segment: s, from: end, to: s.End})
		end = s.End
	}
	return todo, false, nil
}

// prepare seals the segments and records what is about to be stored under which key. Segments that
// are gone from the log end the list.
func (p *Partition) prepare(ctx context.Context, todo []upload) ([]upload, error) {
	var fresh []pending
	for i := range todo {
		u := &todo[i]
		if u.drop {
			u.sealed.entry = dropEntry(u.from, u.to)
			continue
		}
		known := p.pendingFor(u)
		id := ObjectID{Base: u.from, Epoch: p.epoch, Token: NewToken()}
		if known != nil {
			id.Token = known.Entry.Token
		}
		err := p.seal(ctx, u, id)
		if errors.Is(err, ErrGone) {
			todo = todo[:i]
			break
		}
		if err != nil {
			return nil, fmt.Errorf("segment %d: %w", u.segment.Base, err)
		}
		if known != nil && known.Entry.Sum == u.sealed.entry.Sum && known.Entry.Bytes == u.sealed.entry.Bytes {
			u.again = true
			continue
		}
		if known != nil { // the same key must never hold other bytes
			id.Token = NewToken()
			u.sealed.entry.Token = id.Token
		}
		fresh = append(fresh, pending{
			Entry: u.sealed.entry, Epochs: u.sealed.epochs, Segment: u.segment, Prepared: p.tier.now().UnixMilli(),
		})
	}
	if err := p.giveUpStale(todo); err != nil {
		return nil, err
	}
	p.remember(todo)
	return todo, p.state.prepare(fresh)
}

// pendingFor finds an earlier attempt at the same bytes that may be continued.
func (p *Partition) pendingFor(u *upload) *pending {
	for i := range p.state.pending {
		x := &p.state.pending[i]
		if x.Segment == u.segment && x.Entry.Base == u.from && x.Entry.Epoch == p.epoch && p.fresh(x) {
			return x
		}
	}
	return nil
}

// giveUpStale forgets earlier attempts that todo does not continue and no later step can. Their
// objects, if any, are the sweeper's.
func (p *Partition) giveUpStale(todo []upload) error {
	continued := map[Token]bool{}
	end := p.catalog.current.End
	for i := range todo {
		continued[todo[i].sealed.entry.Token] = true // a drop's is zero and nobody's
		end = todo[i].to
	}
	var stale []Token
	for i := range p.state.pending {
		x := &p.state.pending[i]
		later := x.Entry.Base >= end && x.Entry.Epoch == p.epoch && p.fresh(x)
		if !continued[x.Entry.Token] && !later {
			stale = append(stale, x.Entry.Token)
		}
	}
	return p.state.settle(stale, p.state.bound)
}

// remember keeps what was computed from the segments of todo, and of attempts that wait for a later step.
func (p *Partition) remember(todo []upload) {
	kept := map[Token]sealed{}
	for i := range p.state.pending {
		t := p.state.pending[i].Entry.Token
		if s, ok := p.sealed[t]; ok {
			kept[t] = s
		}
	}
	for i := range todo {
		if !todo[i].drop {
			kept[todo[i].sealed.entry.Token] = todo[i].sealed
		}
	}
	p.sealed = kept
}

// seal opens and reads one segment. What an earlier attempt found out is taken over.
func (p *Partition) seal(ctx context.Context, u *upload, id ObjectID) error {
	release, err := p.tier.uploadSlot(ctx) // it costs a core
	if err != nil {
		return err
	}
	defer release()
	f, err := p.source.Open(u.segment)
	if err != nil {
		return err
	}
	u.file = f
	if known, ok := p.sealed[id.Token]; ok {
		u.sealed = known
		return nil
	}
	aborted, err := p.source.Aborted(u.from, u.to)
	if err != nil {
		return err
	}
	snapshot, err := f.ProducerSnapshot()
	if err != nil {
		return err
	}
	pos, err := positionOf(f, u.segment, u.from)
	if err != nil {
		return err
	}
	ix := Index{
		Cluster: p.tier.cluster, Topic: p.id.Topic, Partition: p.id.Partition,
		Base: u.from, End: u.to, Aborted: aborted,
	}
	size := u.segment.Size - pos
	u.sealed, err = sealSegment(ctx, politeReader{ctx, io.NewSectionReader(f, pos, size), p.tier.courtesy}, ix, id, size, snapshot, p.tier.bucket.Checksum())
	u.sealed.pos = pos
	if e := &u.sealed.entry; e.RetentionTime == NoTimestamp {
		e.RetentionTime = p.tier.now().UnixMilli() // what says nothing of its age is no older than that
	}
	return err
}

// positionOf finds the first batch at or above an offset.
func positionOf(f io.ReaderAt, seg LocalSegment, offset int64) (int64, error) {
	if offset <= seg.Base {
		return 0, nil
	}
	h := headers{batches.NewHeaders(f, seg.Size, batches.MostHeaders)}
	defer h.Close()
	for pos := int64(0); pos < seg.Size; {
		b, next, err := h.at(pos)
		if err != nil {
			return 0, err
		}
		if b.BaseOffset() >= offset {
			return pos, nil
		}
		if b.EndOffset() > offset {
			return 0, fmt.Errorf("%w: remote end %d lies within the batch %d to %d", ErrGap, offset, b.BaseOffset(), b.LastOffset())
		}
		pos = next
	}
	return seg.Size, nil
}

// send stores the sealed segments and has each confirmed by the store. It returns the ones before
// the first that failed. A key under which the store has something else, cut short by whatever lies
// in between, say, is given up.
func (p *Partition) send(ctx context.Context, todo []upload) ([]upload, error) {
	errs := make([]error, len(todo))
	var wg sync.WaitGroup
	for i := range todo {
		if !todo[i].drop {
			wg.Go(func() { errs[i] = flight.Contain(func() error { return p.sendOne(ctx, &todo[i]) }) })
		}
	}
	wg.Wait()
	var spoilt []Token
	for i, err := range errs {
		if errors.Is(err, ErrConflict) {
			spoilt = append(spoilt, todo[i].sealed.entry.Token)
		}
	}
	if err := p.state.settle(spoilt, p.state.bound); err != nil {
		return nil, err
	}
	for i, err := range errs {
		if err != nil {
			return todo[:i], err
		}
	}
	return todo, nil
}

func (p *Partition) sendOne(ctx context.Context, u *upload) error {
	release, err := p.tier.uploadSlot(ctx)
	if err != nil {
		return err
	}
	defer release()
	e := &u.sealed.entry
	key, body := e.id().key(p.catalog.dir, segmentSuffix), u.sealed.body(u.file)
	if u.again {
		if obj, err := confirm(ctx, p.tier.bucket, key, body); err == nil {
			e.ETag = obj.ETag
			return nil
		}
	}
	body.Pace = func(ctx context.Context, n int) error {
		if err := p.tier.courtesy.wait(ctx, n); err != nil {
			return err
		}
		return pace.Wait(ctx, p.tier.copyLimit, n)
	}
	p.stats.copyRequests.Add(1)
	obj, err := putConfirmed(ctx, p.tier.bucket, key, body)
	if err != nil {
		p.stats.copyErrors.Add(1)
		return err
	}
	p.stats.copyBytes.Add(e.Bytes)
	e.ETag = obj.ETag
	return nil
}

// commitUploads makes stored objects part of the partition.
func (p *Partition) commitUploads(ctx context.Context, sent []upload) error {
	if len(sent) == 0 {
		return nil
	}
	next := p.catalog.current.clone()
	if first := sent[0].from; next.Empty() && next.End < first {
		next.reset()
	}
	var entries []Entry
	var tokens []Token
	for i := range sent {
		e := sent[i].sealed.entry
		e.Time = p.tier.now().UnixMilli()
		if err := next.append(e, sent[i].sealed.epochs); err != nil {
			return err
		}
		if !e.isDrop() {
			entries, tokens = append(entries, e), append(tokens, e.Token)
		}
	}
	if err := p.state.verify(entries); err != nil {
		return err
	}
	if err := p.commit(ctx, next); err != nil {
		return err
	}
	for _, t := range tokens {
		delete(p.sealed, t)
	}
	return p.settle(tokens)
}

// stillWanted drops the first segment that the log has truncated, rewritten or expired since it was
// sealed, and all after it. What was dropped from the log stays wanted below the log start too:
// what follows joins on to it as long as the gate holds what precedes it.
func (p *Partition) stillWanted(sent []upload) ([]upload, error) {
	if len(sent) == 0 {
		return nil, nil
	}
	closed, err := p.source.Closed(sent[0].from)
	if err != nil {
		return nil, err
	}
	have := map[LocalSegment]bool{}
	for _, s := range closed {
		have[s] = true
	}
	start := p.source.Offsets().Start
	stale := p.stale()
	for i := range sent {
		u := &sent[i]
		if !u.drop && (u.to <= start || !have[u.segment] || stale[u.sealed.entry.Token]) {
			return sent[:i], nil
		}
	}
	return sent, nil
}

// stale returns the tokens of attempts that are too old to be committed: a sweeper may take their
// objects for orphans.
func (p *Partition) stale() map[Token]bool {
	stale := map[Token]bool{}
	for i := range p.state.pending {
		if x := &p.state.pending[i]; !p.fresh(x) {
			stale[x.Entry.Token] = true
		}
	}
	return stale
}

func (p *Partition) fresh(x *pending) bool {
	age := p.tier.now().UnixMilli() - x.Prepared
	return age >= 0 && age < p.tier.prepareTTL.Milliseconds()
}

func closeFiles(todo []upload) error {
	var errs []error
	for i := range todo {
		if todo[i].file != nil {
			errs = append(errs, todo[i].file.Close())
		}
	}
	return errors.Join(errs...)
}
