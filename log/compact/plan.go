package compact

import (
	"math"

	"github.com/morrowmq/morrow/log/segment"
)

// Policy is when a log is cleaned, under Kafka's names. Times are in ms.
type Policy struct {
	MinLagMs      int64   // min.compaction.lag.ms: records stay untouched for so long
	MaxLagMs      int64   // max.compaction.lag.ms: no record stays untouched for longer
	MinDirtyRatio float64 // min.cleanable.dirty.ratio
}

// State is what is known of a log.
type State struct {
	Now      int64          // ms
	Segments []segment.Info // closed ones, in order
	Clean    int64          // below, only the last record of every key is left
	Seen     int64          // everything below was cleaned before, as far as that was possible
	SeenGate int64          // what Rules.Gate was then
	Gate     int64          // what it is now
	Stable   int64          // everything below is committed, and belongs to no open transaction
}

// Plan is what there is to be cleaned: the offsets [From, To), which end where a segment does. They
// are dirty, but for what was cleaned before without everything that is superseded having gone.
type Plan struct {
	From, To int64
	// CleanBytes and DirtyBytes are the sizes of the segments up to To that were cleaned before,
	// and of the others. Dirty are also the hidden batches that the gate has kept and does not any
	// more.
	CleanBytes, DirtyBytes int64
	// Late is for how long the oldest dirty record has been waiting beyond the maximum lag, ms; not
	// positive if it has not.
	Late int64
	// Due says that it is time.
	Due bool
}

// Ratio is the dirty share of the bytes.
func (p Plan) Ratio() float64 {
	if p.DirtyBytes == 0 {
		return 0
	}
	return float64(p.DirtyBytes) / float64(p.CleanBytes+p.DirtyBytes)
}

// NewPlan decides what is to be cleaned. It is a pure function.
func NewPlan(s State, policy Policy) Plan {
	p := Plan{From: s.Clean, To: s.Clean, Late: math.MinInt64}
	for i := range s.Segments {
		seg := &s.Segments[i]
		if i == 0 {
			p.From = max(p.From, seg.Base)
			p.To = p.From
		}
		if seg.End <= s.Seen {
			free := int64(0)
			if s.SeenGate < seg.End && seg.End <= s.Gate {
				free = seg.HiddenBytes
			}
			p.CleanBytes, p.DirtyBytes = p.CleanBytes+seg.Size-free, p.DirtyBytes+free
			p.To = max(p.To, seg.End)
			continue
		}
		if seg.End > s.Stable || policy.MinLagMs > 0 && seg.Timestamp() > s.Now-policy.MinLagMs {
			break
		}
		if p.Late == math.MinInt64 && seg.FirstTime >= 0 {
			p.Late = max(0, s.Now-seg.FirstTime) - policy.MaxLagMs
		}
		p.DirtyBytes += seg.Size
		p.To = seg.End
	}
	p.Due = p.DirtyBytes > 0 && (p.Ratio() > policy.MinDirtyRatio || p.Late > 0)
	return p
}

// Pick returns the index of the plan that is to be carried out next, -1 if none is due: those that
// are late come first, and then the one with the largest dirty share.
func Pick(plans []Plan) int {
	best := -1
	for i := range plans {
		if plans[i].Due && (best < 0 || before(&plans[i], &plans[best])) {
			best = i
		}
	}
	return best
}

func before(a, b *Plan) bool {
	if (a.Late > 0) != (b.Late > 0) {
		return a.Late > 0
	}
	return a.Ratio() > b.Ratio()
}
