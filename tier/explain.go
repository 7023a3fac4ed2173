package tier

import (
	"context"
	"fmt"
	"time"
)

// SegmentState is one line of what became of a partition's segments and why.
type SegmentState struct {
	Base, End int64
	Bytes     int64
	Where     string // remote, local, both, dropped, garbage
	Why       string
}

// Explain says for every closed segment, remote or local, why it is where it is.
func (p *Partition) Explain(ctx context.Context) ([]SegmentState, error) {
	m, err := p.manifest(ctx)
	if err != nil {
		return nil, err
	}
	var closed []LocalSegment
	if err := p.eachClosed(m.End, func(s LocalSegment) { closed = append(closed, s) }); err != nil {
		return nil, err
	}
	o, cfg := p.source.Offsets(), p.config()
	remote := int64(0)
	if cfg.RetentionBytes >= 0 {
		if remote, err = p.catalog.bytesBelow(ctx, m, o.LocalStart); err != nil {
			return nil, err
		}
	}
	h := newHorizon(cfg, p.tier.now(), o, remote)
	var out []SegmentState
	for i := range m.Garbage {
		g := &m.Garbage[i]
		out = append(out, SegmentState{Base: g.Base, End: g.Base, Bytes: g.Bytes, Where: "garbage",
			Why: "unreachable since " + at(g.Since) + ", deleted soon after"})
	}
	explain := func(entries []Entry) {
		for i := range entries {
			out = append(out, h.explain(&entries[i], o))
		}
	}
	for i := range m.Pages {
		entries, err := p.catalog.page(ctx, &m.Pages[i])
		if err != nil {
			return nil, err
		}
		explain(entries)
	}
	explain(m.Tail)
	return append(out, p.explainLocal(closed)...), nil
}

func at(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }

// explain tells about a remote segment. Segments must be asked about in order.
func (h *horizon) explain(e *Entry, o LocalOffsets) SegmentState {
	s := SegmentState{Base: e.Base, End: e.End, Bytes: e.Bytes, Where: "remote"}
	if e.isDrop() {
		s.Where, s.Why = "dropped", "these offsets were dropped on record"
		return s
	}
	if e.End > o.LocalStart {
		s.Where = "both"
	}
	switch {
	case e.End > h.gate:
		s.Why = fmt.Sprintf("kept: the schedule still needs offsets from %d on", h.gate)
	case e.End <= h.logStart:
		s.Why = fmt.Sprintf("expires: below the log start %d", h.logStart)
	case h.all:
		s.Why = "expires: remote storage is switched off for this topic"
	case h.takes(e.Span):
		s.Why = "expires: beyond retention.ms or retention.bytes"
	default:
		s.Why = "kept: within retention"
	}
	s.Why += "; confirmed " + at(e.Time)
	return s
}

// explainLocal tells about closed segments that are not remote.
func (p *Partition) explainLocal(closed []LocalSegment) []SegmentState {
	var out []SegmentState
	for _, seg := range closed {
		why := "kept: waiting for its upload"
		if err := p.Err(); err != nil {
			why += ", which fails: " + err.Error()
		} else if !p.config().Copy {
			why = "kept: copying is switched off for this topic"
		}
		out = append(out, SegmentState{Base: seg.Base, End: seg.End, Bytes: seg.Size, Where: "local", Why: why})
	}
	return out
}
