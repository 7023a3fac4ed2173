package api

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/protocol"
)

func TestFetchServesBatchesInEveryVersion(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 2)
	w.create("audit", 1)
	c := w.connect()
	c.produce("orders", values("a", "b")...)
	c.produce("orders", values("c")...)
	c.produce("audit", values("x")...)
	for v := int16(4); v <= 18; v++ {
		req := w.fetchOf(0, place{"orders", 0, 1}, place{"orders", 1, 0}, place{"audit", 0, 0})
		resp := ask[*kmsg.FetchResponse](c, v, req)
		ps := partitionsOf(resp)
		if len(resp.Topics) != 2 || len(ps) != 3 {
			t.Fatalf("version %d answers %+v", v, resp)
		}
		wantRecords(t, ps[0], "0:a", "1:b", "2:c") // whole batches, as in Kafka
		wantRecords(t, ps[1])
		wantRecords(t, ps[2], "0:x")
		if ps[0].HighWatermark != 3 || ps[0].LastStableOffset != 3 || v >= 5 && ps[0].LogStartOffset != 0 || v >= 11 && ps[0].PreferredReadReplica != -1 {
			t.Errorf("version %d answers %+v", v, ps[0])
		}
		if ps[1].RecordBatches == nil {
			t.Errorf("version %d: no records are null, expected empty", v)
		}
	}
}

func TestFetchGoesOutOfFilesBySendfile(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, on(vfs.OS{}), at(l))
	w.create("orders", 1)
	c := w.connect()
	want := strings.Repeat("x", 300_000)
	c.produce("orders", values(want)...)
	wantRecords(t, c.fetch(0, place{"orders", 0, 0})[0], "0:"+want)
}

func TestFetchErrors(t *testing.T) {
	w := newWorld(t)
	topic := w.create("orders", 1)
	w.create("packed", 1, "compression.type", "zstd")
	w.elsewhere("moved")
	c := w.connect()
	c.produce("orders", values("a", "b")...)
	for _, test := range []struct {
		name    string
		version int16
		at      place
		change  func(*kmsg.FetchRequestTopic)
		want    *kerr.Error
		leader  int32
	}{
		{name: "topic", version: 12, at: place{"nowhere", 0, 0}, want: kerr.UnknownTopicOrPartition},
		{name: "partition", version: 12, at: place{"orders", 1, 0}, want: kerr.UnknownTopicOrPartition},
		{name: "topic id", version: 13, at: place{"nowhere", 0, 0}, want: kerr.UnknownTopicID},
		{name: "partition by id", version: 13, at: place{"orders", 1, 0}, want: kerr.UnknownTopicOrPartition},
		{name: "another broker's", version: 15, at: place{"moved", 0, 0}, want: kerr.NotLeaderForPartition},
		{name: "another broker's, with a hint", version: 16, at: place{"moved", 0, 0}, want: kerr.NotLeaderForPartition, leader: other},
		{name: "below the start", version: 12, at: place{"orders", 0, -1}, want: kerr.OffsetOutOfRange},
		{name: "above the end", version: 12, at: place{"orders", 0, 3}, want: kerr.OffsetOutOfRange},
		{name: "at the end", version: 12, at: place{"orders", 0, 2}},
		{name: "epoch of the past", version: 16, at: place{"orders", 0, 0}, change: epochOf(2), want: kerr.FencedLeaderEpoch, leader: node},
		{name: "epoch of the future", version: 16, at: place{"orders", 0, 0}, change: epochOf(9), want: kerr.UnknownLeaderEpoch},
		{name: "the right epoch", version: 16, at: place{"orders", 0, 0}, change: epochOf(3)},
		{name: "zstd topic before version 10", version: 9, at: place{"packed", 0, 0}, want: kerr.UnsupportedCompressionType},
		{name: "zstd topic in version 10", version: 10, at: place{"packed", 0, 0}},
		{name: "last epoch of another history", version: 12, at: place{"orders", 0, 1}, change: lastEpochOf(9), want: kerr.OffsetOutOfRange},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.reelect(topic.ID, 3)
			req := w.fetchOf(time.Hour, test.at)
			if test.want == nil {
				req.MaxWaitMillis = 0
			}
			if test.change != nil {
				test.change(&req.Topics[0])
			}
			resp := ask[*kmsg.FetchResponse](c, test.version, req)
			p := resp.Topics[0].Partitions[0]
			wantCode(t, "answer", p.ErrorCode, test.want)
			if test.want != nil && (p.HighWatermark != -1 || p.LastStableOffset != -1 || p.LogStartOffset != -1 || len(p.RecordBatches) > 0) {
				t.Errorf("error with offsets: %+v", p)
			}
			if hint := p.CurrentLeader.LeaderID; test.leader == 0 && hint != -1 || test.leader != 0 && hint != test.leader {
				t.Errorf("leader named is %d, expected %d", hint, test.leader)
			}
			if named := len(resp.Brokers); named > 0 != (test.leader != 0) {
				t.Errorf("%d endpoints are named", named)
			}
		})
	}
}

