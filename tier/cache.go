package tier

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"strconv"
	"sync"

	"github.com/morrowmq/morrow/internal/vfs"
)

// chunkCache keeps blocks of segment objects, verified, in files on local disk, within a bound of bytes. It begins empty: what
// is in it can always be read again, so nothing is synced and nothing survives a restart.
//
// Admission is S3-FIFO (Yang et al., SOSP 2023): a new chunk enters a small queue; only one that was used again moves to the
// main queue, so a reader that scans everything once passes through a tenth of the cache and displaces nothing. A
// sequential reader touches a chunk many times while it passes; that is one use. Used again means read
// again from a place that had already been read.
type chunkCache struct {
	fs       vfs.FS
	dir      string
	maxBytes int64
	reserve  int64 // free space that is left to others
	loading  *flights[chunkKey, *chunk]

	mu     sync.Mutex // guards what follows, and every chunk but its key, size and file
	chunks map[chunkKey]*chunk
	small  queueOf // new ones
	main   queueOf // the ones that were used again
	ghost  ghosts  // keys that left small unused
	names  int64   // files made so far

	hits, misses int64
}

// chunkKey names one block of one object. Tokens are unique, so nothing in the cache is ever stale.
type chunkKey struct {
	token Token
	block int
}

// chunk is one block of an object in a local file, or in memory if the disk would not take it.
type chunk struct {
	key  chunkKey
	size int64
	file vfs.File

	pins    int
	readTo  int64         // highest position read so far
	uses    int           // 0 to maxUses
	in      *queueOf      // nil: not in the cache (any more)
	element *list.Element // of in
}

const (
	maxUses = 3
	// The small queue's share of the cache.
	smallShare = 10
	// How often a reader tries to get hold of a chunk that is evicted before it can.
	cacheTries = 3
)

type queueOf struct {
	order list.List // of *chunk; the front is the newest
	bytes int64
}

// openChunkCache empties dir and begins a cache there.
func openChunkCache(fsys vfs.FS, dir string, maxBytes, reserve int64, life *lifetime) (*chunkCache, error) {
	if err := fsys.RemoveAll(dir); err != nil {
		return nil, fmt.Errorf("empty the chunk cache: %w", err)
	}
	if err := fsys.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("make the chunk cache: %w", err)
	}
	return &chunkCache{
		fs: fsys, dir: dir, maxBytes: maxBytes, reserve: reserve,
		loading: newFlights[chunkKey, *chunk](life), chunks: map[chunkKey]*chunk{},
	}, nil
}

// get returns a chunk, pinned: it stays readable until release. If it is not cached, load reads it, once for everybody who
// waits, and crc is what its bytes must have.
func (c *chunkCache) get(ctx context.Context, key chunkKey, crc uint32, load func(context.Context) ([]byte, error)) (*chunk, error) {
	for try := range cacheTries {
		if ch := c.pin(key, try == 0); ch != nil {
			return ch, nil
		}
		ch, err := c.loading.get(ctx, key, c.loader(key, crc, load))
		if err != nil {
			return nil, err
		}
		if c.pinThis(ch) {
			return ch, nil
		}
	}
	// Evicted each time before it was our turn: with so little room, everybody gets on without the cache.
	data, err := loadVerified(ctx, key, crc, load)
	if err != nil {
		return nil, err
	}
	return &chunk{key: key, size: int64(len(data)), file: memoryFile{data}, pins: 1}, nil
}

// prefetch begins to load a chunk that will be wanted soon.
func (c *chunkCache) prefetch(key chunkKey, crc uint32, load func(context.Context) ([]byte, error)) {
	c.mu.Lock()
	_, have := c.chunks[key]
	c.mu.Unlock()
	if !have {
		c.loading.begin(key, c.loader(key, crc, load))
	}
}

// pin takes a cached chunk into use.
func (c *chunkCache) pin(key chunkKey, count bool) *chunk {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch := c.chunks[key]
	if count {
		if ch != nil {
			c.hits++
		} else {
			c.misses++
		}
	}
	if ch != nil {
		ch.pins++
	}
	return ch
}

// pinThis takes a chunk that has just been loaded into use, unless it has been evicted already.
func (c *chunkCache) pinThis(ch *chunk) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ch.in == nil && !ch.inMemory() {
		return false
	}
	ch.pins++
	return true
}

// used notes that a reader takes the bytes [from, to) of a chunk it has pinned.
func (c *chunkCache) used(ch *chunk, from, to int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if from < ch.readTo {
		ch.uses = min(ch.uses+1, maxUses)
	}
	ch.readTo = max(ch.readTo, to)
}

func (ch *chunk) inMemory() bool {
	_, ok := ch.file.(memoryFile)
	return ok
}

// release ends a use. The last use of an evicted chunk closes and removes its file.
func (c *chunkCache) release(ch *chunk) error {
	c.mu.Lock()
	ch.pins--
	dead := ch.pins == 0 && ch.in == nil && !ch.inMemory()
	c.mu.Unlock()
	if dead {
		return c.remove(ch)
	}
	return nil
}

// loader makes the function that loads one chunk into the cache.
func (c *chunkCache) loader(key chunkKey, crc uint32, load func(context.Context) ([]byte, error)) func(context.Context) (*chunk, error) {
	return func(ctx context.Context) (*chunk, error) {
		c.mu.Lock()
		have := c.chunks[key]
		c.mu.Unlock()
		if have != nil { // landed between the caller's look and this flight
			return have, nil
		}
		data, err := loadVerified(ctx, key, crc, load)
		if err != nil {
			return nil, err
		}
		return c.insert(key, data)
	}
}

