package tier

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
)

// A remote object that is damaged replaces nothing: until it has been stored anew, the log keeps its
// copy, and the repair is tried again and again. There is nothing to be kept where the log has no
// such copy, or only a damaged one.

// repair stores a damaged segment anew from the local log.
func (p *Partition) repair(ctx context.Context, d *Damage) error {
	return p.inTurn(ctx, func(ctx context.Context) error {
		_, err := p.repairOrKeep(ctx, d.Entry)
		return err
	})
}

// repairStep tries the repairs again that have failed. The caller has the turn.
func (p *Partition) repairStep(ctx context.Context) error {
	for _, e := range slices.Clone(p.broken) {
		again, err := p.repairOrKeep(ctx, e)
		if again {
			return err
		}
		if s := p.scrubbed.Load(); s != nil && err == nil {
			p.scrubbed.Store(s.repaired(e.Token))
		}
	}
	return nil
}

// repaired is the same look, but that an object has been repaired since.
func (s *scrubbed) repaired(t Token) *scrubbed {
	later := &scrubbed{at: s.at, result: s.result}
	later.result.Damaged = slices.Clone(s.result.Damaged)
	for i := range later.result.Damaged {
		if d := &later.result.Damaged[i]; d.Entry.Token == t && !d.Repaired {
			d.Repaired = true
			later.result.Repaired++
		}
	}
	return later
}

// repairOrKeep repairs one segment. If that fails, and the log has a copy, the copy is kept from now
// on; otherwise it no longer needs to be. again says whether it is kept. The caller has the turn.
func (p *Partition) repairOrKeep(ctx context.Context, e Entry) (again bool, err error) {
	again, err = p.replace(ctx, &e)
	p.broken = slices.DeleteFunc(p.broken, func(x Entry) bool { return x.Token == e.Token })
	if again {
		p.broken = append(p.broken, e)
	}
	kept := int64(math.MaxInt64)
	for i := range p.broken {
		kept = min(kept, p.broken[i].Base)
	}
	p.publish(func(v *view) { v.kept = kept })
	return again, err
}

// replace puts another object in the place of a damaged one that the manifest still names. If it
// fails, again says whether another try may succeed.
func (p *Partition) replace(ctx context.Context, e *Entry) (again bool, err error) {
	if err := p.ready(ctx); err != nil {
		return true, err
	}
	if named, err := p.names(ctx, e); err != nil || !named {
		return err != nil, err
	}
	u, err := p.localCopy(e.Span)
	if err != nil {
		return !errors.Is(err, ErrGone), err
	}
	todo := []upload{u}
	defer func() { err = errors.Join(err, closeFiles(todo)) }()
	ready, err := p.prepare(ctx, todo)
	if err != nil {
		return !errors.Is(err, ErrCorrupt), err
	}
	if len(ready) == 0 {
		return false, ErrGone
	}
	if _, err := p.send(ctx, ready); err != nil {
		return true, err
	}
	better := ready[0].sealed.entry
	better.Time = p.tier.now().UnixMilli()
	next := p.catalog.current.clone()
	if err := p.catalog.replace(ctx, next, better, better.Time); err != nil {
		return true, err
	}
	if err := p.state.verify([]Entry{better}); err != nil {
		return true, err
	}
	if err := p.commit(ctx, next); err != nil {
		return true, err
	}
	return false, p.settle([]Token{better.Token})
}

// names reports whether the manifest is known and has exactly this entry.
func (p *Partition) names(ctx context.Context, e *Entry) (bool, error) {
	if p.catalog.current == nil {
		return false, nil
	}
	return p.contains(ctx, e)
}

// localCopy finds the closed local segment that holds exactly the offsets of a remote one.
func (p *Partition) localCopy(s Span) (upload, error) {
	closed, err := p.source.Closed(s.Base)
	if err != nil {
		return upload{}, err
	}
	for _, seg := range closed {
		if seg.Base <= s.Base && seg.End == s.End {
			return upload{segment: seg, from: s.Base, to: s.End}, nil
		}
	}
	return upload{}, fmt.Errorf("no local copy of offsets %d to %d: %w", s.Base, s.End-1, ErrGone)
}
