package e2e

import (
	"os/exec"
	"testing"
	"time"
)

// TestMillionPendingRecordsTakeNoMemory is a hundred million in small: nearly all of a million
// pending records are in runs, where they may take two bytes each, and delay.index.memory bounds
// the rest, although the producer would be faster than the spills.
func TestMillionPendingRecordsTakeNoMemory(t *testing.T) {
	t.Parallel()
	const records, budget = 1_000_000, 4 << 20
	b := start(t, "--config", writeFile(t, "morrow.yaml", "delay.index.memory: 4194304\n"))
	ctx := deadline(t, 3*time.Minute)
	createTopic(t, b, "many", 2, nil)
	collect(ctx, t, b)
	_, before := footprint(ctx, t, b)
	bench := exec.CommandContext(ctx, bin, "bench", "produce", "-b", b.Addr(), "-t", "many", "--raw", "--record-size", "16", "--batch-bytes", "100000",
		"--delay", "24h", "--spread", "720h", "--records", "1000000", "--duration", "0", "--warmup", "0s", "--connections", "2")
	if out, err := bench.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s := summary(ctx, b, "many")
	for ; s.Pending-s.Spilled > budget/24; s = summary(ctx, b, "many") {
		if ctx.Err() != nil {
			t.Fatalf("too little was spilled: %+v", s)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if s.Pending < records {
		t.Fatalf("only %d are pending", s.Pending)
	}
	limit := before + 8 + (budget+2*records)/(1<<20) // 2 B beyond the horizon, and some for buffers
	_, after := footprint(ctx, t, b)
	for end := time.Now().Add(patience * 30 * time.Second); after > limit && time.Now().Before(end); _, after = footprint(ctx, t, b) {
		time.Sleep(time.Second) // spills and merges have buffers of their own
	}
	t.Logf("%.1f MiB of heap before, %.1f MiB with %d pending, %d of them in %d runs", before, after, s.Pending, s.Spilled, s.Runs)
	if after > limit {
		t.Errorf("%d pending records take %.1f MiB of heap, at most %.1f are expected", s.Pending, after, limit)
	}
}
