package tier

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
)

var (
	// ErrNotDiverged says that there is nothing to give up: the bucket has no other records than the log.
	ErrNotDiverged = errors.New("the bucket has no other records than the log of this broker")
	// ErrOnlyRemote says that a partition cannot go on from its log, since some of what it has in
	// the bucket alone is not there any more, or not known.
	ErrOnlyRemote = errors.New("the log of this broker is not whole without what it has uploaded")
)

// GivenUp is what the bucket has of somebody else's records in the place of those of a log, or
// above its end.
type GivenUp struct {
	From, To int64 // offsets
	Bytes    int64
	Segments []Entry
}

// Resume has a partition that is ErrDiverged go on from its log: what somebody else has put into
// the bucket in the place of its records is given up, if acceptLoss, and told. The manifest is cut
// back to what this broker has uploaded itself, and uploads go on behind that. The objects of the
// rest are orphans then, for a sweep.
//
// It fails with ErrOnlyRemote if the log needs something that is nowhere any more, and with ErrNotDiverged.
func (p *Partition) Resume(ctx context.Context, acceptLoss bool) (g GivenUp, err error) {
	err = p.inTurn(ctx, func(ctx context.Context) error {
		if err := p.tier.Admitted(); err != nil {
			return err
		}
		resumed := false
		defer func() {
			if !resumed {
				p.catalog.current = nil // somebody else's
			}
		}()
		if g, err = p.strangers(ctx); err != nil || !acceptLoss {
			return err
		}
		if err := p.cutBack(ctx, g.From); err != nil {
			return err
		}
		resumed = true
		p.failures = 0
		p.publish(func(v *view) { v.err = nil })
		p.tier.logger.Warn("tier: records in the bucket were given up for those of the log", "partition", p.id.String(),
			"from", g.From, "to", g.To, "segments", len(g.Segments), "bytes", g.Bytes)
		return nil
	})
	if err == nil && acceptLoss {
		p.moved.Store(true)
		p.tier.queue.retry(p, p.tier.now())
	}
	return g, err
}

// Key is where the object of one of the partition's segments lies in the bucket.
func (p *Partition) Key(e *Entry) string { return e.id().key(p.catalog.dir, segmentSuffix) }

// strangers loads the manifest and tells what in it somebody else has uploaded. The caller has the turn.
func (p *Partition) strangers(ctx context.Context) (g GivenUp, err error) {
	m, err := p.catalog.load(ctx)
	if err == nil {
		err = p.checkLoaded(m)
	}
	if err != nil {
		return g, err
	}
	if m == nil || p.checkLineage(m) == nil {
		return g, fmt.Errorf("%s: %w", p.id, ErrNotDiverged)
	}
	if m.Epoch == p.epoch { // whoever wrote it may commit as well as we; the next start is in a higher epoch
		return g, fmt.Errorf("%s: %w, in leader epoch %d, which is this broker's: start it again", p.id, ErrDiverged, p.epoch)
	}
	theirs, ours, err := p.uploads(ctx, m)
	if err != nil {
		return g, err
	}
	sent := map[Token]bool{}
	for i := range ours {
		sent[ours[i].Token] = true
	}
	g = GivenUp{From: m.Start, To: m.End}
	n := slices.IndexFunc(theirs, func(e Entry) bool { return !sent[e.Token] })
	if n < 0 {
		n = len(theirs)
	}
	kept := map[Token]bool{}
	for _, e := range theirs[:n] {
		kept[e.Token] = true
		g.From = e.End
	}
	g.Segments = theirs[n:]
	for i := range g.Segments {
		g.Bytes += g.Segments[i].Bytes
	}
	return g, p.wholeWithout(ours, kept, g.From)
}

// uploads lists the segments that a manifest names, and those that the one does which this broker
// has sent last.
func (p *Partition) uploads(ctx context.Context, m *Manifest) (theirs, ours []Entry, err error) {
	sent := p.catalog.copy.read()
	if sent == nil {
		return nil, nil, fmt.Errorf("%s: %w: what that was is not known", p.id, ErrOnlyRemote)
	}
	list := func(m *Manifest) (all []Entry, err error) {
		err = m.EachSegment(ctx, p.tier.bucket, func(e *Entry) error {
			all = append(all, *e)
			return nil
		})
		return all, err
	}
	if theirs, err = list(m); err != nil {
		return nil, nil, err
	}
	if ours, err = list(sent); err != nil {
		return nil, nil, fmt.Errorf("look for what this broker has uploaded: %w", err)
	}
	return theirs, ours, nil
}

// wholeWithout fails unless the log has all of what this broker has uploaded, here, or in the
// bucket below end among what is kept there. Below end it must be there: the local copy goes.
func (p *Partition) wholeWithout(ours []Entry, kept map[Token]bool, end int64) error {
	o := p.source.Offsets()
	if o.End < end {
		return fmt.Errorf("%s: %w: it ends at %d, and offsets up to %d are in the bucket", p.id, ErrOnlyRemote, o.End, end)
	}
	var local []LocalSegment
	if err := p.eachClosed(end, func(s LocalSegment) { local = append(local, s) }); err != nil {
		return err
	}
	for i := range ours {
		e := &ours[i]
		if e.End <= o.Start || kept[e.Token] || p.source.Dropped(e.Base, e.End) {
			continue
		}
		if e.Base < end || !covers(local, max(e.Base, o.Start), e.End) {
			return fmt.Errorf("%s: %w: offsets %d to %d, which the bucket has no longer", p.id, ErrOnlyRemote, e.Base, e.End-1)
		}
	}
	return nil
}

// covers reports whether all of [from, to) is in segments, which are in order.
func covers(segments []LocalSegment, from, to int64) bool {
	i := sort.Search(len(segments), func(i int) bool { return segments[i].End > from })
	for ; from < to; i++ {
		if i == len(segments) || segments[i].Base > from {
			return false
		}
		from = segments[i].End
	}
	return true
}

// cutBack replaces the manifest by one that ends at end. The delete bound is withdrawn, durably,
// before. Everything else that is remembered of the last commit stays as it is until this one has
// succeeded: by it what the bucket has now is known to be another's. The caller has the turn.
func (p *Partition) cutBack(ctx context.Context, end int64) error {
	unknown := p.state.bound
	unknown.End = NoOffset
	if err := p.state.settle(nil, unknown); err != nil {
		return err
	}
	p.publish(func(v *view) { v.confirmed = NoOffset })
	next := p.catalog.current.clone()
	if err := p.catalog.cutBack(ctx, next, end); err != nil {
		return err
	}
	if err := p.commit(ctx, next); err != nil {
		return err
	}
	return p.reconcile(ctx)
}
