package log

import "github.com/morrowmq/morrow/log/segment"

// hole is offsets between two segments that nothing is stored of: compaction, [Log.Drop] or
// [Log.Evict] took it out. Holes are facts, since a gap that nobody made is a segment that was
// lost.
//
// Invariant: a hole is in the durable facts before the first file goes, or the swap counts, that
// leaves it. A crash in between leaves facts with a hole that is not there, which is harmless.
type hole struct {
	start, end int64
}

// holesLocked are the holes there are, and the one that a swap is about to leave.
func (l *Log) holesLocked() []hole {
	holes := holesOf(l.segments)
	if l.swapping.start < l.swapping.end {
		holes = append(holes, l.swapping)
	}
	return holes
}

func holesOf(segments []*segment.Segment) []hole {
	var holes []hole
	for i := 1; i < len(segments); i++ {
		if h := (hole{segments[i-1].End(), segments[i].Base()}); h.start < h.end {
			holes = append(holes, h)
		}
	}
	return holes
}

// knowsHole reports whether it is known that nothing is stored of [start, end).
func (f *facts) knowsHole(start, end int64) bool {
	for _, h := range f.holes {
		if h.start <= start && end <= h.end {
			return true
		}
	}
	return false
}

// holeAt is the hole behind the i-th of some segments that the tier may fill: its end, 0 if there
// is none. What is missing above the delete bound was dropped, or compacted away.
func holeAt(segments []*segment.Segment, i int, deleteBound int64) (end int64) {
	if i+1 < len(segments) && segments[i].End() < min(segments[i+1].Base(), deleteBound) {
		return segments[i+1].Base()
	}
	return 0
}
