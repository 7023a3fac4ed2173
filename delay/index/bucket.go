package index

import (
	"cmp"
	"math"
	"slices"
	"sort"
	"sync"
)

// Entry is one pending record. Due and Ticket are its key.
type Entry struct {
	// Due in milliseconds since the epoch.
	Due int64
	// Ticket is the record's offset in its partition.
	Ticket int64
	// Size of the encoded record in bytes, rounded as the index stores it.
	Size int32
}

// Compare orders entries as they are delivered: by due, then in the order they were produced.
func (e Entry) Compare(f Entry) int {
	if c := cmp.Compare(e.Due, f.Due); c != 0 {
		return c
	}
	return cmp.Compare(e.Ticket, f.Ticket)
}

// Less reports whether e is before f in the order of Compare.
func (e Entry) Less(f Entry) bool {
	return e.Due < f.Due || e.Due == f.Due && e.Ticket < f.Ticket
}

// blockCap entries occupy 4032 bytes, just inside an allocation class.
const blockCap = 288

// bucketCap is the most entries in a bucket: few enough to be sorted in an instant, many enough
// that the upper levels of the index stay in the processor's cache.
const bucketCap = 14 * blockCap

// headroom is how far before an entry a bucket's base is set when the entry is too early for it, so that
// the next ones need no new base.
const headroom = 1 << 24

// bucket is a leaf of the index: the entries from low (inclusive) to high (exclusive), packed into blocks.
type bucket struct {
	low, high Entry
	// base is what dues are relative to.
	base int64
	// blocks but the last are full; the first head entries of the first are gone. n are left.
	blocks [][]packed
	head   int
	n      int
	// sorted is how many of the first entries are in order.
	sorted int
	// last is an upper bound of the entries while there are any.
	last Entry
}

func newBucket(low, high Entry) *bucket {
	return &bucket{low: low, high: high, base: low.Due}
}

// slot is where the i-th entry lies.
func (b *bucket) slot(i int) *packed {
	i += b.head
	return &b.blocks[i/blockCap][i%blockCap]
}

func (b *bucket) at(i int) Entry { return b.unpack(b.slot(i)) }

func (b *bucket) unpack(p *packed) Entry {
	return Entry{Due: b.base + int64(p.dueDelta()), Ticket: p.ticket(), Size: p.size()}
}

// fits makes an entry representable if it can.
func (b *bucket) fits(e Entry) bool {
	if b.n == 0 {
		b.base = e.Due
	}
	if e.Due >= b.base {
		return e.Due-b.base <= math.MaxUint32
	}
	return b.rebase(e.Due - headroom)
}

// rebase moves the base down.
func (b *bucket) rebase(base int64) bool {
	if b.last.Due-base > math.MaxUint32 {
		return false
	}
	shift := uint32(b.base - base)
	for i := range b.n {
		p := b.slot(i)
		p.setDueDelta(p.dueDelta() + shift)
	}
	b.base = base
	return true
}

// add appends an entry, which fits.
func (b *bucket) add(e Entry) {
	b.note(e)
	b.next().set(uint32(e.Due-b.base), e.Ticket, e.Size)
}

// addRun appends the first of the entries, which fits, and those after it that belong here too, as
// long as there are less than most. The entries are in order of their dues. It returns how many it
// took.
func (b *bucket) addRun(entries []Entry, most int) int {
	entries = entries[:min(len(entries), most-b.n)]
	for i, e := range entries {
		if i > 0 && (!e.Less(b.high) || e.Less(b.low) || e.Due-b.base > math.MaxUint32) {
			return i
		}
		b.add(e)
	}
	return len(entries)
}

// note keeps account of the order, before an entry is appended.
func (b *bucket) note(e Entry) {
	if b.n > 0 && e.Less(b.last) {
		return
	}
	if b.sorted == b.n {
		b.sorted++
	}
	b.last = e
}

// next makes room for one more entry and returns its place.
func (b *bucket) next() *packed {
	last := len(b.blocks) - 1
	if last < 0 || len(b.blocks[last]) == cap(b.blocks[last]) {
		last = b.grow()
	}
	b.n++
	n := len(b.blocks[last])
	b.blocks[last] = b.blocks[last][:n+1]
	return &b.blocks[last][n]
}

// grow makes room in the last block or begins another, and returns its index.
func (b *bucket) grow() int {
	last := len(b.blocks) - 1
	switch {
	case last < 0:
		b.blocks = append(b.blocks, make([]packed, 0, 8))
	case len(b.blocks[last]) == blockCap:
		b.blocks = append(b.blocks, make([]packed, 0, blockCap))
	default:
		block := b.blocks[last]
		b.blocks[last] = append(make([]packed, 0, min(2*cap(block), blockCap)), block...)
		return last
	}
	return last + 1
}

// remove takes out the i-th entry. What is in order stays so.
func (b *bucket) remove(i int) {
	b.n--
	if i < b.sorted {
		b.shift(i)
		b.sorted--
		if b.head++; b.head == len(b.blocks[0]) {
			b.blocks[0] = nil
			b.blocks, b.head = b.blocks[1:], 0
		}
		return
	}
	*b.slot(i) = *b.slot(b.n)
	last := len(b.blocks) - 1
	b.blocks[last] = b.blocks[last][:len(b.blocks[last])-1]
	if len(b.blocks[last]) == 0 {
		b.blocks[last] = nil
		b.blocks = b.blocks[:last]
		if last == 0 {
			b.head = 0
		}
	}
}

