package delay

import (
	"container/list"
	"math"
	"slices"
	"sort"
	"sync"

	"github.com/morrowmq/morrow/log/record"
)

// decoded is a batch of the log, decompressed, with its records found. It is immutable.
type decoded struct {
	base, end     int64
	receive       int64
	baseTimestamp int64
	codec         record.Codec
	records       []byte
	// positions are where each record begins, and offsets what follows base; both ascend.
	positions []uint32
	offsets   []int32
}

// decode takes a batch apart. The result holds b itself if it is not compressed.
func decode(b record.Batch) (*decoded, error) {
	d := &decoded{
		base: b.BaseOffset(), end: b.EndOffset(), receive: b.MaxTimestamp(), baseTimestamp: b.BaseTimestamp(),
		codec:     b.Attributes().Codec(),
		positions: make([]uint32, 0, b.Count()),
		offsets:   make([]int32, 0, b.Count()),
	}
	at := 0
	err := b.Walk(nil, func(v *record.View) error {
		d.positions = append(d.positions, uint32(at))
		d.offsets = append(d.offsets, v.OffsetDelta)
		if d.codec != record.None {
			d.records = append(d.records, v.Raw...)
		}
		at += len(v.Raw)
		return nil
	})
	if d.codec == record.None {
		d.records = b.Payload()
	}
	return d, err
}

// record returns the encoded record at an offset, nil if there is none.
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
	return len(d.records) + 4*cap(d.positions) + 4*cap(d.offsets) + 200
}

// cache keeps decoded batches of which more records are expected to become due, least recently used ones
// out first, within a number of bytes for all lines of a dispatcher.
type cache struct {
	maxBytes int

	// mu guards what follows, and the shelves.
	mu    sync.Mutex
	bytes int
	// recent lists *cached, the latest used first.
	recent list.List
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

// find returns the batch that holds an offset, nil if it is not there.
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

// add puts a batch on the shelf.
func (s *shelf) add(d *decoded) {
	c := s.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	i := s.search(d.base)
	if d.size() > c.maxBytes/4 || i < len(s.items) && s.items[i].base <= d.base {
		return
	}
	item := &cached{decoded: d, shelf: s}
	item.at = c.recent.PushFront(item)
	s.items = slices.Insert(s.items, i, item)
	c.bytes += d.size()
	for c.bytes > c.maxBytes {
		c.evict(c.recent.Back().Value.(*cached))
	}
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
