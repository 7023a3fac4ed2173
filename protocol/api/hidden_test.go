package api

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/partition"
	"github.com/morrowmq/morrow/delay"
	"github.com/morrowmq/morrow/log/record"
)

// What clients see of delayed records before they are due: nothing but a gap in the offsets. Empty
// batches, placeholders and ends that cannot be reached each break some client in wide use; these
// tests are the cases that told.

// hidden runs a test once for each isolation level, on a clock of its own.
func hidden(t *testing.T, test func(t *testing.T, h *hiddenWorld)) {
	for level, name := range []string{"read uncommitted", "read committed"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.create("orders", 1, "max.message.bytes", "10000000")
				w.loaded("orders", 0)
				test(t, &hiddenWorld{w, w.connect(), int8(level)})
			})
		})
	}
}

// hiddenWorld is a world with one partition, read at one isolation level.
type hiddenWorld struct {
	*world
	*client
	isolation int8
}

// at fetches from an offset.
func (h *hiddenWorld) at(offset int64, maxWait time.Duration) (p kmsg.FetchResponseTopicPartition, took time.Duration) {
	h.world.Helper()
	req := h.fetchOf(maxWait, place{"orders", 0, offset})
	req.IsolationLevel = h.isolation
	began := time.Now()
	p = ask[*kmsg.FetchResponse](h.client, 12, req).Topics[0].Partitions[0]
	return p, time.Since(began)
}

// list looks an offset up.
func (h *hiddenWorld) list(timestamp int64) int64 {
	h.world.Helper()
	return h.listed(timestamp).Offset
}

func (h *hiddenWorld) listed(timestamp int64) kmsg.ListOffsetsResponseTopicPartition {
	h.world.Helper()
	req := listRequest("orders", timestamp)
	req.IsolationLevel = h.isolation
	p := ask[*kmsg.ListOffsetsResponse](h.client, 11, req).Topics[0].Partitions[0]
	wantCode(h.world, "list offsets", p.ErrorCode, nil)
	return p
}

// listRequest asks for one offset of partition 0.
func listRequest(topic string, timestamp int64) *kmsg.ListOffsetsRequest {
	req := kmsg.NewPtrListOffsetsRequest()
	rt, rp := kmsg.NewListOffsetsRequestTopic(), kmsg.NewListOffsetsRequestTopicPartition()
	rp.Timestamp = timestamp
	rt.Topic, rt.Partitions = topic, append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	return req
}

// ends fails the test unless both ends of the partition are reported as expected, wherever clients look.
func (h *hiddenWorld) ends(start, end int64) {
	h.world.Helper()
	p, _ := h.at(end, 0)
	if p.ErrorCode != 0 || p.HighWatermark != end || p.LastStableOffset != end || p.LogStartOffset != start || len(p.RecordBatches) > 0 {
		h.Errorf("fetch at %d answers %+v, expected [%d, %d] and no records", end, p, start, end)
	}
	if from, to := h.list(partition.Earliest), h.list(partition.Latest); from != start || to != end {
		h.Errorf("listed offsets are [%d, %d], expected [%d, %d]", from, to, start, end)
	}
}

func (h *hiddenWorld) Errorf(format string, args ...any) {
	h.world.Helper()
	h.world.Errorf(format, args...)
}

func TestHiddenTailIsNotThere(t *testing.T) {
	hidden(t, func(t *testing.T, h *hiddenWorld) {
		h.produce("orders", values("a", "b")...)
		h.produce("orders", delayed("later", "1h"), delayed("later still", "2h"))
		h.ends(0, 2)
		if end := h.log("orders", 0).Offsets().LogEnd; end != 4 {
			t.Errorf("log ends at %d", end)
		}
		p, _ := h.at(0, 0)
		wantRecords(t, p, "0:a", "1:b")
		if far := h.listed(time.Now().Add(time.Minute).UnixMilli()); far.Offset != -1 || far.Timestamp != -1 || far.LeaderEpoch != -1 {
			t.Errorf("looked up by time: %+v", far)
		}
		if newest := h.list(partition.MaxTimestamp); newest != 1 && newest != 0 {
			t.Errorf("newest record is at %d", newest)
		}
	})
}

