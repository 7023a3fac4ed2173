package tier

import (
	"fmt"
	"testing"

	"github.com/morrowmq/morrow/tier/bucket"
)

// manifestOf is a manifest of so many segments, without their pages' objects.
func manifestOf(segments int) *Manifest {
	m := newManifest("c1", PartitionID{Topic: TopicID{1}, Name: "orders"})
	m.Config = map[string]string{"retention.ms": "604800000", "remote.storage.enable": "true"}
	etag := `"d41d8cd98f00b204e9800998ecf8427e"`
	var pending []Entry
	for i := range int64(segments) {
		e := sampleEntry(i * 100_000)
		e.End, e.Bytes, e.ETag, e.AbortedFirst = e.Base+100_000, 1<<30, etag, NoOffset
		if pending = append(pending, e); len(pending) == pageEntries && segments-int(i) > pageEntries/2 {
			m.Pages = append(m.Pages, PageRef{Span: summarise(pending), Epoch: 1, Token: NewToken(), Entries: pageEntries, First: pending[0].Span, Size: 40_000, Sum: e.Sum})
			pending = nil
		}
	}
	m.Tail = pending
	m.Start, m.End = 0, int64(segments)*100_000
	return m
}

// BenchmarkManifest is what a commit costs beside the request itself, and a start.
func BenchmarkManifest(b *testing.B) {
	for _, n := range []int{100, 1000, 10_000, 100_000} {
		m := manifestOf(n)
		data := m.encode()
		b.Run(fmt.Sprintf("commit/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				next := m.clone()
				if err := next.append(Entry{Span: Span{Base: m.End, End: m.End + 5, Segments: 1}}, nil); err != nil {
					b.Fatal(err)
				}
				bucket.BytesBody(bucket.CRC64NVME, next.encode())
			}
			b.ReportMetric(float64(len(data)), "bytes/commit")
		})
		b.Run(fmt.Sprintf("load/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := decodeManifest(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
