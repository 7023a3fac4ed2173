package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/morrowmq/morrow/internal/testnet"
)

// header returns the value of a record's header, "" if there is none.
func header(r *kgo.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

func TestDelayedRecordArrivesWhenDueAndNotBefore(t *testing.T) {
	b := start(t)
	createTopic(t, b, "orders", 1, nil)
	cl := client(t, b, kgo.DefaultProduceTopic("orders"))
	ctx := deadline(t, time.Minute)

	sent := time.Now()
	delayed := &kgo.Record{Value: []byte("later"), Headers: []kgo.RecordHeader{{Key: "morrow-delay", Value: []byte("2s")}, {Key: "trace", Value: []byte("abc")}}}
	if err := cl.ProduceSync(ctx, delayed, kgo.StringRecord("now")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	got := consume(t, b, "orders", 2)
	if string(got[0].Value) != "now" || string(got[1].Value) != "later" {
		t.Fatalf("got %q then %q, expected the undelayed record first", got[0].Value, got[1].Value)
	}
	later := got[1]
	if late := later.Timestamp.Sub(sent); late < 2*time.Second {
		t.Errorf("delivered %s after it was sent, expected at least 2s", late)
	}
	if header(later, "morrow-ticket") != "0" || header(later, "morrow-due") == "" || header(later, "trace") != "abc" || header(later, "morrow-delay") != "" {
		t.Errorf("headers of the delivery are %v", later.Headers)
	}
}

func TestDelayedRecordSurvivesKill9AndIsDeliveredOnce(t *testing.T) {
	b := start(t)
	createTopic(t, b, "orders", 1, nil)
	cl := client(t, b, kgo.DefaultProduceTopic("orders"))
	ctx := deadline(t, time.Minute)
	for _, delay := range []string{"1s", "3s"} {
		r := &kgo.Record{Value: []byte(delay), Headers: []kgo.RecordHeader{{Key: "morrow-delay", Value: []byte(delay)}}}
		if err := cl.ProduceSync(ctx, r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	b.Kill9()
	time.Sleep(1500 * time.Millisecond) // the first falls due while the broker is down
	b.Restart()
	got := consume(t, b, "orders", 2)
	if string(got[0].Value) != "1s" || string(got[1].Value) != "3s" {
		t.Fatalf("got %q, %q", got[0].Value, got[1].Value)
	}
	b.Kill9()
	b.Restart()
	if err := client(t, b).ProduceSync(ctx, &kgo.Record{Topic: "orders", Value: []byte("end")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if got = consume(t, b, "orders", 3); string(got[2].Value) != "end" {
		t.Fatalf("after the restart %q came again", got[2].Value)
	}
}

// fillCold makes a tiered topic of several segments.
func fillCold(ctx context.Context, t *testing.T, b *testnet.Broker) {
	t.Helper()
	createTopic(t, b, "cold", 1, map[string]string{"remote.storage.enable": "true", "segment.bytes": "16384"})
	cl := client(t, b, kgo.DefaultProduceTopic("cold"), kgo.ProducerBatchCompression(kgo.NoCompression()))
	for range 100 {
		if err := cl.ProduceSync(ctx, kgo.SliceRecord(make([]byte, 1000))).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestClosedSegmentsAreConfirmedInTheTier(t *testing.T) {
	b := start(t)
	ctx := deadline(t, time.Minute)
	fillCold(ctx, t, b)
	for ; ; time.Sleep(50 * time.Millisecond) {
		if n := tieredObjects(t, filepath.Join(b.DataDir(), "tier")); n >= 5 {
			return
		}
		if ctx.Err() != nil {
			t.Fatal("no segments arrived in the tier")
		}
	}
}

// TestTopicDeletedWhileTieringIsOffLeavesTheBucket: what it has there goes once tiering is on again.
func TestTopicDeletedWhileTieringIsOffLeavesTheBucket(t *testing.T) {
	b := start(t)
	ctx := deadline(t, time.Minute)
	fillCold(ctx, t, b)
	segments := func() int {
		t.Helper()
		found, err := filepath.Glob(filepath.Join(b.DataDir(), "tier", "*", "*", "*", "*.segment"))
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	await := func(what string, done func() bool) {
		t.Helper()
		for ; !done(); time.Sleep(50 * time.Millisecond) {
			if ctx.Err() != nil {
				t.Fatal(what)
			}
		}
	}
	await("no segments arrived in the tier", func() bool { return segments() >= 5 })
	b.Stop()
	b.Restart("--set", "remote.log.storage.system.enable=false")
	if _, err := kadm.NewClient(client(t, b)).DeleteTopic(ctx, "cold"); err != nil {
		t.Fatal(err)
	}
	await("the deletion is not recorded", func() bool {
		found, err := filepath.Glob(filepath.Join(b.DataDir(), "remote", "deletions", "*"))
		return err == nil && len(found) > 0
	})
	b.Stop()
	b.Restart("--set", "remote.log.storage.system.enable=true")
	await("the segments of the deleted topic stay", func() bool { return segments() == 0 })
}

// tieredObjects counts the files below the tier's directory.
func tieredObjects(t *testing.T, dir string) int {
	t.Helper()
	n := 0
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !strings.Contains(path, ".tmp") {
			n++
		}
		return nil // what comes and goes meanwhile is looked at again
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
