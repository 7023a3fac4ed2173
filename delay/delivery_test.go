package delay

import (
	"context"
	"errors"
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

// BenchmarkBurstBegins takes the first records of a burst, which lie in all of its batches, to the
// encoded batch; first for who comes upon it, and then for who was told half a second before.
func BenchmarkBurstBegins(b *testing.B) {
	for _, ahead := range []time.Duration{0, warmAhead} {
		b.Run("ahead="+ahead.String(), func(b *testing.B) {
			rng := rand.New(rand.NewPCG(1, 2))
			var warming time.Duration
			for range b.N {
				b.StopTimer()
				p, now := scheduled(b, 1_000_000, 10_000, 1000, record.None, rng)
				p.now = func() time.Time { return now }
				d := NewDispatcher(DispatcherConfig{Now: p.now})
				l := d.Attach("bench-0", p.schedule, p)
				d.queue = nil
				var w workspace
				began := time.Now()
				if now = now.Add(-ahead); ahead > 0 {
					deliverAll(b, l, &w, minWindow)
				}
				warming += time.Since(began)
				now = now.Add(ahead + 2*time.Millisecond)
				b.StartTimer()
				if _, err := l.deliver(context.Background(), &w, minWindow); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(warming.Seconds()*1e3/float64(b.N), "warming-ms")
		})
	}
}

// deliverAll delivers window by window until nothing is left to do.
func deliverAll(t testing.TB, l *Line, w *workspace, window int) {
	for more := true; more; {
		var err error
		if more, err = l.deliver(context.Background(), w, window); err != nil {
			t.Fatal(err)
		}
	}
}

// The first of a burst lie in all of its batches: to read those takes longer than the first may wait.
func TestBatchesOfABurstAreReadBeforeItBegins(t *testing.T) {
	const batches, perBatch = 50, 1000
	p, now := scheduled(t, batches*perBatch, perBatch, 100, record.None, rand.New(rand.NewPCG(1, 2)))
	p.now = func() time.Time { return now }
	d := NewDispatcher(DispatcherConfig{Now: p.now})
	l := d.Attach("orders-0", p.schedule, p)
	d.queue = nil
	var w workspace
	now = now.Add(-warmAhead)
	turns := 0
	for more := true; more; turns++ {
		before := p.reads.Load()
		var err error
		if more, err = l.deliver(t.Context(), &w, minWindow); err != nil {
			t.Fatal(err)
		}
		if n := p.reads.Load() - before; n > warmBatches {
			t.Errorf("%d batches were read in one turn, while others may have something due", n)
		}
	}
	if n := p.reads.Load(); n != batches {
		t.Errorf("%d batches were read of %d, in %d turns", n, batches, turns)
	}
	now = now.Add(warmAhead + 2*time.Millisecond)
	if _, err := l.deliver(t.Context(), &w, minWindow); err != nil {
		t.Fatal(err)
	}
	if n := p.reads.Load() - batches; n != 0 || len(p.visible()) < minWindow/2 {
		t.Errorf("%d were delivered at first, and for these %d batches read again", len(p.visible()), n)
	}
	now = now.Add(time.Second)
	deliverAll(t, l, &w, maxWindow)
	if n := len(p.visible()); n != batches*perBatch {
		t.Errorf("%d were delivered of %d", n, batches*perBatch)
	}
}

// scheduled returns a partition whose records are due within spread milliseconds of a time, at random.
func scheduled(b testing.TB, records, perSend, spread int, codec record.Codec, rng *rand.Rand) (*partition, time.Time) {
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

// BenchmarkSteadyDelivery delivers what becomes due each millisecond, out of large batches with
// random due times.
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

// TestDeliveryIsAdmittedFromItsDueTimeOn, to the millisecond, whatever its line has seen of the clock.
func TestDeliveryIsAdmittedFromItsDueTimeOn(t *testing.T) {
	p := newPartition(testRules(t, nil))
	p.scheduleAll(t, record.None, time.Second, 2*time.Second)
	due := p.schedule.NextDue() + 1000
	f, _, err := p.schedule.take(due, 10, 1<<20, nil, 0, true)
	if err != nil || f == nil || len(f.Entries) != 2 {
		t.Fatalf("took %+v, %v", f, err)
	}
	d := Delivery{flight: f, next: 2, latest: due}
	for _, c := range []struct {
		now  int64
		want error
	}{{due - 1001, ErrEarly}, {due - 1, ErrEarly}, {due, nil}, {due + 1, nil}} {
		if err := p.schedule.AdmitDelivery(&d, c.now); !errors.Is(err, c.want) {
			t.Errorf("%d ms after the last is due: %v, want %v", c.now-due, err, c.want)
		}
	}
}
