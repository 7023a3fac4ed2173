package tier_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket"
	"github.com/morrowmq/morrow/tier/bucket/buckettest"
)

// broker is a second process of the same cluster: its own disk, its own replica of the log, the same bucket.
func (w *world) broker(epoch int32, log *fakeLog) *world {
	b := &world{
		t: w.t, bucket: w.bucket, disk: vfs.NewMem(), log: log, epoch: epoch, config: w.config,
		option: func(o *tier.Options) { o.Instance = "cluster" },
	}
	w.t.Cleanup(b.stop)
	return b
}

// replica returns a log with the same batches, cut into segments elsewhere.
func (l *fakeLog) replica(sizes ...int) *fakeLog {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := newFakeLog(l.t)
	r.all, r.end = l.all, l.end
	for i, n := 0, 0; n < len(l.all); i++ {
		take := min(sizes[i%len(sizes)], len(l.all)-n)
		s := fakeSegment{LocalSegment: tier.LocalSegment{Base: l.all[n].BaseOffset()}}
		for _, b := range l.all[n : n+take] {
			s.data = append(s.data, b...)
			s.End = b.EndOffset()
		}
		s.Size = int64(len(s.data))
		r.segments = append(r.segments, s)
		n += take
	}
	return r
}

func inCluster(t *testing.T, run func(w *world)) {
	inWorld(t, func(w *world) {
		w.option = func(o *tier.Options) { o.Instance = "cluster" }
		run(w)
	})
}

// TestNewLeaderGoesOnInTheMiddleOfASegment: its segments lie elsewhere; the range stays contiguous.
// (Scenarios 15, 37, 40, 59)
func TestNewLeaderGoesOnInTheMiddleOfASegment(t *testing.T) {
	inCluster(t, func(w *world) {
		w.log.fill(7)
		w.start()
		w.settle()
		w.stop()
		w.log.fill(5)
		b := w.broker(1, w.log.replica(3, 1, 4, 2))
		b.start()
		defer b.stop()
		b.settle()
		b.confirmedAll()
		b.log.evict(b.log.end)
		if got, want := b.consume(0, 500), w.log.bytesOf(0, w.log.end, true); string(got) != string(want) {
			w.t.Fatal("other bytes")
		}
		b.noOrphans()
	})
}

// TestZombieIsFenced: the old leader was paused at some request, a new one took over, the old one
// goes on. It can commit nothing more, believes nothing confirmed that is not, and what it stored
// is swept. (Scenarios 34-36, 38)
func TestZombieIsFenced(t *testing.T) {
	for n, paused := 0, true; paused && !t.Failed(); n++ {
		inCluster(t, func(w *world) {
			w.log.fill(6)
			var requests atomic.Int32
			woken := make(chan struct{})
			w.before = func(_, key string) {
				if strings.HasPrefix(key, dir) && int(requests.Add(1)) == n+1 {
					<-woken
				}
			}
			w.start()
			time.Sleep(time.Minute)
			b := w.broker(1, w.log.replica(2, 3))
			b.start()
			b.log.fill(2)
			w.log = b.log // the zombie's own view does not matter for the checks
			b.settle()
			b.confirmedAll()
			close(woken)
			paused = int(requests.Load()) > n
			w.settleZombie()
			if paused && !errors.Is(w.p.Err(), tier.ErrFenced) {
				w.t.Fatalf("paused at request %d, the zombie says %v", n, w.p.Err())
			}
			b.log.fill(2)
			b.p.Notify()
			b.settle()
			b.confirmedAll()
			w.stop()
			b.noOrphans()
			b.stop()
		})
	}
}

// TestNewLeaderFencesTheOldOneAtOnce, though it has nothing to upload itself. (Scenario 35)
func TestNewLeaderFencesTheOldOneAtOnce(t *testing.T) {
	inCluster(t, func(w *world) {
		w.log.fill(4)
		w.start()
		w.settle()
		b := w.broker(1, w.log.replica(2, 3))
		b.start()
		time.Sleep(2 * time.Second)
		w.log.fill(2)
		w.p.Notify()
		time.Sleep(2 * time.Second)
		if m, _ := w.manifest(); m.End != 20 || !errors.Is(w.p.Err(), tier.ErrFenced) {
			w.t.Errorf("the old leader has uploaded up to %d: %v", m.End, w.p.Err())
		}
		w.stop()
		w.log = b.log
		b.stop()
	})
}

