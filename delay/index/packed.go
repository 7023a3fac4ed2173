package index

import (
	"cmp"
	"encoding/binary"
	"math"
	"math/bits"
)

// packed is an entry within a bucket, in bytes so that no padding is added:
//
//	 0  due - bucket.base   uint32
//	 4  ticket              int64
//	12  size                uint16, a small float (see packSize)
//
// The numbers are little-endian.
type packed [14]byte

func pack(dueDelta uint32, ticket int64, size int32) (p packed) {
	p.set(dueDelta, ticket, size)
	return p
}

func (p *packed) set(dueDelta uint32, ticket int64, size int32) {
	p.setDueDelta(dueDelta)
	binary.LittleEndian.PutUint64(p[4:], uint64(ticket))
	binary.LittleEndian.PutUint16(p[12:], packSize(size))
}

func (p *packed) dueDelta() uint32 { return binary.LittleEndian.Uint32(p[:]) }

func (p *packed) setDueDelta(d uint32) { binary.LittleEndian.PutUint32(p[:], d) }

func (p *packed) ticket() int64 { return int64(binary.LittleEndian.Uint64(p[4:])) }

func (p *packed) size() int32 { return unpackSize(binary.LittleEndian.Uint16(p[12:])) }

// same reports whether two entries of a bucket have the same key.
func (p *packed) same(q *packed) bool {
	return p.ticket() == q.ticket() && p.dueDelta() == q.dueDelta()
}

// below returns 1 if p comes before q in a bucket, else 0, without a branch that a processor could mispredict.
func (p *packed) below(q *packed) int {
	const sign = 1 << 63
	_, borrow := bits.Sub64(uint64(p.ticket())^sign, uint64(q.ticket())^sign, 0)
	_, borrow = bits.Sub64(uint64(p.dueDelta()), uint64(q.dueDelta()), borrow)
	return int(borrow)
}

// packSize rounds a size to 11 significant bits, up: 5 bits of exponent, 11 of mantissa. What is
// added to a count of bytes and what is taken away later are the same, since both went through
// here.
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

// StoredSize is a record's size as the index keeps it.
func StoredSize(n int) int32 { return unpackSize(packSize(int32(n))) }

func unpackSize(p uint16) int32 {
	if p < 1<<11 {
		return int32(p)
	}
	n := int64(p&(1<<11-1)) << (p >> 11)
	return int32(min(n, math.MaxInt32))
}

// comparePacked orders entries of one bucket.
func comparePacked(p, q packed) int {
	if c := cmp.Compare(p.dueDelta(), q.dueDelta()); c != 0 {
		return c
	}
	return cmp.Compare(p.ticket(), q.ticket())
}
