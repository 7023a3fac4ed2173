package e2e

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestScheduleTopicsAreReadAndNotWritten: a run in the schedule topic is read like any topic, for debugging.
// Nobody may produce there or delete the topic, and no pattern subscribes to it.
func TestScheduleTopicsAreReadAndNotWritten(t *testing.T) {
	const records = 50
	b := start(t, "--config", writeFile(t, "morrow.yaml", "delay.spill.distance.bytes: 1048576\ndelay.replay.bytes: 1048576\n"))
	createTopic(t, b, "orders", 1, nil)
	ctx := deadline(t, time.Minute)
	cl := client(t, b, kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.RecordDeliveryTimeout(time.Minute))
	for i := range records {
		delay := kgo.RecordHeader{Key: "morrow-delay", Value: fmt.Appendf(nil, "%dm", 100-i)}
		r := &kgo.Record{Topic: "orders", Key: fmt.Appendf(nil, "k%d", i), Value: fmt.Appendf(nil, "v%d", i), Headers: []kgo.RecordHeader{delay}}
		if err := cl.ProduceSync(ctx, r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for range 50 { // puts distance between them and the end of the log
		if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "orders", Value: make([]byte, 100_000)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]bool{}
	for _, r := range consume(t, b, "__schedule.orders", records) {
		ticket := header(r, "morrow-ticket")
		if string(r.Key) != "k"+ticket || string(r.Value) != "v"+ticket || seen[ticket] {
			t.Errorf("offset %d of the schedule topic is %s=%s with %v", r.Offset, r.Key, r.Value, r.Headers)
		}
		seen[ticket] = true
	}
	if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "__schedule.orders", Value: []byte("x")}).FirstErr(); !errors.Is(err, kerr.InvalidTopicException) {
		t.Errorf("produce to the schedule topic: %v", err)
	}
	adm := kadm.NewClient(cl)
	if _, err := adm.DeleteTopic(ctx, "__schedule.orders"); err == nil {
		t.Error("the schedule topic was deleted")
	}
	if topics, err := adm.ListTopics(ctx); err != nil || topics.Has("__schedule.orders") {
		t.Errorf("the schedule topic is not internal: %v", err)
	}
}
