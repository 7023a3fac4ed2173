package api

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/partition"
	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/record"
)

// stamped is a batch of records with these timestamps.
func stamped(timestamps ...int64) record.Batch {
	var b record.Builder
	b.Reset(0, timestamps[0])
	for i, ts := range timestamps {
		b.Add(int32(i), ts, nil, []byte("x"))
	}
	done, err := b.Finish()
	if err != nil {
		panic(err)
	}
	return done
}

func TestListOffsets(t *testing.T) {
	w := newWorld(t)
	topic := w.create("orders", 1)
	w.create("empty", 1)
	c := w.connect()
	for _, b := range []record.Batch{stamped(1000, 3000), stamped(2000, 3000)} {
		wantCode(t, "produce", ask[*kmsg.ProduceResponse](c, 9, producingTo("orders", b)).Topics[0].Partitions[0].ErrorCode, nil)
	}
	w.reelect(topic.ID, 1)
	c.produce("orders", rec{value: "now"}) // offset 4, in epoch 1
	ask[*kmsg.DeleteRecordsResponse](c, 2, deleteRequest("orders", 1))
	now := time.Now().UnixMilli()
	for _, test := range []struct {
		topic             string
		timestamp         int64
		offset, time      int64
		epoch             int32
		since             int16
		timestampIsRecent bool
	}{
		{topic: "orders", timestamp: partition.Latest, offset: 5, time: -1, epoch: 1},
		{topic: "orders", timestamp: partition.Earliest, offset: 1, time: -1, epoch: 0},
		{topic: "orders", timestamp: partition.MaxTimestamp, offset: 4, time: now, epoch: 1, since: 7, timestampIsRecent: true},
		{topic: "orders", timestamp: partition.EarliestLocal, offset: 1, time: -1, epoch: 0, since: 8},
		{topic: "orders", timestamp: partition.LatestTiered, offset: -1, time: -1, epoch: -1, since: 9},
		{topic: "orders", timestamp: partition.EarliestPendingUpload, offset: -1, time: -1, epoch: -1, since: 11},
		{topic: "orders", timestamp: 0, offset: 1, time: 3000, epoch: 0},
		{topic: "orders", timestamp: 1500, offset: 1, time: 3000, epoch: 0},
		{topic: "orders", timestamp: 3000, offset: 1, time: 3000, epoch: 0},
		{topic: "orders", timestamp: 3001, offset: 4, time: now, epoch: 1, timestampIsRecent: true},
		{topic: "orders", timestamp: now + 1e9, offset: -1, time: -1, epoch: -1},
		{topic: "empty", timestamp: partition.Latest, offset: 0, time: -1, epoch: 0},
		{topic: "empty", timestamp: partition.Earliest, offset: 0, time: -1, epoch: 0},
		{topic: "empty", timestamp: partition.MaxTimestamp, offset: -1, time: -1, epoch: -1, since: 7},
		{topic: "empty", timestamp: 0, offset: -1, time: -1, epoch: -1},
	} {
		for v := int16(1); v <= 11; v++ {
			p := ask[*kmsg.ListOffsetsResponse](c, v, listRequest(test.topic, test.timestamp)).Topics[0].Partitions[0]
			if v < test.since {
				wantCode(t, "special timestamp in an old version", p.ErrorCode, kerr.UnsupportedVersion)
				continue
			}
			wantCode(t, "answer", p.ErrorCode, nil)
			timeFits := p.Timestamp == test.time || test.timestampIsRecent && p.Timestamp <= now+60_000 && p.Timestamp >= now-60_000
			if p.Offset != test.offset || !timeFits || v >= 4 && p.LeaderEpoch != test.epoch {
				t.Errorf("%s at %d, version %d: offset %d, time %d, epoch %d; expected %d, %d, %d",
					test.topic, test.timestamp, v, p.Offset, p.Timestamp, p.LeaderEpoch, test.offset, test.time, test.epoch)
			}
		}
	}
}

