package delay

import (
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/morrowmq/morrow/log/record"
)

// BenchmarkMake tells a schedule of batches that are all delayed, each below the high watermark a few later.
func BenchmarkMake(b *testing.B) {
	const records, behind = 1000, 5
	rules := testRules(b, nil)
	rng := rand.New(rand.NewPCG(1, 2))
	var rs []record.Record
	for range records {
		rs = append(rs, with("x", HeaderDelay, strconv.FormatInt(rng.Int64N(time.Hour.Milliseconds()), 10)))
	}
	batch := batchOf(record.None, time.UnixMilli(testNow), rs...)
	sp := rules.Splitter(batch, testNow)
	if _, err := record.Check(batch, record.CheckOptions{BeforeMax: 1 << 60, AfterMax: 1 << 60}, nil, sp.Visit()); err != nil {
		b.Fatal(err)
	}
	p, err := sp.Plan(batch)
	if err != nil {
		b.Fatal(err)
	}
	s := NewSchedule(0)
	if err := p.Prepare(b.Context(), s, nil); err != nil {
		b.Fatal(err)
	}
	p.Stamp(testReceive)
	b.ReportAllocs()
	base := int64(0)
	for b.Loop() {
		if base%(1000*records) == 0 {
			s = NewSchedule(base)
		}
		c, err := p.Changes(base)
		if err != nil {
			b.Fatal(err)
		}
		s.Make(c)
		base += records
		s.AdvanceHighWatermark(base - behind*records)
	}
	b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(b.N)/records, "ns/record")
}
