package chunk

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"strconv"
	"sync"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/tier/bucket"
	"github.com/morrowmq/morrow/tier/flight"
)

// Key names a chunk: one block of one object. Objects have tokens that are used once, so what is
// known of a chunk never becomes wrong.
type Key struct {
	Object [16]byte // its token
	Block  int
}

// Cache keeps chunks at hand: new ones in memory, the ones that are used again in files on local
// disk, each within a bound of bytes. It begins empty: what is in it can always be read again, so
// nothing is synced and nothing survives a restart. Safe for concurrent use.
//
// Admission is S3-FIFO (Yang et al., SOSP 2023) with the small queue in memory and the main queue
// on disk: a new chunk enters the small queue; at its end it moves to disk if it was used again,
// and is forgotten but for its name if not; if it is loaded again soon after, it goes to disk at
// once. So a reader that goes through everything once, the usual one, never touches the disk and
// displaces nothing there. Such a reader takes a chunk in many small steps; that is one use. Used
// again means read again from a place that had already been read.
type Cache struct {
	fs          vfs.FS
	dir         string
	memoryBytes int64
	diskBytes   int64
	reserve     int64 // free space on the disk that is left to others
	loading     *flight.Group[Key, *Chunk]
	buffers     buffers

	mu     sync.Mutex // guards what follows, and every chunk but its key, size, data and file
	chunks map[Key]*Chunk
	small  queueOf
	main   queueOf
	ghost  recent[Key, struct{}] // the keys that left the small queue last
	names  int64                 // files made so far

	hits, misses int64
}

// Chunk is one block of an object, in memory or in a local file.
type Chunk struct {
	key  Key
	size int64
	data []byte // nil: in the file
	file vfs.File

	pins   int
	readTo int64    // highest position read so far
	uses   int      // 0 to maxUses
	held   bool     // by the cache: in a queue, or on its way to disk
	queued *element // its place in a queue; nil: in none
}

// File is the file to read the chunk from, from its beginning.
func (ch *Chunk) File() vfs.File { return ch.file }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const (
	maxUses = 3
	// How often a reader tries to get hold of a chunk that is evicted before it can.
	cacheTries = 3
)

// Open empties dir and begins a cache there.
func Open(fsys vfs.FS, dir string, memoryBytes, diskBytes, reserve int64, life *flight.Lifetime) (*Cache, error) {
	if err := fsys.RemoveAll(dir); err != nil {
		return nil, fmt.Errorf("empty the chunk cache: %w", err)
	}
	if err := fsys.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("make the chunk cache: %w", err)
	}
	return &Cache{
		fs: fsys, dir: dir, memoryBytes: memoryBytes, diskBytes: diskBytes, reserve: reserve,
		loading: flight.NewGroup[Key, *Chunk](life), chunks: map[Key]*Chunk{},
	}, nil
}

// LoadFunc reads one block into a buffer of the right size.
type LoadFunc func(ctx context.Context, into []byte) error

// Get returns a chunk of size bytes, pinned: it stays readable until release. If it is not cached,
// load reads it, once for everybody who waits, and crc is what its bytes must have.
func (c *Cache) Get(ctx context.Context, key Key, size int64, crc uint32, load LoadFunc) (*Chunk, error) {
	for try := range cacheTries {
		if ch := c.pin(key, try == 0); ch != nil {
			return ch, nil
		}
		ch, err := c.loading.Get(ctx, key, c.loader(key, size, crc, load))
		if errors.Is(err, flight.ErrBrokenOff) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if c.pinThis(ch) {
			return ch, nil
		}
	}
	// Evicted each time before it was our turn: with so little room, everybody gets on without the cache.
	data, err := c.read(ctx, key, size, crc, load)
	if err != nil {
		return nil, err
	}
	return &Chunk{key: key, size: size, data: data, file: &memoryFile{data}, pins: 1}, nil
}

// Wanted is one that will be wanted soon.
type Wanted struct {
	Key  Key
	Size int64
	CRC  uint32
}

