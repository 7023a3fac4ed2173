package tier

import (
	"context"
	"errors"
	"fmt"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/tier/chunk"
)

// segmentBlocks are the blocks of one segment object, verified, wherever their bytes are. One
// goroutine at a time uses it.
type segmentBlocks interface {
	// block returns the file that holds a block and where the block begins there. It stays readable
	// until it is released. It waits for the bucket no longer than ctx lasts.
	block(ctx context.Context, n int) (f vfs.File, pos int64, err error)
	// prefetch begins to load the blocks [from, to), those that are missing, and waits for none.
	prefetch(from, to int)
	// used notes that a reader takes the bytes [from, to) of a block that it was given.
	used(n int, from, to int64)
	// releaseBelow lets go of the blocks before n.
	releaseBelow(n int) error
	release() error
}

// blocksOf gives access to the blocks of a segment: where they lie if no cache could keep them at a
// better place, else through the cache.
func (p *Partition) blocksOf(e *Entry, ix *Index) segmentBlocks {
	o := segmentObject{p: p, key: e.id().key(p.catalog.dir, segmentSuffix), token: e.Token, ix: ix}
	if placed := p.tier.placed; placed != nil {
		return &placedBlocks{segmentObject: o, placed: placed}
	}
	return &cachedBlocks{segmentObject: o, cache: p.tier.chunks, held: map[int]*chunk.Chunk{}}
}

// segmentObject is one segment object as a sequence of blocks.
type segmentObject struct {
	p     *Partition
	key   string
	token Token
	ix    *Index
}

// block names a block and returns where it lies in the object, and the checksum of its bytes.
func (o *segmentObject) block(n int) (key chunk.Key, pos, size int64, crc uint32) {
	pos = int64(n) * o.ix.BlockBytes
	return chunk.Key{Object: o.token, Block: n}, pos, min(o.ix.BlockBytes, o.ix.DataSize-pos), o.ix.Blocks[n]
}

// named names the object in an error that says that a block is damaged.
func (o *segmentObject) named(err error) error {
	if errors.Is(err, ErrCorrupt) {
		return fmt.Errorf("%s: %w", o.key, err)
	}
	return err
}

// runs divides the blocks [from, to) into what is to be asked for with one request each. Readers
// that come from different places divide alike.
func runs(from, to int, do func(from, to int)) {
	for from < to {
		end := min(to, from-from%runBlocks+runBlocks)
		do(from, end)
		from = end
	}
}

// cachedBlocks reads an object through the chunk cache. Chunks it has touched stay pinned.
type cachedBlocks struct {
	segmentObject
	cache *chunk.Cache
	held  map[int]*chunk.Chunk
}

func (b *cachedBlocks) block(ctx context.Context, n int) (vfs.File, int64, error) {
	if ch := b.held[n]; ch != nil {
		return ch.File(), 0, nil
	}
	key, pos, size, crc := b.segmentObject.block(n)
	ch, err := b.cache.Get(ctx, key, size, crc, b.p.fetcher(b.key, pos))
	if err != nil {
		return nil, 0, b.named(err)
	}
	b.held[n] = ch
	return ch.File(), 0, nil
}

func (b *cachedBlocks) prefetch(from, to int) {
	runs(from, to, func(from, to int) {
		for ; from < to && b.held[from] != nil; from++ {
		}
		run := make([]chunk.Wanted, 0, runBlocks)
		for n := from; n < to; n++ {
			key, _, size, crc := b.segmentObject.block(n)
			run = append(run, chunk.Wanted{Key: key, Size: size, CRC: crc})
		}
		b.cache.Prefetch(run, func(first int) chunk.OpenFunc { return b.openRun(from + first) })
	})
}

// openRun makes the function that asks for some blocks at once.
func (b *cachedBlocks) openRun(block int) chunk.OpenFunc {
	_, pos, _, _ := b.segmentObject.block(block)
	return func(ctx context.Context, n int) (chunk.LoadFunc, func(), error) {
		return b.p.openRun(ctx, b.key, pos, min(int64(n)*b.ix.BlockBytes, b.ix.DataSize-pos))
	}
}

func (b *cachedBlocks) used(n int, from, to int64) { b.cache.Used(b.held[n], from, to) }

func (b *cachedBlocks) releaseBelow(end int) error {
	var errs []error
	for n, ch := range b.held {
		if n < end {
			errs = append(errs, b.cache.Release(ch))
			delete(b.held, n)
		}
	}
	return errors.Join(errs...)
}

func (b *cachedBlocks) release() error { return b.releaseBelow(len(b.ix.Blocks)) }