func epochOf(epoch int32) func(*kmsg.FetchRequestTopic) {
	return func(t *kmsg.FetchRequestTopic) { t.Partitions[0].CurrentLeaderEpoch = epoch }
}

func lastEpochOf(epoch int32) func(*kmsg.FetchRequestTopic) {
	return func(t *kmsg.FetchRequestTopic) { t.Partitions[0].LastFetchedEpoch = epoch }
}

// reelect begins leader epochs of partition 0 of a topic until one is reached.
func (w *world) reelect(id cluster.TopicID, epoch int32) {
	w.Helper()
	for {
		t, _ := w.store.Image().TopicByID(id)
		p := t.Partitions[0]
		if p.LeaderEpoch >= epoch {
			return
		}
		_, err := w.api.apply(context.Background(), cluster.ChangePartitions{Partitions: []cluster.PartitionChange{{
			Topic: id, LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch, Leader: p.Leader, ISR: p.ISR, Elected: true,
		}}})
		if err != nil {
			w.Fatal(err)
		}
	}
}

func TestFetchTellsWhereHistoriesPart(t *testing.T) {
	w := newWorld(t)
	topic := w.create("orders", 1)
	c := w.connect()
	c.produce("orders", values("a", "b")...)
	w.reelect(topic.ID, 1)
	c.produce("orders", values("c")...)
	req := w.fetchOf(time.Hour, place{"orders", 0, 3})
	lastEpochOf(0)(&req.Topics[0]) // epoch 0 ended at 2
	p := ask[*kmsg.FetchResponse](c, 12, req).Topics[0].Partitions[0]
	if p.ErrorCode != 0 || p.DivergingEpoch.Epoch != 0 || p.DivergingEpoch.EndOffset != 2 || len(p.RecordBatches) > 0 {
		t.Errorf("answer is %+v, expected histories to part at 2", p)
	}
}

func TestFetchLimits(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 2)
	c := w.connect()
	large := strings.Repeat("x", 1000)
	for range 3 {
		resp := ask[*kmsg.ProduceResponse](c, 9, producingTo("orders", batch(values(large)...), batch(values(large)...)))
		wantCode(t, "produce", resp.Topics[0].Partitions[1].ErrorCode, nil)
	}
	one := len(batch(values(large)...))
	for _, test := range []struct {
		name         string
		total, each  int
		first, other int // batches
	}{
		{name: "no limit", total: 1 << 20, each: 1 << 20, first: 3, other: 3},
		{name: "each partition", total: 1 << 20, each: 2*one + 10, first: 2, other: 2},
		{name: "all partitions", total: 4*one + 10, each: 1 << 20, first: 3, other: 1},
		{name: "less than a batch", total: 1 << 20, each: one - 1, first: 1, other: 0},
		{name: "nothing", total: 0, each: 0, first: 1, other: 0},
		{name: "less than nothing", total: -5, each: -5, first: 1, other: 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			req := w.fetchOf(0, place{"orders", 0, 0}, place{"orders", 1, 0})
			req.MaxBytes = int32(test.total)
			for i := range req.Topics[0].Partitions {
				req.Topics[0].Partitions[i].PartitionMaxBytes = int32(test.each)
			}
			ps := partitionsOf(ask[*kmsg.FetchResponse](c, 12, req))
			if first, other := len(ps[0].RecordBatches)/one, len(ps[1].RecordBatches)/one; first != test.first || other != test.other {
				t.Errorf("got %d and %d batches, expected %d and %d", first, other, test.first, test.other)
			}
		})
	}
}

