package s3test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket"
)

// The benchmarks compare the tier with the plain requests it cannot do without, in turns on the
// same store, and report the ratio of the times: 1 means that the tier costs nothing. The goals are
// 0.8 for uploads and 0.7 for cold reads.

const (
	benchSegments = 8
	benchSegment  = 32 << 20
	benchGet      = 1 << 20
)

func benchBuckets(b *testing.B, run func(b *testing.B, store bucket.Bucket)) {
	b.Run("file", func(b *testing.B) {
		store, err := bucket.OpenDir(vfs.OS{}, b.TempDir(), time.Now())
		if err != nil {
			b.Fatal(err)
		}
		run(b, store)
	})
	b.Run("s3", func(b *testing.B) {
		addr, err := gateway()
		if err != nil {
			b.Fatal(err)
		}
		store, err := bucket.Open(b.Context(), fmt.Sprintf("s3://%s/%s?endpoint=http://%s", bucketName, tier.NewToken(), addr), vfs.OS{})
		if err != nil {
			b.Fatal(err)
		}
		run(b, store)
	})
}

// benchSource is segments of 32 MiB in batches of 1 MiB.
func benchSource() *source {
	small := newSource(benchSegments*benchSegment>>20, 1<<20)
	s := &source{}
	for i := 0; i < len(small.segments); i += benchSegment >> 20 {
		x := segment{LocalSegment: tier.LocalSegment{Base: int64(i)}}
		for _, one := range small.segments[i : i+benchSegment>>20] {
			x.data = append(x.data, one.data...)
			x.End = one.End
		}
		x.Size = int64(len(x.data))
		s.segments = append(s.segments, x)
	}
	return s
}

// cost is what doing something took, of this process, which the S3 server is a part of.
type cost struct{ elapsed, cpu time.Duration }

func (c *cost) of(b *testing.B, do func()) {
	began, before := time.Now(), processTime(b)
	do()
	c.elapsed += time.Since(began)
	c.cpu += processTime(b) - before
}

// processTime is the processor time that the process has had.
func processTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func report(b *testing.B, size int64, plain, tiered cost) {
	gb := float64(size) * float64(b.N) / 1e9
	b.ReportMetric(0, "ns/op") // of both together: says nothing
	b.ReportMetric(1000*gb/plain.elapsed.Seconds(), "plain-MB/s")
	b.ReportMetric(1000*gb/tiered.elapsed.Seconds(), "tier-MB/s")
	b.ReportMetric(plain.cpu.Seconds()/gb, "plain-cpu-s/GB")
	b.ReportMetric(tiered.cpu.Seconds()/gb, "tier-cpu-s/GB")
	b.ReportMetric(plain.elapsed.Seconds()/tiered.elapsed.Seconds(), "ratio")
}

func empty(b *testing.B, store bucket.Bucket) {
	var keys []string
	err := store.List(context.Background(), "", func(o bucket.Object) error { keys = append(keys, o.Key); return nil })
	if err == nil {
		err = store.Delete(context.Background(), keys...)
	}
	if err != nil {
		b.Fatal(err)
	}
}

