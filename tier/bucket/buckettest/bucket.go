// Package buckettest holds a bucket in memory that can be made to fail, the acceptance test that
// every implementation of [bucket.Bucket] passes, that bucket included, and a store that lies.
package buckettest

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/morrowmq/morrow/tier/bucket"
)

// Bucket is an object store in memory, as strict as a good one: it verifies checksums and
// conditions, and shows a whole object or none. Rules make single requests fail in the ways stores
// and networks do. It survives the "crash" of whoever uses it.
type Bucket struct {
	mu      sync.Mutex
	objects map[string]stored // guarded by mu
	rules   []*Rule           // guarded by mu
	late    []func()          // requests still on their way; guarded by mu
	puts    int               // guarded by mu
	log     []string          // guarded by mu; one line per request
}

type stored struct {
	data     []byte
	sum      bucket.Checksum // as verified when it was stored
	etag     string
	modified time.Time
}

var _ bucket.Bucket = (*Bucket)(nil)

// New returns an empty bucket.
func New() *Bucket { return &Bucket{objects: map[string]stored{}} }

func (b *Bucket) String() string { return "fake://bucket" }

// Checksum is CRC64NVME.
func (b *Bucket) Checksum() bucket.Algorithm { return bucket.CRC64NVME }

// Put implements [bucket.Bucket].
func (b *Bucket) Put(ctx context.Context, key string, body bucket.Body, o bucket.PutOptions) (bucket.Object, error) {
	fault := b.begin(ctx, OpPut, key)
	data := make([]byte, body.Size)
	if n, err := body.At.ReadAt(data, 0); int64(n) < body.Size {
		return bucket.Object{}, failure(OpPut, key, bucket.ErrUnknown, err)
	}
	if body.Pace != nil {
		if err := body.Pace(ctx, len(data)); err != nil {
			return bucket.Object{}, failure(OpPut, key, bucket.ErrUnknown, err)
		}
	}
	put := func() (bucket.Object, error) { return b.put(key, data, body.Sum, o) }
	switch fault.kind() {
	case Truncate:
		data = data[:len(data)/2]
		body.Sum = bucket.SumOf(body.Sum.Algorithm, data)
	case Rot:
		data = slices.Clone(data)
		defer b.Damage(key)
	case Vanish:
		return bucket.Object{Key: key, Size: body.Size, ETag: etagOf(body.Sum, b.count())}, nil
	case Late:
		b.mu.Lock()
		b.late = append(b.late, func() { _, _ = put() }) // whoever sent it is not listening any more
		b.mu.Unlock()
	}
	return answer(ctx, fault, OpPut, key, put)
}

func (b *Bucket) put(key string, data []byte, sum bucket.Checksum, o bucket.PutOptions) (bucket.Object, error) {
	if bucket.SumOf(sum.Algorithm, data) != sum {
		return bucket.Object{}, failure(OpPut, key, bucket.ErrChecksum, nil)
	}
	n := b.count()
	b.mu.Lock()
	defer b.mu.Unlock()
	old, exists := b.objects[key]
	switch {
	case o.IfNoneMatch && exists:
		return bucket.Object{}, failure(OpPut, key, bucket.ErrExists, nil)
	case o.IfMatch != "" && (!exists || old.etag != o.IfMatch):
		return bucket.Object{}, failure(OpPut, key, bucket.ErrPrecondition, nil)
	}
	s := stored{data: data, sum: sum, etag: etagOf(sum, n), modified: time.Now()}
	b.objects[key] = s
	return s.object(key), nil
}

func (b *Bucket) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.puts++
	return b.puts
}

// etagOf is different for every Put, as with stores whose ETag is not a digest.
func etagOf(sum bucket.Checksum, n int) string {
	return fmt.Sprintf("%s.%d", hex.EncodeToString([]byte(sum.Sum)), n)
}

func (s stored) object(key string) bucket.Object {
	return bucket.Object{Key: key, Size: int64(len(s.data)), ETag: s.etag, Sum: s.sum, Modified: s.modified}
}

// Head implements [bucket.Bucket].
func (b *Bucket) Head(ctx context.Context, key string) (bucket.Object, error) {
	return answer(ctx, b.begin(ctx, OpHead, key), OpHead, key, func() (bucket.Object, error) {
		s, err := b.find(OpHead, key)
		return s.object(key), err
	})
}

// Get implements [bucket.Bucket].
func (b *Bucket) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, bucket.Object, error) {
	fault := b.begin(ctx, OpGet, key)
	s, err := answer(ctx, fault, OpGet, key, func() (stored, error) { return b.find(OpGet, key) })
	if err != nil {
		return nil, bucket.Object{}, err
	}
	size := int64(len(s.data))
	if off > size || n > size-off {
		return nil, bucket.Object{}, failure(OpGet, key, bucket.ErrUnknown, io.ErrUnexpectedEOF)
	}
	if n < 0 {
		n = size - off
	}
	data := s.data[off : off+n]
	r := io.Reader(bytes.NewReader(data))
	switch fault.kind() {
	case Short:
		r = io.MultiReader(bytes.NewReader(data[:n/2]), brokenReader{})
	case Flip:
		data = slices.Clone(data)
		if n > 0 {
			data[n/2] ^= 1
		}
		r = bytes.NewReader(data)
	}
	return io.NopCloser(r), s.object(key), nil
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func (b *Bucket) find(op Op, key string) (stored, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, ok := b.objects[key]
	if !ok {
		return stored{}, failure(op, key, bucket.ErrNotFound, nil)
	}
	return s, nil
}

// List implements [bucket.Bucket].
func (b *Bucket) List(ctx context.Context, prefix string, visit func(bucket.Object) error) error {
	found, err := answer(ctx, b.begin(ctx, OpList, prefix), OpList, prefix, func() ([]bucket.Object, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		var found []bucket.Object
		for _, key := range slices.Sorted(maps.Keys(b.objects)) {
			if strings.HasPrefix(key, prefix) {
				o := b.objects[key].object(key)
				o.Sum = bucket.Checksum{}
				found = append(found, o)
			}
		}
		return found, nil
	})
	if err != nil {
		return err
	}
	for _, o := range found {
		if err := visit(o); err != nil {
			return err
		}
	}
	return nil
}

// Delete implements [bucket.Bucket].
func (b *Bucket) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		_, err := answer(ctx, b.begin(ctx, OpDelete, key), OpDelete, key, func() (struct{}, error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			delete(b.objects, key)
			return struct{}{}, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Keys returns the keys that begin with prefix, in order.
func (b *Bucket) Keys(prefix string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(b.objects)) {
		if strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	return keys
}

// Damage flips a bit of a stored object without anybody noticing: Head still tells the checksum it had.
func (b *Bucket) Damage(key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.objects[key]
	s.data = slices.Clone(s.data)
	s.data[len(s.data)/2] ^= 1
	b.objects[key] = s
}

// Take removes an object without anybody noticing. The function it returns puts it back.
func (b *Bucket) Take(key string) (back func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.objects[key]
	delete(b.objects, key)
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.objects[key] = s
	}
}

// Requests returns one line per request so far: "put <key>" and so on.
func (b *Bucket) Requests() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.log)
}
