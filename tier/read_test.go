package tier_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket/buckettest"
)

// fetched is what one Read returned, copied.
type fetched struct {
	data    []byte
	aborted []tier.AbortedTxn
	next    int64
}

func (w *world) read(r tier.ReadRequest) (fetched, error) {
	return readFrom(w.t.Context(), w.p, r)
}

func readFrom(ctx context.Context, p *tier.Partition, r tier.ReadRequest) (fetched, error) {
	out, err := p.Read(ctx, r)
	if err != nil {
		return fetched{}, err
	}
	f := fetched{aborted: out.Aborted, next: out.Next}
	for _, x := range out.Ranges {
		b := make([]byte, x.Len)
		if _, err := x.File.ReadAt(b, x.Pos); err != nil {
			return fetched{}, err
		}
		f.data = append(f.data, b...)
	}
	if int64(len(f.data)) != out.Bytes {
		return fetched{}, fmt.Errorf("%d bytes in ranges, %d said", len(f.data), out.Bytes)
	}
	return f, out.Release()
}

// consume reads from an offset to the remote end as a consumer does and returns all bytes.
func (w *world) consume(offset int64, maxBytes int64) []byte {
	w.t.Helper()
	end := w.p.Status().End
	var all []byte
	for offset < end {
		f, err := w.read(tier.ReadRequest{Offset: offset, MaxBytes: maxBytes, MinOne: true})
		if err != nil {
			w.t.Fatalf("read at %d: %v", offset, err)
		}
		if f.next <= offset {
			w.t.Fatalf("read at %d goes on at %d", offset, f.next)
		}
		checkWhole(w.t, f.data)
		all = append(all, f.data...)
		offset = f.next
	}
	return all
}

// checkWhole fails unless b is whole visible batches.
func checkWhole(t *testing.T, b []byte) {
	t.Helper()
	for len(b) > 0 {
		first, rest, err := record.Next(b)
		if err != nil {
			t.Fatal(err)
		}
		if first.Hidden() {
			t.Fatalf("hidden batch at %d was served", first.BaseOffset())
		}
		if err := first.CheckCRC(); err != nil {
			t.Fatal(err)
		}
		b = rest
	}
}

// uploaded fills a world's log as told, and has it all uploaded and removed locally.
func (w *world) uploaded(fill func(*fakeLog)) {
	fill(w.log)
	w.start()
	w.settle()
	w.confirmedAll()
	w.log.evict(w.log.end)
}

// mixed is a log with everything: small and large batches, hidden ones alone and in between,
// segments without anything visible.
func mixed(rnd *rand.Rand) func(*fakeLog) {
	return func(l *fakeLog) {
		for range 12 {
			var specs []batch
			hidden := rnd.IntN(4) == 0
			for range 1 + rnd.IntN(60) {
				specs = append(specs, batch{
					records: 1 + rnd.IntN(5), size: 1 + rnd.IntN(20_000), hidden: hidden || rnd.IntN(3) == 0, epoch: int32(l.end / 500),
				})
			}
			l.add(specs...)
		}
	}
}

func TestReadReturnsWhatWasUploaded(t *testing.T) {
	for seed := range uint64(6) {
		inWorld(t, func(w *world) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			w.uploaded(mixed(rnd))
			want := w.log.bytesOf(0, w.log.end, true)
			for _, maxBytes := range []int64{1, 5_000, 100_000, 1 << 20, 64 << 20} {
				if got := w.consume(0, maxBytes); !bytes.Equal(got, want) {
					w.t.Fatalf("with %d bytes at a time: %d bytes instead of %d, or others", maxBytes, len(got), len(want))
				}
			}
			for range 50 {
				w.checkReadAt(rnd.Int64N(w.log.end), 1+rnd.Int64N(100_000))
			}
		})
	}
}