// OpenFunc begins to read the first n chunks of a run. The LoadFunc it returns reads one after the
// other; done ends it.
type OpenFunc func(ctx context.Context, n int) (next LoadFunc, done func(), err error)

// Prefetch begins to load chunks that will be wanted soon and lie one after the other, those that
// are missing, with as few requests as it can.
func (c *Cache) Prefetch(run []Wanted, open func(first int) OpenFunc) {
	for i := 0; i < len(run); {
		n := c.missing(run[i:])
		if n == 0 {
			i++
			continue
		}
		c.prefetchMissing(run[i:i+n], open(i))
		i += n
	}
}

// missing counts the leading chunks that are not cached.
func (c *Cache) missing(run []Wanted) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range run {
		if c.chunks[run[i].Key] != nil {
			return i
		}
	}
	return len(run)
}

func (c *Cache) prefetchMissing(run []Wanted, open OpenFunc) {
	keys := make([]Key, len(run))
	for i := range run {
		keys[i] = run[i].Key
	}
	c.loading.BeginRun(keys, func(ctx context.Context, n int, land func(*Chunk, error)) error {
		next, done, err := open(ctx, n)
		if err != nil {
			return err
		}
		defer done()
		for _, w := range run[:n] {
			ch, err := c.load(ctx, w.Key, w.Size, w.CRC, next)
			land(ch, err)
			if err != nil {
				return flight.ErrBrokenOff
			}
		}
		return nil
	})
}

// pin takes a cached chunk into use.
func (c *Cache) pin(key Key, count bool) *Chunk {
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
func (c *Cache) pinThis(ch *Chunk) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ch.held {
		ch.pins++
	}
	return ch.held
}

// Used notes that a reader takes the bytes [from, to) of a chunk it has pinned.
func (c *Cache) Used(ch *Chunk, from, to int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if from < ch.readTo {
		ch.uses = min(ch.uses+1, maxUses)
	}
	ch.readTo = max(ch.readTo, to)
}

// Release ends a use. The last use of an evicted chunk frees its buffer or removes its file.
func (c *Cache) Release(ch *Chunk) error {
	c.mu.Lock()
	ch.pins--
	dead := ch.pins == 0 && !ch.held
	c.mu.Unlock()
	if dead {
		return c.destroy(ch)
	}
	return nil
}

// loader makes the function that loads one chunk into the cache.
func (c *Cache) loader(key Key, size int64, crc uint32, load LoadFunc) func(context.Context) (*Chunk, error) {
	return func(ctx context.Context) (*Chunk, error) {
		c.mu.Lock()
		have := c.chunks[key]
		c.mu.Unlock()
		if have != nil { // landed between the caller's look and this flight
			return have, nil
		}
		return c.load(ctx, key, size, crc, load)
	}
}

// load reads a chunk, and takes it into the cache unless one has landed meanwhile. The caller has
// the flight of key, and so nobody else does.
func (c *Cache) load(ctx context.Context, key Key, size int64, crc uint32, load LoadFunc) (*Chunk, error) {
	data, err := c.read(ctx, key, size, crc, load)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	have := c.chunks[key]
	c.mu.Unlock()
	if have != nil {
		c.buffers.put(data)
		return have, nil
	}
	ch := &Chunk{key: key, size: size, data: data, file: &memoryFile{data}}
	return ch, c.insert(ch)
}

func (c *Cache) read(ctx context.Context, key Key, size int64, crc uint32, load LoadFunc) ([]byte, error) {
	data := c.buffers.get(size)
	err := load(ctx, data)
	if err == nil {
		err = Check(key.Block, crc32.Checksum(data, castagnoli), crc)
	}
	if err != nil {
		c.buffers.put(data)
		return nil, err
	}
	return data, nil
}

