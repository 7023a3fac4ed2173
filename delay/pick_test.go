package delay

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// tiers are the runs of a partition as pickMerge sees them, under load.
type tiers struct {
	list []*run
	// spilled and merged are how many bytes were written to runs, the first time and again; read,
	// how many for merges.
	spilled, merged, read int64
	// ended is how many bytes were finished, most the largest number of runs that was left when
	// nothing was worth merging.
	ended int64
	most  int
	// largest is the most that one merge read of several runs.
	largest int64
}

// spill adds a run of records of a kilobyte.
func (x *tiers) spill(bytes int64) {
	x.list = append(x.list, &run{runInfo: runInfo{count: bytes >> 10, bytes: bytes}, live: bytes >> 10})
	x.spilled += bytes
}

// finish ends a part of what is live in each run.
func (x *tiers) finish(part float64) {
	for _, r := range x.list {
		n := int64(part * float64(r.live))
		r.live -= n
		x.ended += n << 10
	}
	x.list = slices.DeleteFunc(x.list, func(r *run) bool { return r.live == 0 })
}

// merge carries out what pickMerge picks, and reports whether that was anything.
func (x *tiers) merge(t *testing.T, pick func([]*run) []*run) bool {
	group := pick(x.list)
	if len(group) == 0 {
		x.most = max(x.most, len(x.list))
		return false
	}
	i := slices.Index(x.list, group[0])
	if !slices.Equal(group, x.list[i:i+len(group)]) {
		t.Fatal("what is picked are no neighbours")
	}
	merged := &run{}
	read := int64(0)
	for _, r := range group {
		read += r.bytes
		merged.live += r.live
	}
	if len(group) > 1 {
		x.largest = max(x.largest, read)
	}
	merged.count, merged.bytes = merged.live, merged.live<<10
	x.read, x.merged = x.read+read, x.merged+merged.bytes
	x.list = slices.Replace(x.list, i, i+len(group), merged)
	return true
}

// TestRunsStayFewAndAreRarelyRewritten has runs come for as long as it takes to fill terabytes,
// while some of what is in them ends, and merges come late.
func TestRunsStayFewAndAreRarelyRewritten(t *testing.T) {
	for _, c := range []struct {
		most int64 // bytes of a spill
		part float64
	}{{512 << 20, 0}, {512 << 20, 0.001}, {512 << 20, 0.02}, {1 << 20, 0}, {1 << 20, 0.01}, {16 << 10, 0}} {
		t.Run(fmt.Sprintf("%d bytes, %g end", c.most, c.part), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(uint64(c.most), 1))
			var x tiers
			for range 3000 {
				for range rng.IntN(3) { // merges come late, and then at once
					for x.merge(t, pickMerge) {
					}
				}
				x.spill(1<<10 + rng.Int64N(c.most))
				x.finish(c.part * rng.Float64() * 2)
			}
			live := int64(0)
			for _, r := range x.list {
				live += r.bytes
			}
			// How many times as large as a spill a run becomes.
			ratio := float64(min(x.spilled, maxMergeBytes)) / float64(x.spilled/3000)
			many := (maxRunsOfClass + 1) * int(live/maxMergeBytes)
			if bound := maxRunsOfClass*int(math.Log2(ratio)/3+2) + many; x.most > bound || x.most > maxRuns+many {
				t.Errorf("%d runs, which hold %d bytes, are let be, expected at most %d", x.most, live, bound)
			}
			if x.largest > maxMergeBytes {
				t.Errorf("a merge of several runs reads %d bytes", x.largest)
			}
			// Each merge makes a run that is much larger; what has ended may have had a run
			// rewritten without it.
			if times, bound := float64(x.merged-x.ended)/float64(x.spilled), math.Log(ratio)/math.Log(minGrowth); times > bound {
				t.Errorf("every byte is rewritten %.1f times, expected at most %.1f", times, bound)
			}
			t.Logf("%d runs at most, spilled %d, ended %d, rewritten %.2f times, read %.2f times", x.most, x.spilled, x.ended, float64(x.merged)/float64(x.spilled), float64(x.read)/float64(x.spilled))
		})
	}
}
