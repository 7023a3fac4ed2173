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

// Explain says for every segment, remote or local, why it is where it is, and what closes the one
// that is being written.
func (p *Partition) Explain(ctx context.Context) ([]SegmentState, error) {
	m, err := p.manifest(ctx)
	if err != nil {
		return nil, err
	}
	local := p.source.Outlook() // before Closed, so that no segment is in neither
	var closed []LocalSegment
	if err := p.eachClosed(m.End, func(s LocalSegment) { closed = append(closed, s) }); err != nil {
		return nil, err
	}
	o, cfg := p.source.Offsets(), p.config()
	bytes, err := p.sizeFor(ctx, cfg, m, o.LocalStart)
	if err != nil {
		return nil, err
	}
	h := newHorizon(cfg, p.tier.now(), o, bytes)
	var out []SegmentState
	for i := range m.Garbage {
		g := &m.Garbage[i]
		out = append(out, SegmentState{Base: g.Base, End: g.Base, Bytes: g.Bytes, Where: "garbage",
			Why: "unreachable since " + at(g.Since) + ", deleted soon after"})
	}
	explain := func(entries []Entry) {
		for i := range entries {
			out = append(out, h.explain(&entries[i], o, local.Start))
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
	end := m.End
	if len(closed) > 0 {
		end = closed[len(closed)-1].End
	}
	out = append(out, p.explainClosed(closed)...)
	return append(out, explainOpen(local, end)...), nil
}

func at(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }

// explain tells about a remote segment. Segments must be asked about in order. Local copies below
// localStart go at the next look.
func (h *horizon) explain(e *Entry, o LocalOffsets, localStart int64) SegmentState {
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
	if s.Where == "both" && e.End <= localStart {
		s.Why += "; the local copy is beyond local retention, to be removed at the next look"
	}
	return s
}

// explainClosed tells about closed segments that are not remote.
func (p *Partition) explainClosed(closed []LocalSegment) []SegmentState {
	var out []SegmentState
	for _, seg := range closed {
		why := "kept: waiting for its upload"
		if err := p.Err(); err != nil {
			why += ", which fails: " + Advice(err)
		} else if !p.config().Copy {
			why = "kept: copying is switched off for this topic"
		}
		out = append(out, SegmentState{Base: seg.Base, End: seg.End, Bytes: seg.Size, Where: "local", Why: why})
	}
	return out
}

// explainOpen tells about the segments from an offset on that cannot be copied yet.
func explainOpen(l LocalOutlook, from int64) []SegmentState {
	var out []SegmentState
	local := func(seg LocalSegment, why string) {
		if seg.Base >= from && seg.Size > 0 { // else it was closed, or decided, a moment ago
			out = append(out, SegmentState{Base: seg.Base, End: seg.End, Bytes: seg.Size, Where: "local", Why: why})
		}
	}
	for _, seg := range l.Undecided {
		local(seg, "kept: it holds records of a transaction that is open, or that are not replicated yet")
	}
	why := fmt.Sprintf("kept: not closed yet; that happens before it outgrows segment.bytes (%d)", l.MaxBytes)
	if !l.Until.IsZero() {
		why += ", at the latest by segment.ms after " + at(l.Until.UnixMilli())
	}
	local(l.Active, why)
	return out
}
