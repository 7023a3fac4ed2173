package segment

import (
	"slices"
	"sort"
)

// Span is a run of a segment in which visible batches lie. What lies between two spans is hidden
// and need not be read by a fetch.
type Span struct {
	Start, End  int64 // offsets
	Pos, EndPos int64 // positions in the file
	Pure        bool  // no hidden batch lies inside
}

// minSpanGap is how many bytes of hidden batches end a span, at first. Shorter runs of them stay
// inside, and are stepped over batch by batch.
const minSpanGap = 64 << 10

// maxSpans is how many spans a segment has at most: when there are more, those with the smallest
// gaps become one.
const maxSpans = 4096

// addSpanLocked adds a visible batch at the end.
func (s *Segment) addSpanLocked(b Span) {
	gap := max(s.spanGap, minSpanGap)
	if n := len(s.spans); n > 0 && b.Pos-s.spans[n-1].EndPos < gap {
		s.spans[n-1] = s.spans[n-1].join(b)
		return
	}
	s.spans = append(s.spans, b)
	for len(s.spans) > maxSpans {
		gap += gap / 8
		s.spanGap = gap
		s.spans = joinSpans(slices.Clone(s.spans), gap) // a mark may have the old ones
	}
}

// joinSpans makes spans with less than gap bytes between them one.
func joinSpans(spans []Span, gap int64) []Span {
	joined := spans[:1]
	for _, p := range spans[1:] {
		if last := &joined[len(joined)-1]; p.Pos-last.EndPos < gap {
			*last = last.join(p)
		} else {
			joined = append(joined, p)
		}
	}
	return joined
}

// join is p and the later q as one.
func (p Span) join(q Span) Span {
	return Span{Start: p.Start, End: q.End, Pos: p.Pos, EndPos: q.EndPos, Pure: p.Pure && q.Pure && p.EndPos == q.Pos}
}

// span returns the first span that ends above offset.
func (s *Segment) span(offset int64) (Span, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := sort.Search(len(s.spans), func(i int) bool { return s.spans[i].End > offset })
	if i == len(s.spans) {
		return Span{}, false
	}
	return s.spans[i], true
}

// spanBelow returns the last span that begins below offset.
func (s *Segment) spanBelow(offset int64) (Span, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := sort.Search(len(s.spans), func(i int) bool { return s.spans[i].Start >= offset })
	if i == 0 {
		return Span{}, false
	}
	return s.spans[i-1], true
}
