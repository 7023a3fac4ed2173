package partition

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/cluster/config"
	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log"
)

func TestTableFollowsTheMetadata(t *testing.T) {
	w := newWorld(t)
	topic := w.create("orders", 1)
	p := w.partition("orders")
	if w.directories() != "__schedule.orders-0 orders-0" {
		t.Errorf("on disk are %s", w.directories())
	}
	if _, err := w.table.Get(topic.ID, 1); !errors.Is(err, ErrNotHere) {
		t.Errorf("partition that is not: %v", err)
	}

	w.store.must(cluster.CreatePartitions{Topics: []cluster.Growth{{Name: "orders", Count: 3}}})
	w.follow()
	if _, err := w.table.Get(topic.ID, 2); err != nil {
		t.Errorf("partition of a topic that grew: %v", err)
	}

	w.store.must(cluster.SetTopicConfig{Topic: "orders", Edit: cluster.ConfigEdit{Replace: config.Values{"max.message.bytes": "100"}}})
	w.elect(topic.ID)
	w.follow()
	if now := w.partition("orders"); now != p || p.Topic().Config.MaxMessageBytes != 100 || p.CheckLeaderEpoch(1) != nil {
		t.Errorf("partition was not told: %d bytes", p.Topic().Config.MaxMessageBytes)
	}

	w.store.must(cluster.SetBrokerConfig{Broker: cluster.AllBrokers, Edit: cluster.ConfigEdit{Replace: config.Values{"log.retention.ms": "77"}}})
	w.follow()
	if got := p.log.Config().RetentionMs; got != 77 {
		t.Errorf("retention is %d ms, expected the broker's new default", got)
	}
	if len(w.opened) != 6 || len(w.closed) != 0 {
		t.Errorf("opened %v, closed %v", w.opened, w.closed)
	}
}

func TestTableHoldsOnlyWhatIsAssignedHere(t *testing.T) {
	w := newWorld(t)
	w.store.must(cluster.RegisterBroker{Broker: cluster.Broker{ID: 2}})
	w.store.must(cluster.CreateTopics{Topics: []cluster.NewTopic{{Name: "orders", Partitions: -1, ReplicationFactor: -1, Assignment: map[int32][]int32{0: {2}, 1: {self}}}}})
	w.follow()
	if w.directories() != "__schedule.orders-1 orders-1" {
		t.Errorf("on disk are %s", w.directories())
	}
	if _, err := w.table.Get(w.topic("orders").ID, 0); !errors.Is(err, ErrNotHere) {
		t.Errorf("another broker's: %v", err)
	}
}

func TestTableWaitVersion(t *testing.T) {
	living(t, func(t *testing.T, w *world) {
		w.start()
		began := time.Now()
		w.store.must(cluster.CreateTopics{Topics: []cluster.NewTopic{{Name: "orders", Partitions: 1, ReplicationFactor: 1}}})
		if err := w.table.WaitVersion(t.Context(), w.store.Image().Version()); err != nil || time.Since(began) > 0 {
			t.Errorf("waited %s, %v", time.Since(began), err)
		}
		w.partition("orders")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := w.table.WaitVersion(ctx, w.store.Image().Version()+1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("version that never comes: %v", err)
		}
	})
}

func TestTableGoesOnWithoutAPartitionThatIsDamaged(t *testing.T) {
	w := newWorld(t)
	bad := w.create("bad", 1)
	w.create("good", 1)
	w.append(w.partition("bad"), plain("a"))
	w.append(w.partition("good"), plain("b"))
	w.commit()
	if err := w.logs.Close(); err != nil {
		t.Fatal(err)
	}
	for _, slot := range []string{"facts-0", "facts-1"} {
		if err := w.fsys.Remove("/logs/" + log.ID{Topic: bad.ID}.String() + "/" + slot); err != nil {
			t.Fatal(err)
		}
	}
	w.restart(w.mem)
	if _, err := w.table.Get(bad.ID, 0); !errors.Is(err, ErrOffline) {
		t.Errorf("damaged partition: %v", err)
	}
	offline := w.table.Offline()
	if len(offline) != 1 || offline["bad-0"] == nil {
		t.Errorf("offline are %v", offline)
	}
	w.wantContent(w.partition("good"), "0:b")

	w.store.must(cluster.DeleteTopics{IDs: []cluster.TopicID{bad.ID}})
	w.follow()
	w.table.clean(t.Context())
	if len(w.table.Offline()) != 0 || w.directories() != "__schedule.good-0 good-0" {
		t.Errorf("after the topic was deleted %v are offline, and on disk are %s", w.table.Offline(), w.directories())
	}
}

