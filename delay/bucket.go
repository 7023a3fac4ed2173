package delay

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
)

// Entry is one pending record.
type Entry struct {
	// Due in milliseconds since the epoch.
	Due int64
	// Ticket is the record's offset in its partition.
	Ticket int64
	// Size of the encoded record in bytes, rounded as the index stores it.
	Size int32
}

// compare orders entries as they are delivered: by due, then in the order they were produced.
func (e Entry) compare(f Entry) int {
	if c := cmp.Compare(e.Due, f.Due); c != 0 {
		return c
	}
	return cmp.Compare(e.Ticket, f.Ticket)
}

func (e Entry) less(f Entry) bool {
	return e.Due < f.Due || e.Due == f.Due && e.Ticket < f.Ticket
}

// packed is an entry within a bucket, 14 bytes in units of 2 so that no padding is added:
//
//	0  due - bucket.base   uint32
//	2  ticket              int64
//	6  size                uint16, a small float (see packSize)
//
// The numbers count uint16, low half first.
type packed [7]uint16

func (p *packed) dueDelta() uint32 { return uint32(p[0]) | uint32(p[1])<<16 }

func (p *packed) ticket() int64 {
	return int64(uint64(p[2]) | uint64(p[3])<<16 | uint64(p[4])<<32 | uint64(p[5])<<48)
}

func pack(dueDelta uint32, ticket int64, size int32) packed {
	t := uint64(ticket)
	return packed{uint16(dueDelta), uint16(dueDelta >> 16), uint16(t), uint16(t >> 16), uint16(t >> 32), uint16(t >> 48), packSize(size)}
}

// packSize rounds a size to 11 significant bits, up: 5 bits of exponent, 11 of mantissa. What is added to a count
// of bytes and what is taken away later are the same, since both went through here.
func packSize(n int32) uint16 {
	if n < 1<<11 {
		return uint16(max(n, 0))
	}
	shift := bits.Len32(uint32(n)) - 11
	m := (uint32(n) + 1<<shift - 1) >> shift
	if m == 1<<11 {
		m, shift = m>>1, shift+1
	}
	return uint16(shift)<<11 | uint16(m)
}

func unpackSize(p uint16) int32 {
	if p < 1<<11 {
		return int32(p)
	}
	n := int64(p&(1<<11-1)) << (p >> 11)
	return int32(min(n, math.MaxInt32))
}

// bucketCap is the most entries in a bucket: with it, a full one occupies 4032 bytes, just
// inside an allocation class.
const bucketCap = 288

// headroom is how far before its first entry a bucket's base is set, so that earlier ones fit too.
const headroom = 1 << 24

// bucket is a leaf of the index: the entries from low (inclusive) to high (exclusive), packed.
type bucket struct {
	low, high Entry
	// base is what dues are relative to.
	base int64
	// entries[head:] are live.
	entries []packed
	head    int
	// last is an upper bound of the entries' keys while there are any.
	last Entry
	// sorted says that entries[head:] are in order.
	sorted bool
}

func newBucket(first Entry, high Entry) *bucket {
	return &bucket{low: first, high: high, base: first.Due, sorted: true}
}

func (b *bucket) len() int { return len(b.entries) - b.head }

func (b *bucket) at(i int) Entry {
	p := &b.entries[b.head+i]
	return Entry{Due: b.base + int64(p.dueDelta()), Ticket: p.ticket(), Size: unpackSize(p[6])}
}

// fits makes e representable if it can.
func (b *bucket) fits(e Entry) bool {
	if b.len() == 0 {
		b.base = e.Due
	}
	if e.Due >= b.base {
		return e.Due-b.base <= math.MaxUint32
	}
	return b.rebase(e.Due - headroom)
}

// rebase moves the base down.
func (b *bucket) rebase(base int64) bool {
	shift := b.base - base
	if b.last.Due-base > math.MaxUint32 {
		return false
	}
	for i := b.head; i < len(b.entries); i++ {
		p := &b.entries[i]
		d := p.dueDelta() + uint32(shift)
		p[0], p[1] = uint16(d), uint16(d>>16)
	}
	b.base = base
	return true
}

// add appends an entry, which fits.
func (b *bucket) add(e Entry) {
	if b.head > 0 && len(b.entries) == cap(b.entries) {
		n := copy(b.entries, b.entries[b.head:])
		b.entries, b.head = b.entries[:n], 0
	}
	if len(b.entries) == cap(b.entries) {
		b.resize(min(max(8, 2*cap(b.entries)), bucketCap))
	}
	if b.len() == 0 {
		b.sorted = true
	} else if e.less(b.last) {
		b.sorted = false
	}
	if b.len() == 0 || b.last.less(e) {
		b.last = e
	}
	b.entries = append(b.entries, pack(uint32(e.Due-b.base), e.Ticket, e.Size))
}

func (b *bucket) resize(n int) {
	entries := make([]packed, b.len(), n)
	copy(entries, b.entries[b.head:])
	b.entries, b.head = entries, 0
}

// sort puts the entries in order.
func (b *bucket) sort() {
	if b.sorted {
		return
	}
	slices.SortFunc(b.entries[b.head:], func(p, q packed) int {
		if c := cmp.Compare(p.dueDelta(), q.dueDelta()); c != 0 {
			return c
		}
		return cmp.Compare(p.ticket(), q.ticket())
	})
	b.sorted = true
}

// find returns the position of an entry, or -1.
func (b *bucket) find(e Entry) int {
	delta := e.Due - b.base
	if delta < 0 || delta > math.MaxUint32 {
		return -1
	}
	live := b.entries[b.head:]
	if len(live) > 0 && live[0].ticket() == e.Ticket && live[0].dueDelta() == uint32(delta) {
		return 0
	}
	low := [4]uint16{uint16(delta), uint16(delta >> 16), uint16(e.Ticket), uint16(e.Ticket >> 16)}
	for i := range live {
		p := &live[i]
		if p[2] == low[2] && p[0] == low[0] && p[3] == low[3] && p[1] == low[1] && p.ticket() == e.Ticket {
			return i
		}
	}
	return -1
}

// remove takes out the entry at a position, and keeps the order if there is one.
func (b *bucket) remove(i int) {
	live := b.entries[b.head:]
	switch {
	case i == 0:
		b.head++
	case b.sorted:
		copy(live[i:], live[i+1:])
		b.entries = b.entries[:len(b.entries)-1]
	default:
		live[i] = live[len(live)-1]
		b.entries = b.entries[:len(b.entries)-1]
	}
	if cap(b.entries) > 16 && b.len() > 0 && b.len() <= cap(b.entries)/4 {
		b.resize(cap(b.entries) / 2)
	}
}

// split moves the upper half into a new bucket and returns it. There are at least two entries.
func (b *bucket) split() *bucket {
	b.sort()
	mid := b.len() / 2
	first := b.at(mid)
	upper := newBucket(first, b.high)
	upper.entries = make([]packed, 0, bucketCap)
	for i := mid; i < b.len(); i++ {
		upper.add(b.at(i))
	}
	b.entries = b.entries[:b.head+mid]
	b.last = b.at(mid - 1)
	b.high = first
	return upper
}
