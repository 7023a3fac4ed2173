package restore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/cluster/local"
	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket"
	"github.com/morrowmq/morrow/tier/bucket/buckettest"
)

var (
	orders = topic{
		id: cluster.TopicID{1, 15: 1}, name: "orders", schedule: cluster.TopicID{1, 15: 2}, count: 3, epoch: 7,
		config: map[string]string{"remote.storage.enable": "true", "retention.ms": "5"},
	}
	scheduleOfOrders = topic{id: orders.schedule, name: "__schedule.orders", count: 3, epoch: 8}
)

// ordersLost makes a bucket with a topic of three partitions: one with records of a producer and
// hidden ones, one that was empty, and one that the tier never heard of.
func ordersLost(t testing.TB) *buckettest.Bucket {
	b := buckettest.New()
	w := newLost(t, b, "c1")
	defer w.stop()
	w.tiered(orders, 0, build(0, 77, 0, "a", "b"), build(record.Hidden, -1, -1, "later"), build(0, 77, 2, "c"))
	w.tiered(orders, 1)
	w.tiered(scheduleOfOrders, 0, plain("run"))
	check(t, w.tier.PutGroupOffsets(t.Context(), committedByGroups()))
	return b
}

func configured(t testing.TB, b bucket.Bucket, dir string) Config {
	return Config{FS: vfs.OS{}, Dir: dir, Node: 4, Name: t.Name(), Bucket: b, Gap: 1000, TakeOver: true, Now: func() time.Time { return now }}
}

// restoredOrders fails unless the directory is what restoring orders must make of it. repeated is
// how often that was tried before.
func restoredOrders(t testing.TB, dir string, repeated int64) {
	t.Helper()
	check(t, CheckFinished(vfs.OS{}, dir))
	store, err := local.Open(local.Options{Dir: dir, Node: 4})
	check(t, err)
	defer store.Close()
	restoredGroups(t, dir, store.Image())
	img := store.Image()
	equal(t, img.ClusterID(), "c1")
	got, ok := img.Topic("orders")
	if !ok || got.ID != orders.id || got.Schedule != orders.schedule || len(got.Partitions) != 3 {
		t.Fatalf("%+v", got)
	}
	equal(t, map[string]string(got.Config), orders.config)
	schedule, _ := img.TopicByID(orders.schedule)
	equal(t, []any{schedule.Name, schedule.ScheduleOf == orders.id, len(schedule.Partitions)}, []any{"__schedule.orders", true, 3})
	for _, p := range append(got.Partitions, schedule.Partitions...) {
		if p.Leader != 4 || int64(p.LeaderEpoch) > 8+epochGap*(repeated+1) || p.LeaderEpoch < 8+epochGap {
			t.Fatalf("%+v", p)
		}
	}
	id, err := store.ProducerIDs(t.Context(), 1)
	check(t, err)
	if id <= 77 {
		t.Fatalf("producer id %d again", id)
	}
	logs, err := log.Open(log.SetConfig{FS: vfs.OS{}, Dir: filepath.Join(dir, "logs"), Now: func() time.Time { return now }, JournalMaxBytes: -1})
	check(t, err)
	defer func() { check(t, logs.Close()) }()
	opened := func(id cluster.TopicID, number int32) (*log.Log, log.Offsets) {
		l, err := logs.OpenLog(log.ID{Topic: id, Partition: number}, log.Options{Config: log.DefaultConfig()})
		check(t, err)
		return l, l.Offsets()
	}

	l, o := opened(orders.id, 0)
	// Offset 4 was given out, and its record lost.
	if o.LogEnd < 5+1000 || o.LogEnd > 5+1000*(repeated+1) {
		t.Fatalf("goes on at %d", o.LogEnd)
	}
	equal(t, []int64{o.LogStart, o.RealStart, o.VisibleEnd, o.LocalStart, o.DeleteBound}, []int64{0, 0, 4, o.LogEnd, o.LogEnd})
	epoch, end := l.EpochEnd(7, 7)
	if epoch != 7 || end < 1005 || end > o.LogEnd {
		t.Fatalf("epoch %d ends at %d", epoch, end)
	}
	_, duplicate, err := l.CheckProducer(77, 0, 2, 2)
	check(t, err)
	equal(t, duplicate, true)
	if _, _, err := l.CheckProducer(77, 0, 4, 4); !errors.As(err, new(*log.OutOfOrderSequenceError)) {
		t.Fatal(err)
	}

	_, o = opened(orders.id, 1)
	if o.LogEnd < 1001 || o.LogEnd > 1+1000*(repeated+1) {
		t.Fatalf("empty partition goes on at %d", o.LogEnd)
	}
	equal(t, []int64{o.LogStart, o.VisibleEnd, o.LocalStart}, []int64{0, 0, o.LogEnd})
	_, o = opened(orders.id, 2)
	equal(t, []int64{o.LogStart, o.VisibleEnd, o.LogEnd}, []int64{1000, 1000, 1000})
	_, o = opened(orders.schedule, 0)
	equal(t, []int64{o.RealStart, o.LocalStart - o.LogEnd}, []int64{0, 0})
}

