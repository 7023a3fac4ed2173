package api

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/protocol"
)

// handled is one request through the Produce handler, without the server around it.
func (w *world) handled(req *kmsg.ProduceRequest) protocol.Answer {
	r := protocol.Request{Version: req.Version, Message: req, Conn: new(protocol.Conn), Received: time.Now()}
	answer, err := w.api.produce(context.Background(), &r)(context.Background())
	if err != nil {
		w.Fatal(err)
	}
	for _, code := range answer.Errors {
		w.Fatalf("error code %d", code)
	}
	return answer
}

// batchSized returns a batch of records of 100 bytes.
func batchSized(records int) record.Batch {
	rs := make([]rec, records)
	for i := range rs {
		rs[i].value = fmt.Sprintf("%093d", i)
	}
	return batch(rs...)
}

// fetchedOnce is one request through the Fetch handler, without the server around it.
func (w *world) fetchedOnce(req *kmsg.FetchRequest) int64 {
	f, err := w.api.beginFetch(req, new(protocol.Conn))
	if err != nil {
		w.Fatal(err)
	}
	f.run(context.Background())
	if err := f.turn.finish(); err != nil {
		w.Fatal(err)
	}
	body, codes := f.encode()
	if len(codes) > 0 {
		w.Fatalf("error codes %v", codes)
	}
	f.release()
	return body.Size()
}

// allocs counts the allocations of one call, those of everybody else included.
func allocs(call func()) float64 {
	const rounds = 200
	call()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range rounds {
		call()
	}
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / rounds
}

func TestNothingIsAllocatedPerRecord(t *testing.T) {
	w := newWorld(t, on(vfs.OS{}))
	w.create("orders", 1)
	req := producingTo("orders", nil)
	req.SetVersion(9)
	req.Acks = 1
	produce := func(records int) float64 {
		b := batchSized(records)
		return allocs(func() {
			req.Topics[0].Partitions[0].Records = b
			b.SetBaseOffset(0)
			w.handled(req)
		})
	}
	if one, many := produce(1), produce(1000); many > one+20 {
		t.Errorf("produce: %.0f allocations for one record, %.0f for a thousand", one, many)
	}
	fetch := func(maxBytes int32) float64 {
		req := w.fetchOf(0, place{"orders", 0, 0})
		req.SetVersion(12)
		req.Topics[0].Partitions[0].PartitionMaxBytes = maxBytes
		return allocs(func() { w.fetchedOnce(req) })
	}
	if one, many := fetch(1), fetch(1<<20); many > one+20 {
		t.Errorf("fetch: %.0f allocations for one batch, %.0f for many", one, many)
	}
}

func BenchmarkProduce(b *testing.B) {
	for _, records := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("records=%d", records), func(b *testing.B) {
			w := newWorld(b, on(vfs.OS{}))
			w.create("orders", 1)
			req := producingTo("orders", batchSized(records))
			req.SetVersion(9)
			req.Acks = 1 // the handler's work, not the disk's
			stored := req.Topics[0].Partitions[0].Records
			b.SetBytes(int64(len(stored)))
			b.ReportAllocs()
			for b.Loop() {
				record.Batch(stored).SetBaseOffset(0)
				w.handled(req)
			}
		})
	}
}

func BenchmarkFetch(b *testing.B) {
	for _, partitions := range []int{1, 100} {
		for _, behind := range []bool{true, false} {
			name := fmt.Sprintf("partitions=%d/records=%t", partitions, behind)
			b.Run(name, func(b *testing.B) {
				w := newWorld(b)
				w.create("orders", int32(partitions))
				stored := batchSized(1000)
				var places []place
				for n := range int32(partitions) {
					req := producingTo("orders", stored)
					req.SetVersion(9)
					req.Topics[0].Partitions[0].Partition = n
					w.handled(req)
					stored.SetBaseOffset(0)
					p := place{"orders", n, 0}
					if !behind {
						p.offset = 1000
					}
					places = append(places, p)
				}
				req := w.fetchOf(0, places...)
				req.SetVersion(12)
				b.SetBytes(w.fetchedOnce(req))
				b.ReportAllocs()
				for b.Loop() {
					w.fetchedOnce(req)
				}
			})
		}
	}
}

// BenchmarkFetchSession fetches what is new in a session of many partitions, which is nothing.
func BenchmarkFetchSession(b *testing.B) {
	w := newWorld(b)
	w.create("orders", 1000)
	var places []place
	for n := range int32(1000) {
		places = append(places, place{"orders", n, 0})
	}
	req := w.fetchOf(0, places...)
	req.SetVersion(12)
	req.SessionEpoch = initialEpoch
	w.fetchedOnce(req)
	next := w.fetchOf(0)
	next.SetVersion(12)
	for id := range w.api.sessions.byID {
		next.SessionID, next.SessionEpoch = id, 1
	}
	b.ReportAllocs()
	for b.Loop() {
		w.fetchedOnce(next)
		next.SessionEpoch = nextEpoch(next.SessionEpoch)
	}
}
