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
				p, past := scheduled(b, records, c.perSend, c.spread, c.codec, rng)
				p.now = func() time.Time { return past.Add(time.Hour) }
				d := NewDispatcher(DispatcherConfig{Now: p.now})
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
				b.ReportMetric(float64(p.reads.Load())/float64(records/c.perSend), "reads/batch")
			}
			b.ReportMetric(float64(records)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrecords/s")
		})
	}
}

// scheduled returns a partition whose records are due within spread milliseconds of a time, at random.
func scheduled(b *testing.B, records, perSend, spread int, codec record.Codec, rng *rand.Rand) (*partition, time.Time) {
	p := newPartition(testRules(b, nil))
	at := time.UnixMilli(testNow)
	p.now = func() time.Time { return at }
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
	return p, at
}

// BenchmarkSteadyDelivery delivers what becomes due each millisecond, out of large batches with random due times.
func BenchmarkSteadyDelivery(b *testing.B) {
	for _, c := range []struct {
		name             string
		records, perSend int
		spread           int // milliseconds
	}{
		{"100 thousand a second, batches of 10000", 1_000_000, 10_000, 10_000},
		{"20 thousand a second, batches of 10000", 1_000_000, 10_000, 50_000},
		{"20 thousand a second, batches of 100", 200_000, 100, 10_000},
	} {
		b.Run(c.name, func(b *testing.B) {
			rng := rand.New(rand.NewPCG(1, 2))
			for range b.N {
				b.StopTimer()
				p, now := scheduled(b, c.records, c.perSend, c.spread, record.None, rng)
				p.now = func() time.Time { return now }
				d := NewDispatcher(DispatcherConfig{Now: p.now})
				l := d.Attach("bench-0", p.schedule, p)
				d.queue = nil
				var w workspace
				worst := time.Duration(0)
				b.StartTimer()
				for range c.spread + 100 {
					now = now.Add(time.Millisecond)
					began := time.Now()
					if _, err := l.deliver(context.Background(), &w, minWindow); err != nil {
						b.Fatal(err)
					}
					worst = max(worst, time.Since(began))
				}
				b.StopTimer()
				if st := p.schedule.Stats(0); st.Pending > 0 {
					b.Fatalf("%+v", st)
				}
				b.ReportMetric(float64(p.reads.Load())/float64(c.records/c.perSend), "reads/batch")
				b.ReportMetric(float64(worst.Milliseconds()), "worst-ms")
			}
			b.ReportMetric(float64(c.records)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrecords/s")
		})
	}
}