func TestListOffsetsErrors(t *testing.T) {
	w := newWorld(t)
	topic := w.create("orders", 2)
	w.elsewhere("moved")
	w.reelect(topic.ID, 3)
	c := w.connect()
	for _, test := range []struct {
		name      string
		topic     string
		partition int32
		timestamp int64
		epoch     int32
		want      *kerr.Error
	}{
		{name: "topic", topic: "nowhere", timestamp: -1, epoch: -1, want: kerr.UnknownTopicOrPartition},
		{name: "partition", topic: "orders", partition: 2, timestamp: -1, epoch: -1, want: kerr.UnknownTopicOrPartition},
		{name: "unknown special", topic: "orders", timestamp: -7, epoch: -1, want: kerr.UnsupportedVersion},
		{name: "old epoch", topic: "orders", timestamp: -1, epoch: 2, want: kerr.FencedLeaderEpoch},
		{name: "new epoch", topic: "orders", timestamp: -1, epoch: 4, want: kerr.UnknownLeaderEpoch},
		{name: "the epoch", topic: "orders", timestamp: -1, epoch: 3},
		{name: "other broker", topic: "moved", timestamp: -1, epoch: -1, want: kerr.NotLeaderForPartition},
	} {
		t.Run(test.name, func(t *testing.T) {
			req := listRequest(test.topic, test.timestamp)
			req.Topics[0].Partitions[0].Partition, req.Topics[0].Partitions[0].CurrentLeaderEpoch = test.partition, test.epoch
			p := ask[*kmsg.ListOffsetsResponse](c, 11, req).Topics[0].Partitions[0]
			wantCode(t, "answer", p.ErrorCode, test.want)
			if test.want != nil && (p.Offset != -1 || p.Timestamp != -1 || p.LeaderEpoch != -1 || p.Partition != test.partition) {
				t.Errorf("error with an offset: %+v", p)
			}
		})
	}
	t.Run("named twice", func(t *testing.T) {
		req := listRequest("orders", -1)
		once := kmsg.NewListOffsetsRequestTopicPartition()
		once.Partition, once.Timestamp = 1, -1
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, req.Topics[0].Partitions[0], once)
		ps := ask[*kmsg.ListOffsetsResponse](c, 11, req).Topics[0].Partitions
		wantCode(t, "first", ps[0].ErrorCode, kerr.InvalidRequest)
		wantCode(t, "second", ps[1].ErrorCode, kerr.InvalidRequest)
		wantCode(t, "other", ps[2].ErrorCode, nil)
	})
}

func TestDeleteRecords(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1)
	w.create("compacted", 1, "cleanup.policy", "compact")
	w.create("both", 1, "cleanup.policy", "compact,delete")
	w.create("kept", 1, "cleanup.policy", "")
	w.elsewhere("moved")
	c := w.connect()
	c.produce("orders", values("a", "b", "c")...)
	ask[*kmsg.FindCoordinatorResponse](c, 3, groupRequest("g"))
	for _, test := range []struct {
		name   string
		topic  string
		offset int64
		low    int64
		want   *kerr.Error
	}{
		{name: "in the middle", topic: "orders", offset: 1, low: 1},
		{name: "below the start", topic: "orders", offset: 0, low: 1},
		{name: "beyond the end", topic: "orders", offset: 4, low: -1, want: kerr.OffsetOutOfRange},
		{name: "negative", topic: "orders", offset: -2, low: -1, want: kerr.OffsetOutOfRange},
		{name: "everything", topic: "orders", offset: -1, low: 3},
		{name: "at the end", topic: "orders", offset: 3, low: 3},
		{name: "compacted", topic: "compacted", offset: -1, low: -1, want: kerr.PolicyViolation},
		{name: "compacted and deleted", topic: "both", offset: -1, low: 0},
		{name: "without a policy", topic: "kept", offset: -1, low: 0},
		{name: "internal", topic: cluster.OffsetsTopic, offset: -1, low: -1, want: kerr.InvalidTopicException},
		{name: "schedule", topic: cluster.SchedulePrefix + "orders", offset: -1, low: -1, want: kerr.InvalidTopicException},
		{name: "unknown", topic: "nowhere", offset: -1, low: -1, want: kerr.UnknownTopicOrPartition},
		{name: "other broker", topic: "moved", offset: -1, low: -1, want: kerr.NotLeaderForPartition},
	} {
		t.Run(test.name, func(t *testing.T) {
			for v := int16(0); v <= 2; v++ {
				p := ask[*kmsg.DeleteRecordsResponse](c, v, deleteRequest(test.topic, test.offset)).Topics[0].Partitions[0]
				wantCode(t, "answer", p.ErrorCode, test.want)
				if p.LowWatermark != test.low {
					t.Errorf("low watermark is %d, expected %d", p.LowWatermark, test.low)
				}
			}
		})
	}
	if start := w.log("orders", 0).Offsets().LogStart; start != 3 {
		t.Errorf("log starts at %d", start)
	}
}

