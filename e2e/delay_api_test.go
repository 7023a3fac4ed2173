package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/morrowmq/morrow/internal/testnet"
)

// apiEntry is a pending record as the API lists it.
type apiEntry struct {
	Partition int32
	Ticket    int64
	Due       int64 `json:"due_ms"`
	Key       string
	Run       *int64
}

// TestAPIListsAllThatIsPendingWhereverItLies lists, counts, shows, moves and cancels records of
// which a part was spilled into runs.
func TestAPIListsAllThatIsPendingWhereverItLies(t *testing.T) {
	const records, partitions = 600, 3
	config := writeFile(t, "morrow.yaml", "delay.spill.distance.bytes: 1048576\ndelay.replay.bytes: 1048576\n")
	b := start(t, "--config", config)
	createTopic(t, b, "orders", partitions, map[string]string{"segment.bytes": "262144"})
	cl := client(t, b, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()))
	ctx := deadline(t, time.Minute)
	rng := rand.New(rand.NewPCG(uint64(*seed), 3))
	l := newLedger()
	begin := time.Now().Add(time.Hour).Truncate(time.Second)

	want := map[string]*kgo.Record{} // by morrow-key
	produce := func(from, to int) {
		var batch []*kgo.Record
		for i := from; i < to; i++ {
			id := fmt.Sprintf("k%d/%03d", i%2, i)
			r := l.record("orders", id, int32(i%partitions), begin.Add(time.Duration(rng.IntN(3600))*time.Second).UnixMilli())
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: "morrow-key", Value: []byte(id)})
			want[id], batch = r, append(batch, r)
		}
		if err := cl.ProduceSync(ctx, batch...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	produce(0, records/2)
	for i := range partitions * 8 { // puts distance between them and the end of the log
		if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "orders", Partition: int32(i % partitions), Value: make([]byte, 250_000)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for summary(ctx, b, "orders").Spilled < records/2 {
		if ctx.Err() != nil {
			t.Fatalf("nothing was spilled: %+v", summary(context.Background(), b, "orders"))
		}
		time.Sleep(50 * time.Millisecond)
	}
	produce(records/2, records)

	all := listAll(ctx, t, b, "orders", "?limit=37")
	if len(all) != records {
		t.Fatalf("%d records are listed, expected %d", len(all), records)
	}
	last, inRuns := int64(0), 0
	for _, e := range all {
		r := want[e.Key]
		if r == nil || r.Partition != e.Partition || r.Offset != e.Ticket || header(r, "morrow-deliver-at") != fmt.Sprint(e.Due) || e.Due < last {
			t.Fatalf("listed %+v, produced %+v; due before was %d", e, r, last)
		}
		last = e.Due
		if e.Run != nil {
			inRuns++
		}
	}
	if inRuns != records/2 {
		t.Errorf("%d records are listed as lying in runs", inRuns)
	}
	middle := begin.Add(30 * time.Minute)
	early := 0
	for _, e := range all {
		if e.Due < middle.UnixMilli() && strings.HasPrefix(e.Key, "k0/") {
			early++
		}
	}
	if n := len(listAll(ctx, t, b, "orders", fmt.Sprintf("?prefix=k0/&until=%d", middle.UnixMilli()))); n != early {
		t.Errorf("%d records pass the filters, expected %d", n, early)
	}
	var line struct {
		Before, After int64
		Buckets       []struct{ Count int64 }
	}
	if err := api(ctx, b, http.MethodGet, "/orders/timeline?buckets=10", nil, &line); err != nil {
		t.Fatal(err)
	}
	sum := line.Before + line.After
	for _, bucket := range line.Buckets {
		sum += bucket.Count
	}
	if sum != records || len(line.Buckets) > 10 {
		t.Errorf("the timeline is %+v", line)
	}

	for _, e := range []apiEntry{all[0], all[records/2], all[records-1]} {
		var shown struct {
			Key        string
			ProducedAt int64                 `json:"produced_at_ms"`
			RecordKey  struct{ Text string } `json:"record_key"`
			Value      struct{ Text string }
			Headers    []struct{ Key string }
		}
		path := fmt.Sprintf("/orders/%d/%d", e.Partition, e.Ticket)
		if err := api(ctx, b, http.MethodGet, path, nil, &shown); err != nil {
			t.Fatal(err)
		}
		if shown.Key != e.Key || shown.RecordKey.Text != string(keyOf(e.Key)) || shown.Value.Text != string(valueOf(e.Key)) || len(shown.Headers) != 2 ||
			shown.ProducedAt != want[e.Key].Timestamp.UnixMilli() {
			t.Errorf("%s shows %+v", e.Key, shown)
		}
	}

	// Moved to now, records of both kinds are delivered as they were.
	l.consume(t, b, "orders")
	var near, run bool
	for _, e := range all {
		if run && e.Run != nil || near && e.Run == nil {
			continue
		}
		near, run = near || e.Run == nil, run || e.Run != nil
		var moved struct {
			Ticket int64
			Due    int64 `json:"due_ms"`
		}
		if err := api(ctx, b, http.MethodPost, fmt.Sprintf("/orders/%d/%d/move", e.Partition, e.Ticket), map[string]int{"delay_ms": 0}, &moved); err != nil {
			t.Fatal(err)
		}
		l.promise(e.Key, &kgo.Record{Partition: e.Partition, Offset: moved.Ticket}, moved.Due)
		if err := api(ctx, b, http.MethodDelete, fmt.Sprintf("/orders/%d/%d", e.Partition, e.Ticket), nil, nil); !errors.Is(err, errRefused) {
			t.Errorf("what was moved away can be cancelled: %v", err)
		}
	}
	cancelAll := func(body map[string]any) (done struct {
		Matched, Cancelled int
		Done               bool
	}) {
		if err := api(ctx, b, http.MethodPost, "/orders/cancel", body, &done); err != nil {
			t.Fatal(err)
		}
		return done
	}
	left := map[string]any{"key_prefix": "k", "from_ms": begin.UnixMilli(), "dry_run": true}
	if done := cancelAll(left); done.Matched != records-2 || done.Cancelled != 0 || !done.Done {
		t.Errorf("a dry run says %+v", done)
	}
	delete(left, "dry_run")
	if done := cancelAll(left); done.Cancelled != records-2 {
		t.Errorf("cancelling the rest says %+v", done)
	}
	l.await(t, b, "orders")
	l.verify(t)
}

// listAll follows the pages of a list.
func listAll(ctx context.Context, t *testing.T, b *testnet.Broker, topic, query string) (all []apiEntry) {
	t.Helper()
	cursor := ""
	for {
		var page struct {
			Records []apiEntry
			Next    string
		}
		if err := api(ctx, b, http.MethodGet, "/"+topic+query+cursor, nil, &page); err != nil {
			t.Fatal(err)
		}
		all = append(all, page.Records...)
		if page.Next == "" {
			return all
		}
		cursor = "&cursor=" + page.Next
	}
}

func TestAPIRefusesWhatItCannotDo(t *testing.T) {
	b := start(t)
	createTopic(t, b, "orders", 1, nil)
	ctx := deadline(t, 20*time.Second)
	for summary(ctx, b, "orders").Loading > 0 {
		time.Sleep(10 * time.Millisecond)
	}
	for _, c := range []struct{ method, path, body, want string }{
		{"GET", "/nope", "", `{"error":"unknown_topic","message":"there is no topic \"nope\""}`},
		{"GET", "/orders?partition=1", "", `{"error":"unknown_partition","message":"topic orders has no partition 1, only 0 to 0"}`},
		{"GET", "/orders?limit=0", "", `{"error":"bad_request","message":"limit is \"0\", expected a number from 1 to 10000"}`},
		{"GET", "/orders?from=soon", "", `{"error":"bad_request","message":"from is \"soon\", expected an RFC 3339 time or milliseconds since the epoch"}`},
		{"GET", "/orders?cursor=1.2", "", `{"error":"bad_request","message":"cursor is \"1.2\", expected what an earlier page gave as next"}`},
		{"GET", "/orders/0/x", "", `{"error":"bad_request","message":"ticket is \"x\", expected an offset"}`},
		{"GET", "/orders/0/7", "", `{"error":"not_pending","message":"not pending: no delayed record was stored at offset 7 yet"}`},
		{"DELETE", "/orders/0/7", "", `{"error":"not_pending","message":"cannot cancel: no delayed record was stored at offset 7 yet"}`},
		{"POST", "/orders/0/7/move", `{}`, `{"error":"bad_request","message":"expected either due_ms or delay_ms"}`},
		{"POST", "/orders/0/7/move", `{"when":1}`, `{"error":"bad_request","message":"the body cannot be read: unknown field \"when\""}`},
		{"POST", "/orders/cancel", `{}`, `{"error":"bad_request","message":"expected a filter (partition, key_prefix, from_ms, until_ms), or all to confirm that everything is meant"}`},
		{"POST", "/orders/cancel", `{"from_ms":20,"until_ms":10}`, `{"error":"bad_request","message":"what is due from 20 until 10 (ms) is nothing: until must be later"}`},
		{"GET", "/orders?from=20&until=20", "", `{"error":"bad_request","message":"what is due from 20 until 20 (ms) is nothing: until must be later"}`},
	} {
		var body any
		if c.body != "" {
			body = rawJSON(c.body)
		}
		err := api(ctx, b, c.method, c.path, body, nil)
		if !errors.Is(err, errRefused) || !strings.HasSuffix(err.Error(), c.want) {
			t.Errorf("%s %s: %v, expected %s", c.method, c.path, err, c.want)
		}
	}
}

// rawJSON is JSON as it is sent.
type rawJSON string

// MarshalJSON implements json.Marshaler.
func (r rawJSON) MarshalJSON() ([]byte, error) { return []byte(r), nil }
