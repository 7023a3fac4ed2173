package tier

import "context"

// A topic that is taken out of the tier keeps what is local and loses the rest. Both places hold
// the same for a while, and eviction may be removing from one what is discarded from the other:
//
//   - eviction takes a segment because it is confirmed; before it is done, the manifest that names
//     it is replaced;
//   - tiering is switched on again, with short local retention, while that manifest is on its way.
//
// So the bound is withdrawn first: from then on nothing local goes because it is remote. Where the
// log begins afterwards is decided behind that.

// discardStep removes from the tier what the gate lets go. The caller has the turn.
func (p *Partition) discardStep(ctx context.Context) error {
	m := p.catalog.current
	p.wanted.Store(m.End)
	if gone, err := p.discardable(ctx, p.source.Offsets()); err != nil || gone.End == gone.Base {
		return err
	}
	if err := p.withdraw(); err != nil {
		return err
	}
	o := p.source.Offsets()
	if err := p.source.Advance(o.Start, o.Reported); err != nil { // behind evictions that are under way
		return err
	}
	o = p.source.Offsets()
	gone, err := p.discardable(ctx, o)
	if err != nil {
		return err
	}
	// What is local stays readable, also where it is remote.
	below, err := p.catalog.expiry(ctx, m, horizon{all: true, gate: min(gone.End, o.LocalStart)})
	if err != nil {
		return err
	}
	start := gone.End
	if gone.End == m.End {
		start = o.LocalStart
	}
	if err := p.source.Advance(start, below.VisibleEnd); err != nil {
		return err
	}
	return p.commitWithout(ctx, gone, true)
}

// discardable is everything, or while the gate holds some of it, what lies below the local start:
// otherwise the manifest would begin above the log, and what lies between could not be evicted when
// the topic is tiered again, since it is not remote.
func (p *Partition) discardable(ctx context.Context, o LocalOffsets) (Span, error) {
	m := p.catalog.current
	gone, err := p.catalog.expiry(ctx, m, horizon{all: true, gate: o.Gate})
	if err != nil || gone.End == m.End {
		return gone, err
	}
	return p.catalog.expiry(ctx, m, horizon{all: true, gate: min(o.Gate, o.LocalStart)})
}

// withdraw makes the local delete bound unknown until the next settle: nothing more is evicted, after
// a restart neither.
func (p *Partition) withdraw() error {
	p.withdrawn = true
	p.publish(func(v *view) { v.confirmed = NoOffset })
	b := p.state.bound
	b.End = NoOffset
	return p.state.settle(nil, b)
}