// TestSweepOfAFormerLeaderTouchesNothing: it has not noticed yet that there is another one, which
// has stored segments and not committed them, and its clock is ahead, so that these look old.
// (Scenario 38)
func TestSweepOfAFormerLeaderTouchesNothing(t *testing.T) {
	inCluster(t, func(w *world) {
		var ahead atomic.Int64
		w.option = func(o *tier.Options) {
			o.Instance = "cluster"
			o.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
		}
		w.log.fill(4)
		w.start()
		w.settle()
		before := len(w.segmentKeys())
		b := w.broker(1, w.log.replica(2, 3))
		b.log.fill(4)
		w.bucket.Add(buckettest.Rule{Ops: buckettest.OpPut, Key: "/manifest", After: 1, Delay: 10 * time.Second})
		b.start()
		time.Sleep(3 * time.Second)
		stored := len(w.segmentKeys())
		if m, _ := w.manifest(); stored <= before || m.Epoch != 1 || m.End != 20 || w.p.Err() != nil {
			w.t.Fatalf("%d segments, manifest to %d, %v: the test is void", stored, m.End, w.p.Err())
		}
		ahead.Store(int64(2 * time.Hour))
		if s, err := w.tier.Sweep(w.t.Context(), tier.SweepOptions{}); err != nil || s.Orphans != 0 {
			w.t.Errorf("swept %+v, %v", s, err)
		}
		ahead.Store(0)
		w.stop()
		w.log = b.log
		b.settle()
		b.confirmedAll()
		b.noOrphans()
		b.stop()
	})
}

// settleZombie lets time pass; the zombie's own bound need not grow.
func (w *world) settleZombie() {
	w.t.Helper()
	time.Sleep(10 * time.Minute)
	synctest.Wait()
	w.boundHolds()
}

// TestLeadershipMovesBackAndForth: leaders with logs cut at random follow each other, each after a
// crash of the one before.
func TestLeadershipMovesBackAndForth(t *testing.T) {
	for seed := range uint64(8) {
		inCluster(t, func(w *world) {
			rnd := rand.New(rand.NewPCG(seed, 2))
			w.log.fill(4)
			log := w.log
			for epoch := range int32(6) {
				b := w.broker(epoch, log.replica(1+rnd.IntN(4), 1+rnd.IntN(4)))
				b.start()
				power := rand.New(rand.NewPCG(seed, uint64(epoch)))
				b.bucket.Add(buckettest.Rule{After: rnd.IntN(60), Fault: buckettest.Late, Do: func() { b.crash(power) }})
				for range 3 {
					time.Sleep(time.Duration(rnd.IntN(3000)) * time.Millisecond)
					b.log.fill(1 + rnd.IntN(3))
					b.p.Notify()
				}
				b.wait(time.Minute)
				b.stop()
				b.bucket.Heal()
				log = b.log
			}
			b := w.broker(9, log)
			b.start()
			b.bucket.DeliverLate()
			b.settle()
			b.confirmedAll()
			b.noOrphans()
			b.stop()
			w.log = log
		})
	}
}

// TestManifestThatGoesBackIsRefused: somebody restored an old copy of the bucket, or removed the
// manifest. (Scenarios 42, 57)
func TestManifestThatGoesBackIsRefused(t *testing.T) {
	for _, removed := range []bool{false, true} {
		inWorld(t, func(w *world) {
			w.log.fill(3)
			w.start()
			w.settle()
			old := w.object(dir + "manifest")
			w.log.fill(3)
			w.p.Notify()
			w.settle()
			w.stop()
			now := w.object(dir + "manifest")
			w.replaceObject(dir+"manifest", old)
			if removed {
				if err := w.bucket.Delete(w.calm(), dir+"manifest"); err != nil {
					w.t.Fatal(err)
				}
			}
			w.epoch++
			w.log.fill(1)
			w.start()
			time.Sleep(10 * time.Minute)
			if !errors.Is(w.p.Err(), tier.ErrRolledBack) || w.p.Confirmed() != tier.NoOffset {
				w.t.Fatalf("%v, confirmed %d", w.p.Err(), w.p.Confirmed())
			}
			if a := w.tier.Alarms(); len(a) != 1 || a[0].Name != "partition_stopped" || !strings.Contains(a[0].Text, "put it back") || strings.Contains(a[0].Text, "\n") {
				w.t.Fatalf("alarms %+v", a)
			}
			w.replaceObject(dir+"manifest", now)
			w.settle()
			w.confirmedAll()
		})
	}
}

