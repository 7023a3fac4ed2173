package segment

// Span is a run of a segment in which visible batches lie. What lies between two spans is hidden
// and need not be read by a fetch.
type Span struct {
	Start, End  int64 // offsets
	Pos, EndPos int64 // positions in the file
	Pure        bool  // no hidden batch lies inside
}

// spanGap is how many bytes of hidden batches end a span. Shorter runs of them stay inside,
// and are stepped over batch by batch, so that the spans of a segment stay few.
const spanGap = 64 << 10

// addSpan adds a visible batch at the end.
func addSpan(spans []Span, b Span) []Span {
	if n := len(spans); n > 0 {
		last := &spans[n-1]
		if gap := b.Pos - last.EndPos; gap < spanGap {
			last.Pure = last.Pure && b.Pure && gap == 0
			last.End, last.EndPos = b.End, b.EndPos
			return spans
		}
	}
	return append(spans, b)
}