// checkReadAt reads once in the middle: the batch that holds the offset, or the next visible one,
// comes first (scenario 43).
func (w *world) checkReadAt(offset, maxBytes int64) {
	w.t.Helper()
	f, err := w.read(tier.ReadRequest{Offset: offset, MaxBytes: maxBytes, MinOne: true})
	if err != nil {
		w.t.Fatal(err)
	}
	i := slices.IndexFunc(w.log.all, func(b record.Batch) bool { return !b.Hidden() && b.EndOffset() > offset })
	if i < 0 {
		if len(f.data) != 0 || f.next != w.log.end {
			w.t.Fatalf("%d bytes at the hidden end, next %d", len(f.data), f.next)
		}
		return
	}
	if want := w.log.all[i]; !bytes.HasPrefix(f.data, want) {
		w.t.Fatalf("read at %d does not begin with the batch at %d", offset, want.BaseOffset())
	}
	if int64(len(f.data)) > max(maxBytes, int64(len(w.log.all[i]))) {
		w.t.Fatalf("%d bytes for a request of %d", len(f.data), maxBytes)
	}
}

func TestFirstBatchIsReturnedWhateverItsSize(t *testing.T) { // scenario 45
	inWorld(t, func(w *world) {
		w.uploaded(func(l *fakeLog) { l.add(batch{size: 3 << 20}, batch{}) })
		f, err := w.read(tier.ReadRequest{MaxBytes: 100, MinOne: true})
		if err != nil || !bytes.Equal(f.data, w.log.all[0]) || f.next != 1 {
			w.t.Fatalf("%d bytes, next %d, %v", len(f.data), f.next, err)
		}
		f, err = w.read(tier.ReadRequest{MaxBytes: 100})
		if err != nil || len(f.data) != 0 || f.next != 0 {
			w.t.Fatalf("without MinOne: %d bytes, next %d, %v", len(f.data), f.next, err)
		}
	})
}

func TestHiddenSegmentsAreSkippedWithoutBeingRead(t *testing.T) { // trap 81
	tier.SetPageEntries(t, 8)
	inWorld(t, func(w *world) {
		w.uploaded(func(l *fakeLog) {
			l.add(batch{})
			for range 100 { // enough for pages
				l.add(batch{hidden: true})
			}
			l.add(batch{})
		})
		before := len(w.bucket.Requests())
		f, err := w.read(tier.ReadRequest{Offset: 1, MaxBytes: 1 << 20, MinOne: true})
		if err != nil || !bytes.Equal(f.data, w.log.all[101]) {
			w.t.Fatalf("%d bytes, %v", len(f.data), err)
		}
		if n := len(w.bucket.Requests()) - before; n > 4 {
			w.t.Fatalf("%d requests to skip 100 segments: %v", n, w.bucket.Requests()[before:])
		}
	})
}

func TestOffsetsOutOfRange(t *testing.T) {
	inWorld(t, func(w *world) {
		w.uploaded(func(l *fakeLog) { l.fill(2) })
		var out *tier.OutOfRangeError
		for _, offset := range []int64{-1, w.log.end, w.log.end + 5} {
			if _, err := w.read(tier.ReadRequest{Offset: offset, MaxBytes: 1}); !errors.As(err, &out) || out.End != w.log.end {
				w.t.Fatalf("offset %d: %v", offset, err)
			}
		}
	})
}

func TestAbortedTransactionsAcrossTheSeam(t *testing.T) { // scenario 44
	inWorld(t, func(w *world) {
		w.log.aborted = []tier.AbortedTxn{{ProducerID: 1, First: 2, Last: 7}, {ProducerID: 2, First: 1, Last: 23}, {ProducerID: 3, First: 11, Last: 12}}
		w.log.fill(4)
		w.start()
		w.settle()
		w.confirmedAll()
		w.log.evict(w.log.end)
		w.log.mu.Lock()
		w.log.aborted = []tier.AbortedTxn{{ProducerID: 2, First: 1, Last: 23}, {ProducerID: 4, First: 13, Last: 25}} // what is left locally
		w.log.mu.Unlock()
		for _, c := range []struct {
			from int64
			want []int64
		}{{0, []int64{1, 2}}, {10, []int64{2, 3, 4}}, {15, []int64{2, 4}}} {
			f, err := w.read(tier.ReadRequest{Offset: c.from, MaxBytes: 1 << 20, MinOne: true, Committed: true})
			if err != nil {
				w.t.Fatal(err)
			}
			var got []int64
			for _, x := range f.aborted {
				got = append(got, x.ProducerID)
			}
			if slices.Sort(got); !slices.Equal(got, c.want) {
				w.t.Errorf("from %d: aborted producers %v, want %v", c.from, got, c.want)
			}
		}
	})
}