// Check compares the checksum of a block with what it must be: ErrCorrupt if it is another.
func Check(n int, got, want uint32) error {
	if got != want {
		return fmt.Errorf("block %d: %w: crc %08x instead of %08x", n, bucket.ErrCorrupt, got, want)
	}
	return nil
}

// insert takes a new chunk into memory and makes room for it: what was used again goes to disk, as
// does the new one if it was here before.
func (c *Cache) insert(ch *Chunk) error {
	c.mu.Lock()
	ch.held = true
	c.chunks[ch.key] = ch
	var dead, moving []*Chunk
	if _, here := c.ghost.take(ch.key); here {
		moving = append(moving, ch)
	} else {
		c.small.add(ch)
		var reused []*Chunk
		dead, reused = c.evictSmallLocked()
		moving = append(moving, reused...)
	}
	c.mu.Unlock()
	errs := []error{c.destroyAll(dead)}
	for _, m := range moving {
		errs = append(errs, c.toDisk(m))
	}
	return errors.Join(errs...)
}

// toDisk puts a chunk in a file in the place of one in memory. If the disk cannot take it, it is forgotten.
func (c *Cache) toDisk(ch *Chunk) error {
	file, err := c.store(ch)
	c.mu.Lock()
	ch.held = false
	delete(c.chunks, ch.key)
	var dead []*Chunk
	if ch.pins == 0 {
		dead = append(dead, ch)
	}
	if file != nil {
		stored := &Chunk{key: ch.key, size: ch.size, file: file, readTo: ch.readTo, held: true}
		c.chunks[ch.key] = stored
		c.main.add(stored)
		dead = append(dead, c.evictMainLocked(c.main.bytes-c.diskBytes)...)
	}
	c.mu.Unlock()
	return errors.Join(err, c.destroyAll(dead))
}

// store writes a chunk to a new file. It returns none if there is no room; then the cache gives some back.
func (c *Cache) store(ch *Chunk) (vfs.File, error) {
	u, err := c.fs.Usage(c.dir)
	if err != nil || u.Free-c.reserve < ch.size || ch.size > c.diskBytes {
		return nil, c.shrink(ch.size)
	}
	c.mu.Lock()
	c.names++
	name := vfs.Join(c.dir, strconv.FormatInt(c.names, 10))
	c.mu.Unlock()
	f, err := c.fs.Create(name)
	if err != nil {
		return nil, c.shrink(ch.size)
	}
	if _, err := f.WriteAt(ch.data, 0); err != nil {
		return nil, errors.Join(f.Close(), c.fs.Remove(name), c.shrink(ch.size))
	}
	return f, nil
}

// shrink gives bytes back to the disk.
func (c *Cache) shrink(bytes int64) error {
	c.mu.Lock()
	dead := c.evictMainLocked(bytes)
	c.mu.Unlock()
	return c.destroyAll(dead)
}

func (c *Cache) destroyAll(dead []*Chunk) error {
	var errs []error
	for _, ch := range dead {
		errs = append(errs, c.destroy(ch))
	}
	return errors.Join(errs...)
}

// destroy gives up what a chunk occupies. Nobody may have it.
func (c *Cache) destroy(ch *Chunk) error {
	if ch.data != nil {
		c.buffers.put(ch.data)
		return nil
	}
	err := c.fs.Remove(ch.file.Name())
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(ch.file.Close(), err)
}

// Counts returns what the metrics tell: how often a chunk was asked for and there, or not, and the
// bytes that are held.
func (c *Cache) Counts() (hits, misses, memory, disk int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hits, c.misses, c.small.bytes, c.main.bytes
}

// Close gives up everything. Nothing may be in use.
func (c *Cache) Close() error {
	c.mu.Lock()
	c.memoryBytes = -1
	dead, reused := c.evictSmallLocked()
	for _, ch := range reused {
		ch.held = false
		delete(c.chunks, ch.key)
	}
	dead = append(dead, c.evictMainLocked(c.main.bytes)...)
	c.mu.Unlock()
	return c.destroyAll(dead)
}
