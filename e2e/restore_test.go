package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/morrowmq/morrow/internal/testnet"
)

// TestRestoreAfterTheLossOfTheDisk: what was confirmed in the bucket when the broker was killed and
// its data directory lost comes back: records with offsets, timestamps, keys, values and headers;
// configs; delayed records, delivered once each and not before they are due, but not those that
// were delivered or cancelled before. The idempotent producer goes on where it was, at offsets
// never used.
func TestRestoreAfterTheLossOfTheDisk(t *testing.T) {
	t.Parallel()
	url := "file://" + filepath.Join(t.TempDir(), "bucket")
	ctx := deadline(t, 4*time.Minute)
	var b *testnet.Broker
	var cl *kgo.Client
	var later map[string]int64
	var before []*kgo.Record
	due := ahead(t, 45*time.Second, func(due time.Time) error {
		if b != nil {
			b.Stop()
			url += "-again"
		}
		b = start(t, "--set", "tier.url="+url, "--set", "log.retention.check.interval.ms=300")
		createTopic(t, b, "orders", 2, map[string]string{
			"remote.storage.enable": "true", "segment.bytes": "16384", "segment.ms": "1000", "local.retention.bytes": "16384", "delay.max.ms": "86400000",
		})
		cl = client(t, b, kgo.DefaultProduceTopic("orders"), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		later = produceMixed(ctx, t, cl, due)
		awaitConfirmed(ctx, t, b, "orders", "__schedule.orders")
		before = readOrders(ctx, t, b, 2*100+4)
		b.Kill9()
		return nil
	})
	if err := os.RemoveAll(b.DataDir()); err != nil {
		t.Fatal(err)
	}
	restore := exec.CommandContext(ctx, bin, "tier", "restore", "--data-dir", b.DataDir(), "--set", "tier.url="+url, "--take-over")
	restore.Env = []string{"PATH=" + os.Getenv("PATH")} // nothing that names a config
	if out, err := restore.CombinedOutput(); err != nil {
		t.Fatalf("restore: %v\n%s", err, out)
	}
	b.Restart()

	if err := cl.ProduceSync(ctx, &kgo.Record{Partition: 0, Value: []byte("after")}, &kgo.Record{Partition: 1, Value: []byte("after")}).FirstErr(); err != nil {
		t.Fatalf("the producer cannot go on: %v", err)
	}
	after := readOrders(ctx, t, b, len(before)+2+len(later))
	compareRestored(t, before, after, later, due)
	configs, err := kadm.NewClient(cl).DescribeTopicConfigs(ctx, "orders")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range configs[0].Configs {
		if c.Key == "delay.max.ms" && c.MaybeValue() != "86400000" {
			t.Errorf("delay.max.ms is %s", c.MaybeValue())
		}
	}
}

// produceMixed writes ordinary records, some that are delivered at once, and some that are due
// later. It returns the tickets of the last, by value; one more was cancelled.
func produceMixed(ctx context.Context, t *testing.T, cl *kgo.Client, due time.Time) (later map[string]int64) {
	t.Helper()
	later = map[string]int64{}
	began := time.Now().Add(-time.Hour).Truncate(time.Millisecond) // another time than that of the append
	at := []kgo.RecordHeader{{Key: "user", Value: []byte("header")}, {Key: "morrow-deliver-at", Value: strconv.AppendInt(nil, due.UnixMilli(), 10)}}
	soon := []kgo.RecordHeader{{Key: "morrow-delay", Value: []byte("1500ms")}}
	for i := range 100 {
		for p := range int32(2) {
			r := &kgo.Record{
				Partition: p, Key: fmt.Appendf(nil, "key-%d", i), Value: fmt.Appendf(nil, "%d-%d-%s", p, i, strings.Repeat("x", 600)),
				Headers: []kgo.RecordHeader{{Key: "n", Value: strconv.AppendInt(nil, int64(i), 10)}}, Timestamp: began.Add(time.Duration(i) * time.Millisecond),
			}
			if err := cl.ProduceSync(ctx, r).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		if i%10 == 3 {
			r := &kgo.Record{Partition: int32(i/10) % 2, Value: fmt.Appendf(nil, "later-%d", i), Headers: at}
			if err := cl.ProduceSync(ctx, r).FirstErr(); err != nil {
				t.Fatal(err)
			}
			later[string(r.Value)] = r.Offset
		}
		if i%25 == 7 {
			if err := cl.ProduceSync(ctx, &kgo.Record{Partition: 0, Value: fmt.Appendf(nil, "soon-%d", i), Headers: soon}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	cancelled := &kgo.Record{Topic: "orders", Partition: 1, Value: []byte("cancelled"), Headers: at}
	if err := cl.ProduceSync(ctx, cancelled).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := cancelRecord(ctx, cl, cancelled); err != nil {
		t.Fatal(err)
	}
	return later
}

// awaitConfirmed returns when nothing of the topics would be lost with the disk.
func awaitConfirmed(ctx context.Context, t *testing.T, b *testnet.Broker, topics ...string) {
	t.Helper()
	var waiting []string
	for {
		var s struct {
			Partitions []struct {
				Topic     string `json:"topic"`
				Partition int32  `json:"partition"`
				Confirmed int64  `json:"confirmed"`
				LogEnd    int64  `json:"log_end"`
			} `json:"partitions"`
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+b.HTTP()+"/api/v1/tier", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatalf("%v; not confirmed were %q", err, waiting)
		}
		err = json.NewDecoder(resp.Body).Decode(&s)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		waiting = waiting[:0]
		for _, p := range s.Partitions {
			if slices.Contains(topics, p.Topic) && p.Confirmed < p.LogEnd {
				waiting = append(waiting, fmt.Sprintf("%s-%d from %d to %d", p.Topic, p.Partition, p.Confirmed, p.LogEnd))
			}
		}
		if len(waiting) == 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// readOrders reads n records of the topic from its beginning and a little longer, in case there are more.
func readOrders(ctx context.Context, t *testing.T, b *testnet.Broker, n int) (got []*kgo.Record) {
	t.Helper()
	cl := client(t, b, kgo.ConsumeTopics("orders"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(200*time.Millisecond))
	defer cl.Close()
	for len(got) < n {
		fs := cl.PollFetches(ctx)
		if err := fs.Err0(); err != nil {
			t.Fatalf("%d of %d records: %v", len(got), n, err)
		}
		got = append(got, fs.Records()...)
	}
	more, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return append(got, cl.PollFetches(more).Records()...)
}

// compareRestored compares what a consumer reads before and after.
func compareRestored(t *testing.T, before, after []*kgo.Record, later map[string]int64, due time.Time) {
	t.Helper()
	type place struct {
		partition int32
		offset    int64
	}
	found := map[place]*kgo.Record{}
	end := map[int32]int64{}
	for _, r := range after {
		found[place{r.Partition, r.Offset}] = r
	}
	for _, r := range before {
		got := found[place{r.Partition, r.Offset}]
		if got == nil || describeRecord(got) != describeRecord(r) {
			t.Errorf("partition %d, offset %d: got %s, want %s", r.Partition, r.Offset, describeRecord(got), describeRecord(r))
		}
		delete(found, place{r.Partition, r.Offset})
		end[r.Partition] = max(end[r.Partition], r.Offset)
	}
	for _, ticket := range later {
		end[0], end[1] = max(end[0], ticket), max(end[1], ticket) // any of the two will do
	}
	left := maps.Clone(later)
	for at, r := range found {
		if at.offset <= end[at.partition] {
			t.Errorf("offset %d of partition %d was used twice", at.offset, at.partition)
		}
		value := string(r.Value)
		ticket, pending := left[value]
		switch {
		case value == "after":
		case !pending:
			t.Errorf("%q was delivered again, or should not be", value)
		case header(r, "morrow-ticket") != strconv.FormatInt(ticket, 10) || header(r, "user") != "header" || r.Timestamp.Before(due.Truncate(time.Millisecond)):
			t.Errorf("delivered %s, ticket %d, due %v", describeRecord(r), ticket, due)
		}
		delete(left, value)
	}
	if len(left) > 0 {
		t.Errorf("%d delayed records were lost: %v", len(left), left)
	}
}

func describeRecord(r *kgo.Record) string {
	if r == nil {
		return "nothing"
	}
	return fmt.Sprintf("%s=%s at %d with %q", r.Key, r.Value, r.Timestamp.UnixMilli(), r.Headers)
}
