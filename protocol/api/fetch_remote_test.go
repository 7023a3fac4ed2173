package api

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/partition"
	"github.com/morrowmq/morrow/tier/bucket"
	"github.com/morrowmq/morrow/tier/bucket/buckettest"
)

// remote runs a test on a world whose partitions cold-0 and cold-1 hold a record in the tier each,
// and one at offset 1 here.
func remote(t *testing.T, test func(t *testing.T, w *world, store *buckettest.Bucket)) {
	synctest.Test(t, func(t *testing.T) {
		store := buckettest.New()
		w := newWorld(t, tieredIn(store))
		w.create("cold", 2, "remote.storage.enable", "true", "local.retention.ms", "1", "retention.ms", "-1")
		c := w.connect()
		for round := range 2 {
			resp := ask[*kmsg.ProduceResponse](c, 9, producingTo("cold", batch(values("a")...), batch(values("b")...)))
			for n, p := range resp.Topics[0].Partitions {
				wantCode(t, "produce", p.ErrorCode, nil)
				if round > 0 {
					continue
				}
				if err := w.log("cold", int32(n)).Roll(); err != nil {
					t.Fatal(err)
				}
			}
		}
		time.Sleep(time.Hour)
		for n := range int32(2) {
			if o := w.log("cold", n).Offsets(); o.LocalStart != 1 || o.LogStart != 0 {
				t.Fatalf("log %d starts at %d, its local part at %d: the test is void", n, o.LogStart, o.LocalStart)
			}
		}
		test(t, w, store)
	})
}

func TestDescribeLogDirsTellsWhatIsInTheTier(t *testing.T) {
	remote(t, func(t *testing.T, w *world, _ *buckettest.Bucket) {
		w.create("local", 1)
		size := int64(len(batch(values("a")...)))
		for v := int16(1); v <= 5; v++ {
			for _, topic := range ask[*kmsg.DescribeLogDirsResponse](w.connect(), v, kmsg.NewPtrDescribeLogDirsRequest()).Dirs[0].Topics {
				for _, p := range topic.Partitions {
					var tag []byte
					p.UnknownTags.Each(func(key uint32, value []byte) {
						if key == remoteSizeTag {
							tag = value
						}
					})
					switch {
					case topic.Topic == "local" || v < 2:
						if tag != nil {
							t.Errorf("version %d: %s-%d has a size in the tier", v, topic.Topic, p.Partition)
						}
					case topic.Topic != "cold": // the schedule's topic
					case len(tag) != 8 || int64(binary.BigEndian.Uint64(tag)) < size || p.Size != size: // what is there has an index beside it
						t.Errorf("version %d: %s-%d has size %d, and %v in the tier; expected %d in each", v, topic.Topic, p.Partition, p.Size, tag, size)
					}
				}
			}
		}
	})
}

func TestFetchFromTheTier(t *testing.T) {
	remote(t, func(t *testing.T, w *world, _ *buckettest.Bucket) {
		c := w.connect()
		req := w.fetchOf(time.Hour, place{"cold", 0, 0}, place{"cold", 1, 0})
		req.MinBytes = 1 << 19 // what the tier has is answered at once all the same
		began := time.Now()
		ps := partitionsOf(ask[*kmsg.FetchResponse](c, 12, req))
		wantRecords(t, ps[0], "0:a")
		wantRecords(t, ps[1], "0:b")
		if took := time.Since(began); took > time.Second {
			t.Errorf("answered after %s", took)
		}
		ps = c.fetch(0, place{"cold", 0, 1}, place{"cold", 1, 0}) // here and there
		wantRecords(t, ps[0], "1:a")
		wantRecords(t, ps[1], "0:b")

		for timestamp, want := range map[int64]int64{partition.Earliest: 0, partition.EarliestLocal: 1, partition.LatestTiered: 0, partition.EarliestPendingUpload: 1, partition.Latest: 2} {
			p := ask[*kmsg.ListOffsetsResponse](c, 11, listRequest("cold", timestamp)).Topics[0].Partitions[0]
			if p.ErrorCode != 0 || p.Offset != want {
				t.Errorf("offset at %d is %d (code %d), expected %d", timestamp, p.Offset, p.ErrorCode, want)
			}
		}
	})
}

