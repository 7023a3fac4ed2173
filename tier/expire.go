package tier

import (
	"context"
	"math"
	"time"
)

// horizon is what decides, at one moment, which remote segments have expired. A segment goes when
// all before it have gone and
//
//   - it lies below the log start, the log's own or, after DeleteRecords, what clients are told, or
//   - its youngest record is older than retention.ms, or
//   - without it the log still has retention.bytes: remote bytes below the local start plus local
//     bytes (R8), or
//   - everything remote is to go,
//
// and it does not pass the gate.
type horizon struct {
	logStart, gate int64
	before         int64 // ms; math.MinInt64: no time bound
	localStart     int64
	excess         int64 // bytes above retention.bytes; 0: none
	all            bool
}

// newHorizon combines configuration, time, and where the log and the tier stand. bytes is the size
// of all of it, what is in both places counted once.
func newHorizon(c Config, now time.Time, o LocalOffsets, bytes int64) horizon {
	h := horizon{logStart: max(o.Start, o.Reported), gate: o.Gate, before: math.MinInt64, localStart: o.LocalStart}
	if c.RetentionMs >= 0 {
		h.before = now.UnixMilli() - c.RetentionMs
	}
	if c.RetentionBytes >= 0 {
		h.excess = max(0, bytes-c.RetentionBytes)
	}
	return h
}

// takes reports whether a segment, or a whole page at once, has expired, given that all before it have.
func (h *horizon) takes(s Span) bool {
	switch {
	case s.End <= h.logStart, h.all:
		return s.End <= h.gate
	case s.End > h.gate:
		return false
	case s.Segments == 0: // a drop goes with what precedes it
		return true
	case s.RetentionTime < h.before:
		return true
	case s.End <= h.localStart && h.excess >= s.Bytes:
		h.excess -= s.Bytes
		return true
	}
	return false
}

// expiry finds where the remote range begins after everything that has expired is gone, and what goes.
func (c *catalog) expiry(ctx context.Context, m *Manifest, h horizon) (gone Span, err error) {
	gone = emptySpan(m.Start)
	for i := range m.Pages {
		p := &m.Pages[i]
		if h.takes(p.Span) {
			gone = gone.join(p.Span)
			continue
		}
		if probe := h; !probe.takes(p.First) {
			return gone, nil // without reading the page, which would happen at every look
		}
		entries, err := c.page(ctx, p)
		if err != nil {
			return gone, err
		}
		var all bool
		if gone, all = h.walk(gone, entries); !all {
			return gone, nil
		}
	}
	gone, _ = h.walk(gone, m.Tail)
	return gone, nil
}

// walk adds expired entries to gone. It reports false at the first that has not.
func (h *horizon) walk(gone Span, entries []Entry) (Span, bool) {
	for i := range entries {
		if !h.takes(entries[i].Span) {
			return gone, false
		}
		gone = gone.join(entries[i].Span)
	}
	return gone, true
}

// sizeFor is the size of what is remote below the local start, and of all that is local; 0 if no
// retention asks for it. What was evicted since localStart was looked up is in neither, rather than
// in both.
func (p *Partition) sizeFor(ctx context.Context, c Config, m *Manifest, localStart int64) (int64, error) {
	if c.RetentionBytes < 0 {
		return 0, nil
	}
	remote, err := p.catalog.bytesBelow(ctx, m, localStart)
	if err != nil {
		return 0, err
	}
	return remote + p.source.Size(), nil
}

// bytesBelow adds up what is remote below an offset. A segment that reaches over it counts as local.
func (c *catalog) bytesBelow(ctx context.Context, m *Manifest, offset int64) (int64, error) {
	sum := int64(0)
	add := func(entries []Entry) {
		for i := range entries {
			if entries[i].End <= offset {
				sum += entries[i].Bytes
			}
		}
	}
	for i := range m.Pages {
		p := &m.Pages[i]
		switch {
		case p.End <= offset:
			sum += p.Bytes
		case p.Base < offset:
			entries, err := c.page(ctx, p)
			if err != nil {
				return 0, err
			}
			add(entries)
		}
	}
	add(m.Tail)
	return sum, nil
}

// expireStep removes what has expired (R7): first the log start moves, so that nobody reads it;
// then a manifest without it is committed; the objects become garbage and are deleted later. The
// caller has the turn.
func (p *Partition) expireStep(ctx context.Context) error {
	m := p.catalog.current
	o := p.source.Offsets()
	if m.Empty() {
		return nil
	}
	cfg := p.config()
	if cfg.Discard {
		return p.discardStep(ctx)
	}
	bytes, err := p.sizeFor(ctx, cfg, m, o.LocalStart)
	if err != nil {
		return err
	}
	h := newHorizon(cfg, p.tier.now(), o, bytes)
	gone, err := p.catalog.expiry(ctx, m, h)
	if err != nil {
		return err
	}
	h.gate = math.MaxInt64
	wanted, err := p.catalog.expiry(ctx, m, h)
	if err != nil {
		return err
	}
	p.wanted.Store(wanted.End)
	if gone.End == gone.Base {
		return nil
	}
	if gone.End > o.Start {
		if err := p.source.Advance(gone.End, gone.VisibleEnd); err != nil {
			return err
		}
	}
	// What is uploaded next need not join on if the log start has passed everything.
	return p.commitWithout(ctx, gone, o.Start > m.End)
}

// commitWithout commits a manifest without what has gone from its front; with anew, and if that is
// all, one in which nothing was ever remote.
func (p *Partition) commitWithout(ctx context.Context, gone Span, anew bool) error {
	next, now := p.catalog.current.clone(), p.tier.now().UnixMilli()
	if anew && gone.End == next.End {
		next.discardAll(now)
	} else if err := p.catalog.cutFront(ctx, next, gone.End, now); err != nil {
		return err
	}
	if err := p.commit(ctx, next); err != nil {
		return err
	}
	return p.settle(nil)
}