// TestRollBackIsRememberedWhileTheBucketIsDown: the bucket has lost what this broker had confirmed.
// Neither a restart nor an outage makes anybody believe in that again.
func TestRollBackIsRememberedWhileTheBucketIsDown(t *testing.T) {
	inWorld(t, func(w *world) {
		w.log.fill(3)
		w.start()
		w.settle()
		now := w.object(dir + "manifest")
		w.stop()
		if err := w.bucket.Delete(w.calm(), dir+"manifest"); err != nil {
			w.t.Fatal(err)
		}
		w.start()
		w.log.fill(1)
		w.p.Notify()
		time.Sleep(time.Minute)
		if !errors.Is(w.p.Err(), tier.ErrRolledBack) || w.p.Confirmed() != tier.NoOffset {
			w.t.Fatalf("%v, confirmed %d: the test is void", w.p.Err(), w.p.Confirmed())
		}
		w.stop()
		w.bucket.Add(buckettest.Rule{Times: buckettest.Forever, Fault: buckettest.Refuse})
		w.start()
		time.Sleep(time.Minute)
		if got := w.p.Confirmed(); got != tier.NoOffset {
			w.t.Errorf("after a restart %d is believed to be confirmed", got)
		}
		if got, err := tier.RecordedBound(w.disk, "/tier", orders); err != nil || got != tier.NoOffset {
			w.t.Errorf("recorded is %d, %v", got, err)
		}
		w.bucket.Heal()
		w.replaceObject(dir+"manifest", now)
		w.settle()
		w.confirmedAll()
	})
}