// The tier keeps blocks of a segment in files of their own: batches lie across their borders.
func TestShareFetchOfBatchesThatTheTierHasInPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, tieredIn(buckettest.New()))
		w.setGroup("g", "share.auto.offset.reset", "earliest")
		topic := w.create("jobs", 1, "remote.storage.enable", "true", "local.retention.ms", "1", "retention.ms", "-1")
		w.loaded("jobs", 0)
		c := w.connect()
		const n = 12
		value := func(i int) string { return strings.Repeat(string(rune('a'+i)), 400_000) }
		for i := range n {
			resp := ask[*kmsg.ProduceResponse](c, 9, producingTo("jobs", batch(values(value(i))...)))
			wantCode(t, "produce", resp.Topics[0].Partitions[0].ErrorCode, nil)
		}
		if err := w.log("jobs", 0).Roll(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if o := w.log("jobs", 0).Offsets(); o.LocalStart != n {
			t.Fatalf("the local log starts at %d: the test is void", o.LocalStart)
		}
		s := w.joins(topic, "g", "m1")
		for got := 0; got < n; {
			rs := strings.Fields(s.fetchShare(time.Second, ""))
			if len(rs) == 0 {
				t.Fatalf("nothing at offset %d", got)
			}
			for _, r := range rs {
				if r != fmt.Sprintf("%d:%s", got, value(got)) {
					t.Fatalf("record at offset %d is %.20s, of %d bytes", got, r, len(r))
				}
				got++
			}
		}
	})
}

func TestFetchFromASlowTierComesBackEmptyAndFindsItNextTime(t *testing.T) {
	remote(t, func(t *testing.T, w *world, store *buckettest.Bucket) {
		store.Add(buckettest.Rule{Ops: buckettest.OpGet, Times: buckettest.Forever, Delay: 3 * time.Second})
		c := w.connect()
		var took []time.Duration
		for {
			began := time.Now()
			ps := c.fetch(0, place{"cold", 0, 0}, place{"cold", 1, 1})
			took = append(took, time.Since(began))
			wantRecords(t, ps[1], "1:b") // is not kept waiting for more than the limit
			if len(ps[0].RecordBatches) > 0 {
				wantRecords(t, ps[0], "0:a")
				break
			}
			if ps[0].ErrorCode != 0 || ps[0].HighWatermark != 2 || len(took) > 100 {
				t.Fatalf("answer %d is %+v", len(took), ps[0])
			}
		}
		if longest := slices.Max(took); longest > 500*time.Millisecond || len(took) < 2 {
			t.Errorf("took %v, expected several answers within remote.fetch.max.wait.ms each", took)
		}
	})
}

// A client that never catches up with what is here gets what is in the tier besides, if it is the
// turn of that: partitions that had records go behind those that had none.
func TestFetchFromTheTierBesideABusyPartition(t *testing.T) {
	remote(t, func(t *testing.T, w *world, _ *buckettest.Bucket) {
		w.create("busy", 1)
		c := w.connect()
		const limit = 1000
		c.produce("busy", values(strings.Repeat("x", limit))...)
		for _, size := range []int32{limit, 1} { // also if that is less than a batch
			req := w.fetchOf(0, place{"cold", 0, 0}, place{"busy", 0, 0})
			req.MaxBytes = size
			ps := partitionsOf(ask[*kmsg.FetchResponse](c, 12, req))
			wantRecords(t, ps[0], "0:a")
			if len(ps[1].RecordBatches) == 0 {
				t.Error("nothing of what is here")
			}
		}
	})
}

func TestFetchFromATierThatFails(t *testing.T) {
	remote(t, func(t *testing.T, w *world, store *buckettest.Bucket) {
		store.Add(buckettest.Rule{Ops: buckettest.OpGet, Times: buckettest.Forever, Fault: buckettest.Refuse, Err: bucket.ErrDenied})
		p := w.connect().fetch(0, place{"cold", 0, 0})[0]
		wantCode(t, "answer", p.ErrorCode, kerr.KafkaStorageError) // a consumer asks again, and keeps its place
	})
}

func TestFetchFromTheTierOfAStoppingServer(t *testing.T) {
	remote(t, func(t *testing.T, w *world, store *buckettest.Bucket) {
		store.Add(buckettest.Rule{Ops: buckettest.OpGet, Times: buckettest.Forever, Delay: time.Hour})
		poll := w.poll(w.fetchOf(time.Hour, place{"cold", 0, 0}))
		w.stopServer()
		if resp, took := poll.answer(); took > 0 || resp.Topics[0].Partitions[0].ErrorCode != 0 {
			t.Errorf("answered after %s with %+v", took, resp)
		}
	})
}
