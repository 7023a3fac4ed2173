package tier

import (
	"bytes"
	"context"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/morrowmq/morrow/tier/bucket"
)

// longBucket holds one partition of many segments, of which only the manifest and its pages have bytes.
type longBucket struct {
	bucket.Bucket
	manifest *Manifest
	objects  map[string][]byte
	entries  func(n int) Entry
	segments int
	visited  func(n int)
}

// newLongBucket makes the manifest as a partition would, page by page.
func newLongBucket(t *testing.T, segments int) *longBucket {
	b := &longBucket{objects: map[string][]byte{}, segments: segments}
	b.manifest = newManifest("c", PartitionID{Topic: TopicID{1}, Name: "orders"})
	b.entries = func(n int) Entry {
		e := sampleEntry(int64(n) * 10)
		e.End, e.Token = e.Base+10, Token{1, byte(n), byte(n >> 8), byte(n >> 16)}
		return e
	}
	dir := partitionDir("c", TopicID{1}, 0)
	var entries []Entry
	for n := range segments {
		entries = append(entries, b.entries(n))
		if len(entries) < pageEntries {
			continue
		}
		data := encodePage(entries)
		ref := PageRef{Span: summarise(entries), Token: Token{2, byte(n), byte(n >> 8), byte(n >> 16)}, Entries: len(entries), First: entries[0].Span, Size: int64(len(data)), Sum: bucket.SumOf(bucket.CRC64NVME, data)}
		b.manifest.Pages = append(b.manifest.Pages, ref)
		b.objects[ref.id().key(dir, pageSuffix)] = data
		entries = nil
	}
	b.manifest.Tail, b.manifest.Start, b.manifest.End = entries, 0, int64(segments)*10
	b.objects[dir+manifestName] = b.manifest.encode()
	return b
}

func (b *longBucket) Checksum() bucket.Algorithm { return bucket.CRC64NVME }

func (b *longBucket) Head(_ context.Context, key string) (bucket.Object, error) {
	return bucket.Object{}, &bucket.Error{Op: "head", Key: key, Kind: bucket.ErrNotFound}
}

func (b *longBucket) Get(_ context.Context, key string, _, _ int64) (io.ReadCloser, bucket.Object, error) {
	data, ok := b.objects[key]
	if !ok {
		return nil, bucket.Object{}, &bucket.Error{Op: "get", Key: key, Kind: bucket.ErrNotFound}
	}
	return io.NopCloser(bytes.NewReader(data)), bucket.Object{Key: key, ETag: "e"}, nil
}

// List lists, for every segment, its object and one that nobody names.
func (b *longBucket) List(_ context.Context, _ string, visit func(bucket.Object) error) error {
	dir := partitionDir("c", TopicID{1}, 0)
	for n := range b.segments {
		e := b.entries(n)
		for _, id := range []ObjectID{e.id(), {Base: e.Base, Token: Token{3, byte(n)}}} {
			if err := visit(bucket.Object{Key: id.key(dir, segmentSuffix), Size: 100}); err != nil {
				return err
			}
		}
		b.visited(n)
	}
	return nil
}

// TestSweepOfALargePartitionTakesLittleMemory: what a sweep holds does not grow with the objects it has seen.
func TestSweepOfALargePartitionTakesLittleMemory(t *testing.T) {
	const segments = 20_000
	b := newLongBucket(t, segments)
	var early, most uint64
	b.visited = func(n int) {
		if n%2000 != 1000 {
			return
		}
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		if most = max(most, m.HeapAlloc); early == 0 {
			early = m.HeapAlloc
		}
	}
	orphans := 0
	o := SweepOptions{DryRun: true, Grace: time.Hour, Found: func(Orphan) { orphans++ }}
	s, err := sweepOffline(b, "c", "test", o).run(t.Context())
	if err != nil || s.Objects != 2*segments || s.Orphans != segments || orphans != segments {
		t.Fatalf("%+v, %v, %d orphans", s, err, orphans)
	}
	if grown := int64(most) - int64(early); grown > 1<<20 {
		t.Errorf("memory grew by %d bytes", grown)
	}
}
