package index

import (
	"math"

	"github.com/google/btree"
)

// First is before all entries, and Last behind all.
var (
	First = Entry{Due: math.MinInt64, Ticket: math.MinInt64}
	Last  = Entry{Due: math.MaxInt64, Ticket: math.MaxInt64}
)

// Index holds entries in order: a B-tree of time buckets that hold them packed. An insert finds its
// bucket and appends to it; a bucket is sorted when it is about to be due. What does not belong to
// the bucket of the last insert waits in an inbox, so that many are sorted in one go and each
// bucket is found once for all that it gets. It is not safe for concurrent use.
//
// Invariant: the buckets' ranges [low, high) do not overlap and follow one another, except that the
// first may begin anywhere at or below its entries. No bucket is empty.
type Index struct {
	tree *btree.BTreeG[leaf]
	// hot is the bucket of the last insert: most producers' dues ascend.
	hot   *bucket
	count int
	inbox inbox
	// most is how many entries a bucket may hold.
	most int
	// scratch is for sorting, at and found for searching without allocation.
	scratch []packed
	found   *bucket
	visit   func(leaf) bool
}

// leaf is a bucket in the tree, with the key beside the pointer so that a search touches few cache lines.
type leaf struct {
	due, ticket int64
	*bucket
}

func leafAt(e Entry) leaf { return leaf{due: e.Due, ticket: e.Ticket} }

func leafOf(b *bucket) leaf { return leaf{b.low.Due, b.low.Ticket, b} }

// New returns an index of no entries.
func New() *Index {
	x := &Index{most: bucketCap, inbox: inbox{first: Last}, tree: btree.NewG(32, func(a, b leaf) bool {
		return a.due < b.due || a.due == b.due && a.ticket < b.ticket
	})}
	x.visit = func(l leaf) bool {
		x.found = l.bucket
		return false
	}
	return x
}

// locate returns the bucket whose range holds e, or nil if there are no buckets.
func (x *Index) locate(e Entry) *bucket {
	if h := x.hot; h != nil && !e.Less(h.low) && e.Less(h.high) {
		return h
	}
	x.found = nil
	x.tree.DescendLessOrEqual(leafAt(e), x.visit)
	if x.found == nil {
		first, _ := x.tree.Min()
		return first.bucket
	}
	return x.found
}

func (x *Index) link(b *bucket) { x.tree.ReplaceOrInsert(leafOf(b)) }

// Insert adds an entry that is not there yet.
func (x *Index) Insert(e Entry) {
	x.count++
	if h := x.hot; h != nil && !e.Less(h.low) && e.Less(h.high) {
		x.put(e)
		return
	}
	x.inbox.add(e)
	if len(x.inbox.entries) >= min(maxInbox, 1+x.count/16) {
		x.settle(Last)
	}
}

// settle moves what is in the inbox to the tree, if anything there is before an entry.
func (x *Index) settle(end Entry) {
	if !x.inbox.first.Less(end) {
		return
	}
	for entries := x.inbox.empty(); len(entries) > 0; {
		b := x.place(entries[0])
		entries = entries[b.addRun(entries, x.most):]
	}
}

// put adds an entry to the tree.
func (x *Index) put(e Entry) { x.place(e).add(e) }

// place returns the bucket to put e into, which has room.
func (x *Index) place(e Entry) *bucket {
	b := x.locate(e)
	if b == nil {
		b = newBucket(e, Last)
		x.link(b)
	}
	b = x.room(b, e)
	x.hot = b
	return b
}

// room returns the bucket to put e into: b, whose range it is in, or a new one.
func (x *Index) room(b *bucket, e Entry) *bucket {
	if b.n < x.most && b.fits(e) {
		if e.Less(b.low) {
			x.lower(b, e)
		}
		return b
	}
	switch {
	case e.Less(b.low):
		before := newBucket(e, b.low)
		x.link(before)
		return before
	case b.last.Less(e):
		after := newBucket(e, b.high)
		b.high = e
		x.link(after)
		return after
	}
	// What is left is a full bucket with e in its midst: an entry too far for the base is above all others.
	upper := b.split()
	x.link(upper)
	if !e.Less(upper.low) {
		b = upper
	}
	return x.room(b, e)
}

// lower moves the beginning of the first bucket down.
func (x *Index) lower(b *bucket, e Entry) {
	x.tree.Delete(leafOf(b))
	b.low = e
	x.link(b)
}

// Remove takes an entry out and returns it as stored; ok tells whether it was there.
func (x *Index) Remove(e Entry) (_ Entry, ok bool) {
	b, i := x.find(e)
	if i < 0 {
		return e, false
	}
	e = b.at(i)
	b.remove(i)
	x.count--
	switch {
	case b.n == 0:
		x.unlink(b)
	case i > 0 && b.n < x.most/4 && b.n&(b.n-1) == 0:
		x.merge(b)
	}
	return e, true
}

