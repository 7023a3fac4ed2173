package e2e

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestLevelsKeepProductionOrderAndNothingBlocksThem is D5: 18 levels interleaved, records that can never be
// delivered, and a table that changes while records are pending.
func TestLevelsKeepProductionOrderAndNothingBlocksThem(t *testing.T) {
	const levels, partitions = 18, 2
	each := 200
	if *delayFull {
		each = 1000
	}
	b := start(t)
	durations := make([]string, levels)
	for i := range durations {
		durations[i] = strconv.Itoa(1000+200*i) + "ms"
	}
	createTopic(t, b, "levels", partitions, map[string]string{"delay.levels": strings.Join(durations, " "), "max.message.bytes": "50000"})
	ctx := deadline(t, time.Minute)
	cl := client(t, b, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(45_000))

	l := newLedger()
	type window struct{ sent, acked, delay int64 } // milliseconds
	windows := map[string]window{}
	last := map[[2]int]int64{} // partition, level → ticket
	l.order = append(l.order, func(r *kgo.Record) error {
		id := header(r, "id")
		level, _ := strconv.Atoi(strings.Split(id, "-")[1])
		ticket, _ := strconv.ParseInt(header(r, "morrow-ticket"), 10, 64)
		due, _ := strconv.ParseInt(header(r, "morrow-due"), 10, 64)
		at := [2]int{int(r.Partition), level}
		if ticket <= last[at] && last[at] != 0 {
			return fmt.Errorf("%s of level %d was delivered after ticket %d", id, level, last[at])
		}
		last[at] = ticket
		if w := windows[id]; due < w.sent+w.delay || due > w.acked+w.delay {
			return fmt.Errorf("%s of level %d was sent at %d, acknowledged at %d and due at %d", id, level, w.sent, w.acked, due)
		}
		if late := r.Timestamp.UnixMilli() - due; late > 30_000 { // not for want of time, but because another was waited for
			return fmt.Errorf("%s was delivered %d ms late", id, late)
		}
		return nil
	})

	for n := range each {
		var records []*kgo.Record
		sent := time.Now().UnixMilli()
		for level := 1; level <= levels; level++ {
			r := l.record("levels", fmt.Sprintf("%d-%d", n, level), int32(n%partitions), 0)
			r.Headers[1] = kgo.RecordHeader{Key: "morrow-delay-level", Value: strconv.AppendInt(nil, int64(level), 10)}
			records = append(records, r)
		}
		if err := cl.ProduceSync(ctx, records...).FirstErr(); err != nil {
			t.Fatal(err)
		}
		for i, r := range records {
			id := header(r, "id")
			windows[id] = window{sent, time.Now().UnixMilli(), int64(1000 + 200*i)}
			l.promise(id, r, 0)
		}
		if n == each/2 {
			refusePoison(t, client(t, b, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression())))
		}
	}
	// What is pending keeps its due time.
	if err := alterTopic(ctx, kadm.NewClient(cl), "levels", "delay.levels", "1h 2h"); err != nil {
		t.Fatal(err)
	}
	l.consume(t, b, "levels")
	l.await(t, b, "levels")
	if counts := l.verify(t); counts[pending] != levels*each {
		t.Errorf("%d records were acknowledged", counts[pending])
	}
}

// refusePoison sends records that could never be delivered.
func refusePoison(t *testing.T, cl *kgo.Client) {
	t.Helper()
	ctx := deadline(t, 20*time.Second)
	for _, c := range []struct {
		what, level string
		size        int
	}{
		{"a record that fits only without the headers of its delivery", "3", 49_850},
		{"a level that is no number", "three", 10},
	} {
		r := &kgo.Record{Topic: "levels", Value: make([]byte, c.size), Headers: []kgo.RecordHeader{{Key: "morrow-delay-level", Value: []byte(c.level)}}}
		if err := cl.ProduceSync(ctx, r).FirstErr(); !errors.Is(err, kerr.InvalidRecord) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

func alterTopic(ctx context.Context, adm *kadm.Client, topic, name, value string) error {
	responses, err := adm.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: name, Value: &value}}, topic)
	if err != nil {
		return err
	}
	_, err = responses.On(topic, nil)
	return err
}