// object is what the bucket has under a key.
func (w *world) object(key string) []byte {
	w.t.Helper()
	r, _, err := w.bucket.Get(w.calm(), key, 0, -1)
	if err != nil {
		w.t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

func (w *world) replaceObject(key string, b []byte) {
	w.t.Helper()
	if _, err := w.bucket.Put(w.calm(), key, bucket.BytesBody(bucket.CRC64NVME, b), bucket.PutOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

// TestManifestOfAnotherPartitionIsRefused: somebody has copied objects to other keys. What such a
// manifest names confirms nothing of this partition. (Scenario 54)
func TestManifestOfAnotherPartitionIsRefused(t *testing.T) {
	inWorld(t, func(w *world) {
		w.log.fill(2)
		w.start()
		w.settle()
		id, log := orders, newFakeLog(w.t)
		id.Partition++
		log.fill(2)
		w.replaceObject(strings.Replace(dir, "/3/", "/4/", 1)+"manifest", w.object(dir+"manifest"))
		p, err := w.tier.Partition(id, log, w.epoch, w.current)
		if err != nil {
			w.t.Fatal(err)
		}
		w.settle()
		if !errors.Is(p.Err(), tier.ErrCorrupt) || p.Confirmed() != tier.NoOffset {
			w.t.Errorf("%v, confirmed %d", p.Err(), p.Confirmed())
		}
	})
}

// TestLastLogEndIsRemembered: what lay in the open segment may be lost with the power. A restore gives
// none of its offsets out again, though the log ends below them now. (Scenario 55)
func TestLastLogEndIsRemembered(t *testing.T) {
	inWorld(t, func(w *world) {
		w.log.fill(2)
		w.log.end += 20
		w.start()
		w.settle()
		w.stop()
		w.log.end -= 20
		w.epoch++
		w.start()
		w.settle()
		w.confirmedAll()
		if m, _ := w.manifest(); m.Epoch != w.epoch || m.LogEnd != 30 {
			w.t.Errorf("leader epoch %d, log end %d", m.Epoch, m.LogEnd)
		}
		w.stop()
		o := tier.RestoreOptions{Epoch: 10, Gap: 5, Now: time.Now()}
		if r, err := tier.Restore(w.calm(), w.bucket, cluster, orders.Topic, orders.Partition, o); err != nil || r.Next != 35 {
			w.t.Errorf("restored %+v, %v", r, err)
		}
	})
}

// TestTwoClustersInOneBucket do not see each other. (Scenario 54)
func TestTwoClustersInOneBucket(t *testing.T) {
	inWorld(t, func(w *world) {
		w.log.fill(3)
		w.start()
		other := &world{t: w.t, bucket: w.bucket, disk: vfs.NewMem(), log: newFakeLog(w.t), config: w.config,
			option: func(o *tier.Options) { o.Cluster = "c2" }}
		other.log.fill(2)
		other.start()
		w.settle()
		w.confirmedAll()
		if got := other.p.Confirmed(); got != 10 {
			w.t.Fatalf("the other cluster has confirmed %d", got)
		}
		if _, err := other.tier.Sweep(w.t.Context(), tier.SweepOptions{}); err != nil {
			w.t.Fatal(err)
		}
		w.noOrphans()
		other.stop()
	})
}

// TestSecondOwnerIsRefused: a copy of the data directory, or a restored broker, while the first one
// is alive. (Scenario 56)
func TestSecondOwnerIsRefused(t *testing.T) {
	inWorld(t, func(w *world) {
		w.log.fill(2)
		w.start()
		w.settle()
		second := &world{t: w.t, bucket: w.bucket, disk: vfs.NewMem(), log: newFakeLog(w.t), config: w.config, epoch: 1}
		second.start()
		defer second.stop()
		w.settle()
		var owned *tier.OwnedError
		if err := second.tier.Admitted(); !errors.As(err, &owned) || owned.Owner.Name != "test" {
			w.t.Fatalf("second owner: %v", err)
		}
		if a := second.tier.Alarms(); len(a) != 1 || a[0].Name != "store_refused" {
			w.t.Fatalf("alarms %+v", a)
		}
		if err := claimAs(w, "x", time.Now().UnixMilli(), false); !errors.As(err, &owned) {
			w.t.Fatalf("claim: %v", err)
		}
		if err := claimAs(w, "x", time.Now().UnixMilli(), true); err != nil {
			w.t.Fatalf("claim by force: %v", err)
		}
		time.Sleep(2 * time.Minute)
		if err := w.tier.Admitted(); !errors.As(err, &owned) {
			w.t.Fatalf("the first owner has not noticed: %v", err)
		}
	})
}

// TestCopyOfALivingBrokerIsRefused: a data directory that is copied and started beside the original
// changes nothing in the bucket, and says what to do. (Scenario 54)
func TestCopyOfALivingBrokerIsRefused(t *testing.T) {
	inWorld(t, func(w *world) {
		w.log.fill(2)
		w.start()
		w.settle()
		time.Sleep(30 * time.Second)
		c := &world{t: w.t, bucket: w.bucket, disk: w.disk.CrashProcess(), log: newFakeLog(w.t), config: w.config, epoch: 1,
			option: func(o *tier.Options) { o.Name = "the copy" }}
		c.log.fill(5)
		c.start()
		defer c.stop()
		for range 300 {
			time.Sleep(time.Second)
			if c.tier.Admitted() == nil {
				w.t.Fatal("the copy was let in")
			}
		}
		owned, ok := errors.AsType[*tier.OwnedError](c.tier.Admitted())
		if !ok || !owned.Copy || owned.Owner.Name != "test" {
			w.t.Errorf("%v", c.tier.Admitted())
		}
		if a := c.tier.Alarms(); len(a) != 1 || a[0].Name != "store_refused" || !strings.Contains(a[0].Text, "remove remote/claim") {
			w.t.Errorf("alarms %+v", a)
		}
		if s := c.tier.Status(); s.Ours || s.Refused == nil {
			w.t.Errorf("status %+v", s)
		}
		if err := c.tier.PutGroupOffsets(w.calm(), committedAt(20)); !errors.As(err, &owned) {
			w.t.Errorf("the copy has replaced what groups have committed: %v", err)
		}
		w.log.fill(2)
		w.settle()
		w.confirmedAll()
	})
}

// claimAs makes another installation the owner.
func claimAs(w *world, id string, seen int64, takeOver bool) error {
	other := tier.Claimant{Bucket: w.bucket, Cluster: cluster, Installation: &tier.Installation{ID: id}, Name: id}
	_, err := other.Claim(w.calm(), seen, takeOver)
	return err
}

// TestDamagedOwnerMarkerIsMadeGood: the store acknowledges the marker and keeps half of it. Whoever
// has just stored it stores it again; nobody else touches it as long as its owner may be alive.
func TestDamagedOwnerMarkerIsMadeGood(t *testing.T) {
	half := func(w *world, times int) {
		w.bucket.Add(buckettest.Rule{Ops: buckettest.OpPut, Key: "/owner", Fault: buckettest.Truncate, Times: times})
	}
	t.Run("at once", func(t *testing.T) {
		inWorld(t, func(w *world) {
			half(w, 2)
			w.log.fill(2)
			w.start()
			w.wait(3 * time.Second)
			w.confirmedAll()
			if o, _, err := tier.ReadOwner(w.calm(), w.bucket, cluster); err != nil || o.Name != "test" {
				w.t.Errorf("marker %+v, %v", o, err)
			}
		})
	})
	t.Run("after a restart", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.log.fill(2)
			w.start()
			w.settle()
			half(w, buckettest.Forever)
			time.Sleep(2 * time.Minute)
			if err := w.tier.Admitted(); err != nil {
				w.t.Errorf("the owner itself: %v", err)
			}
			w.stop()
			w.bucket.Heal()
			w.log.fill(2)
			w.start()
			w.wait(tier.OwnerTTL / 2)
			if err := w.tier.Admitted(); !errors.Is(err, tier.ErrCorrupt) {
				w.t.Errorf("beside an owner that may be alive: %v", err)
			}
			w.wait(tier.OwnerTTL)
			w.confirmedAll()
		})
	})
}
