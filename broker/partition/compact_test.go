package partition

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/cluster/config"
	"github.com/morrowmq/morrow/delay"
	"github.com/morrowmq/morrow/internal/pace"
	"github.com/morrowmq/morrow/log/segment"
	"github.com/morrowmq/morrow/tier/bucket/buckettest"
)

func keyed(key, value string) rec { return rec{key: key, value: value} }

// later is a delayed record with a key.
func later(key, value, by string) rec {
	return rec{key: key, value: value, headers: []string{delay.HeaderDelay, by}}
}

// clean compacts a partition, due or not.
func (w *world) clean(p *Partition) {
	w.Helper()
	w.commit()
	p.clean(context.Background(), w.store.Image().BrokerConfig(), pace.NewLimiter(0))
}

func TestPendingRecordsSurviveCompaction(t *testing.T) {
	w := newWorld(t)
	now := epoch
	w.clock = func() time.Time { return now }
	w.open()
	w.create("orders", 1, "cleanup.policy", "compact")
	w.load()
	p := w.partition("orders")
	w.rolled(p, keyed("a", "1"))
	w.rolled(p, later("a", "due", "1h"))
	w.rolled(p, keyed("a", "2"))
	w.clean(p)
	w.wantContent(p, "1h:due", "2:2")
	if got := w.stats(p).Pending; got != 1 {
		t.Errorf("%d records are pending", got)
	}
	w.restart(w.mem.CrashProcess())
	p = w.partition("orders")
	w.rolled(p, keyed("a", "3"))
	w.clean(p)
	w.wantContent(p, "1h:due", "3:3")
}

// TestDeliveredRecordsAreCompacted delivers a record, and a tombstone, late, and compacts before
// and after, with the whole broker at work.
func TestDeliveredRecordsAreCompacted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.clock = time.Now
		w.open()
		w.create("orders", 1, "cleanup.policy", "compact", "min.cleanable.dirty.ratio", "0.01", "segment.ms", "60000", "delete.retention.ms", "600000")
		w.start()
		p := w.partition("orders")
		w.append(p, keyed("a", "1"), keyed("b", "1"))
		w.append(p, later("a", "2", "10m"))
		w.append(p, rec{key: "b", null: true, headers: []string{delay.HeaderDelay, "10m"}})
		sleepMinutes(5)
		w.append(p, keyed("a", "between"))
		sleepMinutes(3)
		if got := w.visible(p, 0); !slices.Equal(got, []string{"1:1", "4:between"}) {
			t.Errorf("before anything is due there is %v", got)
		}
		sleepMinutes(5)
		w.append(p, keyed("c", "1"))
		sleepMinutes(5)
		w.append(p, keyed("c", "2"))
		sleepMinutes(20)
		// The delivery of a is later than what was written between; the hidden ones are not needed any more.
		got := w.content(p)
		for _, r := range got {
			if strings.Contains(r, "h:") || strings.HasSuffix(r, ":between") || strings.HasSuffix(r, ":1") {
				t.Errorf("log holds %v", got)
				break
			}
		}
		if !slices.Contains(got, "5d:2") {
			t.Errorf("log holds %v, and a should be 2", got)
		}
	})
}

// TestPendingRecordMakesWayForTheCleaner delivers much, next to a record that is due in a year.
func TestPendingRecordMakesWayForTheCleaner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.clock = time.Now
		w.open()
		w.create("orders", 1, "cleanup.policy", "compact", "segment.ms", "60000", "delay.max.ms", "100000000000")
		stop := w.start()
		p := w.partition("orders")
		ticket := w.append(p, later("z", "far", "365d"))
		for n := range 30 {
			w.append(p, later("a", fmt.Sprint(n, strings.Repeat("x", 100<<10)), "1m"))
			sleepMinutes(2)
		}
		w.append(p, keyed("b", "1"))
		sleepMinutes(10)
		w.append(p, keyed("b", "2"))
		sleepMinutes(10)
		if size := p.log.Size(); size > 1500<<10 {
			t.Errorf("%d bytes are left", size)
		}
		stop()
		w.restart(w.mem.CrashProcess())
		p = w.partition("orders")
		if found, err := p.FindScheduled(t.Context(), ticket); err != nil {
			t.Errorf("the far one: %+v, %v", found, err)
		}
		if got := w.stats(p).Pending; got != 1 {
			t.Errorf("%d records are pending", got)
		}
	})
}

