package delay

import (
	"context"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/record"
)

// BenchmarkMerge makes one run of as many as are too many.
func BenchmarkMerge(b *testing.B) {
	const each, runs = 48_000, maxRunsOfClass + 1
	live := int64(0)
	for range b.N {
		b.StopTimer()
		p := newSpilling(b)
		// The file system in memory remembers what was deleted.
		p.keeper.c.FS, p.keeper.c.Dir, p.keeper.c.SortBytes = new(vfs.OS), b.TempDir(), 32<<20
		rng := rand.New(rand.NewPCG(1, 2))
		for range runs {
			for i := 0; i < each; i += 1000 {
				rs := make([]record.Record, 1000)
				for j := range rs {
					rs[j] = with("0123456789012345678901234567890123456789", HeaderDelay, strconv.Itoa(3600_000+rng.IntN(3600_000)))
				}
				if _, err := p.send(rs...); err != nil {
					b.Fatal(err)
				}
			}
			if err := p.keeper.Spill(context.Background(), p, p.end, 0); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
		merged, err := p.keeper.Merge(context.Background(), 0)
		if err != nil || !merged {
			b.Fatal(merged, err)
		}
		b.StopTimer()
		s := p.schedule.Stats(0)
		if s.Runs != 1 {
			b.Fatalf("%d runs are left", s.Runs)
		}
		live += s.Spilled
	}
	b.ReportMetric(float64(live)/b.Elapsed().Seconds()/1e6, "Mrecords/s")
}