// shift moves the first i entries up by one, over the next.
func (b *bucket) shift(i int) {
	hole := b.head + i
	for k := hole / blockCap; k >= 0; k-- {
		block, start := b.blocks[k], 0
		if k == 0 {
			start = b.head
		}
		end := hole - k*blockCap
		copy(block[start+1:end+1], block[start:end])
		if k > 0 {
			block[0] = b.blocks[k-1][blockCap-1]
			hole = k*blockCap - 1
		}
	}
}

// removeBelow removes the entries with a lower ticket, and returns how many they were.
func (b *bucket) removeBelow(ticket int64, forget func(Entry)) (removed int) {
	for i := range b.n {
		if b.slot(i).ticket() < ticket {
			forget(b.at(i))
			removed++
		}
	}
	if removed == 0 {
		return 0
	}
	kept := newBucket(b.low, b.high)
	kept.base = b.base
	for i := range b.n {
		if e := b.at(i); e.Ticket >= ticket {
			kept.add(e)
		}
	}
	*b = *kept
	return removed
}

// sort puts all entries in order. What was in order already is only merged with the rest.
func (b *bucket) sort(scratch []packed) []packed {
	if b.sorted == b.n {
		return scratch
	}
	scratch = scratch[:0]
	for i := b.sorted; i < b.n; i++ {
		scratch = append(scratch, *b.slot(i))
	}
	slices.SortFunc(scratch, comparePacked)
	i := b.sorted - 1
	for k, j := b.n-1, len(scratch)-1; j >= 0; k-- {
		if i >= 0 && comparePacked(*b.slot(i), scratch[j]) > 0 {
			*b.slot(k) = *b.slot(i)
			i--
		} else {
			*b.slot(k) = scratch[j]
			j--
		}
	}
	b.sorted = b.n
	return scratch
}

// find returns the position of an entry, or -1.
func (b *bucket) find(e Entry) int {
	delta := e.Due - b.base
	if delta < 0 || delta > math.MaxUint32 || b.n == 0 {
		return -1
	}
	key := pack(uint32(delta), e.Ticket, 0)
	if b.slot(0).same(&key) {
		return 0
	}
	i := sort.Search(b.sorted, func(i int) bool { return comparePacked(*b.slot(i), key) >= 0 })
	if i < b.sorted && b.slot(i).same(&key) {
		return i
	}
	for i := b.sorted; i < b.n; {
		at := b.head + i
		for _, p := range b.blocks[at/blockCap][at%blockCap:] {
			if p.same(&key) {
				return i
			}
			i++
		}
	}
	return -1
}

// splitSamples is how many entries are asked for the middle.
const splitSamples = 63

// split moves about the upper half into a new bucket and returns it. The bucket is full.
func (b *bucket) split() *bucket {
	pivot := b.middle()
	mid := b.unpack(&pivot)
	upper := newBucket(mid, b.high)
	upper.last = b.last
	b.high, b.last = mid, mid
	above := halves.Get().(*[bucketCap]packed)
	defer halves.Put(above)
	low, high, n := 0, 0, b.n
	to, k := b.blocks[0][b.head:], 0 // where the next that stays goes: where it was, or before
	for i, block := range b.blocks {
		if i == 0 {
			block = to
		}
		for j := range block { // each is written to both sides, so that nothing needs to be predicted
			if low+high == b.sorted {
				upper.sorted = high
			}
			below, delta := block[j].below(&pivot), block[j].dueDelta()
			above[high] = block[j]
			above[high].setDueDelta(delta - pivot.dueDelta())
			to[k] = block[j]
			low, high, k = low+below, high+1-below, k+below
			if k == len(to) {
				to, k = b.blocks[(b.head+low)/blockCap], 0
			}
		}
	}
	if b.sorted == n {
		upper.sorted = high
	}
	b.n, b.sorted = low, b.sorted-upper.sorted
	upper.fill(above[:high], b.cut())
	return upper
}

// middle returns an entry about in the middle.
func (b *bucket) middle() packed {
	var samples [splitSamples]packed
	for i := range samples {
		samples[i] = *b.slot(i * b.n / splitSamples)
	}
	slices.SortFunc(samples[:], comparePacked)
	return samples[splitSamples/2]
}

// cut shortens the blocks to the first n entries, of which there is one at least, and returns the
// blocks that are free.
func (b *bucket) cut() (free [][]packed) {
	last := (b.head + b.n - 1) / blockCap
	b.blocks, free = b.blocks[:last+1:last+1], b.blocks[last+1:]
	b.blocks[last] = b.blocks[last][:b.head+b.n-last*blockCap]
	return free
}

// halves are for split: what goes to the other bucket.
var halves = sync.Pool{New: func() any { return new([bucketCap]packed) }}

// fill puts entries into an empty bucket, and into free blocks first.
func (b *bucket) fill(entries []packed, free [][]packed) {
	b.n = len(entries)
	for part := range slices.Chunk(entries, blockCap) {
		var block []packed
		if len(free) > 0 && cap(free[0]) == blockCap {
			block, free = free[0][:0], free[1:]
		} else {
			block = make([]packed, 0, blockCap)
		}
		b.blocks = append(b.blocks, append(block, part...))
	}
}