func TestCancelOfACompactedTicketSaysThatItIsGone(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1, "cleanup.policy", "compact")
	w.load()
	p := w.partition("orders")
	pending, err := p.Append(t.Context(), sequenced(batch(epoch, later("a", "1", "1h")), 0), nil, epoch)
	if err != nil {
		t.Fatal(err)
	}
	w.rolled(p, rec{key: "c", headers: []string{delay.HeaderCancel, fmt.Sprint(pending.BaseOffset)}})
	w.commit()
	w.clean(p)
	w.wantContent(p) // its header is all that remains, for its producer
	if _, duplicate, err := p.log.CheckProducer(5, 0, 0, 0); err != nil || !duplicate {
		t.Errorf("the producer's batch is not known any more: %v", err)
	}
	if _, err := p.FindScheduled(t.Context(), pending.BaseOffset); !errors.Is(err, delay.ErrNotPending) || !strings.Contains(err.Error(), "no longer in the log") {
		t.Errorf("look-up answers %v", err)
	}
}

// TestCompactedTopicCanBeTiered has a topic that was compacted, with a hole between two segments,
// tiered instead; and compacted again once the tier has nothing of it any more.
func TestCompactedTopicCanBeTiered(t *testing.T) {
	living(t, func(t *testing.T, w *world) {
		w.bucket = buckettest.New()
		w.open()
		w.create("state", 1, "cleanup.policy", "compact", "segment.bytes", "1024")
		w.load()
		p := w.partition("state")
		value := strings.Repeat("x", 300)
		w.append(p, keyed("a", "1"), keyed("z", value))
		w.rolled(p, keyed("b", "1"))
		w.append(p, keyed("b", "2"), keyed("y", value))
		w.rolled(p, keyed("x", value))
		w.clean(p)
		segments := p.log.Segments()
		if segments[0].End >= segments[1].Base {
			t.Fatalf("segments are %+v: the test is void", segments)
		}
		w.store.must(cluster.SetTopicConfig{Topic: "state", Edit: cluster.ConfigEdit{Replace: config.Values{
			"cleanup.policy": "delete", "remote.storage.enable": "true", "local.retention.ms": "1", "retention.ms": "-1",
		}}})
		w.follow()
		w.start()
		sleepMinutes(30)
		if o := p.log.Offsets(); o.LocalStart != 6 {
			t.Errorf("local part begins at %d", o.LocalStart)
		}
		r, err := p.ReadRemote(t.Context(), ReadRequest{Offset: 2, MaxBytes: 1, MinOne: true, LeaderEpoch: -1, LastFetchedEpoch: -1})
		if err != nil {
			t.Fatal(err)
		}
		if got := w.values(r); len(got) == 0 || got[0] != "3:2" {
			t.Errorf("behind the hole is %v", got)
		}
		r.Release()
		if !p.inTier() {
			t.Error("it could be compacted, and the tier has what lies below 6")
		}
		w.store.must(cluster.SetTopicConfig{Topic: "state", Edit: cluster.ConfigEdit{Replace: config.Values{
			"cleanup.policy": "compact", "remote.log.delete.on.disable": "true", "min.cleanable.dirty.ratio": "0",
		}}})
		sleepMinutes(30)
		w.rolled(p, keyed("a", "2"))
		sleepMinutes(5)
		if end, _ := p.log.Cleaned(); end < 7 {
			t.Errorf("cleaned up to %d once nothing is left in the tier: %+v", end, p.log.Offsets())
		}
	})
}

// TestTopicThatHasLeftTheTierIsCompacted, all of it, although it was confirmed there and is still
// here: also if it had left before the broker was started.
func TestTopicThatHasLeftTheTierIsCompacted(t *testing.T) {
	for _, crash := range []bool{false, true} {
		t.Run(fmt.Sprintf("crash=%t", crash), func(t *testing.T) {
			living(t, func(t *testing.T, w *world) {
				w.bucket = buckettest.New()
				w.open()
				w.create("state", 1, "remote.storage.enable", "true", "retention.ms", "-1")
				stop := w.start()
				p := w.partition("state")
				for range 3 {
					w.rolled(p, keyed("a", "1"))
				}
				sleepMinutes(30)
				if o := p.log.Offsets(); o.DeleteBound != 3 || o.LocalStart != 0 {
					t.Fatalf("offsets are %+v: the test is void", o)
				}
				without := config.Values{"retention.ms": "-1", "remote.log.delete.on.disable": "true", "min.cleanable.dirty.ratio": "0"}
				alter := func() {
					w.store.must(cluster.SetTopicConfig{Topic: "state", Edit: cluster.ConfigEdit{Replace: without}})
					sleepMinutes(30)
				}
				if crash {
					alter()
					w.crash(stop, 0)
					p = w.partition("state")
				}
				without["cleanup.policy"] = "compact"
				alter()
				if end, _ := p.log.Cleaned(); end != 3 {
					t.Errorf("cleaned up to %d once nothing is left in the tier: %+v", end, p.log.Offsets())
				}
				r, err := p.Read(ReadRequest{Offset: 0, MaxBytes: 1, MinOne: true, LeaderEpoch: -1, LastFetchedEpoch: -1})
				if err != nil {
					t.Fatalf("where compaction has left a hole: %v", err)
				}
				if got := w.values(r); !slices.Equal(got, []string{"2:1"}) {
					t.Errorf("read %v", got)
				}
				r.Release()
			})
		})
	}
}

