package log

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/record"
)

// Every benchmark here measures the bare file system in the same run, because the same disk differs
// from minute to minute: what counts is the ratio, reported as x-bare.

// bareSync appends size bytes to a new file and syncs it, n times, and returns how long each took, sorted.
func bareSync(b *testing.B, dir string, size, n int) []time.Duration {
	b.Helper()
	f, err := vfs.OS{}.Create(filepath.Join(dir, fmt.Sprint("bare-", rand.Uint64())))
	check(b, err)
	defer f.Close()
	buf := make([]byte, size)
	took := make([]time.Duration, n)
	for i := range took {
		started := time.Now()
		_, err := f.WriteAt(buf, int64(i*size))
		check(b, err)
		check(b, f.Sync())
		took[i] = time.Since(started)
	}
	slices.Sort(took)
	check(b, vfs.OS{}.Remove(f.Name()))
	return took
}

func percentile(sorted []time.Duration, p float64) time.Duration {
	return sorted[min(len(sorted)-1, int(p*float64(len(sorted))))]
}

// payload is a batch of about size bytes.
func payload(size int) record.Batch {
	return batch(now.UnixMilli(), 0, string(make([]byte, size-record.HeaderLen-12)))
}

// benchLogs opens n logs in a running set.
func benchLogs(b *testing.B, n int, edit ...func(*SetConfig)) []*Log {
	b.Helper()
	s, err := openBench(b.TempDir(), edit...)
	check(b, err)
	logs := make([]*Log, n)
	for i := range logs {
		logs[i], err = tryOpenLog(s, ID{Partition: int32(i)})
		check(b, err)
	}
	for range s.commits.journal.files {
		check(b, s.commits.journal.prepare())
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		check(b, <-done)
		check(b, s.Close())
	})
	return logs
}

func openBench(dir string, edit ...func(*SetConfig)) (*Set, error) {
	cfg := SetConfig{FS: vfs.OS{}, Dir: dir}
	for _, f := range edit {
		f(&cfg)
	}
	return Open(cfg)
}

// produce appends and waits, from as many goroutines as there are writers, for n appends in all.
// Each writer pauses for about so long after an acknowledgement. It returns the latencies, sorted.
func produce(b *testing.B, logs []*Log, writers, n, size int, pause time.Duration) []time.Duration {
	b.Helper()
	took := make([]time.Duration, n)
	var next atomic.Int64
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			p := payload(size)
			l := logs[w%len(logs)]
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				p.SetBaseOffset(0)
				started := time.Now()
				a, err := l.Append(1, started, plain(p))
				if err == nil {
					err = l.Wait(context.Background(), a.EndOffset)
				}
				if err != nil {
					b.Error(err)
					return
				}
				took[i] = time.Since(started)
				if pause > 0 {
					time.Sleep(pause/2 + rand.N(pause))
				}
			}
		})
	}
	wg.Wait()
	slices.Sort(took)
	return took
}

// BenchmarkAck is the time to a durable acknowledgement, against a bare append and fdatasync. With
// many writers that never pause it shows what the machine can do, with pauses how long a commit
// takes.
func BenchmarkAck(b *testing.B) {
	for _, bench := range []struct {
		logs, writers int
		pause         time.Duration
	}{
		{1, 1, 0}, {4, 4, 0}, {16, 16, 0}, {256, 256, 10 * time.Millisecond}, {256, 256, 0}, {1, 512, 0}, {256, 512, 0},
	} {
		b.Run(fmt.Sprintf("logs=%d/writers=%d/pause=%s", bench.logs, bench.writers, bench.pause), func(b *testing.B) {
			logs := benchLogs(b, bench.logs)
			produce(b, logs, bench.writers, 4*bench.writers, 4096, 0)
			n := max(b.N, 4*bench.writers)
			bare := bareSync(b, b.TempDir(), 4096, 500)
			started := time.Now()
			b.ResetTimer()
			took := produce(b, logs, bench.writers, n, 4096, bench.pause)
			b.StopTimer()
			elapsed := time.Since(started)
			bare = append(bare, bareSync(b, b.TempDir(), 4096, 500)...)
			slices.Sort(bare)
			p50, p99 := percentile(bare, 0.5), percentile(bare, 0.99)
			b.ReportMetric(float64(percentile(took, 0.5))/float64(p50), "p50/bare")
			b.ReportMetric(float64(percentile(took, 0.99))/float64(p50), "p99/bare50")
			b.ReportMetric(float64(percentile(took, 0.99))/float64(p99), "p99/bare99")
			b.ReportMetric(float64(n)/elapsed.Seconds(), "appends/s")
			b.ReportMetric(float64(p50.Microseconds()), "bare50-us")
		})
	}
}

