package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/morrowmq/morrow/internal/testnet"
)

// alarm is an alarm as the API tells it.
type alarm struct{ Name, Subject, Text, Topic string }

// alarms asks a broker what is wrong.
func alarms(ctx context.Context, t *testing.T, b *testnet.Broker) []alarm {
	t.Helper()
	var answer struct{ Alarms []alarm }
	if err := json.Unmarshal(get(ctx, t, b, "/api/v1/alarms"), &answer); err != nil {
		t.Fatal(err)
	}
	return answer.Alarms
}

// TestPartitionThatIsNotCompactedAnyMoreIsAnAlarm changes bytes of a compacted topic: the cleaner
// cannot read them, and whoever looks at alarms, at metrics or at the console sees it.
func TestPartitionThatIsNotCompactedAnyMoreIsAnAlarm(t *testing.T) {
	b := start(t, "--config", writeFile(t, "morrow.yaml", eager))
	ctx := deadline(t, time.Minute)
	createTopic(t, b, "states", 1, map[string]string{"cleanup.policy": "compact", "segment.bytes": "16384", "min.compaction.lag.ms": "3600000", "max.compaction.lag.ms": "7200000"})
	cl := client(t, b, kgo.DefaultProduceTopic("states"), kgo.ProducerBatchCompression(kgo.NoCompression()))
	for i := range 50 {
		if err := cl.ProduceSync(ctx, &kgo.Record{Key: []byte("a"), Value: fmt.Appendf(nil, "value %d %s", i, strings.Repeat("x", 1000))}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for got := alarms(ctx, t, b); len(got) > 0; got = alarms(ctx, t, b) {
		if ctx.Err() != nil {
			t.Fatalf("all is well, and there are alarms: %+v", got)
		}
		time.Sleep(20 * time.Millisecond)
	}
	b.Stop()
	spoil(t, b, "value 3 ", 0)
	b.Restart()
	if err := alterTopic(ctx, kadm.NewClient(cl), "states", "min.compaction.lag.ms", "0"); err != nil {
		t.Fatal(err)
	}
	stopped := func(a alarm) bool { return a.Name == "compaction_stopped" }
	unread := func(a alarm) bool { return a.Name == "source_stopped" } // the schedule cannot be read either
	var got []alarm
	for !slices.ContainsFunc(got, stopped) || !slices.ContainsFunc(got, unread) {
		if ctx.Err() != nil {
			t.Fatalf("the alarms are %+v; the log:\n%s", got, b.Logs())
		}
		time.Sleep(20 * time.Millisecond)
		got = alarms(ctx, t, b)
	}
	if a := got[slices.IndexFunc(got, stopped)]; a.Subject != "states-0" || a.Topic != "states" || !strings.Contains(a.Text, "not compacted any more") {
		t.Errorf("alarms: %+v", got)
	}
	if series := scrape(ctx, t, b); !slices.Contains(series, `morrow_log_uncleanable_partitions{topic="states"} 1`) {
		t.Errorf("the metrics do not tell of it")
	}
	if _, _, page := browse(ctx, t, b, "/console/", nil); !strings.Contains(page, "not compacted any more") || !strings.Contains(page, `<a href="/console/topics/states">states-0</a>`) {
		t.Errorf("the console does not tell of it:\n%s", page)
	}
}