// TestMarkerIsEvictedDuringARead: the log does not know of an aborted transaction any more, and the
// manifest with which the read began does not know of it yet. (Scenario 44)
func TestMarkerIsEvictedDuringARead(t *testing.T) {
	inWorld(t, func(w *world) {
		w.log.aborted = []tier.AbortedTxn{{ProducerID: 1, First: 2, Last: 7}}
		w.uploaded(func(l *fakeLog) { l.fill(1) })
		w.bucket.Add(buckettest.Rule{Ops: buckettest.OpGet, Key: ".segment", Do: func() {
			w.log.fill(1)
			w.p.Notify()
			time.Sleep(10 * time.Second)
			w.log.evict(w.p.Confirmed())
			w.log.mu.Lock()
			defer w.log.mu.Unlock()
			w.log.aborted = nil
		}})
		f, err := w.read(tier.ReadRequest{Offset: 0, MaxBytes: 1 << 20, MinOne: true, Committed: true})
		if err != nil || w.log.Offsets().LocalStart != 10 {
			w.t.Fatalf("local data begins at %d: the test is void; %v", w.log.Offsets().LocalStart, err)
		}
		if len(f.aborted) != 1 || f.aborted[0].ProducerID != 1 {
			w.t.Errorf("aborted transactions %v", f.aborted)
		}
	})
}

func TestTimestampLookup(t *testing.T) { // scenario 50
	inWorld(t, func(w *world) {
		rnd := rand.New(rand.NewPCG(5, 5))
		type rec struct{ offset, ts int64 }
		var all []rec
		w.uploaded(func(l *fakeLog) {
			for range 20 {
				var specs []batch
				offset := l.end
				for range 30 {
					b := batch{records: 1 + rnd.IntN(4), size: 3000, hidden: rnd.IntN(4) == 0}
					if rnd.IntN(2) == 0 {
						b.attributes = b.attributes.WithCodec(record.LZ4)
					}
					for i := range b.records {
						ts := offset*10 + rnd.Int64N(1000) // out of order
						b.timestamps = append(b.timestamps, ts)
						if !b.hidden {
							all = append(all, rec{offset + int64(i), ts})
						}
					}
					offset += int64(b.records)
					specs = append(specs, b)
				}
				l.add(specs...)
			}
		})
		newest := func(rs []rec) rec { return slices.MaxFunc(rs, func(x, y rec) int { return int(x.ts - y.ts) }) }
		largest := newest(all)
		for range 200 {
			ts, from := rnd.Int64N(largest.ts+10), rnd.Int64N(w.log.end)
			i := slices.IndexFunc(all, func(r rec) bool { return r.offset >= from && r.ts >= ts })
			offset, got, ok, err := w.p.OffsetForTimestamp(w.t.Context(), ts, from)
			if err != nil || ok != (i >= 0) || ok && (offset != all[i].offset || got != all[i].ts) {
				w.t.Fatalf("timestamp %d from %d: %d, %d, %v, %v; want %+v", ts, from, offset, got, ok, err, i)
			}
		}
		// What DeleteRecords has passed, in the middle of a batch perhaps, does not count.
		for from := int64(0); from <= all[len(all)-1].offset; from += 1 + rnd.Int64N(20) {
			i := slices.IndexFunc(all, func(r rec) bool { return r.offset >= from })
			want := newest(all[i:])
			offset, ts, ok, err := w.p.MaxTimestamp(w.t.Context(), from)
			if err != nil || !ok || offset != want.offset || ts != want.ts {
				w.t.Fatalf("largest from %d: %d, %d, %v, %v; want %+v", from, offset, ts, ok, err, want)
			}
		}
		if _, _, ok, err := w.p.MaxTimestamp(w.t.Context(), w.log.end); ok || err != nil {
			w.t.Fatalf("beyond the end: %v, %v", ok, err)
		}
	})
}