func TestFetchReadCommittedListsAbortedTransactionsAsAnEmptyArray(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1)
	c := w.connect()
	c.produce("orders", values("a")...)
	for _, level := range []int8{0, 1} {
		req := w.fetchOf(0, place{"orders", 0, 0})
		req.IsolationLevel = level
		p := ask[*kmsg.FetchResponse](c, 12, req).Topics[0].Partitions[0]
		wantRecords(t, p, "0:a")
		if isNull := p.AbortedTransactions == nil; isNull != (level == 0) {
			t.Errorf("isolation level %d: aborted transactions are null: %t", level, isNull)
		}
	}
}

// polling is a fetch under way on a connection of its own.
type polling struct {
	*client
	req   *kmsg.FetchRequest
	began time.Time
}

// poll begins to fetch and waits until the broker waits.
func (w *world) poll(req *kmsg.FetchRequest) *polling {
	w.Helper()
	req.SetVersion(12)
	p := &polling{w.connect(), req, time.Now()}
	p.send(req)
	synctest.Wait()
	return p
}

// answer is what was fetched, and how long that took.
func (p *polling) answer() (*kmsg.FetchResponse, time.Duration) {
	p.w.Helper()
	resp := p.receive(p.req).(*kmsg.FetchResponse)
	return resp, time.Since(p.began)
}

func TestFetchWaitsForMinBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.create("orders", 2)
		c := w.connect()
		req := w.fetchOf(10*time.Second, place{"orders", 0, 0}, place{"orders", 1, 0})
		req.MinBytes = int32(2 * len(batch(values("a")...)))
		poll := w.poll(req)
		time.Sleep(time.Second)
		c.produce("orders", values("a")...)
		time.Sleep(time.Second)
		ask[*kmsg.ProduceResponse](c, 9, producingTo("orders", nil, batch(values("b")...)))
		resp, took := poll.answer()
		if took != 2*time.Second {
			t.Errorf("answered after %s, expected 2s: as soon as both partitions together have enough", took)
		}
		wantRecords(t, resp.Topics[0].Partitions[0], "0:a")
		wantRecords(t, resp.Topics[0].Partitions[1], "0:b")
	})
}

func TestFetchAnswersWithWhatThereIsAfterMaxWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.create("orders", 1)
		w.connect().produce("orders", values("a")...)
		req := w.fetchOf(3*time.Second, place{"orders", 0, 0})
		req.MinBytes = 1000
		resp, took := w.poll(req).answer()
		if took != 3*time.Second {
			t.Errorf("answered after %s, expected 3s", took)
		}
		wantRecords(t, resp.Topics[0].Partitions[0], "0:a")
	})
}

func TestFetchDoesNotWait(t *testing.T) {
	for _, test := range []struct {
		name string
		req  func(w *world) *kmsg.FetchRequest
	}{
		{"for what is there", func(w *world) *kmsg.FetchRequest {
			return w.fetchOf(time.Hour, place{"orders", 0, 0})
		}},
		{"if it wants no bytes", func(w *world) *kmsg.FetchRequest {
			req := w.fetchOf(time.Hour, place{"orders", 0, 1})
			req.MinBytes = 0
			return req
		}},
		{"for more than it would take", func(w *world) *kmsg.FetchRequest {
			req := w.fetchOf(time.Hour, place{"orders", 0, 0})
			req.MinBytes, req.MaxBytes = 1000, 10
			return req
		}},
		{"without partitions", func(w *world) *kmsg.FetchRequest { return w.fetchOf(time.Hour) }},
		{"for what does not exist", func(w *world) *kmsg.FetchRequest {
			return w.fetchOf(time.Hour, place{"nowhere", 0, 0}, place{"orders", 5, 0})
		}},
		{"if one partition has an error", func(w *world) *kmsg.FetchRequest {
			return w.fetchOf(time.Hour, place{"orders", 0, 1}, place{"orders", 1, 99})
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.create("orders", 2)
				w.connect().produce("orders", values("a")...)
				if _, took := w.poll(test.req(w)).answer(); took != 0 {
					t.Errorf("answered after %s", took)
				}
			})
		})
	}
}

