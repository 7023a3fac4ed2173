package log

import (
	"github.com/morrowmq/morrow/log/record"
)

// visibility derives the visible end: the end of the last visible batch at or below the high
// watermark. Fetch and ListOffsets report it as the high watermark, so that a client never waits
// for offsets that hold nothing for it. It goes back only when the log is truncated.
type visibility struct {
	end     int64    // of the last visible batch below the high watermark; 0 if there is none
	pending []extent // visible batches above it, neighbours merged
}

// extent is a run of visible batches.
type extent struct {
	start, end int64
}

// add notes a batch that was appended.
func (v *visibility) add(b record.Batch) {
	if b.Hidden() {
		return
	}
	start, end := b.BaseOffset(), b.EndOffset()
	if n := len(v.pending); n > 0 && v.pending[n-1].end == start {
		v.pending[n-1].end = end
		return
	}
	v.pending = append(v.pending, extent{start, end})
}

// advance moves the end up to the high watermark, which is where a batch ends. It reports whether
// there was anything to move over.
func (v *visibility) advance(hw int64) bool {
	n := 0
	before := v.end
	for ; n < len(v.pending); n++ {
		p := &v.pending[n]
		if p.end > hw {
			if p.start < hw {
				v.end, p.start = hw, hw
			}
			break
		}
		v.end = p.end
	}
	v.pending = v.pending[:copy(v.pending, v.pending[n:])]
	return v.end != before
}

// visibleEndLocked is what clients are told the log ends at.
func (l *Log) visibleEndLocked() int64 { return max(l.reportedStart, l.visible.end) }

// lastStableLocked is the last stable offset as reported and as it is. The real one is the first
// offset of the earliest undecided transaction, or the high watermark; the reported one is the end
// of the last visible batch below it.
func (l *Log) lastStableLocked(o Offsets) (reported, lastStable int64) {
	first, visible, ok := l.producers.FirstUnstable()
	if !ok || first >= o.HighWatermark {
		return o.VisibleEnd, o.HighWatermark
	}
	return min(max(l.reportedStart, visible), o.VisibleEnd), first
}

// AdvanceHighWatermark moves the high watermark up to end, where a group ends, or to the log end if that is
// lower. It never goes back. Waiters and subscribers whose condition is met are woken.
func (l *Log) AdvanceHighWatermark(end int64) {
	l.mu.Lock()
	end = min(end, l.end)
	if end <= l.hw || l.failure.Load() != nil {
		l.mu.Unlock()
		return
	}
	l.hw = end
	l.factsDirty = true
	moved := l.visible.advance(end)
	moved = l.producers.AdvanceHighWatermark(end) || moved
	l.wakeLocked(moved)
	l.mu.Unlock()
}