func TestHiddenTailAnOffsetInsideIsInRangeAndWaits(t *testing.T) {
	hidden(t, func(t *testing.T, h *hiddenWorld) {
		h.produce("orders", values("a")...)
		for range 3 {
			h.produce("orders", delayed("later", "1h"))
		}
		for offset := int64(1); offset <= 4; offset++ {
			p, took := h.at(offset, time.Second)
			wantRecords(t, p)
			if took != time.Second {
				t.Errorf("fetch at %d took %s", offset, took)
			}
		}
		p, _ := h.at(5, time.Second)
		wantCode(t, "above the end of the log", p.ErrorCode, kerr.OffsetOutOfRange)
		h.produce("orders", values("b")...)
		for offset := int64(1); offset <= 4; offset++ {
			p, _ := h.at(offset, time.Second)
			wantRecords(t, p, "4:b")
		}
	})
}

func TestHiddenBatchesWakeNoFetch(t *testing.T) {
	hidden(t, func(t *testing.T, h *hiddenWorld) {
		h.produce("orders", values("a")...)
		producer := h.connect()
		for i := range 40 { // one every 250 ms, for as long as the consumer waits
			time.AfterFunc(time.Duration(i)*250*time.Millisecond, func() { producer.produce("orders", delayed("later", "1h")) })
		}
		p, took := h.at(1, 10*time.Second)
		if took != 10*time.Second || len(p.RecordBatches) > 0 || p.HighWatermark != 1 {
			t.Errorf("after %s: %+v, expected nothing after 10s", took, p)
		}
		time.Sleep(time.Second)
		h.ends(0, 1)
	})
}

func TestHiddenBytesDoNotCountForMinBytes(t *testing.T) {
	hidden(t, func(t *testing.T, h *hiddenWorld) {
		h.produce("orders", values("a")...)
		h.produce("orders", delayed(strings.Repeat("x", 10_000), "1h"))
		req := h.fetchOf(time.Second, place{"orders", 0, 0})
		req.MinBytes, req.IsolationLevel = 5000, h.isolation
		began := time.Now()
		p := ask[*kmsg.FetchResponse](h.client, 12, req).Topics[0].Partitions[0]
		if took := time.Since(began); took != time.Second {
			t.Errorf("answered after %s", took)
		}
		wantRecords(t, p, "0:a")
	})
}

func TestHiddenTopicOnly(t *testing.T) {
	hidden(t, func(t *testing.T, h *hiddenWorld) {
		h.produce("orders", delayed("later", "1h"))
		h.ends(0, 0)
		if newest := h.listed(partition.MaxTimestamp); newest.Offset != -1 || newest.Timestamp != -1 {
			t.Errorf("newest record: %+v", newest)
		}
		p, took := h.at(0, 2*time.Hour)
		if got := fetched(t, p.RecordBatches); !slices.Equal(got, []string{"1:later"}) || took < time.Hour || took > time.Hour+time.Second {
			t.Errorf("after %s: %v, expected the record after an hour", took, got)
		}
		h.ends(0, 2)
	})
}

func TestHiddenHoleOfManyOffsetsIsOneStep(t *testing.T) {
	hidden(t, func(t *testing.T, h *hiddenWorld) {
		h.produce("orders", values("a")...)
		many := make([]rec, 25_000)
		for i := range many {
			many[i] = delayed("", "1h")
		}
		for range 4 {
			h.produce("orders", many...)
		}
		h.produce("orders", values("b")...)
		for _, offset := range []int64{1, 50_000, 100_001} {
			p, _ := h.at(offset, time.Hour)
			wantRecords(t, p, "100001:b")
		}
		p, _ := h.at(0, 0)
		wantRecords(t, p, "0:a", "100001:b")
	})
}

