package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/morrowmq/morrow/internal/testnet"
)

// TestPendingRecordsOutliveRetention is D1b: retention is shorter than the delay. The segments that held the delayed records are gone
// before they are due, and all of them are delivered all the same, once, also across a kill -9.
func TestPendingRecordsOutliveRetention(t *testing.T) {
	config := writeFile(t, "morrow.yaml", "log.retention.check.interval.ms: 300\n")
	b := start(t, "--config", config)
	createTopic(t, b, "orders", 1, map[string]string{"segment.bytes": "16384", "retention.ms": "1500", "segment.ms": "1000"})
	cl := client(t, b, kgo.DefaultProduceTopic("orders"), kgo.ProducerBatchCompression(kgo.NoCompression()))
	ctx := deadline(t, time.Minute)
	const delayed = 200
	last := int64(0)
	for i := range delayed {
		r := &kgo.Record{Value: fmt.Appendf(nil, "later-%d", i), Headers: []kgo.RecordHeader{{Key: "morrow-delay", Value: []byte("12s")}}}
		if err := cl.ProduceSync(ctx, r).FirstErr(); err != nil {
			t.Fatal(err)
		}
		last = r.Offset
	}
	// Other records roll the segments; retention removes them all.
	for firstLocalOffset(t, b) <= last {
		if err := cl.ProduceSync(ctx, kgo.SliceRecord(make([]byte, 4000))).FirstErr(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	b.Kill9()
	b.Restart("--config", config)
	got := make(map[string]int)
	reader := client(t, b, kgo.ConsumeTopics("orders"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	for len(got) < delayed {
		fs := reader.PollFetches(ctx)
		if err := fs.Err0(); err != nil {
			t.Fatalf("%d of %d delayed records arrived: %v", len(got), delayed, err)
		}
		fs.EachRecord(func(r *kgo.Record) {
			if strings.HasPrefix(string(r.Value), "later-") {
				got[string(r.Value)]++
			}
		})
	}
	for value, n := range got {
		if n != 1 {
			t.Errorf("%s was delivered %d times", value, n)
		}
	}
}

// firstLocalOffset is where the largest log of the data directory begins: that of the only topic that is written.
func firstLocalOffset(t *testing.T, b *testnet.Broker) int64 {
	t.Helper()
	dirs, err := os.ReadDir(filepath.Join(b.DataDir(), "logs"))
	if err != nil {
		t.Fatal(err)
	}
	first := int64(0)
	for _, d := range dirs {
		segments, err := filepath.Glob(filepath.Join(b.DataDir(), "logs", d.Name(), "*.log"))
		if err != nil || len(segments) == 0 {
			continue
		}
		base, err := strconv.ParseInt(strings.TrimSuffix(filepath.Base(segments[0]), ".log"), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		first = max(first, base)
	}
	return first
}
