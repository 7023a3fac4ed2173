package delay

import "math/bits"

// Every record is rewritten a few times at most while runs are many and come again and again, and
// runs stay few. What is merged are neighbours, since a run has a range of tickets. A merge makes a
// run that is much larger than any it is made of, so how often a record is rewritten for the sake
// of numbers is the logarithm of how large runs become; and it waits until more than a few of about
// one size lie side by side.
const (
	// maxRunsOfClass is how many neighbouring runs of about one size are let be.
	maxRunsOfClass = 8
	// maxMergeRuns is how many runs a merge reads at once: of each it has a batch in memory.
	maxMergeRuns = 32
	// maxMergeBytes is how much a merge reads. Larger runs are let be, until less than half of one is live.
	maxMergeBytes = 16 << 30
	// minGrowth is how many times as large as the largest of its runs the result of a merge is at
	// least, while no more than maxRuns are there.
	minGrowth = 4
	maxRuns   = 128
)

// size is about how many bytes the run would have if it was written again.
func (r *run) size() int64 { return r.share(r.live) }

// class sorts runs by size: one class holds sizes that differ by less than a factor of eight.
func (r *run) class() int { return bits.Len64(uint64(r.size())) / 3 }

// sparse reports whether less than half of the run is live.
func (r *run) sparse() bool { return r.live < r.count/2 }

// pickMerge returns neighbouring runs that are worth rewriting as one, nil if none are: more than a
// few of about one size, the smallest first; or one that is sparse, with the sparse ones beside it.
func pickMerge(list []*run) []*run {
	growth := int64(minGrowth)
	if len(list) > maxRuns {
		growth = 1
	}
	for class := range 64/3 + 1 {
		group := longestGroup(list, func(r *run) bool { return r.class() <= class }, func(n int, total, largest int64) bool {
			return n > maxRunsOfClass && total >= growth*largest
		})
		if len(group) > 0 {
			return group
		}
	}
	return longestGroup(list, (*run).sparse, func(int, int64, int64) bool { return true })
}

// longestGroup returns the longest sequence of neighbours that all pass, that one merge can take,
// and that is worth it, judged by how many there are, their size in total and that of the largest.
func longestGroup(list []*run, pass func(*run) bool, worth func(n int, total, largest int64) bool) (longest []*run) {
	for i := range list {
		var bytes, total, largest int64
		for n, r := range list[i:min(i+maxMergeRuns, len(list))] {
			bytes += r.bytes
			if !pass(r) || n > 0 && bytes > maxMergeBytes {
				break
			}
			total, largest = total+r.size(), max(largest, r.size())
			if n+1 > len(longest) && worth(n+1, total, largest) {
				longest = list[i : i+n+1 : i+n+1]
			}
		}
	}
	return longest
}
