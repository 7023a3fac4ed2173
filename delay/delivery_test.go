package delay

import (
	"context"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/morrowmq/morrow/log/record"
)

// BenchmarkDelivery takes a burst from the schedule to the encoded batches: everything but the disk.
func BenchmarkDelivery(b *testing.B) {
	const records = 1_000_000
	for _, c := range []struct {
		name    string
		perSend int
		spread  int // milliseconds
		codec   record.Codec
	}{
		{"one instant", 1000, 1, record.None},
		{"random within a second", 1000, 1000, record.None},
		{"random within a second, batches of 10", 10, 1000, record.None},
		{"random within a second, batches of 10000", 10_000, 1000, record.None},
		{"random within a second, lz4", 1000, 1000, record.LZ4},
	} {
		b.Run(c.name, func(b *testing.B) {
			rng := rand.New(rand.NewPCG(1, 2))
			for range b.N {
				b.StopTimer()
				p := burst(b, records, c.perSend, c.spread, c.codec, rng)
				d := NewDispatcher(DispatcherConfig{})
				l := d.Attach("bench-0", p.schedule, p)
				d.queue = nil
				var w workspace
				b.StartTimer()
				for more, window := true, minWindow; more; window = min(4*window, maxWindow) {
					var err error
					if more, err = l.deliver(context.Background(), &w, window); err != nil {
						b.Fatal(err)
					}
				}
				b.StopTimer()
				if st := p.schedule.Stats(0); st.Delivered != records {
					b.Fatalf("%+v", st)
				}
				b.ReportMetric(float64(p.reads)/float64(records/c.perSend), "reads/batch")
			}
			b.ReportMetric(float64(records)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrecords/s")
		})
	}
}

// burst returns a partition whose records are all overdue.
func burst(b *testing.B, records, perSend, spread int, codec record.Codec, rng *rand.Rand) *partition {
	p := newPartition(testRules(b, nil))
	now := time.Now()
	past := now.Add(-time.Hour)
	p.now = func() time.Time { return past }
	value := strings.Repeat("x", 100)
	for range records / perSend {
		rs := make([]record.Record, perSend)
		for i := range rs {
			rs[i] = with(value, HeaderDelay, strconv.Itoa(1+rng.IntN(spread)))
		}
		if _, err := p.send(rs...); err != nil {
			b.Fatal(err)
		}
	}
	p.now = func() time.Time { return now }
	return p
}
