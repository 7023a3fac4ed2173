package tier

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/morrowmq/morrow/tier/bucket"
	"github.com/morrowmq/morrow/tier/flight"
)

// decoded keeps segment indexes and manifest pages in memory, decoded and checked, within a bound
// of bytes. What it returns is shared and must not be changed.
type decoded struct {
	cache   *otter.Cache[Token, any]
	loading *flight.Group[Token, any]
}

// loadTimeout bounds one small read: a page or an index.
const loadTimeout = 60 * time.Second

func newDecoded(life *flight.Lifetime, maxBytes int64) (*decoded, error) {
	cache, err := otter.New(&otter.Options[Token, any]{
		MaximumWeight: uint64(maxBytes),
		Weigher:       func(_ Token, v any) uint32 { return weight(v) },
		Executor:      func(f func()) { f() }, // no goroutines behind the scenes
	})
	if err != nil {
		return nil, err
	}
	return &decoded{cache: cache, loading: flight.NewGroup[Token, any](life)}, nil
}

func weight(v any) uint32 {
	switch v := v.(type) {
	case *Index:
		return uint32(256 + 4*len(v.Blocks) + 32*len(v.Visible) + 24*len(v.Points) + 24*len(v.Aborted) + 16*len(v.Epochs))
	case []Entry:
		return uint32(256 * len(v))
	}
	return 1
}

// page returns the entries of a page object.
func (d *decoded) page(ctx context.Context, b bucket.Bucket, dir string, id ObjectID, size int64, sum bucket.Checksum) ([]Entry, error) {
	v, err := d.get(ctx, id.Token, func(ctx context.Context) (any, error) {
		entries, err := readPage(ctx, b, dir, id, size, sum)
		return entries, err
	})
	if err != nil {
		return nil, err
	}
	return v.([]Entry), nil
}

// index returns the index of a segment object.
func (d *decoded) index(ctx context.Context, b bucket.Bucket, dir string, e *Entry) (*Index, error) {
	v, err := d.get(ctx, e.Token, func(ctx context.Context) (any, error) {
		ix, err := readIndex(ctx, b, dir, e)
		return ix, err
	})
	if err != nil {
		return nil, err
	}
	return v.(*Index), nil
}

func (d *decoded) get(ctx context.Context, key Token, load func(context.Context) (any, error)) (any, error) {
	if v, ok := d.cache.GetIfPresent(key); ok {
		return v, nil
	}
	return d.loading.Get(ctx, key, func(ctx context.Context) (any, error) {
		ctx, cancel := context.WithTimeout(ctx, loadTimeout)
		defer cancel()
		v, err := load(ctx)
		if err == nil {
			d.cache.Set(key, v)
		}
		return v, err
	})
}

// readIndex reads and checks the index of a segment object.
func readIndex(ctx context.Context, b bucket.Bucket, dir string, e *Entry) (*Index, error) {
	key := e.id().key(dir, segmentSuffix)
	tail, err := readRange(ctx, b, key, e.IndexPos, e.Bytes-e.IndexPos)
	if err != nil {
		return nil, err
	}
	ix, err := splitTail(tail, e.IndexPos)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	if ix.Base != e.Base || ix.End != e.End || ix.DataSize != e.DataSize {
		return nil, fmt.Errorf("%s: %w: index of [%d, %d) in the object of [%d, %d)", key, ErrCorrupt, ix.Base, ix.End, e.Base, e.End)
	}
	return ix, nil
}

// readRange reads n bytes of an object into new memory.
func readRange(ctx context.Context, b bucket.Bucket, key string, off, n int64) ([]byte, error) {
	data := make([]byte, n)
	return data, readInto(ctx, b, key, off, data)
}

// readInto fills data from an object.
func readInto(ctx context.Context, b bucket.Bucket, key string, off int64, data []byte) error {
	r, _, err := b.Get(ctx, key, off, int64(len(data)))
	if err != nil {
		return err
	}
	defer r.Close()
	if _, err := io.ReadFull(r, data); err != nil {
		return &bucket.Error{Op: "get", Key: key, Kind: bucket.ErrUnknown, Err: err}
	}
	return nil
}