func TestFetchWaitsBesideAPartitionThatDoesNotExist(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.create("orders", 1)
		resp, took := w.poll(w.fetchOf(time.Second, place{"nowhere", 0, 0}, place{"orders", 0, 0})).answer()
		if took != time.Second {
			t.Errorf("answered after %s; a client with one stale topic would never rest", took)
		}
		wantCode(t, "missing topic", resp.Topics[0].Partitions[0].ErrorCode, kerr.UnknownTopicOrPartition)
	})
}

func TestFetchEndsWhenItsTopicIsDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		topic := w.create("orders", 1)
		poll := w.poll(w.fetchOf(time.Hour, place{"orders", 0, 0}))
		if _, err := w.api.apply(context.Background(), cluster.DeleteTopics{IDs: []cluster.TopicID{topic.ID}}); err != nil {
			t.Fatal(err)
		}
		resp, took := poll.answer()
		wantCode(t, "deleted topic", resp.Topics[0].Partitions[0].ErrorCode, kerr.UnknownTopicOrPartition)
		if took > time.Second {
			t.Errorf("answered after %s", took)
		}
	})
}

// A client of a version without topic ids waits for a topic that is deleted, and is there again under
// its name when the fetch finds out.
func TestFetchEndsWhenItsTopicIsCreatedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx := context.Background()
		topic := w.create("orders", 1)
		req := w.fetchOf(time.Hour, place{"orders", 0, 0})
		req.SetVersion(12)
		f, err := w.api.beginFetch(req, new(protocol.Conn))
		if err != nil {
			t.Fatal(err)
		}
		f.lookup()
		if f.read(ctx) {
			t.Error("an empty topic is enough")
		}
		if _, err := w.api.apply(ctx, cluster.DeleteTopics{IDs: []cluster.TopicID{topic.ID}}); err != nil {
			t.Fatal(err)
		}
		w.create("orders", 1)
		synctest.Wait() // the log of the first is closed
		if !f.read(ctx) {
			t.Error("it waits for a topic that is gone")
		}
		wantCode(t, "answer", f.partitionCode(&f.turn.parts[0]), kerr.NotLeaderForPartition)
		f.release()
	})
}

func TestFetchAnswersAStoppingServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.create("orders", 1)
		poll := w.poll(w.fetchOf(time.Hour, place{"orders", 0, 0}))
		w.stopServer()
		resp, took := poll.answer()
		wantRecords(t, resp.Topics[0].Partitions[0])
		if took != 0 {
			t.Errorf("answered after %s", took)
		}
	})
}

func TestFetchEndsWithItsClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.create("orders", 1)
		req := w.fetchOf(time.Hour, place{"orders", 0, 0})
		req.SetVersion(12)
		ctx, gone := context.WithCancel(context.Background())
		reply := w.api.fetch(ctx, &protocol.Request{Version: 12, Message: req, Conn: new(protocol.Conn)})
		began := time.Now()
		time.AfterFunc(time.Second, gone)
		if _, err := reply(ctx); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("ended after %s, expected 1s", took)
		}
	})
}

func TestFetchFromALogThatIsOffline(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1)
	_ = w.log("orders", 0).Fail(context.DeadlineExceeded)
	c := w.connect()
	for v, want := range map[int16]*kerr.Error{5: kerr.NotLeaderForPartition, 6: kerr.KafkaStorageError} {
		p := ask[*kmsg.FetchResponse](c, v, w.fetchOf(time.Hour, place{"orders", 0, 0})).Topics[0].Partitions[0]
		wantCode(t, "fetch", p.ErrorCode, want)
	}
	rp := ask[*kmsg.ProduceResponse](c, 9, producingTo("orders", batch(values("a")...))).Topics[0].Partitions[0]
	wantCode(t, "produce", rp.ErrorCode, kerr.KafkaStorageError)
	mp := ask[*kmsg.MetadataResponse](c, 9, kmsg.NewPtrMetadataRequest())
	for _, topic := range mp.Topics {
		if p := topic.Partitions[0]; *topic.Topic == "orders" && (p.Leader != -1 || p.ErrorCode != kerr.LeaderNotAvailable.Code || !slices.Equal(p.OfflineReplicas, []int32{node})) {
			t.Errorf("metadata says %+v", p)
		}
	}
}
