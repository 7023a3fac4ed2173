package delay

import (
	"math"

	"github.com/google/btree"
)

var (
	firstEntry = Entry{Due: math.MinInt64, Ticket: math.MinInt64}
	lastEntry  = Entry{Due: math.MaxInt64, Ticket: math.MaxInt64}
)

// index holds entries in order: a B-tree of time buckets that hold them packed. An insert finds its
// bucket and appends to it; a bucket is sorted when it is about to be due. What does not belong to
// the bucket of the last insert waits in an inbox, so that many are sorted in one go and each
// bucket is found once for all that it gets. It is not safe for concurrent use.
//
// Invariant: the buckets' ranges [low, high) do not overlap and follow one another, except that the
// first may begin anywhere at or below its entries. No bucket is empty.
type index struct {
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

func newIndex() *index {
	x := &index{most: bucketCap, inbox: inbox{first: lastEntry}, tree: btree.NewG(32, func(a, b leaf) bool {
		return a.due < b.due || a.due == b.due && a.ticket < b.ticket
	})}
	x.visit = func(l leaf) bool {
		x.found = l.bucket
		return false
	}
	return x
}

// locate returns the bucket whose range holds e, or nil if there are no buckets.
func (x *index) locate(e Entry) *bucket {
	if h := x.hot; h != nil && !e.less(h.low) && e.less(h.high) {
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

func (x *index) link(b *bucket) { x.tree.ReplaceOrInsert(leafOf(b)) }

// insert adds an entry that is not there yet.
func (x *index) insert(e Entry) {
	x.count++
	if h := x.hot; h != nil && !e.less(h.low) && e.less(h.high) {
		x.put(e)
		return
	}
	x.inbox.add(e)
	if len(x.inbox.entries) >= min(maxInbox, 1+x.count/16) {
		x.settle(lastEntry)
	}
}

// settle moves what is in the inbox to the tree, if anything there is before an entry.
func (x *index) settle(end Entry) {
	if !x.inbox.first.less(end) {
		return
	}
	for entries := x.inbox.empty(); len(entries) > 0; {
		b := x.place(entries[0])
		entries = entries[b.addRun(entries, x.most):]
	}
}

// put adds an entry to the tree.
func (x *index) put(e Entry) { x.place(e).add(e) }

// place returns the bucket to put e into, which has room.
func (x *index) place(e Entry) *bucket {
	b := x.locate(e)
	if b == nil {
		b = newBucket(e, lastEntry)
		x.link(b)
	}
	b = x.room(b, e)
	x.hot = b
	return b
}

// room returns the bucket to put e into: b, whose range it is in, or a new one.
func (x *index) room(b *bucket, e Entry) *bucket {
	if b.n < x.most && b.fits(e) {
		if e.less(b.low) {
			x.lower(b, e)
		}
		return b
	}
	switch {
	case e.less(b.low):
		before := newBucket(e, b.low)
		x.link(before)
		return before
	case b.last.less(e):
		after := newBucket(e, b.high)
		b.high = e
		x.link(after)
		return after
	}
	// What is left is a full bucket with e in its midst: an entry too far for the base is above all others.
	upper := b.split()
	x.link(upper)
	if !e.less(upper.low) {
		b = upper
	}
	return x.room(b, e)
}

// lower moves the beginning of the first bucket down.
func (x *index) lower(b *bucket, e Entry) {
	x.tree.Delete(leafOf(b))
	b.low = e
	x.link(b)
}

// remove takes an entry out and returns it as stored; ok tells whether it was there.
func (x *index) remove(e Entry) (_ Entry, ok bool) {
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

// contains reports whether an entry is there.
func (x *index) contains(e Entry) bool {
	_, i := x.find(e)
	return i >= 0
}

// maxUnsorted is how many entries of a bucket are searched one by one.
const maxUnsorted = 64

// find returns the bucket and the position of an entry; the position is -1 if it is not there.
func (x *index) find(e Entry) (*bucket, int) {
	x.settle(lastEntry)
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
func (x *index) unlink(b *bucket) {
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
func (x *index) merge(b *bucket) {
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
func (x *index) first() *bucket {
	l, ok := x.tree.Min()
	if ok {
		x.scratch = l.sort(x.scratch)
	}
	return l.bucket
}

// min returns the first entry.
func (x *index) min() (e Entry, ok bool) {
	b := x.first()
	if b != nil {
		e, ok = b.at(0), true
	}
	if len(x.inbox.entries) > 0 && (!ok || x.inbox.first.less(e)) {
		e, ok = x.inbox.first, true
	}
	return e, ok
}

// popDue moves entries due at or before now to dst, in order, until there are maxCount of them or
// their sizes exceed maxBytes.
func (x *index) popDue(dst []Entry, now int64, maxCount, maxBytes int) []Entry {
	return x.popBefore(dst, Entry{Due: now + 1, Ticket: math.MinInt64}, maxCount, maxBytes)
}

// popBefore is popDue for entries before another.
func (x *index) popBefore(dst []Entry, end Entry, maxCount, maxBytes int) []Entry {
	x.settle(end)
	for b := x.first(); b != nil; b = x.first() {
		for b.n > 0 {
			e := b.at(0)
			if !e.less(end) || maxCount == 0 || maxBytes <= 0 {
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

// removeBelow removes all entries with a lower ticket, and calls forget for each.
func (x *index) removeBelow(ticket int64, forget func(Entry)) {
	x.settle(lastEntry)
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

// ascend calls yield for the entries from a key on, in order, until it returns false. It may
// sort buckets; entries must not be changed meanwhile.
func (x *index) ascend(from Entry, yield func(Entry) bool) {
	x.settle(lastEntry)
	x.ascendBuckets(from, func(b *bucket) bool {
		x.scratch = b.sort(x.scratch)
		for i := range b.n {
			if e := b.at(i); !e.less(from) && !yield(e) {
				return false
			}
		}
		return true
	})
}

func (x *index) ascendBuckets(from Entry, yield func(*bucket) bool) {
	if start := x.locate(from); start != nil {
		x.tree.AscendGreaterOrEqual(leafOf(start), func(l leaf) bool { return yield(l.bucket) })
	}
}

// countBetween counts the entries with after < due <= until.
func (x *index) countBetween(after, until int64) (n int) {
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