func plainPuts(b *testing.B, store bucket.Bucket, s *source) {
	for i, x := range s.segments {
		if _, err := store.Put(context.Background(), fmt.Sprint("plain/", i), bucket.BytesBody(bucket.CRC64NVME, x.data), bucket.PutOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUpload(b *testing.B) {
	s := benchSource()
	size := int64(benchSegments * benchSegment)
	benchBuckets(b, func(b *testing.B, store bucket.Bucket) {
		plainPuts(b, store, s) // memory that was never used before is slow
		empty(b, store)
		var plain, tiered cost
		for b.Loop() {
			plain.of(b, func() { plainPuts(b, store, s) })
			empty(b, store)
			tiered.of(b, func() {
				run := begin(b, store, s)
				waitConfirmed(b, run.p, s.end())
				run.end(b)
			})
			empty(b, store)
		}
		report(b, size, plain, tiered)
	})
}

// BenchmarkUploadBesideProducer compares what uploads cost somebody who appends to a file on the
// same disk, as fast as he can, with what plain Puts of the same bytes cost him: how many bytes he
// appends less, for each byte that is stored.
func BenchmarkUploadBesideProducer(b *testing.B) {
	s := benchSource()
	size := float64(benchSegments * benchSegment)
	benchBuckets(b, func(b *testing.B, store bucket.Bucket) {
		plainPuts(b, store, s)
		empty(b, store)
		var alone, beside, uploading appending
		for b.Loop() {
			alone.beside(b, func() { time.Sleep(300 * time.Millisecond) })
			beside.beside(b, func() { plainPuts(b, store, s) })
			empty(b, store)
			uploading.beside(b, func() {
				run := begin(b, store, s)
				waitConfirmed(b, run.p, s.end())
				run.end(b)
			})
			empty(b, store)
		}
		b.ReportMetric(0, "ns/op") // of all together: says nothing
		b.ReportMetric(alone.rate()/1e6, "alone-MB/s")
		b.ReportMetric(beside.rate()/1e6, "beside-puts-MB/s")
		b.ReportMetric(uploading.rate()/1e6, "beside-tier-MB/s")
		b.ReportMetric(beside.lost(alone)/size/float64(b.N), "puts-lost-B/B")
		b.ReportMetric(uploading.lost(alone)/size/float64(b.N), "tier-lost-B/B")
	})
}

// appending adds up what somebody appends to files.
type appending struct {
	bytes   float64
	elapsed time.Duration
}

func (a *appending) rate() float64 { return a.bytes / a.elapsed.Seconds() }

// lost is how many bytes less were appended than without disturbance.
func (a *appending) lost(alone appending) float64 { return alone.rate()*a.elapsed.Seconds() - a.bytes }

// beside appends to a new file while do runs.
func (a *appending) beside(b *testing.B, do func()) {
	const most = 2 << 30 // more than this is no longer left to the page cache
	f, err := vfs.OS{}.Create(vfs.Join(b.TempDir(), "log"))
	if err != nil {
		b.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan error, 1)
	began := time.Now()
	go func() {
		buf := make([]byte, 1<<20)
		for pos := int64(0); ; pos = (pos + int64(len(buf))) % most {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if _, err := f.WriteAt(buf, pos); err != nil {
				done <- err
				return
			}
			a.bytes += float64(len(buf))
		}
	}()
	do()
	close(stop)
	if err := errors.Join(<-done, f.Close(), vfs.OS{}.Remove(f.Name())); err != nil {
		b.Fatal(err)
	}
	a.elapsed += time.Since(began)
}

func BenchmarkColdRead(b *testing.B) {
	s := benchSource()
	s.keep = true
	size := int64(benchSegments * benchSegment)
	benchBuckets(b, func(b *testing.B, store bucket.Bucket) {
		plainPuts(b, store, s)
		var plain, tiered cost
		buf := make([]byte, benchGet)
		for b.Loop() {
			plain.of(b, func() { plainGets(b, store, buf) })
			run := begin(b, store, s) // with an empty cache
			waitConfirmed(b, run.p, s.end())
			tiered.of(b, func() { consume(b, run.p, s.end(), buf) })
			run.end(b)
		}
		report(b, size, plain, tiered)
	})
}

func plainGets(b *testing.B, store bucket.Bucket, buf []byte) {
	for i := range benchSegments {
		for off := int64(0); off < benchSegment; off += benchGet {
			r, _, err := store.Get(context.Background(), fmt.Sprint("plain/", i), off, benchGet)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(r, buf); err != nil {
				b.Fatal(err)
			}
			r.Close()
		}
	}
}

// consume reads to the end as a fetch does, and copies everything once, as sending it would.
func consume(b *testing.B, p *tier.Partition, end int64, buf []byte) {
	for offset := int64(0); offset < end; {
		r, err := p.Read(context.Background(), tier.ReadRequest{Offset: offset, MaxBytes: 8 << 20, MinOne: true})
		if err != nil {
			b.Fatal(err)
		}
		for _, x := range r.Ranges {
			for n := int64(0); n < x.Len; n += int64(len(buf)) {
				if _, err := x.File.ReadAt(buf[:min(int64(len(buf)), x.Len-n)], x.Pos+n); err != nil {
					b.Fatal(err)
				}
			}
		}
		offset = r.Next
		if err := r.Release(); err != nil {
			b.Fatal(err)
		}
	}
}
