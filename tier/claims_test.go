package tier_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket/buckettest"
)

// claimer is a broker that does nothing but claim the cluster id, through crashes and faults of the store.
type claimer struct {
	t      *testing.T
	bucket *buckettest.Bucket
	disk   *vfs.Mem
	name   string
	live   *tier.Installation // nil: it is stopped
}

func (c *claimer) start() {
	c.t.Helper()
	in, err := tier.LoadInstallation(c.disk, "/remote")
	if err != nil {
		c.t.Fatal(err)
	}
	c.live = in
}

// crash ends it at any point; the disk keeps what was durable.
func (c *claimer) crash(rnd *rand.Rand) { c.live, c.disk = nil, c.disk.Crash(rnd) }

// claim is one attempt, which the store hurts or not.
func (c *claimer) claim() error {
	me := tier.Claimant{Bucket: c.bucket, Cluster: cluster, Installation: c.live, Name: c.name}
	_, err := me.Claim(c.t.Context(), time.Now().UnixMilli(), false)
	return err
}

// hurt makes the store fail in some way, now and then, and heals it.
func hurt(b *buckettest.Bucket, rnd *rand.Rand) string {
	b.Heal()
	faults := []buckettest.Fault{buckettest.None, buckettest.None, buckettest.Refuse, buckettest.LoseReply, buckettest.Late, buckettest.Truncate}
	f := faults[rnd.IntN(len(faults))]
	b.Add(buckettest.Rule{Ops: buckettest.OpPut, Key: "/owner", Fault: f, Times: 1 + rnd.IntN(3)})
	return fmt.Sprint(f)
}

// TestOwnerIsNeverMistakenForACopy: one data directory, whatever becomes of process and store. It
// is refused by nobody: there is nobody else.
func TestOwnerIsNeverMistakenForACopy(t *testing.T) {
	for seed := range uint64(400) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 3))
			c := &claimer{t: t, bucket: buckettest.New(), disk: vfs.NewMem(), name: "a"}
			var said []string
			for range 60 {
				switch n := rnd.IntN(10); {
				case n < 2:
					said = append(said, "crash")
					c.crash(rnd)
				case n < 3:
					said = append(said, "store away for a week")
					c.bucket.Heal()
					rule := buckettest.Rule{Fault: buckettest.Refuse, Times: buckettest.Forever}
					c.bucket.Add(rule)
					if c.live != nil {
						_ = c.claim()
					}
					time.Sleep(7 * 24 * time.Hour)
					c.bucket.Heal()
				case n < 4:
					said = append(said, "what was late arrives")
					c.bucket.DeliverLate()
				default:
					said = append(said, hurt(c.bucket, rnd))
				}
				if c.live == nil {
					c.start()
				}
				if err := c.claim(); errors.As(err, new(*tier.OwnedError)) {
					t.Fatalf("seed %d: %v after %s", seed, err, strings.Join(said, ", "))
				}
				time.Sleep(time.Duration(rnd.IntN(70)) * time.Second)
			}
			c.bucket.Heal()
			time.Sleep(tier.OwnerTTL) // a damaged marker is left alone for so long
			if err := c.claim(); err != nil {
				t.Fatalf("seed %d: once all is well: %v", seed, err)
			}
		})
	}
}

// TestCopiesDoNotBothOwnTheBucket: a data directory is copied at any moment, and both are used. As
// soon as both have claimed while they lived, one of the two is refused, and stays so as long as
// nobody does anything about it, even if the other one is gone.
func TestCopiesDoNotBothOwnTheBucket(t *testing.T) {
	for seed := range uint64(400) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 5))
			a := &claimer{t: t, bucket: buckettest.New(), disk: vfs.NewMem(), name: "a"}
			a.start()
			for range 1 + rnd.IntN(6) {
				hurt(a.bucket, rnd)
				_ = a.claim()
				if rnd.IntN(4) == 0 {
					a.crash(rnd)
					a.start()
				}
				time.Sleep(time.Duration(rnd.IntN(60)) * time.Second)
			}
			b := &claimer{t: t, bucket: a.bucket, disk: a.disk.CrashProcess(), name: "ab"[rnd.IntN(2):][:1]}
			b.start()
			a.bucket.Heal()
			a.bucket.DeliverLate()
			time.Sleep(2 * tier.OwnerTTL * time.Duration(rnd.IntN(2)))
			both := [2]*claimer{a, b}
			first := rnd.IntN(2) // which is the first to show a sign of life
			for range 4 {
				for i := range both {
					_ = both[(first+i)%2].claim()
				}
				time.Sleep(time.Minute)
			}
			var owned [2]*tier.OwnedError
			for range 4 {
				for i, c := range both {
					if err := c.claim(); err != nil && !errors.As(err, &owned[i]) {
						t.Fatalf("seed %d: %v", seed, err)
					}
				}
				time.Sleep(time.Minute)
			}
			if (owned[0] == nil) == (owned[1] == nil) {
				t.Fatalf("seed %d: the original says %v, the copy %v", seed, owned[0], owned[1])
			}
			refused := a
			if owned[1] != nil {
				refused = b
			}
			time.Sleep(10 * tier.OwnerTTL)
			refused.crash(nil)
			refused.start()
			err := refused.claim()
			if now, ok := errors.AsType[*tier.OwnedError](err); !ok || !now.Copy {
				t.Fatalf("seed %d: once the other is gone: %v", seed, err)
			}
			if err := refused.disk.Remove("/remote/claim"); err != nil { // what a person does about it
				t.Fatal(err)
			}
			refused.start()
			if err := refused.claim(); err != nil {
				t.Fatalf("seed %d: without the memory of its claims: %v", seed, err)
			}
		})
	}
}

// TestMovedDirectoryWaitsForASignOfLife: a marker that only its name tells from our own may be
// renewed by a broker of which this is a copy.
func TestMovedDirectoryWaitsForASignOfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &claimer{t: t, bucket: buckettest.New(), disk: vfs.NewMem(), name: "a"}
		a.start()
		if err := a.claim(); err != nil {
			t.Fatal(err)
		}
		moved := &claimer{t: t, bucket: a.bucket, disk: a.disk.CrashProcess(), name: "b"}
		moved.start()
		owned, ok := errors.AsType[*tier.OwnedError](moved.claim())
		if !ok || owned.Copy || !owned.Moved {
			t.Errorf("at once: %v", owned)
		}
		time.Sleep(2 * time.Minute)
		if err := moved.claim(); err != nil {
			t.Errorf("after two minutes: %v", err)
		}
	})
}
