package chunk

import (
	"context"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/tier/bucket"
	"github.com/morrowmq/morrow/tier/flight"
)

// errOver is the error of what is asked of a cache when its lifetime is over.
var errOver = errors.New("it is over")

// tester is a cache over an endless object whose blocks hold their own number.
type tester struct {
	t     *testing.T
	cache *Cache
	disk  *vfs.Mem
	life  *flight.Lifetime

	mu    sync.Mutex
	loads map[Key]int
}

const testChunk = 1000

// newTester opens a cache for so many chunks in memory and on disk.
func newTester(t *testing.T, memory, disk int64) *tester {
	c := &tester{t: t, disk: vfs.NewMem(), life: flight.NewLifetime(errOver), loads: map[Key]int{}}
	var err error
	if c.cache, err = Open(c.disk, "/cache", memory*testChunk, disk*testChunk, 0, c.life); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.life.End()
		if err := c.cache.Close(); err != nil {
			t.Error(err)
		}
		if names, err := c.disk.List("/cache"); err != nil || len(names) > 0 {
			t.Errorf("files left: %v, %v", names, err)
		}
	})
	return c
}

func chunkBytes(block int) []byte {
	b := make([]byte, testChunk)
	for i := range b {
		b[i] = byte(block * 7)
	}
	return b
}

// read reads a whole chunk as a sequential reader does, in several steps.
func (c *tester) read(object byte, block int) {
	c.t.Helper()
	key := Key{Object: [16]byte{object}, Block: block}
	want := chunkBytes(block)
	for pos := int64(0); pos < testChunk; pos += 250 {
		ch, err := c.cache.Get(context.Background(), key, testChunk, crc32.Checksum(want, castagnoli), func(_ context.Context, into []byte) error {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.loads[key]++
			copy(into, want)
			return nil
		})
		if err != nil {
			c.t.Error(err)
			return
		}
		c.cache.Used(ch, pos, pos+250)
		var b [10]byte
		if _, err := ch.file.ReadAt(b[:], pos); err != nil || b[3] != byte(block*7) {
			c.t.Errorf("block %d: %v, %v", block, b, err)
		}
		if err := c.cache.Release(ch); err != nil {
			c.t.Error(err)
		}
	}
}

func (c *tester) loadsOf(object byte) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for key, loads := range c.loads {
		if key.Object[0] == object {
			n += loads
		}
	}
	return n
}

// TestScanDoesNotThrashTheCache: what is read again and again stays while one reader goes through
// everything once. (Scenario 49)
func TestScanDoesNotThrashTheCache(t *testing.T) {
	c := newTester(t, 5, 45)
	for range 3 {
		for block := range 20 {
			c.read(1, block)
		}
	}
	for block := range 1000 {
		c.read(2, block) // the scan
		if block%50 == 0 {
			for hot := range 20 {
				c.read(1, hot)
			}
		}
	}
	if n := c.loadsOf(1); n > 45 {
		t.Errorf("20 hot blocks were loaded %d times", n)
	}
	if n := c.loadsOf(2); n != 1000 {
		t.Errorf("the scan loaded %d blocks of 1000", n)
	}
}

func TestCacheKeepsItsBound(t *testing.T) {
	c := newTester(t, 3, 10)
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 2000 {
		c.read(byte(rnd.IntN(3)), rnd.IntN(1+rnd.IntN(30)))
		if _, _, memory, disk := c.cache.Counts(); memory > 3*testChunk || disk > 10*testChunk {
			t.Fatalf("%d bytes in memory, %d on disk", memory, disk)
		}
		if names, _ := c.disk.List("/cache"); len(names) > 10 {
			t.Fatalf("%d files", len(names))
		}
	}
}

// TestChunksInUseStayReadable while others push them out. (Scenario 48)
func TestChunksInUseStayReadable(t *testing.T) {
	c := newTester(t, 1, 2)
	var wg sync.WaitGroup
	for reader := range 8 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(reader), 2))
			for range 300 {
				c.read(1, rnd.IntN(20))
			}
		})
	}
	wg.Wait()
}

