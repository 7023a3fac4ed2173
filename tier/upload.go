package tier

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"
)

// A step uploads at most this much, so that the bound moves on and other partitions get their turn.
const (
	stepSegments = 8
	stepBytes    = 256 << 20
)

// upload is one segment on its way: what of which local segment, and what has become of it.
type upload struct {
	segment LocalSegment
	from    int64 // upload the offsets [from, segment.End)
	pending *pending
	sealed  sealed
	file    SegmentFile
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
	if err := p.ready(ctx); err != nil {
		return false, err
	}
	if !p.config().Copy {
		return false, nil
	}
	todo, more, err := p.next()
	if err != nil || len(todo) == 0 {
		return false, err
	}
	defer func() { err = errors.Join(err, closeFiles(todo)) }()
	if todo, err = p.prepare(ctx, todo); err != nil || len(todo) == 0 {
		return false, err
	}
	sent, sendErr := p.send(ctx, todo)
	if len(sent) > 0 {
		if err := p.commitUploads(ctx, sent); err != nil {
			return false, errors.Join(sendErr, err)
		}
	}
	return more && sendErr == nil, sendErr
}

// next decides what to upload. It opens and changes nothing.
func (p *Partition) next() (todo []upload, more bool, err error) {
	m := p.catalog.current
	closed, err := p.source.Closed(m.End)
	if err != nil {
		return nil, false, err
	}
	empty := len(m.Pages) == 0 && len(m.Tail) == 0
	return planUploads(closed, m.End, empty)
}

// planUploads picks the segments to upload next, contiguous from end on. A log whose segments lie differently than those already
// uploaded (another leader's) is taken up in the middle of a segment.
func planUploads(closed []LocalSegment, end int64, empty bool) (todo []upload, more bool, err error) {
	bytes := int64(0)
	for _, s := range closed {
		if empty && len(todo) == 0 {
			end = s.Base
		}
		if s.End <= end {
			continue
		}
		if s.Base > end {
			return todo, false, fmt.Errorf("%w: log has %d to %d next, remote end is %d", ErrGap, s.Base, s.End-1, end)
		}
		bytes += s.Size
		if len(todo) == stepSegments || len(todo) > 0 && bytes > stepBytes {
			return todo, true, nil
		}
		todo = append(todo, upload{segment: s, from: end})
		end = s.End
	}
	return todo, false, nil
}

// prepare seals the segments and records what is about to be stored under which key. Segments that are gone from the log end the list.
func (p *Partition) prepare(ctx context.Context, todo []upload) ([]upload, error) {
	var fresh []pending
	for i := range todo {
		u := &todo[i]
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
	return todo, p.state.prepare(fresh)
}

// pendingFor finds an earlier attempt at the same bytes that may be continued.
func (p *Partition) pendingFor(u *upload) *pending {
	for i := range p.state.pending {
		x := &p.state.pending[i]
		age := p.tier.now().UnixMilli() - x.Prepared
		if x.Segment == u.segment && x.Entry.Base == u.from && x.Entry.Epoch == p.epoch && age >= 0 && age < p.tier.prepareTTL.Milliseconds() {
			return x
		}
	}
	return nil
}

// giveUpStale forgets earlier attempts that are not continued by todo. Their objects, if any, are the sweeper's.
func (p *Partition) giveUpStale(todo []upload) error {
	kept := map[Token]bool{}
	for i := range todo {
		kept[todo[i].sealed.entry.Token] = true
	}
	var stale []Token
	for i := range p.state.pending {
		if t := p.state.pending[i].Entry.Token; !kept[t] {
			stale = append(stale, t)
		}
	}
	return p.state.settle(stale, p.state.bound)
}

// seal opens and reads one segment.
func (p *Partition) seal(ctx context.Context, u *upload, id ObjectID) error {
	f, err := p.source.Open(u.segment)
	if err != nil {
		return err
	}
	u.file = f
	aborted, err := p.source.Aborted(u.from, u.segment.End)
	if err != nil {
		return err
	}
	snapshot, err := p.source.ProducerSnapshot(u.segment.End)
	if err != nil {
		return err
	}
	pos, err := positionOf(f, u.segment, u.from)
	if err != nil {
		return err
	}
	ix := Index{
		Cluster: p.tier.cluster, Topic: p.id.Topic, Partition: p.id.Partition,
		Base: u.from, End: u.segment.End, Aborted: aborted,
	}
	size := u.segment.Size - pos
	u.sealed, err = sealSegment(ctx, io.NewSectionReader(f, pos, size), ix, id, size, snapshot, p.tier.bucket.Checksum())
	return err
}

// positionOf finds the first batch at or above an offset.
func positionOf(f io.ReaderAt, seg LocalSegment, offset int64) (int64, error) {
	if offset <= seg.Base {
		return 0, nil
	}
	in := scanner{r: f, end: seg.Size}
	for {
		b, pos, err := in.next()
		if err == io.EOF {
			return seg.Size, nil
		}
		if err != nil {
			return 0, err
		}
		if b.BaseOffset() >= offset {
			return pos, nil
		}
		if b.EndOffset() > offset {
			return 0, fmt.Errorf("%w: remote end %d lies within the batch %d to %d", ErrGap, offset, b.BaseOffset(), b.LastOffset())
		}
	}
}

// send stores the sealed segments and has each confirmed by the store. It returns the ones before the first that failed.
func (p *Partition) send(ctx context.Context, todo []upload) ([]upload, error) {
	errs := make([]error, len(todo))
	var g errgroup.Group
	for i := range todo {
		g.Go(func() error {
			errs[i] = p.sendOne(ctx, &todo[i])
			return nil
		})
	}
	g.Wait()
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
	key := ObjectID{Base: e.Base, Epoch: e.Epoch, Token: e.Token}.key(p.catalog.dir, segmentSuffix)
	obj, err := putConfirmed(ctx, p.tier.bucket, key, u.sealed.body)
	if err != nil {
		return err
	}
	e.ETag = obj.ETag
	return nil
}

// commitUploads makes stored objects part of the partition.
func (p *Partition) commitUploads(ctx context.Context, sent []upload) error {
	sent, err := p.stillWanted(sent)
	if err != nil || len(sent) == 0 {
		return err
	}
	entries := make([]Entry, len(sent))
	tokens := make([]Token, len(sent))
	next := p.catalog.current.clone()
	for i := range sent {
		e := sent[i].sealed.entry
		e.Time = p.tier.now().UnixMilli()
		entries[i], tokens[i] = e, e.Token
		if err := next.append(e, sent[i].sealed.epochs); err != nil {
			return err
		}
	}
	if err := p.state.verify(entries); err != nil {
		return err
	}
	if err := p.commit(ctx, next); err != nil {
		return err
	}
	return p.settle(tokens)
}

// stillWanted drops the first segment that the log has truncated, rewritten or expired since it was sealed, and all after it.
func (p *Partition) stillWanted(sent []upload) ([]upload, error) {
	closed, err := p.source.Closed(p.catalog.current.End)
	if err != nil {
		return nil, err
	}
	have := map[LocalSegment]bool{}
	for _, s := range closed {
		have[s] = true
	}
	start := p.source.Offsets().Start
	for i := range sent {
		if !have[sent[i].segment] || sent[i].segment.End <= start {
			return sent[:i], nil
		}
	}
	return sent, nil
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