// TestTopicThatHasLeftTheTierIsRemembered by what the tier wrote down: the store was down when it
// left, and nothing had been evicted yet when the broker died.
func TestTopicThatHasLeftTheTierIsRemembered(t *testing.T) {
	living(t, func(t *testing.T, w *world) {
		w.bucket = buckettest.New()
		w.open()
		w.create("orders", 1, "remote.storage.enable", "true", "retention.ms", "-1")
		stop := w.start()
		p := w.partition("orders")
		w.rolled(p, plain("a"))
		time.Sleep(time.Minute)
		if o := p.log.Offsets(); o.DeleteBound >= 0 || p.confirmed() != 1 {
			t.Fatalf("offsets are %+v, the tier has it up to %d: the test is void", o, p.confirmed())
		}
		w.bucket.Add(buckettest.Rule{Times: buckettest.Forever, Fault: buckettest.Refuse})
		without := config.Values{"retention.ms": "-1", "remote.log.delete.on.disable": "true"}
		w.store.must(cluster.SetTopicConfig{Topic: "orders", Edit: cluster.ConfigEdit{Replace: without}})
		time.Sleep(time.Minute)
		w.crash(stop, 0)
		w.bucket.Heal()
		time.Sleep(time.Hour)
		if remote := w.partition("orders").remote.Load(); remote == nil || !remote.Empty() {
			t.Error("something is left in the tier")
		}
	})
}

func TestDirtiestPartitionIsCleanedFirst(t *testing.T) {
	w := newWorld(t)
	w.create("clean", 1)
	w.create("little", 1, "cleanup.policy", "compact", "min.cleanable.dirty.ratio", "0")
	w.create("more", 1, "cleanup.policy", "compact")
	w.load()
	for _, name := range []string{"clean", "little", "more"} {
		w.rolled(w.partition(name), keyed("a", "1"))
	}
	w.clean(w.partition("little"))
	w.rolled(w.partition("little"), keyed("a", "2"))
	w.commit()
	limits := w.store.Image().BrokerConfig()
	for _, want := range []string{"more-0", "little-0"} {
		if p := w.table.dirtiest(limits); p == nil || p.String() != want {
			t.Errorf("next is %v, expected %s", p, want)
		}
	}
	if p := w.table.dirtiest(limits); p != nil {
		t.Errorf("next is %v, and all are being cleaned", p)
	}
}

// slowly compacts at 1 MiB a second, in the background.
func (w *world) slowly(p *Partition) (done chan struct{}) {
	done = make(chan struct{})
	go func() {
		defer close(done)
		p.clean(context.Background(), w.store.Image().BrokerConfig(), pace.NewLimiter(1<<20))
	}()
	return done
}

// underCleaning is a partition of the topic state of which half was read to be cleaned, of eleven
// records.
func (w *world) underCleaning() (p *Partition, done chan struct{}) {
	w.create("state", 1, "cleanup.policy", "compact")
	w.load()
	p = w.partition("state")
	for range 10 {
		w.append(p, keyed("a", strings.Repeat("x", 1<<20-1000)))
	}
	w.rolled(p, keyed("end", "1"))
	w.commit()
	done = w.slowly(p)
	time.Sleep(5 * time.Second)
	return p, done
}