func TestRestoreMakesADataDirectory(t *testing.T) {
	b, dir := ordersLost(t), t.TempDir()
	plan, err := MakePlan(t.Context(), b, "", nil)
	check(t, err)
	var progress int
	cfg := configured(t, b, dir)
	cfg.Progress = func(Partition) { progress++ }
	restored, err := Run(t.Context(), cfg, plan)
	done := restored.Partitions
	check(t, err)
	equal(t, []int{len(done), progress}, []int{3, 3})
	for _, p := range done {
		want := [][]int64{{0, 4, 1005, 3}, {0, 0, 1001, 0}, {1000, 1000, 1000, 0}}[p.Partition]
		equal(t, []int64{p.Start, p.End, p.Next, int64(p.Segments)}, want)
	}
	restoredOrders(t, dir, 0)
	if _, err := Run(t.Context(), cfg, plan); err == nil || !strings.Contains(err.Error(), "is not empty, it holds logs") {
		t.Fatal(err)
	}
}

// A producer that has been idle since before the loss of one disk goes on after that of another: of
// its id nothing is left in the bucket, and still nobody else has it.
func TestProducerIDsAreNotGivenOutAgain(t *testing.T) {
	b := buckettest.New()
	w := newLost(t, b, "c1")
	w.tiered(orders, 0, plain("a"))
	w.stop()
	last := int64(-1)
	for lost := range 3 {
		dir := t.TempDir()
		plan, err := MakePlan(t.Context(), b, "", nil)
		check(t, err)
		cfg := configured(t, b, dir)
		cfg.Now = func() time.Time { return now.Add(time.Duration(lost) * time.Minute) }
		_, err = Run(t.Context(), cfg, plan)
		check(t, err)
		store, err := local.Open(local.Options{Dir: dir, Node: 4})
		check(t, err)
		first, err := store.ProducerIDs(t.Context(), 1000)
		check(t, err)
		store.Close()
		if first <= last {
			t.Fatalf("producer ids from %d on, up to %d they were given out before", first, last)
		}
		last = first + 999
	}
}

// TestOnlyTheScheduleOfAPartitionCameUp: no ticket that it may hold is given out again, and whoever
// reads it is told that nothing of the log came back.
func TestOnlyTheScheduleOfAPartitionCameUp(t *testing.T) {
	b, dir := buckettest.New(), t.TempDir()
	w := newLost(t, b, "c1")
	w.tiered(orders, 1)
	w.sourceEnd = 5_000_000_000
	w.tiered(scheduleOfOrders, 0, plain("run"))
	w.stop()
	plan, err := MakePlan(t.Context(), b, "", nil)
	check(t, err)
	restored, err := Run(t.Context(), configured(t, b, dir), plan)
	check(t, err)
	const next = 5_000_001_000
	for _, p := range restored.Partitions {
		if p.Partition == 0 {
			equal(t, p, Partition{Topic: "orders", Next: next})
		}
	}
	plan, err = MakePlan(t.Context(), b, "", nil)
	check(t, err)
	equal(t, []any{plan.Topics[0].Name, plan.Topics[0].Config}, []any{orders.name, orders.config})
	equal(t, manifest(&plan.Topics[0].RemoteTopic, 0).Lost, []tier.OffsetRange{{From: 0, To: next}})
}

// The lost broker had not told the bucket of a change for every partition. A restore that was
// interrupted and is run again still knows which description of the topic is the newest.
func TestRestoreThatIsRunAgainKnowsTheNewestConfigs(t *testing.T) {
	b, dir := buckettest.New(), t.TempDir()
	w := newLost(t, b, "c1")
	before, older := now, orders
	older.config = map[string]string{"remote.storage.enable": "true", "retention.ms": "4"}
	w.tiered(older, 1)
	now = now.Add(time.Second)
	w.tiered(orders, 0)
	now = before
	w.stop()
	for range 2 {
		plan, err := MakePlan(t.Context(), b, "", nil)
		check(t, err)
		equal(t, plan.Topics[0].Config, orders.config)
		_, err = Run(t.Context(), configured(t, b, dir), plan)
		check(t, err)
		// As if it had been interrupted before the metadata was made.
		check(t, os.Remove(filepath.Join(dir, "meta.db")))
		check(t, os.WriteFile(filepath.Join(dir, markerName), fmt.Appendf(nil, `{"cluster":"c1","topics":["%s"]}`, orders.id), 0o600))
	}
}