func TestDamagedBlockIsAnErrorAndNeverData(t *testing.T) { // scenario 11
	inWorld(t, func(w *world) {
		w.uploaded(func(l *fakeLog) { l.fill(3) })
		r := w.bucket.Add(buckettest.Rule{Ops: buckettest.OpGet, Key: ".segment", Fault: buckettest.Flip, Times: buckettest.Forever})
		if _, err := w.read(tier.ReadRequest{MaxBytes: 1 << 20}); !errors.Is(err, tier.ErrCorrupt) {
			w.t.Fatalf("index: %v", err)
		}
		w.bucket.Heal()
		w.checkReadAt(0, 100)
		_ = r
		key := w.segmentKeys()[1]
		w.bucket.Damage(key)
		if _, err := w.read(tier.ReadRequest{Offset: 5, MaxBytes: 1 << 20}); !errors.Is(err, tier.ErrCorrupt) || !strings.HasPrefix(err.Error(), key+": block 0: ") {
			w.t.Fatalf("data: %v", err)
		}
		w.checkReadAt(0, 100)
		w.checkReadAt(10, 100)
		w.restoreDamaged()
	})
}

func (w *world) segmentKeys() []string {
	return slices.DeleteFunc(w.bucket.Keys(dir), func(k string) bool { return !strings.HasSuffix(k, ".segment") })
}

// restoreDamaged takes back what Damage did, for the check at the end.
func (w *world) restoreDamaged() { w.bucket.Damage(w.segmentKeys()[1]) }

// TestStalledReadIsBoundedAndItsResultKept: the fetch gives up with its context; the block arrives
// later and serves the next try. (Scenario 47)
func TestStalledReadIsBoundedAndItsResultKept(t *testing.T) {
	inWorld(t, func(w *world) {
		w.uploaded(func(l *fakeLog) { l.fill(1) })
		w.checkReadAt(0, 1) // the index
		w.stop()
		w.start() // the cache begins empty
		w.settle()
		slow := w.bucket.Add(buckettest.Rule{Ops: buckettest.OpGet, Key: ".segment", Delay: 20 * time.Second, Times: buckettest.Forever})
		for try, want := range []error{context.DeadlineExceeded, context.DeadlineExceeded, nil} {
			ctx, cancel := context.WithTimeout(w.t.Context(), 15*time.Second)
			began := time.Now()
			_, err := readFrom(ctx, w.p, tier.ReadRequest{MaxBytes: 1 << 20})
			cancel()
			if !errors.Is(err, want) || time.Since(began) > 15*time.Second {
				w.t.Fatalf("try %d: %v after %v", try, err, time.Since(began))
			}
		}
		if n := w.bucket.Fired(slow); n != 2 {
			w.t.Fatalf("%d requests for an index and a block", n)
		}
	})
}

// TestOneLoadForManyReaders: single flight.
func TestOneLoadForManyReaders(t *testing.T) {
	inWorld(t, func(w *world) {
		w.uploaded(func(l *fakeLog) { l.add(batch{size: 200_000}, batch{}) })
		rule := w.bucket.Add(buckettest.Rule{Ops: buckettest.OpGet, Key: ".segment", Delay: time.Second, Times: buckettest.Forever})
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if f, err := w.read(tier.ReadRequest{MaxBytes: 1 << 20}); err != nil || !bytes.Equal(f.data, w.log.bytesOf(0, w.log.end, true)) {
					w.t.Errorf("%d bytes, %v", len(f.data), err)
				}
			})
		}
		wg.Wait()
		if n := w.bucket.Fired(rule); n != 2 {
			w.t.Fatalf("%d requests for an index and a block", n)
		}
	})
}