func TestHiddenRecordsWithinABatch(t *testing.T) {
	hidden(t, func(t *testing.T, h *hiddenWorld) {
		h.produce("orders", rec{value: "a"}, delayed("b", "1h"), rec{value: "c"}, delayed("d", "1h"))
		p, _ := h.at(0, 0)
		wantRecords(t, p, "0:a", "2:c")
		for offset, want := range map[int64][]string{1: {"2:c"}, 2: {"2:c"}, 3: nil} {
			p, _ := h.at(offset, 0)
			wantRecords(t, p, want...)
		}
		h.ends(0, 3)
		if end := h.log("orders", 0).Offsets().LogEnd; end != 4 {
			t.Errorf("log ends at %d", end)
		}
	})
}

func TestHiddenTailABoundedReaderEnds(t *testing.T) {
	hidden(t, func(t *testing.T, h *hiddenWorld) {
		h.produce("orders", values("a")...)
		h.produce("orders", delayed("later", "1h"))
		h.produce("orders", values("b")...)
		h.produce("orders", delayed("later", "1h"))
		var read []string
		position, fetches := h.list(partition.Earliest), 0
		for position < h.list(partition.Latest) {
			if fetches++; fetches > 4 {
				t.Fatalf("read %v and never came to the end", read)
			}
			p, _ := h.at(position, 0)
			for rest := record.Batch(p.RecordBatches); len(rest) > 0; {
				b, more, err := record.Next(rest)
				if err != nil {
					t.Fatal(err)
				}
				position, rest = b.EndOffset(), more
			}
			read = append(read, fetched(t, p.RecordBatches)...)
		}
		if !slices.Equal(read, []string{"0:a", "2:b"}) || position != 3 {
			t.Errorf("read %v up to %d", read, position)
		}
	})
}

func TestHiddenTailACommittedOffsetInsideGoesOn(t *testing.T) {
	hidden(t, func(t *testing.T, h *hiddenWorld) {
		h.produce("orders", values("a")...)
		h.produce("orders", delayed("later", "1h"), delayed("later", "1h"))
		isolation := kgo.ReadUncommitted()
		if h.isolation == 1 {
			isolation = kgo.ReadCommitted()
		}
		var committed kadm.Offsets
		committed.AddOffset("orders", 0, 2, -1)
		if err := kadm.NewClient(h.franz()).CommitAllOffsets(t.Context(), "g", committed); err != nil {
			t.Fatal(err)
		}
		cl := h.franz(kgo.ConsumerGroup("g"), kgo.ConsumeTopics("orders"), kgo.FetchIsolationLevel(isolation), kgo.DisableAutoCommit(),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())) // would show "a" again
		var produced sync.WaitGroup
		produced.Go(func() {
			time.Sleep(time.Minute)
			h.produce("orders", values("b")...)
		})
		defer produced.Wait()
		var got []*kgo.Record
		for len(got) == 0 {
			fs := cl.PollFetches(t.Context())
			if err := fs.Err(); err != nil {
				t.Fatal(err)
			}
			got = fs.Records()
		}
		if len(got) != 1 || got[0].Offset != 3 || string(got[0].Value) != "b" {
			t.Errorf("consumed %d records, the first is %d:%s, expected 3:b", len(got), got[0].Offset, got[0].Value)
		}
	})
}

