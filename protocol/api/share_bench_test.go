package api

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// BenchmarkShareFetch acquires records of a batch and accepts them with the next fetch, as clients
// do that acknowledge implicitly.
func BenchmarkShareFetch(b *testing.B) {
	benchmarkShare(b, func(s *sharer, how acks) {
		resp := ask[*kmsg.ShareFetchResponse](s.client, 2, s.fetchRequest(0, how))
		wantCode(b, "fetch", resp.ErrorCode, nil)
		if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions[0].AcquiredRecords) == 0 {
			b.Fatalf("nothing was acquired: %+v", resp)
		}
		s.epoch++
	})
}

// BenchmarkShareAcknowledge acquires records of a batch and accepts them with a request of their own.
func BenchmarkShareAcknowledge(b *testing.B) {
	benchmarkShare(b, func(s *sharer, how acks) {
		if how != "" {
			equalString(b, string(how), s.acknowledge(how), "ok")
		}
		b.StopTimer()
		resp := ask[*kmsg.ShareFetchResponse](s.client, 2, s.fetchRequest(0, ""))
		wantCode(b, "fetch", resp.ErrorCode, nil)
		s.epoch++
		b.StartTimer()
	})
}

// benchmarkShare calls step once for every batch, with the acknowledgements of the batch before.
func benchmarkShare(b *testing.B, step func(s *sharer, how acks)) {
	for _, records := range []int{1, 500} {
		b.Run(fmt.Sprintf("records=%d", records), func(b *testing.B) {
			w := newWorld(b)
			s := w.sharing(b)
			stored := batchSized(records)
			produced := producingTo("jobs", stored)
			produced.SetVersion(9)
			produced.Acks = -1
			how, next := acks(""), 0
			b.SetBytes(int64(len(stored)))
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				stored.SetBaseOffset(0)
				w.handled(produced)
				b.StartTimer()
				step(s, how)
				how = acks(fmt.Sprintf("%d-%d=accept", next, next+records-1))
				next += records
			}
		})
	}
}
