package tier

import (
	"container/list"
	"sync"
)

// evictSmallLocked takes chunks out of the small queue until it is within its bound. It returns
// those that are forgotten and in nobody's use, and those that were used again, which the caller
// takes to disk.
func (c *chunkCache) evictSmallLocked() (dead, reused []*chunk) {
	for c.small.bytes > c.memoryBytes && c.small.order.Len() > 0 {
		ch := c.small.oldest()
		c.small.remove(ch)
		if ch.uses > 0 {
			reused = append(reused, ch) // still held, and found, until it is on disk
			continue
		}
		c.ghost.add(ch.key, struct{}{}, c.ghostLimitLocked())
		if c.dropLocked(ch) {
			dead = append(dead, ch)
		}
	}
	return dead, reused
}

// evictMainLocked takes chunks out of the main queue until so many bytes are out, and returns those
// in nobody's use. The files of the others go with their last reader.
func (c *chunkCache) evictMainLocked(bytes int64) (dead []*chunk) {
	for bytes > 0 && c.main.order.Len() > 0 {
		ch := c.main.oldest()
		c.main.remove(ch)
		if ch.uses > 0 {
			ch.uses--
			c.main.add(ch)
			continue
		}
		bytes -= ch.size
		if c.dropLocked(ch) {
			dead = append(dead, ch)
		}
	}
	return dead
}

// dropLocked forgets a chunk and reports whether nobody uses it.
func (c *chunkCache) dropLocked(ch *chunk) bool {
	ch.held = false
	delete(c.chunks, ch.key)
	return ch.pins == 0
}

// ghostLimitLocked is how many names are remembered: as many as chunks would fit on the disk.
func (c *chunkCache) ghostLimitLocked() int {
	size := int64(blockBytes)
	if n := int64(c.small.order.Len()); n > 0 {
		size = c.small.bytes/n + 1
	}
	return int(c.diskBytes/size) + 16
}

type element = list.Element

// queueOf is a queue of chunks; the front is the newest.
type queueOf struct {
	order list.List
	bytes int64
}

func (q *queueOf) add(ch *chunk) {
	ch.queued = q.order.PushFront(ch)
	q.bytes += ch.size
}

func (q *queueOf) remove(ch *chunk) {
	q.order.Remove(ch.queued)
	q.bytes -= ch.size
	ch.queued = nil
}

func (q *queueOf) oldest() *chunk { return q.order.Back().Value.(*chunk) }

// recent remembers the keys that were added last, each with a value.
type recent[K comparable, V any] struct {
	order list.List // of recentEntry; the front is the newest
	keys  map[K]*element
}

type recentEntry[K comparable, V any] struct {
	key   K
	value V
}

// add remembers a key, anew if it is known, and forgets the oldest ones above limit.
func (r *recent[K, V]) add(key K, value V, limit int) {
	if r.keys == nil {
		r.keys = map[K]*element{}
	}
	r.take(key)
	r.keys[key] = r.order.PushFront(recentEntry[K, V]{key, value})
	for r.order.Len() > limit {
		delete(r.keys, r.order.Remove(r.order.Back()).(recentEntry[K, V]).key)
	}
}

// get returns the value of a key and whether it is remembered.
func (r *recent[K, V]) get(key K) (value V, ok bool) {
	if e := r.keys[key]; e != nil {
		return e.Value.(recentEntry[K, V]).value, true
	}
	return value, false
}

// take is get, and forgets the key.
func (r *recent[K, V]) take(key K) (value V, ok bool) {
	e := r.keys[key]
	if e == nil {
		return value, false
	}
	delete(r.keys, key)
	return r.order.Remove(e).(recentEntry[K, V]).value, true
}

// buffers recycles the memory of chunks: a reader goes through gigabytes of them.
type buffers struct{ pool sync.Pool }

func (p *buffers) get(n int64) []byte {
	if b, ok := p.pool.Get().(*[]byte); ok && int64(cap(*b)) >= n {
		return (*b)[:n]
	}
	return make([]byte, n, max(n, blockBytes))
}

func (p *buffers) put(b []byte) { p.pool.Put(&b) }