func TestCleanerKeepsToItsRate(t *testing.T) {
	living(t, func(t *testing.T, w *world) {
		w.create("state", 1, "cleanup.policy", "compact")
		w.load()
		p := w.partition("state")
		for n := range 10 {
			w.append(p, keyed(fmt.Sprint(n%5), strings.Repeat("x", 1<<20-1000)))
		}
		w.rolled(p, keyed("end", "1"))
		w.commit()
		began := time.Now()
		<-w.slowly(p)
		// 10 MiB are read twice, and 5 written, less what may be done at once.
		if took := time.Since(began); took < 20*time.Second || took > 30*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

func TestTopicIsDeletedWhileItIsCleaned(t *testing.T) {
	living(t, func(t *testing.T, w *world) {
		_, done := w.underCleaning()
		w.store.must(cluster.DeleteTopics{IDs: []cluster.TopicID{w.topic("state").ID}})
		w.follow()
		w.table.clean(t.Context())
		<-done
		if left := w.directories(); left != "" {
			t.Errorf("there is still %s", left)
		}
		if got := w.lines.buf.String(); strings.Contains(got, "ERROR") {
			t.Errorf("it was taken for an error: %s", got)
		}
	})
}

// TestCleaningEndsWithThePolicy: what is cleaned on while the topic goes to the tier would lose a
// tombstone here and keep there what that has deleted.
func TestCleaningEndsWithThePolicy(t *testing.T) {
	living(t, func(t *testing.T, w *world) {
		p, done := w.underCleaning()
		w.store.must(cluster.SetTopicConfig{Topic: "state", Edit: cluster.ConfigEdit{Replace: config.Values{"cleanup.policy": "delete"}}})
		w.follow()
		<-done
		if n := len(w.content(p)); n != 11 {
			t.Errorf("%d of 11 records are left", n)
		}
		if err := p.cleaner.failure.Load(); err != nil || strings.Contains(w.lines.buf.String(), "ERROR") {
			t.Errorf("it was taken for an error: %s", w.lines.buf.String())
		}
	})
}

func TestUnreadablePartitionIsNotCleanedAnyMore(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 2, "cleanup.policy", "compact")
	w.load()
	p := w.partition("orders")
	w.rolled(p, keyed("a", "1"))
	w.commit()
	f, err := w.fsys.Open(fmt.Sprintf("/logs/%s/%s", p.log.ID(), segment.FileName(0, segment.LogSuffix)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{0xff}, 65); err != nil {
		t.Fatal(err)
	}
	w.clean(p)
	if c, _ := p.Compaction(); c.Uncleanable == nil || c.DirtyRatio != 1 || !c.CleanedAt.IsZero() {
		t.Errorf("partition stands at %+v", c)
	}
	if p := w.table.dirtiest(w.store.Image().BrokerConfig()); p != nil {
		t.Errorf("%s is to be cleaned again", p)
	}
	if !strings.Contains(w.lines.buf.String(), "is not cleaned any more") {
		t.Error("nothing is said about it")
	}
	other, err := w.table.Get(w.topic("orders").ID, 1)
	if err != nil {
		t.Fatal(err)
	}
	w.rolled(other, keyed("a", "1"))
	w.clean(other)
	if c, _ := other.Compaction(); c.Uncleanable != nil || c.DirtyRatio != 0 || !c.CleanedAt.Equal(epoch) {
		t.Errorf("the other one stands at %+v", c)
	}
}

// TestCompactionThatFailsIsTriedLessAndLess fills the disk so that nothing can be cleaned, for want
// of the room that would free some.
func TestCompactionThatFailsIsTriedLessAndLess(t *testing.T) {
	w := newWorld(t)
	now := epoch
	w.clock = func() time.Time { return now }
	w.reserve = 1 << 20
	w.open()
	w.create("orders", 1, "cleanup.policy", "compact")
	w.load()
	p := w.partition("orders")
	for _, key := range []string{"a", "a", "b"} {
		w.rolled(p, keyed(key, strings.Repeat("x", 1<<19)))
	}
	w.commit()
	usage, err := w.fsys.Usage("/")
	if err != nil {
		t.Fatal(err)
	}
	w.mem.SetCapacity(usage.Total - usage.Free + w.reserve/2)
	w.logs.Keep(now)
	limits := w.store.Image().BrokerConfig()
	for n, wait := range []time.Duration{15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 5 * time.Minute, 5 * time.Minute} {
		if next := w.table.dirtiest(limits); next != p {
			t.Fatalf("next is %v at try %d", next, n+1)
		}
		p.clean(context.Background(), limits, pace.NewLimiter(0))
		if c, _ := p.Compaction(); c.Failures != int64(n+1) || c.Uncleanable != nil {
			t.Fatalf("after try %d it stands at %+v", n+1, c)
		}
		now = now.Add(wait - time.Millisecond)
		if next := w.table.dirtiest(limits); next != nil {
			t.Fatalf("%v is tried again early, after %d tries", next, n+1)
		}
		now = now.Add(time.Millisecond)
	}
	if n := strings.Count(w.lines.buf.String(), "log could not be cleaned"); n != 3 {
		t.Errorf("it was told %d times of 7", n)
	}
	w.mem.SetCapacity(0)
	w.logs.Keep(now)
	w.clean(p)
	if c, _ := p.Compaction(); c.Failures != 0 || c.DirtyRatio != 0 {
		t.Errorf("cleaned, it stands at %+v", c)
	}
}
