package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/morrowmq/morrow/internal/testnet"
)

// TestPendingRecordsOutliveRetention is D1b: retention is shorter than the delay. The segments that
// held the delayed records are gone before they are due, and all of them are delivered all the
// same, once, also across a kill -9.
func TestPendingRecordsOutliveRetention(t *testing.T) {
	t.Parallel()
	config := writeFile(t, "morrow.yaml", "log.retention.check.interval.ms: 300\n")
	ctx := deadline(t, 2*time.Minute)
	const delayed = 200
	var b *testnet.Broker
	ahead(t, 12*time.Second, func(due time.Time) error {
		if b != nil {
			b.Stop()
		}
		b = start(t, "--config", config)
		createTopic(t, b, "orders", 1, map[string]string{"segment.bytes": "16384", "retention.ms": "1500", "segment.ms": "1000"})
		outlive(ctx, t, b, delayed, due)
		// What is delivered stays until it has been read.
		return alterTopic(ctx, kadm.NewClient(client(t, b)), "orders", "retention.ms", "-1")
	})
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

// outlive produces records that are due at a time, and returns once retention has removed all that
// came before and they were in.
func outlive(ctx context.Context, t *testing.T, b *testnet.Broker, delayed int, due time.Time) {
	t.Helper()
	cl := client(t, b, kgo.DefaultProduceTopic("orders"), kgo.ProducerBatchCompression(kgo.NoCompression()))
	at := []kgo.RecordHeader{{Key: "morrow-deliver-at", Value: strconv.AppendInt(nil, due.UnixMilli(), 10)}}
	last := int64(0)
	for i := range delayed {
		r := &kgo.Record{Value: fmt.Appendf(nil, "later-%d", i), Headers: at}
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
}

// firstLocalOffset is where the largest log of the data directory begins: that of the only topic
// that is written.
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