func TestTableRemovesADeletedTopic(t *testing.T) {
	w := newWorld(t)
	topic := w.create("orders", 2)
	w.load()
	p := w.partition("orders")
	w.append(p, plain("a"), delayed("b", "1h"))
	wake := make(chan struct{}, 1)
	p.Subscribe(wake)
	w.refuseDeletion = errors.New("bucket is down")
	w.store.must(cluster.DeleteTopics{IDs: []cluster.TopicID{topic.ID}})
	w.follow()
	if _, err := w.table.Get(topic.ID, 0); !errors.Is(err, ErrNotHere) {
		t.Errorf("deleted partition: %v", err)
	}
	if slices.Sort(w.closed); !slices.Equal(w.closed, []string{"__schedule.orders-0", "__schedule.orders-1", "orders-0", "orders-1"}) {
		t.Errorf("closed are %v", w.closed)
	}
	again := w.create("orders", 1) // before the old one is wholly gone
	w.table.clean(t.Context())
	<-wake
	if _, err := p.Append(t.Context(), batch(epoch, plain("c")), nil, epoch); !errors.Is(err, log.ErrClosed) {
		t.Errorf("append to what is gone: %v", err)
	}
	if got := w.store.Image().Deletions(); len(got) != 2 {
		t.Errorf("%d deletions are left, although not all is gone", len(got))
	}
	w.refuseDeletion = nil
	w.table.clean(t.Context())
	if got := w.store.Image().Deletions(); len(got) != 0 {
		t.Errorf("%d deletions are left", len(got))
	}
	if w.directories() != "__schedule.orders-0 orders-0" || again.ID == topic.ID {
		t.Errorf("on disk are %s", w.directories())
	}
	w.load()
	w.wantContent(w.partition("orders"))
	if s := w.stats(w.partition("orders")); s.Pending != 0 {
		t.Errorf("the new topic has %d pending", s.Pending)
	}
}

// TestDeletedTopicLeavesNothingWhateverFails fails every file operation of a deletion in turn,
// crashes, and looks at what a restart makes of it (P5).
func TestDeletedTopicLeavesNothingWhateverFails(t *testing.T) {
	for n, failed := 0, true; failed; n++ {
		if n > 500 {
			t.Fatal("there is no end to it")
		}
		mem := vfs.NewMem()
		fault := vfs.NewFault(mem)
		w := &world{TB: t, fsys: fault, mem: mem, store: newMemStore(), clock: func() time.Time { return epoch }, lines: &syncBuffer{}}
		w.open()
		old := w.create("orders", 2)
		w.load()
		w.append(w.partition("orders"), plain("a"), delayed("b", "1h"))
		w.commit()

		rule := fault.Add(vfs.Rule{After: n})
		w.store.must(cluster.DeleteTopics{IDs: []cluster.TopicID{old.ID}})
		w.store.must(cluster.CreateTopics{Topics: []cluster.NewTopic{{Name: "orders", Partitions: 1, ReplicationFactor: 1}}})
		w.table.follow(t.Context())
		w.table.clean(t.Context())
		failed = fault.Fired(rule) > 0

		for name, left := range map[string]*vfs.Mem{"process": mem.CrashProcess(), "machine": mem.Crash(nil)} {
			after := &world{TB: t, store: &memStore{}, clock: w.clock, lines: &syncBuffer{}}
			after.store.Publish(w.store.Image())
			after.restart(left)
			after.table.clean(t.Context())
			if got := after.directories(); got != "__schedule.orders-0 orders-0" {
				t.Errorf("operation %d failed, then the %s crashed: on disk are %s", n, name, got)
			}
			if offline := after.table.Offline(); len(offline) > 0 {
				t.Errorf("operation %d failed, then the %s crashed: offline are %v", n, name, offline)
			}
			after.wantContent(after.partition("orders"))
			if len(after.store.Image().Deletions()) > 0 {
				t.Errorf("operation %d failed, then the %s crashed: deletions are left", n, name)
			}
		}
	}
}

