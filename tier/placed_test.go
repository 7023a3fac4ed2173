package tier_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket"
)

// directory is a tier in a directory, in virtual time.
type directory struct {
	t       *testing.T
	bucket  *bucket.Dir
	fs      vfs.FS
	log     *fakeLog
	p       *tier.Partition
	metrics *prometheus.Registry
}

// inDirectory uploads a log to /bucket of a file system, evicts it, and runs a test on what is there.
func inDirectory(t *testing.T, fsys vfs.FS, fill func(*fakeLog), run func(t *testing.T, d *directory)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := &directory{t: t, fs: fsys, log: newFakeLog(t), metrics: prometheus.NewRegistry()}
		var err error
		if d.bucket, err = bucket.OpenDir(fsys, "/bucket", time.Now()); err != nil {
			t.Fatal(err)
		}
		tr, err := tier.Open(tier.Options{
			Bucket: d.bucket, Cluster: cluster, Name: "test", FS: fsys, Dir: "/tier", Logger: slog.New(slog.DiscardHandler), Registerer: d.metrics,
		})
		if err != nil {
			t.Fatal(err)
		}
		fill(d.log)
		d.p, err = tr.Partition(orders, d.log, 0, func() tier.Config { return tier.Config{Copy: true, RetentionMs: -1, RetentionBytes: -1} })
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- tr.Run(ctx) }()
		time.Sleep(time.Minute)
		if d.p.Confirmed() != d.log.end {
			t.Fatalf("confirmed %d of %d: %v", d.p.Confirmed(), d.log.end, d.p.Err())
		}
		d.log.evict(d.log.end)
		run(t, d)
		cancel()
		if err := errors.Join(<-done, tr.Close()); err != nil {
			t.Error(err)
		}
	})
}