// TestCacheLeavesTheReserve: when the disk runs full, the cache gives way and readers are served from memory.
func TestCacheLeavesTheReserve(t *testing.T) {
	c := newTester(t, 2, 100)
	c.disk.SetCapacity(64 << 10)
	c.cache.reserve = 32 << 10
	for n := range 400 {
		c.read(1, n%100)
	}
	if u, err := c.disk.Usage("/"); err != nil || u.Free < 32<<10 {
		t.Errorf("%d bytes free, %v", u.Free, err)
	}
	c.disk.SetCapacity(1)
	for n := range 400 {
		c.read(2, n%100)
	}
	if _, _, _, disk := c.cache.Counts(); disk != 0 {
		t.Errorf("%d bytes cached on a full disk", disk)
	}
}

func TestDamagedChunkIsNotCached(t *testing.T) {
	c := newTester(t, 5, 10)
	key := Key{Object: [16]byte{1}}
	for range 2 {
		_, err := c.cache.Get(t.Context(), key, testChunk, 12345, func(_ context.Context, into []byte) error { copy(into, chunkBytes(0)); return nil })
		if !errors.Is(err, bucket.ErrCorrupt) {
			t.Fatal(err)
		}
	}
	c.read(1, 0)
}

func TestPanicOfALoadReachesItsReaders(t *testing.T) {
	c := newTester(t, 5, 10)
	_, err := c.cache.Get(t.Context(), Key{}, 1, 0, func(context.Context, []byte) error { panic("a bug") })
	if err == nil {
		t.Fatal("no error")
	}
	c.life.End()
	_, err = c.cache.Get(t.Context(), Key{}, 1, 0, func(context.Context, []byte) error { return nil })
	if !errors.Is(err, errOver) {
		t.Fatal(err)
	}
}

// TestRunThatBreaksOff: a damaged chunk of a run fails whoever reads it and nobody else; what the
// run would have brought is asked for again.
func TestRunThatBreaksOff(t *testing.T) {
	synctest.Test(t, testRunThatBreaksOff)
}

func testRunThatBreaksOff(t *testing.T) {
	c := newTester(t, 10, 0)
	var run []Wanted
	for block := range 4 {
		run = append(run, Wanted{Key: Key{Block: block}, Size: testChunk, CRC: crc32.Checksum(chunkBytes(block), castagnoli)})
	}
	opened, broken, goOn := 0, 1, make(chan struct{})
	c.cache.Prefetch(run, func(first int) OpenFunc {
		return func(context.Context, int) (LoadFunc, func(), error) {
			opened++
			block := first
			return func(_ context.Context, into []byte) error {
				<-goOn
				copy(into, chunkBytes(block))
				if block == broken {
					into[0] ^= 1
				}
				block++
				return nil
			}, func() {}, nil
		}
	})
	alone := make([]int, len(run)) // loads of one chunk
	var wg sync.WaitGroup
	for block, w := range run {
		wg.Go(func() {
			ch, err := c.cache.Get(context.Background(), w.Key, w.Size, w.CRC, func(_ context.Context, into []byte) error {
				alone[block]++
				copy(into, chunkBytes(block))
				return nil
			})
			if damaged := block == broken; damaged != errors.Is(err, bucket.ErrCorrupt) || !damaged && err != nil {
				t.Errorf("chunk %d: %v", block, err)
			}
			if err == nil {
				err = c.cache.Release(ch)
			}
			if err != nil && block != broken {
				t.Error(err)
			}
		})
	}
	synctest.Wait() // all wait for the run
	close(goOn)
	wg.Wait()
	if opened != 1 || !slices.Equal(alone, []int{0, 0, 1, 1}) {
		t.Errorf("%d runs, single loads %v", opened, alone)
	}
}