func TestHiddenTailDeleteRecords(t *testing.T) {
	hidden(t, func(t *testing.T, h *hiddenWorld) {
		h.produce("orders", values("a", "b")...)
		h.produce("orders", delayed("later", "1h"))
		p := ask[*kmsg.DeleteRecordsResponse](h.client, 2, deleteRequest("orders", -1)).Topics[0].Partitions[0]
		if p.ErrorCode != 0 || p.LowWatermark != 2 {
			t.Errorf("delete records: %+v, expected low watermark 2", p)
		}
		h.ends(2, 2)
		p = ask[*kmsg.DeleteRecordsResponse](h.client, 2, deleteRequest("orders", 3)).Topics[0].Partitions[0]
		wantCode(t, "above the visible end", p.ErrorCode, kerr.OffsetOutOfRange)
		found, _ := h.at(2, 2*time.Hour)
		wantRecords(t, found, "3:later")
	})
}

func deleteRequest(topic string, offset int64) *kmsg.DeleteRecordsRequest {
	req := kmsg.NewPtrDeleteRecordsRequest()
	rt, rp := kmsg.NewDeleteRecordsRequestTopic(), kmsg.NewDeleteRecordsRequestTopicPartition()
	rp.Offset = offset
	rt.Topic, rt.Partitions = topic, append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	return req
}

func TestHiddenTailIsPartOfTheLeaderEpoch(t *testing.T) {
	hidden(t, func(t *testing.T, h *hiddenWorld) {
		h.produce("orders", values("a")...)
		h.produce("orders", delayed("later", "1h"))
		p := ask[*kmsg.OffsetForLeaderEpochResponse](h.client, 4, epochRequest("orders", -1, 0)).Topics[0].Partitions[0]
		if p.ErrorCode != 0 || p.LeaderEpoch != 0 || p.EndOffset != 2 {
			t.Errorf("end of epoch 0: %+v, expected the real end of the log", p)
		}
	})
}

func TestHiddenRecordIsDeliveredWhenDue(t *testing.T) {
	hidden(t, func(t *testing.T, h *hiddenWorld) {
		h.produce("orders", values("a")...)
		began := time.Now()
		later := delayed("later", "90s")
		later.key, later.headers = "k", append(later.headers, "trace", "abc")
		h.produce("orders", later)
		h.produce("orders", delayed("sooner", "30s"))

		sooner, took := h.at(1, time.Hour)
		wantRecords(t, sooner, "3:sooner")
		if took < 30*time.Second || took > 31*time.Second {
			t.Errorf("delivered after %s, expected 30s", took)
		}
		p, _ := h.at(4, time.Hour)
		wantRecords(t, p, "4:later")
		b, _, err := record.Next(p.RecordBatches)
		if err != nil {
			t.Fatal(err)
		}
		rs, err := b.Decode()
		if err != nil {
			t.Fatal(err)
		}
		headers := map[string]string{}
		for _, header := range rs[0].Headers {
			headers[header.Key] = string(header.Value)
		}
		due := began.Add(90 * time.Second).UnixMilli()
		if string(rs[0].Key) != "k" || headers["trace"] != "abc" || headers[delay.HeaderTicket] != "1" ||
			headers[delay.HeaderDue] != fmt.Sprint(due) || headers[delay.HeaderProducedAt] != fmt.Sprint(began.UnixMilli()) || headers[delay.HeaderDelay] != "" {
			t.Errorf("delivered with key %q and headers %v, due is %d", rs[0].Key, headers, due)
		}
		if rs[0].Timestamp < due || rs[0].Timestamp > due+1000 {
			t.Errorf("timestamp is %d ms after it was due", rs[0].Timestamp-due)
		}
		if b.Hidden() || !b.Delivery() {
			t.Errorf("attributes are %#x", b.Attributes())
		}
		h.ends(0, 5)
	})
}

// epochRequest asks where a leader epoch of partition 0 ends.
func epochRequest(topic string, current, epoch int32) *kmsg.OffsetForLeaderEpochRequest {
	req := kmsg.NewPtrOffsetForLeaderEpochRequest()
	rt, rp := kmsg.NewOffsetForLeaderEpochRequestTopic(), kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
	rp.CurrentLeaderEpoch, rp.LeaderEpoch = current, epoch
	rt.Topic, rt.Partitions = topic, append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	return req
}
