package chunk

import (
	"container/list"
	"sync"
)

// evictSmallLocked takes chunks out of the small queue until it is within its bound. It returns
// those that are forgotten and in nobody's use, and those that were used again, which the caller
// takes to disk.
func (c *Cache) evictSmallLocked() (dead, reused []*Chunk) {
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
func (c *Cache) evictMainLocked(bytes int64) (dead []*Chunk) {
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
func (c *Cache) dropLocked(ch *Chunk) bool {
	ch.held = false
	delete(c.chunks, ch.key)
	return ch.pins == 0
}

// ghostLimitLocked is how many names are remembered: as many as chunks would fit on the disk.
func (c *Cache) ghostLimitLocked() int {
	size := int64(usualBytes)
	if n := int64(c.small.order.Len()); n > 0 {
		size = c.small.bytes/n + 1
	}
	return int(c.diskBytes/size) + 16
}

// usualBytes is how large most chunks are; others are smaller.
const usualBytes = 1 << 20

// queueOf is a queue of chunks; the front is the newest.
type queueOf struct {
	order list.List
	bytes int64
}

func (q *queueOf) add(ch *Chunk) {
	ch.queued = q.order.PushFront(ch)
	q.bytes += ch.size
}

func (q *queueOf) remove(ch *Chunk) {
	q.order.Remove(ch.queued)
	q.bytes -= ch.size
	ch.queued = nil
}

func (q *queueOf) oldest() *Chunk { return q.order.Back().Value.(*Chunk) }

// buffers recycles the memory of chunks: a reader goes through gigabytes of them.
type buffers struct{ pool sync.Pool }

func (p *buffers) get(n int64) []byte {
	if b, ok := p.pool.Get().(*[]byte); ok && int64(cap(*b)) >= n {
		return (*b)[:n]
	}
	return make([]byte, n, max(n, usualBytes))
}

func (p *buffers) put(b []byte) { p.pool.Put(&b) }
