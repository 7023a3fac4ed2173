package delay

import (
	"math"

	"github.com/google/btree"
)

var (
	firstEntry = Entry{Due: math.MinInt64, Ticket: math.MinInt64}
	lastEntry  = Entry{Due: math.MaxInt64, Ticket: math.MaxInt64}
)

// index holds entries in order: a B-tree of time buckets that hold them packed. An insert finds its bucket and
// appends to it; a bucket is sorted when it is about to be due, or to split. It is not safe for concurrent use.
//
// Invariant: the buckets' ranges [low, high) do not overlap and follow one another; low of the first may be anything
// not above its entries. No bucket is empty.
type index struct {
	tree  *btree.BTreeG[*bucket]
	probe bucket
	// hot is the bucket of the last insert: most producers' dues ascend.
	hot   *bucket
	count int
}

func newIndex() *index {
	return &index{tree: btree.NewG(32, func(a, b *bucket) bool { return a.low.less(b.low) })}
}

// locate returns the bucket whose range holds e, or nil if there are no buckets.
func (x *index) locate(e Entry) *bucket {
	if h := x.hot; h != nil && !e.less(h.low) && e.less(h.high) {
		return h
	}
	var found *bucket
	x.probe.low = e
	x.tree.DescendLessOrEqual(&x.probe, func(b *bucket) bool {
		found = b
		return false
	})
	if found == nil {
		found, _ = x.tree.Min()
	}
	return found
}

// insert adds an entry that is not there yet.
func (x *index) insert(e Entry) {
	x.count++
	b := x.locate(e)
	if b == nil {
		b = newBucket(e, lastEntry)
		x.tree.ReplaceOrInsert(b)
	}
	b = x.room(b, e)
	b.add(e)
	x.hot = b
}

// room returns the bucket to put e into: b, or a new one beside it.
func (x *index) room(b *bucket, e Entry) *bucket {
	if e.less(b.low) {
		if b.len() == bucketCap || !b.fits(e) {
			front := newBucket(e, b.low)
			x.tree.ReplaceOrInsert(front)
			return front
		}
		// b is the first bucket, so lowering it leaves the order of the tree as it is.
		b.low = e
	}
	if b.len() < bucketCap && b.fits(e) {
		return b
	}
	if b.last.less(e) {
		after := newBucket(e, b.high)
		b.high = e
		x.tree.ReplaceOrInsert(after)
		return after
	}
	if b.len() == 1 {
		// One far later entry: it moves to a bucket of its own.
		only := b.at(0)
		after := newBucket(only, b.high)
		after.add(only)
		b.high = only
		b.remove(0)
		x.tree.ReplaceOrInsert(after)
		b.fits(e)
		return b
	}
	upper := b.split()
	x.tree.ReplaceOrInsert(upper)
	if !e.less(upper.low) {
		b = upper
	}
	return x.room(b, e)
}

// remove takes an entry out and returns it as stored; ok tells whether it was there.
func (x *index) remove(e Entry) (_ Entry, ok bool) {
	b := x.locate(e)
	if b == nil {
		return e, false
	}
	i := b.find(e)
	if i < 0 {
		return e, false
	}
	e = b.at(i)
	x.take(b, i)
	return e, true
}

// contains reports whether an entry is there.
func (x *index) contains(e Entry) bool {
	b := x.locate(e)
	return b != nil && b.find(e) >= 0
}

// take removes the i-th entry of a bucket and keeps the tree tidy.
func (x *index) take(b *bucket, i int) {
	b.remove(i)
	x.count--
	n := b.len()
	switch {
	case n == 0:
		x.drop(b)
	case i > 0 && n < bucketCap/4 && n&(n-1) == 0:
		x.merge(b)
	}
}

// drop removes an empty bucket; the one before it takes over its range.
func (x *index) drop(b *bucket) {
	x.tree.Delete(b)
	if x.hot == b {
		x.hot = nil
	}
	x.tree.DescendLessOrEqual(b, func(before *bucket) bool {
		before.high = b.high
		return false
	})
}

// merge appends the bucket after b to it if both are sparse.
func (x *index) merge(b *bucket) {
	var after *bucket
	x.probe.low = b.high
	x.tree.AscendGreaterOrEqual(&x.probe, func(a *bucket) bool {
		after = a
		return false
	})
	if after == nil || b.len()+after.len() > bucketCap*3/4 || after.last.Due-b.base > math.MaxUint32 {
		return
	}
	for i := range after.len() {
		b.add(after.at(i))
	}
	after.entries, after.head = nil, 0
	x.drop(after)
}

// min returns the first entry.
func (x *index) min() (Entry, bool) {
	b, ok := x.tree.Min()
	if !ok {
		return Entry{}, false
	}
	b.sort()
	return b.at(0), true
}

// popDue moves entries due at or before now to dst, in order, until there are maxCount of them or
// their sizes exceed maxBytes.
func (x *index) popDue(dst []Entry, now int64, maxCount, maxBytes int) []Entry {
	for n := 0; n < maxCount && maxBytes > 0; n++ {
		e, ok := x.min()
		if !ok || e.Due > now {
			break
		}
		b, _ := x.tree.Min()
		x.take(b, 0)
		dst = append(dst, e)
		maxBytes -= int(e.Size)
	}
	return dst
}

// ascend calls yield for the entries from a key on, in order, until it returns false. It may
// sort buckets; entries must not be changed meanwhile.
func (x *index) ascend(from Entry, yield func(Entry) bool) {
	each := func(b *bucket) bool {
		b.sort()
		for i := range b.len() {
			if e := b.at(i); !e.less(from) && !yield(e) {
				return false
			}
		}
		return true
	}
	start := x.locate(from)
	if start == nil {
		return
	}
	x.tree.AscendGreaterOrEqual(start, each)
}

// countBetween counts the entries with after < due <= until.
func (x *index) countBetween(after, until int64) (n int) {
	from := Entry{Due: after, Ticket: math.MaxInt64}
	start := x.locate(from)
	if start == nil || until <= after {
		return 0
	}
	x.tree.AscendGreaterOrEqual(start, func(b *bucket) bool {
		if b.low.Due > until {
			return false
		}
		if b.low.Due > after && b.last.Due <= until {
			n += b.len()
			return true
		}
		for i := range b.len() {
			if e := b.at(i); after < e.Due && e.Due <= until {
				n++
			}
		}
		return true
	})
	return n
}
