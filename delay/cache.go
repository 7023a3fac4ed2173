package delay

import (
	"container/list"
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/morrowmq/morrow/log/record"
)

// decoded holds records of one batch, decompressed and found. It is immutable.
type decoded struct {
	base, end     int64
	receive       int64
	baseTimestamp int64
	codec         record.Codec
	// records are encoded, one after another; positions are where each begins, and offsets what
	// follows base. Both ascend.
	records   []byte
	positions []uint32
	offsets   []int32
}

// decode takes the records that keep says out of a batch, and copies them.
func decode(b record.Batch, keep func(v *record.View, offset int64) (bool, error)) (*decoded, error) {
	d := &decoded{
		base: b.BaseOffset(), end: b.EndOffset(), receive: b.MaxTimestamp(), baseTimestamp: b.BaseTimestamp(),
		codec: b.Attributes().Codec(),
	}
	err := b.Walk(nil, func(v *record.View) error {
		if ok, err := keep(v, d.base+int64(v.OffsetDelta)); !ok || err != nil {
			return err
		}
		d.positions = append(d.positions, uint32(len(d.records)))
		d.offsets = append(d.offsets, v.OffsetDelta)
		d.records = append(d.records, v.Raw...)
		return nil
	})
	return d, err
}

// record returns the encoded record at an offset, nil if it is not among those kept.
func (d *decoded) record(offset int64) []byte {
	delta := offset - d.base
	i := sort.Search(len(d.offsets), func(i int) bool { return int64(d.offsets[i]) >= delta })
	if i == len(d.offsets) || int64(d.offsets[i]) != delta {
		return nil
	}
	return d.at(i)
}

// at returns the i-th encoded record.
func (d *decoded) at(i int) []byte {
	end := len(d.records)
	if i+1 < len(d.positions) {
		end = int(d.positions[i+1])
	}
	return d.records[d.positions[i]:end:end]
}

func (d *decoded) size() int {
	return cap(d.records) + 4*cap(d.positions) + 4*cap(d.offsets) + 200
}

const (
	minAhead   = 100 * time.Millisecond
	startAhead = time.Second
	maxAhead   = time.Minute
)

// cache keeps what else was found in a batch and will be due soon, when the batch was decoded for
// one that is due now. Without it, random due times over large batches would cost a batch per
// record. It is bounded for all lines of a dispatcher; the least recently used goes first.
type cache struct {
	maxBytes int

	// mu guards what follows, and the shelves.
	mu    sync.Mutex
	bytes int
	// recent lists *cached, the latest used first.
	recent list.List
	// ahead is how soon what is kept is due, as far as there is room; 0 in the beginning.
	ahead time.Duration
}

// horizon returns the time up to which it is worth keeping what is due from a time on, at most some
// milliseconds later. It differs from call to call, so that batches read together do not have to be
// read again together.
func (c *cache) horizon(from, most int64) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	half := max(1, min(c.reach().Milliseconds(), most)/2)
	return from + half + rand.Int64N(half)
}

// shelf is one line's part of the cache, by base offset.
type shelf struct {
	cache *cache
	items []*cached
}

type cached struct {
	*decoded
	shelf *shelf
	at    *list.Element
}

// find returns records of the batch that holds an offset, nil if there are none.
func (s *shelf) find(offset int64) *decoded {
	s.cache.mu.Lock()
	defer s.cache.mu.Unlock()
	i := s.search(offset)
	if i == len(s.items) || s.items[i].base > offset {
		return nil
	}
	s.cache.recent.MoveToFront(s.items[i].at)
	return s.items[i].decoded
}

// search returns the position of the first batch that ends above an offset.
func (s *shelf) search(offset int64) int {
	return sort.Search(len(s.items), func(i int) bool { return s.items[i].end > offset })
}

// add puts records of a batch on the shelf, in the place of others of the same batch.
func (s *shelf) add(d *decoded) {
	c := s.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	i := s.search(d.base)
	if i < len(s.items) && s.items[i].base <= d.base {
		c.evict(s.items[i])
	}
	if d.size() > c.maxBytes/4 {
		return
	}
	item := &cached{decoded: d, shelf: s}
	item.at = c.recent.PushFront(item)
	s.items = slices.Insert(s.items, i, item)
	c.bytes += d.size()
	switch {
	case c.bytes < c.maxBytes/2:
		c.ahead = min(c.reach()*65/64, maxAhead)
	case c.bytes > c.maxBytes:
		c.ahead = max(c.reach()*3/4, minAhead)
		for c.bytes > c.maxBytes*3/4 {
			c.evict(c.recent.Back().Value.(*cached))
		}
	}
}

// reach is how soon what is kept is due.
func (c *cache) reach() time.Duration {
	if c.ahead == 0 {
		return startAhead
	}
	return c.ahead
}

func (c *cache) evict(item *cached) {
	c.recent.Remove(item.at)
	c.bytes -= item.size()
	s := item.shelf
	if i := s.search(item.base); i < len(s.items) && s.items[i] == item {
		s.items = slices.Delete(s.items, i, i+1)
	}
}

// clear takes everything off the shelf.
func (s *shelf) clear() { s.clearBelow(math.MaxInt64) }

// clearBelow takes off the batches that end at or below an offset.
func (s *shelf) clearBelow(offset int64) {
	s.cache.mu.Lock()
	defer s.cache.mu.Unlock()
	for len(s.items) > 0 && s.items[0].end <= offset {
		s.cache.evict(s.items[0])
	}
}