func TestOffsetForLeaderEpoch(t *testing.T) {
	w := newWorld(t)
	topic := w.create("orders", 1)
	c := w.connect()
	c.produce("orders", values("a", "b")...)
	w.reelect(topic.ID, 3)
	c.produce("orders", values("c")...)
	for _, test := range []struct {
		topic          string
		current, epoch int32
		found          int32
		end            int64
		want           *kerr.Error
	}{
		{topic: "orders", current: -1, epoch: 0, found: 0, end: 2},
		{topic: "orders", current: 3, epoch: 2, found: 0, end: 2},
		{topic: "orders", current: -1, epoch: 3, found: 3, end: 3},
		{topic: "orders", current: -1, epoch: 4, found: -1, end: -1},
		{topic: "orders", current: -1, epoch: -1, found: -1, end: -1},
		{topic: "orders", current: 2, epoch: 0, found: -1, end: -1, want: kerr.FencedLeaderEpoch},
		{topic: "orders", current: 4, epoch: 0, found: -1, end: -1, want: kerr.UnknownLeaderEpoch},
		{topic: "nowhere", current: -1, epoch: 0, found: -1, end: -1, want: kerr.UnknownTopicOrPartition},
	} {
		for v := int16(2); v <= 4; v++ {
			p := ask[*kmsg.OffsetForLeaderEpochResponse](c, v, epochRequest(test.topic, test.current, test.epoch)).Topics[0].Partitions[0]
			wantCode(t, test.topic, p.ErrorCode, test.want)
			if p.LeaderEpoch != test.found || p.EndOffset != test.end {
				t.Errorf("epoch %d of %s, current %d: %d ends at %d, expected %d, %d", test.epoch, test.topic, test.current, p.LeaderEpoch, p.EndOffset, test.found, test.end)
			}
		}
	}
	_ = w.log("orders", 0).Fail(nil)
	p := ask[*kmsg.OffsetForLeaderEpochResponse](c, 4, epochRequest("orders", -1, 0)).Topics[0].Partitions[0]
	wantCode(t, "offline", p.ErrorCode, kerr.KafkaStorageError)
}

// TestRecordsOfAcksOneAreFound holds up the disk: a producer with acks=1 is told of its records
// before they are stored, and must find them where they are asked for.
func TestRecordsOfAcksOneAreFound(t *testing.T) {
	listing := func(timestamp int64) func(*client) int64 {
		return func(c *client) int64 {
			return ask[*kmsg.ListOffsetsResponse](c, 7, listRequest("orders", timestamp)).Topics[0].Partitions[0].Offset
		}
	}
	deleting := func(below int64) func(*client) int64 {
		return func(c *client) int64 {
			return ask[*kmsg.DeleteRecordsResponse](c, 2, deleteRequest("orders", below)).Topics[0].Partitions[0].LowWatermark
		}
	}
	for name, test := range map[string]struct {
		ask  func(*client) int64
		want int64
	}{
		"latest":        {listing(partition.Latest), 2},
		"max timestamp": {listing(partition.MaxTimestamp), 1},
		"by time":       {listing(2000), 1},
		"deleted":       {deleting(2), 2},
		"all deleted":   {deleting(partition.Latest), 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fault := vfs.NewFault(vfs.NewMem())
				w := newWorld(t, on(fault))
				w.create("orders", 1)
				c := w.connect()
				fault.Add(vfs.Rule{Ops: vfs.OpSync, Times: vfs.Forever, Do: func() { time.Sleep(time.Second) }})
				producing := producingTo("orders", stamped(1000, 2000))
				producing.Acks = 1
				wantCode(t, "produce", ask[*kmsg.ProduceResponse](c, 9, producing).Topics[0].Partitions[0].ErrorCode, nil)
				began := time.Now()
				if start := listing(partition.Earliest)(c); start != 0 || time.Since(began) > 0 {
					t.Errorf("earliest is %d after %s, want 0 at once", start, time.Since(began))
				}
				if got := test.ask(c); got != test.want {
					t.Errorf("%d, want %d", got, test.want)
				}
				if time.Since(began) == 0 {
					t.Error("the disk was not held up")
				}
			})
		})
	}
}

// deletions asks for the deletion of everything in the first partitions of a topic.
func deletions(topic string, partitions int) *kmsg.DeleteRecordsRequest {
	req := deleteRequest(topic, partition.Latest)
	for n := 1; n < partitions; n++ {
		rp := kmsg.NewDeleteRecordsRequestTopicPartition()
		rp.Partition, rp.Offset = int32(n), partition.Latest
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, rp)
	}
	return req
}

// TestDeletionsOfARequestAreStoredTogether holds up every sync until there are others.
func TestDeletionsOfARequestAreStoredTogether(t *testing.T) {
	fault := vfs.NewFault(vfs.NewMem())
	w := newWorld(t, on(fault))
	w.create("orders", 16)
	c := w.connect()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	together := make(chan struct{})
	var syncs atomic.Int32
	fault.Add(vfs.Rule{Ops: vfs.OpSync, Name: "facts-*", Times: vfs.Forever, Do: func() {
		if syncs.Add(1) == 8 {
			close(together)
		}
		select {
		case <-together:
		case <-ctx.Done():
		}
	}})
	for _, rp := range ask[*kmsg.DeleteRecordsResponse](c, 2, deletions("orders", 16)).Topics[0].Partitions {
		wantCode(t, fmt.Sprint("delete in ", rp.Partition), rp.ErrorCode, nil)
	}
	if ctx.Err() != nil {
		t.Error("one deletion waited for another")
	}
}
