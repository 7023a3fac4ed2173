package e2e

import (
	"bytes"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/morrowmq/morrow/internal/testnet"
)

// largeValue is 400 KB, of which no two parts are alike, so that a batch read from a wrong place shows.
func largeValue(n int) []byte {
	b := make([]byte, 0, 400_000)
	for len(b) < 400_000 {
		b = strconv.AppendInt(append(b, byte('a'+n%26)), int64(len(b)), 10)
	}
	return b[:400_000]
}

// TestShareGroupReadsLargeRecordsFromTheTier: batches of 400 KB lie across the borders of the
// blocks of 1 MiB that the tier reads. A share group is given each as it was, and so is the
// dead-letter topic.
func TestShareGroupReadsLargeRecordsFromTheTier(t *testing.T) {
	t.Parallel()
	const records = 24
	b := start(t, "--set", "tier.url="+startStore(t).url(), "--set", "log.retention.check.interval.ms=300")
	createTopic(t, b, "jobs", 1, map[string]string{
		"remote.storage.enable": "true", "segment.bytes": "4194304", "segment.ms": "1000", "local.retention.ms": "1000", "retention.ms": "-1",
	})
	createTopic(t, b, "dead", 1, nil)
	configureGroup(t, b, "g", "share.auto.offset.reset", "earliest", "errors.deadletterqueue.topic.name", "dead",
		"share.record.lock.duration.ms", "60000")
	cl := client(t, b, kgo.DefaultProduceTopic("jobs"), kgo.ProducerBatchCompression(kgo.NoCompression()))
	for n := range records {
		if err := cl.ProduceSync(deadline(t, 20*time.Second), &kgo.Record{Value: largeValue(n)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	awaitLocalStart(t, b, "jobs", records)

	finished := map[int64]bool{}
	consumer := shareConsumer(t, b, "g", "jobs")
	for len(finished) < records {
		for _, r := range pollShare(t, consumer, time.Minute) {
			if !bytes.Equal(r.Value, largeValue(int(r.Offset))) {
				t.Fatalf("the group was given other bytes at offset %d", r.Offset)
			}
			if r.Offset%3 == 2 {
				r.Ack(kgo.AckReject)
			} else {
				r.Ack(kgo.AckAccept)
			}
			finished[r.Offset] = true
		}
		flushAcks(t, consumer)
	}
	awaitShareLag(t, b, "g", "jobs", 1, 0)

	dead := map[string]bool{}
	for _, r := range consume(t, b, "dead", records/3) {
		for _, h := range r.Headers {
			if h.Key != "__dlq.errors.offset" {
				continue
			}
			n, err := strconv.Atoi(string(h.Value))
			if err != nil || n%3 != 2 || !bytes.Equal(r.Value, largeValue(n)) {
				t.Errorf("the letter of offset %s holds other bytes (%v)", h.Value, err)
			}
			dead[string(h.Value)] = true
		}
	}
	if len(dead) != records/3 {
		t.Errorf("letters of %d records, want %d", len(dead), records/3)
	}
}

// awaitLocalStart waits until the local log of a topic's first partition begins at an offset.
func awaitLocalStart(t *testing.T, b *testnet.Broker, topic string, offset int64) {
	t.Helper()
	ctx := deadline(t, time.Minute)
	admin := kadm.NewClient(client(t, b))
	for {
		listed, err := admin.ListOffsetsAfterMilli(ctx, -4, topic) // the earliest local one
		if err != nil {
			t.Fatalf("local start of %s: %v", topic, err)
		}
		o, _ := listed.Lookup(topic, 0)
		if o.Err == nil && o.Offset == offset {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the local log of %s begins at %d, want %d (%v)", topic, o.Offset, offset, o.Err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