// Contains reports whether an entry is there.
func (x *Index) Contains(e Entry) bool {
	_, i := x.find(e)
	return i >= 0
}

// maxUnsorted is how many entries of a bucket are searched one by one.
const maxUnsorted = 64

// find returns the bucket and the position of an entry; the position is -1 if it is not there.
func (x *Index) find(e Entry) (*bucket, int) {
	x.settle(Last)
	b := x.locate(e)
	if b == nil {
		return nil, -1
	}
	if b.n-b.sorted > maxUnsorted {
		x.scratch = b.sort(x.scratch)
	}
	return b, b.find(e)
}

// unlink removes an empty bucket; the one before it takes over its range.
func (x *Index) unlink(b *bucket) {
	x.tree.Delete(leafOf(b))
	if x.hot == b {
		x.hot = nil
	}
	if x.count == 0 {
		x.inbox.free()
	}
	x.found = nil
	x.tree.DescendLessOrEqual(leafOf(b), x.visit)
	if x.found != nil {
		x.found.high = b.high
	}
}

// merge appends the bucket after b to it if both are sparse.
func (x *Index) merge(b *bucket) {
	x.found = nil
	x.tree.AscendGreaterOrEqual(leafAt(b.high), x.visit)
	after := x.found
	if after == nil || b.n+after.n > x.most*3/4 || after.last.Due-b.base > math.MaxUint32 {
		return
	}
	for i := range after.n {
		b.add(after.at(i))
	}
	after.n = 0
	x.unlink(after)
}

// first returns the first bucket, sorted, or nil.
func (x *Index) first() *bucket {
	l, ok := x.tree.Min()
	if ok {
		x.scratch = l.sort(x.scratch)
	}
	return l.bucket
}

// Min returns the first entry.
func (x *Index) Min() (e Entry, ok bool) {
	b := x.first()
	if b != nil {
		e, ok = b.at(0), true
	}
	if len(x.inbox.entries) > 0 && (!ok || x.inbox.first.Less(e)) {
		e, ok = x.inbox.first, true
	}
	return e, ok
}

// PopDue moves entries due at or before now to dst, in order, until there are maxCount of them or
// their sizes exceed maxBytes.
func (x *Index) PopDue(dst []Entry, now int64, maxCount, maxBytes int) []Entry {
	return x.PopBefore(dst, Entry{Due: now + 1, Ticket: math.MinInt64}, maxCount, maxBytes)
}

// PopBefore is PopDue for entries before another.
func (x *Index) PopBefore(dst []Entry, end Entry, maxCount, maxBytes int) []Entry {
	x.settle(end)
	for b := x.first(); b != nil; b = x.first() {
		for b.n > 0 {
			e := b.at(0)
			if !e.Less(end) || maxCount == 0 || maxBytes <= 0 {
				return dst
			}
			b.remove(0)
			x.count--
			dst = append(dst, e)
			maxCount--
			maxBytes -= int(e.Size)
		}
		x.unlink(b)
	}
	return dst
}

// RemoveBelow removes all entries with a lower ticket, and calls forget for each.
func (x *Index) RemoveBelow(ticket int64, forget func(Entry)) {
	x.settle(Last)
	var empty []*bucket
	x.tree.Ascend(func(l leaf) bool {
		x.count -= l.removeBelow(ticket, forget)
		if l.n == 0 {
			empty = append(empty, l.bucket)
		}
		return true
	})
	for _, b := range empty {
		x.unlink(b)
	}
}

// Ascend calls yield for the entries from a key on, in order, until it returns false. It may
// sort buckets; entries must not be changed meanwhile.
func (x *Index) Ascend(from Entry, yield func(Entry) bool) {
	x.settle(Last)
	x.ascendBuckets(from, func(b *bucket) bool {
		x.scratch = b.sort(x.scratch)
		for i := range b.n {
			if e := b.at(i); !e.Less(from) && !yield(e) {
				return false
			}
		}
		return true
	})
}

func (x *Index) ascendBuckets(from Entry, yield func(*bucket) bool) {
	if start := x.locate(from); start != nil {
		x.tree.AscendGreaterOrEqual(leafOf(start), func(l leaf) bool { return yield(l.bucket) })
	}
}

// CountBetween counts the entries with after < due <= until.
func (x *Index) CountBetween(after, until int64) (n int) {
	if until <= after {
		return 0
	}
	x.settle(Entry{Due: until, Ticket: math.MaxInt64})
	x.ascendBuckets(Entry{Due: after, Ticket: math.MaxInt64}, func(b *bucket) bool {
		if b.low.Due > until {
			return false
		}
		if b.low.Due > after && b.last.Due <= until {
			n += b.n
			return true
		}
		for i := range b.n {
			if e := b.at(i); after < e.Due && e.Due <= until {
				n++
			}
		}
		return true
	})
	return n
}