// Where the last segment is missing, the restore stops and says so. It goes on if that is accepted.
func TestLastSegmentThatIsMissing(t *testing.T) {
	for _, c := range []struct {
		of            topic
		end, segments int64
	}{{orders, 3, 2}, {scheduleOfOrders, 4, 3}} {
		b, dir := ordersLost(t), t.TempDir()
		keys := b.Keys(fmt.Sprintf("c1/%s/0/", tier.TopicID(c.of.id)))
		keys = slices.DeleteFunc(keys, func(key string) bool { return !strings.HasSuffix(key, ".segment") })
		b.Take(keys[len(keys)-1])
		plan, err := MakePlan(t.Context(), b, "", nil)
		check(t, err)
		cfg := configured(t, b, dir)
		if _, err := Run(t.Context(), cfg, plan); !errors.Is(err, tier.ErrLastSegment) || !strings.Contains(err.Error(), "restore orders-0: ") {
			t.Fatalf("%s: %v", c.of.name, err)
		}
		plan, err = MakePlan(t.Context(), b, "", nil)
		check(t, err)
		cfg.AcceptLoss = true
		restored, err := Run(t.Context(), cfg, plan)
		check(t, err)
		for _, p := range restored.Partitions {
			if want := int64(1 - min(p.Partition, 1)); int64(p.GivenUp) != want || p.Partition == 0 && (p.End != c.end || int64(p.Segments) != c.segments) {
				t.Errorf("%s: %+v", c.of.name, p)
			}
		}
		check(t, CheckFinished(vfs.OS{}, dir))
	}
}

// A transaction that was open when the last confirmed segment ended has lost its coordinator. It is
// aborted, once, or readers of committed records would wait for ever.
func TestOpenTransactionsAreAborted(t *testing.T) {
	b, dir := buckettest.New(), t.TempDir()
	w := newLost(t, b, "c1")
	one := orders
	one.count = 1
	w.tiered(one, 0, plain("a"), build(record.Transactional, 77, 0, "b"), plain("c"))
	w.stop()
	plan, err := MakePlan(t.Context(), b, "", nil)
	check(t, err)
	cfg := configured(t, b, dir)
	restored, err := Run(t.Context(), cfg, plan)
	done := restored.Partitions
	check(t, err)
	equal(t, done, []Partition{{Topic: "orders", End: 3, Next: 1005, Segments: 3, Bytes: done[0].Bytes, Aborted: 1}})
	for range 2 {
		logs, err := log.Open(log.SetConfig{FS: vfs.OS{}, Dir: filepath.Join(dir, "logs"), Now: func() time.Time { return now }, JournalMaxBytes: -1})
		check(t, err)
		l, err := logs.OpenLog(log.ID{Topic: one.id}, log.Options{Config: log.DefaultConfig()})
		check(t, err)
		l.AdvanceHighWatermark(l.Offsets().SyncedEnd)
		aborted, err := l.Aborted(0, 1<<40)
		check(t, err)
		equal(t, aborted, []log.AbortedTxn{{ProducerID: 77, FirstOffset: 1, LastOffset: 1004, LastStable: 1005}})
		equal(t, l.Offsets().RealLastStable, int64(1005))
		check(t, logs.Close())
		// As if it had been interrupted before the metadata was made.
		check(t, os.Remove(filepath.Join(dir, "meta.db")))
		check(t, os.WriteFile(filepath.Join(dir, markerName), fmt.Appendf(nil, `{"cluster":"c1","topics":["%s"]}`, one.id), 0o600))
		restored, err = Run(t.Context(), cfg, plan)
		done = restored.Partitions
		check(t, err)
		equal(t, done[0].Aborted, 0)
	}
}