func TestTableLoadsInTheBackground(t *testing.T) {
	living(t, func(t *testing.T, w *world) {
		stop := w.start()
		for _, name := range strings.Fields("a b c d e") {
			w.store.must(cluster.CreateTopics{Topics: []cluster.NewTopic{{Name: name, Partitions: 2, ReplicationFactor: 1}}})
		}
		time.Sleep(time.Second)
		loaded := 0
		for p := range w.table.All {
			if p.loaded.Load() {
				loaded++
			}
		}
		if loaded != 10 {
			t.Errorf("%d schedules are loaded, expected 10", loaded)
		}
		stop()
		if _, err := w.table.Usage(); err != nil {
			t.Error(err)
		}
	})
}

// Configs are checked before they are stored, so those that cannot be used come from another
// version. They count as not set.
func TestConfigsThatCannotBeUsed(t *testing.T) {
	w := newWorld(t)
	bad := config.Values{"delay.max.ms": "0", "delay.default.ms": "-1", "delay.levels": "soon", "delay.dialects": "none", "delay.max.pending": "-2", "max.message.bytes": "-1"}
	good := w.create("orders", 1)
	w.append(w.partition("orders"), plain("a"))
	w.commit()
	damaged := *good
	damaged.Config = bad
	w.store.Publish(w.store.Image().With(cluster.Change{Topics: []*cluster.Topic{&damaged}, ClusterConfig: &bad}))
	w.follow()
	if err := w.logs.Close(); err != nil {
		t.Fatal(err)
	}
	w.restart(w.mem)
	w.append(w.partition("orders"), delayed("b", "364d"))
	w.wantContent(w.partition("orders"), "0:a", "1h:b")
}

// What is accepted one by one can be used together.
func TestConfigsAtTheirLimits(t *testing.T) {
	w := newWorld(t)
	for i, configs := range [][]string{
		{"delay.max.ms", "1", "delay.levels", "100d 1ms"},
		{"delay.max.ms", "9223372036854775807", "delay.default.ms", "9223372036854775807"},
		{"delay.max.pending", "0", "delay.dialects", "rabbitmq,morrow,rocketmq"},
		{"delay.enable", "false", "max.message.bytes", "0"},
	} {
		w.create("orders"+strconv.Itoa(i), 1, configs...)
	}
	if offline := w.table.Offline(); len(offline) > 0 {
		t.Errorf("offline are %v", offline)
	}
}

// TestTopicCreatedOnAFullDiskComesUpWithRoom: nothing of it is damaged, so no restart is needed.
func TestTopicCreatedOnAFullDiskComesUpWithRoom(t *testing.T) {
	living(t, func(t *testing.T, w *world) {
		w.create("other", 1)
		w.Cleanup(w.start())
		usage, err := w.fsys.Usage("/")
		if err != nil {
			t.Fatal(err)
		}
		w.mem.SetCapacity(usage.Total - usage.Free)
		w.store.must(cluster.CreateTopics{Topics: []cluster.NewTopic{{Name: "orders", Partitions: 2, ReplicationFactor: 1}}})
		topic, _ := w.store.Image().Topic("orders")
		time.Sleep(5 * time.Minute)
		if _, err := w.table.Get(topic.ID, 1); !errors.Is(err, ErrOffline) {
			t.Errorf("on a full disk: %v", err)
		}
		if n := strings.Count(w.lines.String(), "offline until the disk has room"); n != 4 { // each with its schedule
			t.Errorf("it is said %d times", n)
		}
		w.mem.SetCapacity(0)
		time.Sleep(maxReopenWait + time.Second)
		w.awaitLoaded("orders")
		for n := range int32(2) {
			p, err := w.table.Get(topic.ID, n)
			if err != nil {
				t.Fatal(err)
			}
			w.append(p, plain("a"), delayed("b", "1m"))
			time.Sleep(2 * time.Minute)
			if s := w.stats(p); s.Delivered != 1 {
				t.Errorf("delivered %d", s.Delivered)
			}
		}
		if offline := w.table.Offline(); len(offline) > 0 {
			t.Errorf("offline are %v", offline)
		}
	})
}
