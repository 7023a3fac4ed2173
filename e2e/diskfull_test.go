package e2e

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sys/unix"
)

// TestDiskFullRefusesProducersAndRecoversWithoutRestart leaves the broker 48 MiB above its reserve,
// fills those, and makes room again by deleting a topic. Producers are refused retriably meanwhile;
// a delivery that falls due still gets through, because the reserve is kept for it; nothing
// acknowledged is lost. It is done anew if a producer is refused who should not be: others may have
// written to this disk.
func TestDiskFullRefusesProducersAndRecoversWithoutRestart(t *testing.T) {
	for try := 1; ; try++ {
		err := fillTheDisk(t)
		if err == nil {
			return
		}
		if try == 3 {
			t.Fatal(err)
		}
		t.Logf("once more: %v", err)
	}
}

func fillTheDisk(t *testing.T) error {
	t.Helper()
	const room = 48 << 20
	var st unix.Statfs_t
	if err := unix.Statfs(t.TempDir(), &st); err != nil {
		t.Fatal(err)
	}
	free := int64(st.Bavail) * st.Bsize
	config := writeFile(t, "morrow.yaml", fmt.Sprintf("disk.reserve.bytes: %d\njournal.max.bytes: 8388608\njournal.segment.bytes: 4194304\n", free-room))
	b := start(t, "--config", config)
	createTopic(t, b, "ballast", 1, nil)
	createTopic(t, b, "orders", 1, nil)
	ctx := deadline(t, time.Minute)

	cl := client(t, b, kgo.DefaultProduceTopic("orders"))
	if err := cl.ProduceSync(ctx, &kgo.Record{Value: []byte("due"), Headers: []kgo.RecordHeader{{Key: "morrow-delay", Value: []byte("3s")}}}).FirstErr(); err != nil {
		return fmt.Errorf("refused before the disk was full: %w", err)
	}
	acked := fill(ctx, t, client(t, b, kgo.DefaultProduceTopic("ballast"), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.RecordRetries(0), kgo.DisableIdempotentWrite()))
	t.Logf("refused after %d records of 512 KiB", acked)

	if got := consume(t, b, "orders", 1); string(got[0].Value) != "due" {
		t.Fatalf("delivered %q while the disk was full", got[0].Value)
	}
	if n := len(consume(t, b, "ballast", acked)); n != acked {
		t.Fatalf("%d of %d acknowledged records are there", n, acked)
	}
	if _, err := kadm.NewClient(cl).DeleteTopic(ctx, "ballast"); err != nil {
		t.Fatal(err)
	}
	// The producer of orders retries until there is room again.
	if err := cl.ProduceSync(ctx, kgo.StringRecord("after")).FirstErr(); err != nil {
		return fmt.Errorf("still refused after room was made: %w", err)
	}
	return nil
}

// fill produces until the broker refuses for want of space, and returns how many records were acknowledged.
func fill(ctx context.Context, t *testing.T, cl *kgo.Client) (acked int) {
	t.Helper()
	for ctx.Err() == nil {
		value := make([]byte, 512<<10)
		_, _ = rand.Read(value) // never fails
		err := cl.ProduceSync(ctx, kgo.SliceRecord(value)).FirstErr()
		switch {
		case err == nil:
			acked++
		case errors.Is(err, kerr.NotEnoughReplicas):
			return acked
		default:
			t.Fatalf("after %d records: %v, expected a retriable refusal", acked, err)
		}
	}
	t.Fatalf("%d records of 512 KiB were accepted, the disk was never full", acked)
	return 0
}