// Every single request to the bucket and operation on the disk fails, once. The directory says that
// it is not ready, and the restore that is run again goes on. (Scenario 55)
func TestInterruptedRestoreIsRunAgain(t *testing.T) {
	for _, c := range []struct {
		name string
		harm func(b *buckettest.Bucket, f *vfs.Fault, n int) (fired func() bool)
	}{
		{"a request is refused", func(b *buckettest.Bucket, _ *vfs.Fault, n int) func() bool {
			// Several in a row: reads and the claim of the owner are tried again.
			r := b.Add(buckettest.Rule{After: n, Times: 4, Fault: buckettest.Refuse, Err: bucket.ErrDenied})
			return func() bool { return b.Fired(r) > 0 }
		}},
		{"an answer is lost", func(b *buckettest.Bucket, _ *vfs.Fault, n int) func() bool {
			r := b.Add(buckettest.Rule{After: n, Times: 4, Fault: buckettest.LoseReply})
			return func() bool { return b.Fired(r) > 0 }
		}},
		{"a disk operation fails", func(_ *buckettest.Bucket, f *vfs.Fault, n int) func() bool {
			r := f.Add(vfs.Rule{After: n})
			return func() bool { return f.Fired(r) > 0 }
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // each waits for the disk
			failures := 0
			for n, fired := 0, true; fired && !t.Failed(); n++ {
				b, dir := ordersLost(t), t.TempDir()
				plan, err := MakePlan(t.Context(), b, "c1", nil)
				check(t, err)
				cfg := configured(t, b, dir)
				fault := vfs.NewFault(vfs.OS{})
				cfg.FS = fault
				happened := c.harm(b, fault, n)
				_, err = Run(t.Context(), cfg, plan)
				fired = happened()
				b.Heal()
				if err != nil {
					failures++
					cfg.FS = vfs.OS{}
					if plan, err = MakePlan(t.Context(), b, "c1", nil); err == nil {
						_, err = Run(t.Context(), cfg, plan)
					}
					if err != nil && !strings.Contains(err.Error(), "is not empty") { // only the last sync failed
						t.Fatalf("again, after failure %d: %v", n, err)
					}
				}
				restoredOrders(t, dir, 1)
			}
			if failures < 5 {
				t.Errorf("only %d runs failed", failures)
			}
		})
	}
}

func TestHalfRestoredDirectoryIsRefused(t *testing.T) {
	b, dir := ordersLost(t), t.TempDir()
	plan, err := MakePlan(t.Context(), b, "", nil)
	check(t, err)
	cfg := configured(t, b, dir)
	b.Add(buckettest.Rule{Key: "/manifest", Ops: buckettest.OpPut, Fault: buckettest.Refuse, Err: bucket.ErrDenied, Times: buckettest.Forever})
	if _, err := Run(t.Context(), cfg, plan); !errors.Is(err, bucket.ErrDenied) {
		t.Fatal(err)
	}
	b.Heal()
	var unfinished *UnfinishedError
	if err := CheckFinished(vfs.OS{}, dir); !errors.As(err, &unfinished) || unfinished.Dir != dir {
		t.Fatal(err)
	}
	other := plan
	other.Topics = nil
	if _, err := Run(t.Context(), cfg, other); err == nil || !strings.Contains(err.Error(), "was begun in "+dir+": go on with these") {
		t.Fatal(err)
	}
	_, err = Run(t.Context(), cfg, plan)
	check(t, err)
	restoredOrders(t, dir, 1)
}

// While another broker gives signs of life, nothing is touched. (Scenario 56)
func TestRestoreIsRefusedWhileAnotherBrokerOwnsTheBucket(t *testing.T) {
	b, dir := ordersLost(t), t.TempDir()
	other := tier.Claimant{Bucket: b, Cluster: "c1", Installation: &tier.Installation{ID: "other"}, Name: "broker 9"}
	_, err := other.Claim(t.Context(), time.Now().UnixMilli(), true)
	check(t, err)
	plan, err := MakePlan(t.Context(), b, "", nil)
	check(t, err)
	cfg := configured(t, b, dir)
	cfg.TakeOver = false
	before := fmt.Sprint(b.Keys(""))
	var owned *tier.OwnedError
	if _, err := Run(t.Context(), cfg, plan); !errors.As(err, &owned) || owned.Owner.Name != "broker 9" {
		t.Fatal(err)
	}
	m, err := tier.ReadManifest(t.Context(), b, "c1", tier.TopicID(orders.id), 0)
	check(t, err)
	equal(t, []any{m.Epoch, fmt.Sprint(b.Keys(""))}, []any{int32(7), before})
	cfg.TakeOver = true
	_, err = Run(t.Context(), cfg, plan)
	check(t, err)
	restoredOrders(t, dir, 0)
	if owner, _, err := tier.ReadOwner(t.Context(), b, "c1"); err != nil || owner.Name != t.Name() {
		t.Fatalf("%+v, %v", owner, err)
	}
}