// TestSequentialReaderIsReadAheadOf: after the first two reads the blocks are there before they are asked for.
func TestSequentialReaderIsReadAheadOf(t *testing.T) {
	inWorld(t, func(w *world) {
		w.uploaded(func(l *fakeLog) {
			for range 3 {
				l.add(slices.Repeat([]batch{{size: 100_000}}, 60)...)
			}
		})
		w.bucket.Add(buckettest.Rule{Ops: buckettest.OpGet, Key: ".segment", Delay: time.Second, Times: buckettest.Forever})
		var waited []time.Duration
		for offset := int64(0); offset < w.log.end; {
			began := time.Now()
			f, err := w.read(tier.ReadRequest{Offset: offset, MaxBytes: 1 << 20, MinOne: true})
			if err != nil {
				w.t.Fatal(err)
			}
			waited = append(waited, time.Since(began))
			offset = f.next
			time.Sleep(1100 * time.Millisecond) // a consumer that works
		}
		for _, d := range waited[4:] {
			if d > 0 {
				w.t.Fatalf("waited %v", waited)
			}
		}
	})
}

// TestSequentialReaderNeedsFewRequests: blocks that lie one after the other are asked for together.
func TestSequentialReaderNeedsFewRequests(t *testing.T) {
	inWorld(t, func(w *world) {
		w.uploaded(func(l *fakeLog) { l.add(slices.Repeat([]batch{{size: 100_000}}, 400)...) })
		before := len(w.bucket.Requests())
		if got := w.consume(0, 1<<20); !bytes.Equal(got, w.log.bytesOf(0, w.log.end, true)) {
			w.t.Fatal("other bytes")
		}
		gets := 0
		for _, r := range w.bucket.Requests()[before:] {
			if strings.HasSuffix(r, ".segment") {
				gets++
			}
		}
		if blocks := len(w.log.bytesOf(0, w.log.end, true)) >> 20; gets > blocks/2 {
			w.t.Errorf("%d requests for %d blocks", gets, blocks)
		}
	})
}

// TestCacheDiskFailures: a full or broken disk under the cache is not the reader's problem. (Scenario 48)
func TestCacheDiskFailures(t *testing.T) {
	inWorld(t, func(w *world) {
		w.option = func(o *tier.Options) { o.CacheMemory = 1 << 20 } // so that blocks go to disk
		w.uploaded(func(l *fakeLog) { l.add(slices.Repeat([]batch{{size: 100_000}}, 50)...) })
		want := w.log.bytesOf(0, w.log.end, true)
		for n := range 12 {
			id := w.fault.Add(vfs.Rule{Ops: vfs.OpCreate | vfs.OpWrite | vfs.OpUsage, After: n, Times: 3})
			if got := w.consume(0, 300_000); !bytes.Equal(got, want) {
				w.t.Fatal("other bytes")
			}
			w.fault.End(id)
		}
		id := w.fault.Add(vfs.Rule{Ops: vfs.OpUsage, Times: vfs.Forever})
		if got := w.consume(0, 300_000); !bytes.Equal(got, want) {
			w.t.Fatal("other bytes")
		}
		w.fault.End(id)
	})
}

// TestReadsDuringExpiry: what expires under a reader's feet is out of range, never an error of
// another kind and never wrong data.
func TestReadsDuringExpiry(t *testing.T) {
	tier.SetPageEntries(t, 4)
	inWorld(t, func(w *world) {
		w.uploaded(func(l *fakeLog) { l.fill(40) })
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for i := range 4 {
			rnd := rand.New(rand.NewPCG(uint64(i), 9))
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					case <-time.After(time.Second):
					}
					offset := rnd.Int64N(w.log.end)
					f, err := w.read(tier.ReadRequest{Offset: offset, MaxBytes: 5000, MinOne: true})
					var out *tier.OutOfRangeError
					if err != nil && !(errors.As(err, &out) && offset < w.log.Offsets().Start) {
						w.t.Errorf("read at %d: %v", offset, err)
					}
					checkWhole(w.t, f.data)
				}
			})
		}
		for start := int64(5); start < w.log.end; start += 25 {
			w.log.deleteRecords(start)
			w.p.Notify()
			time.Sleep(20 * time.Second)
		}
		close(stop)
		wg.Wait()
		synctest.Wait()
	})
}
