package tier

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/log/record/recordtest"
	"github.com/morrowmq/morrow/tier/bucket"
)

// largeBucket keeps what is small, and of what is large only how it reads: it holds on to the body,
// checksum verified.
type largeBucket struct {
	*bucket.Dir
	mu    sync.Mutex
	large map[string]bucket.Body // guarded by mu
}

func (b *largeBucket) body(key string) (bucket.Body, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	body, ok := b.large[key]
	return body, ok
}

func (b *largeBucket) Put(ctx context.Context, key string, body bucket.Body, o bucket.PutOptions) (bucket.Object, error) {
	if body.Size < 1<<30 {
		return b.Dir.Put(ctx, key, body, o)
	}
	h := body.Sum.Algorithm.New()
	if _, err := io.Copy(h, io.NewSectionReader(body.At, 0, body.Size)); err != nil {
		return bucket.Object{}, err
	}
	if string(h.Sum(nil)) != body.Sum.Sum {
		return bucket.Object{}, &bucket.Error{Op: "put", Key: key, Kind: bucket.ErrChecksum}
	}
	body.Pace = nil
	b.mu.Lock()
	b.large[key] = body
	b.mu.Unlock()
	return b.Head(ctx, key)
}

func (b *largeBucket) Head(ctx context.Context, key string) (bucket.Object, error) {
	body, ok := b.body(key)
	if !ok {
		return b.Dir.Head(ctx, key)
	}
	return bucket.Object{Key: key, Size: body.Size, Sum: body.Sum, ETag: "large"}, nil
}

func (b *largeBucket) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, bucket.Object, error) {
	body, ok := b.body(key)
	if !ok {
		return b.Dir.Get(ctx, key, off, n)
	}
	if n < 0 {
		n = body.Size - off
	}
	return io.NopCloser(io.NewSectionReader(body.At, off, n)), bucket.Object{Key: key, ETag: "large"}, nil
}

// largeLog is a log of one closed segment.
type largeLog struct{ *recordtest.Copies }

func (largeLog) Epochs() []EpochStart { return nil }

func (l largeLog) segment() LocalSegment {
	return LocalSegment{Base: l.Base(), End: l.End(), Size: l.Size()}
}

func (l largeLog) Offsets() LocalOffsets {
	return LocalOffsets{Start: l.Base(), LocalStart: l.Base(), End: l.End(), SourceEnd: NoOffset, Gate: math.MaxInt64}
}

func (l largeLog) Closed(from int64) ([]LocalSegment, error) {
	if from >= l.End() {
		return nil, nil
	}
	return []LocalSegment{l.segment()}, nil
}

func (l largeLog) Open(LocalSegment) (SegmentFile, error)   { return l, nil }
func (largeLog) Close() error                               { return nil }
func (largeLog) ProducerSnapshot() ([]byte, error)          { return []byte("producers"), nil }
func (largeLog) Aborted(int64, int64) ([]AbortedTxn, error) { return nil, nil }
func (largeLog) Dropped(int64, int64) bool                  { return false }
func (largeLog) Outlook() LocalOutlook                      { return LocalOutlook{} }
func (largeLog) Since(int64) time.Time                      { return time.Time{} }
func (largeLog) Advance(start, reported int64) error        { return nil }

// TestSegmentBeyond4GiB takes a segment through the tier whose positions do not fit into 32 bits,
// signed or not, and whose offsets do not either. It exists as copies of one batch. (Scenario 18)
func TestSegmentBeyond4GiB(t *testing.T) {
	const base = int64(math.MaxUint32) + 1000
	var w record.Builder
	w.Reset(0, 1000)
	w.Add(0, 1000, nil, make([]byte, 4<<20))
	b, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	b.SetBaseOffset(base)
	l := largeLog{recordtest.NewCopies(b, 1<<32/int64(len(b))+3)}
	files, err := bucket.OpenDir(vfs.NewMem(), "/bucket", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	tr, err := Open(Options{
		Bucket: &largeBucket{Dir: files, large: map[string]bucket.Body{}}, Cluster: "c", Name: "test", FS: vfs.NewMem(), Dir: "/tier",
		Logger: slog.New(slog.DiscardHandler), CacheReserve: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := tr.Partition(PartitionID{Topic: TopicID{1}, Name: "large"}, l, 1, func() Config {
		return Config{Copy: true, RetentionMs: -1, RetentionBytes: -1}
	})
	if err != nil {
		t.Fatal(err)
	}
	run(t, tr, func() { awaitConfirmed(t, p, l.End()) })
	s, err := p.Segments(t.Context())
	if err != nil || len(s) != 1 || s[0].Base != base || s[0].End != l.End() || s[0].Bytes <= l.Size() {
		t.Fatalf("remote: %+v, %v", s, err)
	}
	for _, offset := range []int64{base, base + (l.End()-base)/2, l.End() - 2, l.End() - 1} {
		r, err := p.Read(t.Context(), ReadRequest{Offset: offset, MaxBytes: 1, MinOne: true})
		if err != nil {
			t.Fatal(err)
		}
		checkCopy(t, r, offset)
		got, err := p.BatchAt(t.Context(), offset, nil)
		if err != nil || got.BaseOffset() != offset || got.CheckCRC() != nil {
			t.Errorf("batch at %d: %v", offset, err)
		}
	}
	next := l.End() - 2
	err = p.Scan(t.Context(), next, l.End(), func(b record.Batch) error {
		if b.BaseOffset() != next {
			return fmt.Errorf("batch %d instead of %d", b.BaseOffset(), next)
		}
		next++
		return nil
	})
	if err != nil || next != l.End() {
		t.Errorf("scanned to %d of %d: %v", next, l.End(), err)
	}
	offset, _, ok, err := p.OffsetForTimestamp(t.Context(), 1000, l.End()-1)
	if err != nil || !ok || offset != l.End()-1 {
		t.Errorf("timestamp at %d, %v, %v", offset, ok, err)
	}
	if err := tr.Close(); err != nil {
		t.Error(err)
	}
}

// checkCopy expects one batch in what was read, and lets go of it.
func checkCopy(t *testing.T, r *Read, offset int64) {
	t.Helper()
	var all []byte
	for _, x := range r.Ranges {
		part := make([]byte, x.Len)
		if _, err := x.File.ReadAt(part, x.Pos); err != nil {
			t.Fatal(err)
		}
		all = append(all, part...)
	}
	b, rest, err := record.Next(all)
	if err != nil || len(rest) > 0 || b.BaseOffset() != offset || b.CheckCRC() != nil || r.Next != offset+1 {
		t.Errorf("read at %d: %d bytes, next %d, %v", offset, len(all), r.Next, err)
	}
	if err := r.Release(); err != nil {
		t.Error(err)
	}
}

// run has the tier work until do returns.
func run(t *testing.T, tr *Tier, do func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- tr.Run(ctx) }()
	do()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func awaitConfirmed(t *testing.T, p *Partition, want int64) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); p.Confirmed() != want; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("confirmed %d, want %d: %v", p.Confirmed(), want, p.Err())
		}
	}
}
