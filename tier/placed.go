package tier

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"sync"
	"time"

	"github.com/morrowmq/morrow/internal/pace"
	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/tier/bucket"
	"github.com/morrowmq/morrow/tier/chunk"
	"github.com/morrowmq/morrow/tier/flight"
)

// placed reads objects where they lie, if that is the disk on which the chunk cache would keep
// them: a copy would be read no faster, and first has to be written. Each block is verified by
// reading it through a small buffer, after which the system has it in its page cache, where
// sendfile finds it.
//
// What was found whole is remembered for a while and not verified again, unless the file has been
// changed since.
type placed struct {
	bucket   bucket.InPlace
	checking *flight.Group[chunk.Key, time.Time]
	whole    chunk.Verified
}

// checkBytes are read at once to be verified: little enough to stay in the processor's cache.
const checkBytes = 128 << 10

var checkBuffers = sync.Pool{New: func() any { return new([checkBytes]byte) }}

func newPlaced(b bucket.InPlace, life *flight.Lifetime) *placed {
	return &placed{bucket: b, checking: flight.NewGroup[chunk.Key, time.Time](life)}
}

// placedBlocks reads an object where it lies.
type placedBlocks struct {
	segmentObject
	placed   *placed
	file     vfs.File // nil: not opened yet
	modified time.Time
}

func (b *placedBlocks) open() error {
	if b.file != nil {
		return nil
	}
	f, obj, err := b.placed.bucket.OpenFile(b.key)
	if err != nil {
		return err
	}
	b.file, b.modified = f, obj.Modified
	return nil
}

func (b *placedBlocks) block(ctx context.Context, n int) (vfs.File, int64, error) {
	if err := b.open(); err != nil {
		return nil, 0, err
	}
	key, pos, _, _ := b.segmentObject.block(n)
	if b.placed.whole.Has(key, b.modified) {
		return b.file, pos, nil
	}
	modified, err := b.placed.checking.Get(ctx, key, func(ctx context.Context) (at time.Time, err error) {
		err = b.opened(ctx, func(f vfs.File, modified time.Time) error {
			at = modified
			return b.check(ctx, f, n, modified)
		})
		return at, err
	})
	if errors.Is(err, flight.ErrBrokenOff) || err == nil && !modified.Equal(b.modified) {
		err = b.check(ctx, b.file, n, b.modified) // others have looked at another block, or another file
	}
	if err != nil {
		return nil, 0, b.named(err)
	}
	return b.file, pos, nil
}

func (b *placedBlocks) prefetch(from, to int) {
	if b.open() != nil {
		return // who reads will meet it
	}
	runs(from, to, func(from, to int) {
		for from < to {
			end := from
			for ; end < to && !b.isWhole(end); end++ {
			}
			b.prefetchRun(from, end)
			from = end + 1
		}
	})
}

func (b *placedBlocks) isWhole(n int) bool {
	key, _, _, _ := b.segmentObject.block(n)
	return b.placed.whole.Has(key, b.modified)
}

// prefetchRun begins to verify blocks of which none is known to be whole.
func (b *placedBlocks) prefetchRun(from, to int) {
	var keys []chunk.Key
	for n := from; n < to; n++ {
		key, _, _, _ := b.segmentObject.block(n)
		keys = append(keys, key)
	}
	o := &placedBlocks{segmentObject: b.segmentObject, placed: b.placed} // b may be released meanwhile
	b.placed.checking.BeginRun(keys, func(ctx context.Context, count int, land func(time.Time, error)) error {
		return o.opened(ctx, func(f vfs.File, modified time.Time) error {
			for n := from; n < from+count; n++ {
				err := o.check(ctx, f, n, modified)
				land(modified, err)
				if err != nil {
					return flight.ErrBrokenOff
				}
			}
			return nil
		})
	})
}

// opened runs do with the object's file, as one request within the limits on fetches.
func (b *placedBlocks) opened(ctx context.Context, do func(f vfs.File, modified time.Time) error) error {
	release, err := b.p.fetchSlot(ctx)
	if err != nil {
		return err
	}
	defer release()
	b.p.stats.fetchRequests.Add(1)
	f, obj, err := b.placed.bucket.OpenFile(b.key)
	if err != nil {
		b.p.stats.fetchErrors.Add(1)
		return err
	}
	defer func() { _ = f.Close() }() // nothing was written
	return do(f, obj.Modified)
}

// check verifies a block, at the pace that fetches may have.
func (b *placedBlocks) check(ctx context.Context, f vfs.File, n int, modified time.Time) error {
	key, pos, size, crc := b.segmentObject.block(n)
	if err := pace.Wait(ctx, b.p.tier.fetchLimit, int(size)); err != nil {
		return err
	}
	got, err := sumRange(ctx, f, pos, size)
	if err != nil {
		err = &bucket.Error{Op: "get", Key: b.key, Kind: bucket.ErrUnknown, Err: err}
	} else {
		err = chunk.Check(n, got, crc)
	}
	if err != nil {
		b.p.stats.fetchErrors.Add(1)
		return err
	}
	b.p.stats.fetchBytes.Add(size)
	b.placed.whole.Add(key, modified)
	return nil
}

// sumRange computes the CRC-32C of size bytes of a file from pos.
func sumRange(ctx context.Context, f vfs.File, pos, size int64) (uint32, error) {
	buf := checkBuffers.Get().(*[checkBytes]byte)
	defer checkBuffers.Put(buf)
	crc := uint32(0)
	for end := pos + size; pos < end; {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		p := buf[:min(checkBytes, end-pos)]
		if n, err := f.ReadAt(p, pos); n < len(p) {
			return 0, fmt.Errorf("%d bytes at %d instead of %d: %w", n, pos, len(p), err)
		}
		crc = crc32.Update(crc, castagnoli, p)
		pos += int64(len(p))
	}
	return crc, nil
}

func (*placedBlocks) used(int, int64, int64) {}

func (*placedBlocks) releaseBelow(int) error { return nil }

func (b *placedBlocks) release() error {
	if b.file == nil {
		return nil
	}
	f := b.file
	b.file = nil
	return f.Close()
}
