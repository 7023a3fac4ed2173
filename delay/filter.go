package delay

// filter tells which keys are certainly not in a run: a Bloom filter of ten bits a key, one in a
// hundred of the others passes.
type filter []byte

const (
	filterBits   = 10
	filterProbes = 7
)

func newFilter(keys int) filter { return make(filter, (keys*filterBits+7)/8) }

func (f filter) add(key string) {
	h, step := filterHash(key)
	for range filterProbes {
		bit := h % uint64(8*len(f))
		f[bit/8] |= 1 << (bit % 8)
		h += step
	}
}

func (f filter) mayContain(key string) bool {
	if len(f) == 0 {
		return false
	}
	h, step := filterHash(key)
	for range filterProbes {
		bit := h % uint64(8*len(f))
		if f[bit/8]&(1<<(bit%8)) == 0 {
			return false
		}
		h += step
	}
	return true
}

// filterHash must never change: it is stored. It is FNV-1a, and its halves mixed for the step.
func filterHash(key string) (h, step uint64) {
	h = 14695981039346656037
	for i := range len(key) {
		h = (h ^ uint64(key[i])) * 1099511628211
	}
	step = (h>>32|h<<32)*0x9E3779B97F4A7C15 | 1
	return h, step
}