// BenchmarkBulk is the rate of 1 MiB appends that are durable when they are acknowledged, against
// writing and syncing as much.
func BenchmarkBulk(b *testing.B) {
	const size = 1 << 20
	for _, writers := range []int{1, 5} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			logs := benchLogs(b, 1)
			n := max(b.N, 64)
			produce(b, logs, writers, 64, size, 0)
			var ours, bare time.Duration
			b.ResetTimer()
			for done := 0; done < n; done += 64 {
				started := time.Now()
				bareSync(b, b.TempDir(), size, 64)
				bare += time.Since(started)
				started = time.Now()
				produce(b, logs, writers, 64, size, 0)
				ours += time.Since(started)
			}
			b.ReportMetric(float64(bare)/float64(ours), "rate/bare")
			b.ReportMetric(float64(n)*size/ours.Seconds()/1e6, "MB/s")
		})
	}
}

// BenchmarkAppend is the cost of an append alone: checks, write, book-keeping.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("bytes=%d", size), func(b *testing.B) {
			l := benchLogs(b, 1)[0]
			p := payload(size)
			at := time.Now()
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				p.SetBaseOffset(0)
				_, err := l.Append(1, at, plain(p))
				check(b, err)
			}
		})
	}
}

// BenchmarkRead is the cost of finding what a fetch of 1 MiB sends, at random places of a log with
// small batches.
func BenchmarkRead(b *testing.B) {
	for _, hidden := range []bool{false, true} {
		b.Run(fmt.Sprintf("hidden=%t", hidden), func(b *testing.B) {
			s, err := openBench(b.TempDir())
			check(b, err)
			l, err := tryOpenLog(s, testID)
			check(b, err)
			const batches = 100_000
			p := payload(1 << 10)
			for i := range batches {
				a := record.Attributes(0)
				if hidden && i%10 == 0 {
					a = record.Hidden
				}
				p.Stamp(a, now.UnixMilli())
				p.SetBaseOffset(0)
				_, err := l.Append(1, now, plain(p))
				check(b, err)
			}
			s.Sync()
			b.ReportAllocs()
			for b.Loop() {
				read, err := l.Read(ReadRequest{Offset: rand.Int64N(batches - 2000), MaxBytes: 1 << 20})
				check(b, err)
				read.Release()
			}
			check(b, s.Close())
		})
	}
}

// BenchmarkOpen is the time to open a set of a thousand logs, closed or killed.
func BenchmarkOpen(b *testing.B) {
	const n = 1000
	for _, killed := range []bool{false, true} {
		b.Run(fmt.Sprintf("killed=%t", killed), func(b *testing.B) {
			dir := b.TempDir()
			s, err := openBench(dir)
			check(b, err)
			for range s.commits.journal.files {
				check(b, s.commits.journal.prepare())
			}
			for i := range n {
				l, err := tryOpenLog(s, ID{Partition: int32(i)})
				check(b, err)
				_, err = l.Append(1, now, plain(payload(1000)))
				check(b, err)
			}
			s.Sync()
			if !killed {
				check(b, s.Close())
			}
			for b.Loop() {
				s, err := openBench(dir)
				check(b, err)
				for i := range n {
					_, err := tryOpenLog(s, ID{Partition: int32(i)})
					check(b, err)
				}
			}
		})
	}
}

// BenchmarkSegmentsFrom is the time to list a hundred segments in the middle of so many.
func BenchmarkSegmentsFrom(b *testing.B) {
	for _, n := range []int{1000, 10_000} {
		s := openSet(b, vfs.NewMem(), "data")
		l := ofSegments(b, s, n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				listed := 0
				for range l.SegmentsFrom(int64(n / 2)) {
					if listed++; listed == 100 {
						break
					}
				}
			}
		})
		check(b, s.Close())
	}
}