func (d *directory) keys() (keys []string) {
	d.t.Helper()
	err := d.bucket.List(d.t.Context(), dir, func(o bucket.Object) error {
		if strings.HasSuffix(o.Key, ".segment") {
			keys = append(keys, o.Key)
		}
		return nil
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return keys
}

// damage changes a byte of an object.
func (d *directory) damage(key string, pos int64) {
	d.t.Helper()
	f, err := d.fs.Open("/bucket/" + key)
	if err != nil {
		d.t.Fatal(err)
	}
	var b [1]byte
	_, rerr := f.ReadAt(b[:], pos)
	b[0] ^= 1
	_, werr := f.WriteAt(b[:], pos)
	if err := errors.Join(rerr, werr, f.Close()); err != nil {
		d.t.Fatal(err)
	}
}

// metric adds up the series of a family.
func (d *directory) metric(name string) (sum float64) {
	d.t.Helper()
	all, err := d.metrics.Gather()
	if err != nil {
		d.t.Fatal(err)
	}
	for _, f := range all {
		for _, m := range f.GetMetric() {
			if f.GetName() == name {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// TestObjectsOnTheSameDiskAreReadWhereTheyLie: the ranges are those of the objects' files, and
// nothing is cached.
func TestObjectsOnTheSameDiskAreReadWhereTheyLie(t *testing.T) {
	for seed := range uint64(4) {
		inDirectory(t, vfs.NewMem(), mixed(rand.New(rand.NewPCG(seed, 77))), func(t *testing.T, d *directory) {
			var all []byte
			for offset := int64(0); offset < d.log.end; {
				r, err := d.p.Read(t.Context(), tier.ReadRequest{Offset: offset, MaxBytes: 100_000, MinOne: true})
				if err != nil {
					t.Fatal(err)
				}
				for _, x := range r.Ranges {
					if !strings.HasPrefix(x.File.Name(), "/bucket/") {
						t.Fatalf("range of %s", x.File.Name())
					}
					b := make([]byte, x.Len)
					if _, err := x.File.ReadAt(b, x.Pos); err != nil {
						t.Fatal(err)
					}
					all = append(all, b...)
				}
				offset = r.Next
				if err := r.Release(); err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(all, d.log.bytesOf(0, d.log.end, true)) {
				t.Fatal("other bytes")
			}
			for i, b := range d.log.all {
				got, err := d.p.BatchAt(t.Context(), b.BaseOffset(), nil)
				if i%50 == 0 && (err != nil || !bytes.Equal(got, b)) {
					t.Fatalf("batch at %d: %v", b.BaseOffset(), err)
				}
			}
			if names, err := d.fs.List("/tier/cache"); err != nil || len(names) > 0 {
				t.Fatalf("cached %v, %v", names, err)
			}
			if n := d.metric("morrow_tier_cache_bytes"); n != 0 {
				t.Fatalf("%v bytes in memory", n)
			}
		})
	}
}

// otherDevice is a file system that holds /bucket and another one that holds the rest.
type otherDevice struct{ vfs.FS }

func (f otherDevice) Stat(name string) (vfs.Info, error) {
	st, err := f.FS.Stat(name)
	if strings.HasPrefix(name, "/bucket") {
		st.Device = 7
	}
	return st, err
}

func TestObjectsOnAnotherDiskAreCached(t *testing.T) {
	inDirectory(t, otherDevice{vfs.NewMem()}, func(l *fakeLog) { l.fill(3) }, func(t *testing.T, d *directory) {
		r, err := d.p.Read(t.Context(), tier.ReadRequest{MaxBytes: 100_000})
		if err != nil {
			t.Fatal(err)
		}
		if name := r.Ranges[0].File.Name(); strings.HasPrefix(name, "/bucket/") {
			t.Errorf("range of %s", name)
		}
		if err := r.Release(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestBlockIsVerifiedOnceUntilItsFileChanges: whoever reads in small steps or again does not pay
// for each block again, and yet what was changed since is never served. (Scenario 11)
func TestBlockIsVerifiedOnceUntilItsFileChanges(t *testing.T) {
	segment := slices.Repeat([]batch{{size: 100_000}}, 50)
	inDirectory(t, vfs.NewMem(), func(l *fakeLog) { l.add(segment...); l.add(segment...) }, func(t *testing.T, d *directory) {
		read := func(offset int64) error {
			f, err := readFrom(t.Context(), d.p, tier.ReadRequest{Offset: offset, MaxBytes: 300_000, MinOne: true})
			if err == nil && !bytes.HasPrefix(d.log.bytesOf(offset, d.log.end, true), f.data) {
				t.Fatalf("other bytes at %d", offset)
			}
			return err
		}
		before := d.metric("morrow_tier_fetch_bytes_total") // the indexes are none of it
		for range 3 {
			for offset := range d.log.end {
				if err := read(offset); err != nil {
					t.Fatal(err)
				}
			}
		}
		if got, want := d.metric("morrow_tier_fetch_bytes_total")-before, len(d.log.bytesOf(0, d.log.end, true)); got != float64(want) {
			t.Errorf("%v bytes were verified of %v", got, want)
		}
		d.damage(d.keys()[1], 3<<20+5)
		if err := read(50 + 31); !errors.Is(err, tier.ErrCorrupt) || !strings.HasPrefix(err.Error(), d.keys()[1]+": block 3: ") {
			t.Errorf("read of what was changed: %v", err)
		}
		for _, offset := range []int64{0, 49, 50, 60, 95} {
			if err := read(offset); err != nil {
				t.Errorf("read at %d, of what is whole: %v", offset, err)
			}
		}
		d.damage(d.keys()[1], 3<<20+5) // undoes it
		if err := read(50 + 31); err != nil {
			t.Errorf("read of what was mended: %v", err)
		}
	})
}

// TestObjectIsDeletedWhileItIsRead: what was returned stays readable until it is released.
func TestObjectIsDeletedWhileItIsRead(t *testing.T) {
	inDirectory(t, vfs.NewMem(), func(l *fakeLog) { l.fill(3) }, func(t *testing.T, d *directory) {
		r, err := d.p.Read(t.Context(), tier.ReadRequest{MaxBytes: 100_000})
		if err != nil {
			t.Fatal(err)
		}
		if err := d.bucket.Delete(t.Context(), d.keys()...); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, r.Ranges[0].Len)
		if _, err := r.Ranges[0].File.ReadAt(got, r.Ranges[0].Pos); err != nil || !bytes.Equal(got, d.log.bytesOf(0, r.Next, true)) {
			t.Errorf("other bytes, %v", err)
		}
		if err := r.Release(); err != nil {
			t.Error(err)
		}
		if _, err := d.p.Read(t.Context(), tier.ReadRequest{MaxBytes: 100_000}); !errors.Is(err, tier.ErrLost) {
			t.Errorf("then: %v", err)
		}
	})
}

// TestReadersLeaveNoFilesOpen counts what sequential readers, and those who read ahead of them, open.
func TestReadersLeaveNoFilesOpen(t *testing.T) {
	counted := &countedFS{FS: vfs.NewMem()}
	inDirectory(t, counted, func(l *fakeLog) {
		for range 4 {
			l.add(slices.Repeat([]batch{{size: 100_000}}, 50)...)
		}
	}, func(t *testing.T, d *directory) {
		synctest.Wait() // the copier is done
		open := counted.open.Load()
		for offset := int64(0); offset < d.log.end; {
			f, err := readFrom(t.Context(), d.p, tier.ReadRequest{Offset: offset, MaxBytes: 1 << 20, MinOne: true})
			if err != nil {
				t.Fatal(err)
			}
			offset = f.next
		}
		err := d.p.Scan(t.Context(), 0, d.log.end, func(record.Batch) error { return nil })
		d.p.Prefetch(8<<20, 0, 100)
		synctest.Wait()
		if n := counted.open.Load(); err != nil || n != open {
			t.Errorf("%d files are open, before it were %d; %v", n, open, err)
		}
	})
}

// countedFS counts open files.
type countedFS struct {
	vfs.FS
	open atomic.Int64
}

func (c *countedFS) Open(name string) (vfs.File, error) { return c.count(c.FS.Open(name)) }

func (c *countedFS) Create(name string) (vfs.File, error) { return c.count(c.FS.Create(name)) }

func (c *countedFS) count(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	c.open.Add(1)
	return countedFile{f, c}, nil
}

type countedFile struct {
	vfs.File
	c *countedFS
}

func (f countedFile) Close() error {
	f.c.open.Add(-1)
	return f.File.Close()
}