func loadVerified(ctx context.Context, key chunkKey, crc uint32, load func(context.Context) ([]byte, error)) ([]byte, error) {
	data, err := load(ctx)
	if err != nil {
		return nil, err
	}
	if got := crc32.Checksum(data, castagnoli); got != crc {
		return nil, fmt.Errorf("block %d: %w: crc %08x instead of %08x", key.block, ErrCorrupt, got, crc)
	}
	return data, nil
}

// insert writes a chunk to a file and makes room for it. If the disk cannot take it, the chunk is
// served from memory to those who wait for it, and not kept.
func (c *chunkCache) insert(key chunkKey, data []byte) (*chunk, error) {
	ch := &chunk{key: key, size: int64(len(data))}
	spare := c.spare()
	if ch.size > c.maxBytes || spare < ch.size {
		ch.file = memoryFile{data}
		return ch, c.shrink(min(ch.size-spare, ch.size))
	}
	file, err := c.write(data)
	if err != nil {
		ch.file = memoryFile{data}
		return ch, c.shrink(ch.size)
	}
	ch.file = file
	c.mu.Lock()
	c.chunks[key] = ch
	if c.ghost.take(key) {
		c.main.addLocked(ch)
	} else {
		c.small.addLocked(ch)
	}
	dead := c.evictLocked(c.small.bytes + c.main.bytes - c.maxBytes)
	c.mu.Unlock()
	return ch, c.removeAll(dead)
}

// spare is how many bytes the disk can take without going below the reserve.
func (c *chunkCache) spare() int64 {
	u, err := c.fs.Usage(c.dir)
	if err != nil {
		return 0
	}
	return u.Free - c.reserve
}

func (c *chunkCache) write(data []byte) (vfs.File, error) {
	c.mu.Lock()
	c.names++
	name := vfs.Join(c.dir, strconv.FormatInt(c.names, 10))
	c.mu.Unlock()
	f, err := c.fs.Create(name)
	if err != nil {
		return nil, err
	}
	if _, err := f.WriteAt(data, 0); err != nil {
		return nil, errors.Join(err, f.Close(), c.fs.Remove(name))
	}
	return f, nil
}

// shrink gives bytes back to the disk.
func (c *chunkCache) shrink(bytes int64) error {
	c.mu.Lock()
	dead := c.evictLocked(bytes)
	c.mu.Unlock()
	return c.removeAll(dead)
}

// evictLocked takes chunks out of the cache until so many bytes are out, and returns those nobody is reading. Chunks in use leave
// the cache as well; their files go with the last reader.
func (c *chunkCache) evictLocked(bytes int64) (dead []*chunk) {
	for bytes > 0 && len(c.chunks) > 0 {
		ch := c.victimLocked()
		bytes -= ch.size
		delete(c.chunks, ch.key)
		if ch.pins == 0 {
			dead = append(dead, ch)
		}
	}
	return dead
}

// victimLocked removes the chunk that is worth least from its queue.
func (c *chunkCache) victimLocked() *chunk {
	for {
		if c.small.order.Len() > 0 && (c.small.bytes > c.maxBytes/smallShare || c.main.order.Len() == 0) {
			ch := c.small.oldestLocked()
			c.small.removeLocked(ch)
			if ch.uses == 0 {
				c.ghost.add(ch.key, c.main.order.Len()+c.small.order.Len())
				return ch
			}
			ch.uses = 0
			c.main.addLocked(ch)
			continue
		}
		ch := c.main.oldestLocked()
		c.main.removeLocked(ch)
		if ch.uses == 0 {
			return ch
		}
		ch.uses--
		c.main.addLocked(ch)
	}
}

func (c *chunkCache) removeAll(dead []*chunk) error {
	var errs []error
	for _, ch := range dead {
		errs = append(errs, c.remove(ch))
	}
	return errors.Join(errs...)
}

func (c *chunkCache) remove(ch *chunk) error {
	err := c.fs.Remove(ch.file.Name())
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(ch.file.Close(), err)
}

func (c *chunkCache) counts() (hits, misses, bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hits, c.misses, c.small.bytes + c.main.bytes
}

// close gives up everything. Nothing may be in use.
func (c *chunkCache) close() error {
	c.mu.Lock()
	dead := c.evictLocked(c.small.bytes + c.main.bytes)
	c.mu.Unlock()
	return c.removeAll(dead)
}

func (q *queueOf) addLocked(ch *chunk) {
	ch.in, ch.element = q, q.order.PushFront(ch)
	q.bytes += ch.size
}

func (q *queueOf) removeLocked(ch *chunk) {
	q.order.Remove(ch.element)
	q.bytes -= ch.size
	ch.in, ch.element = nil, nil
}

func (q *queueOf) oldestLocked() *chunk { return q.order.Back().Value.(*chunk) }

// ghosts remembers keys, the newest ones.
type ghosts struct {
	order list.List
	keys  map[chunkKey]*list.Element
}

func (g *ghosts) add(key chunkKey, limit int) {
	if g.keys == nil {
		g.keys = map[chunkKey]*list.Element{}
	}
	g.keys[key] = g.order.PushFront(key)
	for g.order.Len() > max(limit, 16) {
		delete(g.keys, g.order.Remove(g.order.Back()).(chunkKey))
	}
}

// take reports whether key is remembered, and forgets it.
func (g *ghosts) take(key chunkKey) bool {
	e := g.keys[key]
	if e == nil {
		return false
	}
	g.order.Remove(e)
	delete(g.keys, key)
	return true
}
