package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/morrowmq/morrow/internal/testnet"
)

// startWithRun starts a broker whose topic orders has n delayed records, all of them in a run.
func startWithRun(ctx context.Context, t *testing.T, n int) (*testnet.Broker, *kgo.Client) {
	t.Helper()
	b := start(t, "--set", "delay.spill.distance.bytes=1048576", "--set", "delay.replay.bytes=1048576")
	createTopic(t, b, "orders", 1, nil)
	cl := client(t, b, kgo.DefaultProduceTopic("orders"), kgo.ProducerBatchCompression(kgo.NoCompression()))
	for range n {
		r := &kgo.Record{Value: []byte("later"), Headers: []kgo.RecordHeader{{Key: "morrow-delay", Value: []byte("2h")}}}
		if err := cl.ProduceSync(ctx, r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for range 50 { // puts distance between them and the end of the log
		if err := cl.ProduceSync(ctx, &kgo.Record{Value: make([]byte, 100_000)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	consume(t, b, "__schedule.orders", n)
	return b, cl
}

// TestLogThatHasLostItsEndIsSeen: the log of a partition is removed, and that of its schedule is
// not. Nothing is delayed there, people are told why where they look, and with the log put back all
// is as before.
func TestLogThatHasLostItsEndIsSeen(t *testing.T) {
	ctx := deadline(t, 2*time.Minute)
	b, cl := startWithRun(ctx, t, 20)
	topics, err := kadm.NewClient(cl).ListTopics(ctx, "orders")
	if err != nil {
		t.Fatal(err)
	}
	b.Stop()
	dir := filepath.Join(b.DataDir(), "logs", fmt.Sprintf("%x-0", [16]byte(topics["orders"].ID)))
	aside := filepath.Join(t.TempDir(), "orders")
	if err := os.Rename(dir, aside); err != nil {
		t.Fatal(err)
	}
	b.Restart()
	stopped := `morrow_schedule_stopped_sources{topic="orders"} 1`
	for !slices.Contains(seriesOf(ctx, t, b, "orders"), stopped) {
		if ctx.Err() != nil {
			t.Fatalf("the series are %v, expected %s", seriesOf(t.Context(), t, b, "orders"), stopped)
		}
		time.Sleep(20 * time.Millisecond)
	}
	var sources struct {
		Sources []struct {
			Stopped string `json:"stopped"`
		} `json:"sources"`
	}
	if err := api(ctx, b, http.MethodGet, "/orders/sources", nil, &sources); err != nil || len(sources.Sources) != 1 || !strings.Contains(sources.Sources[0].Stopped, "the end of the partition's log is lost") {
		t.Errorf("sources are %+v, %v", sources, err)
	}
	var all struct {
		Topics []struct {
			Stopped int `json:"stopped_sources"`
			Loading int `json:"loading"`
		} `json:"topics"`
	}
	if err := api(ctx, b, http.MethodGet, "", nil, &all); err != nil || len(all.Topics) != 1 || all.Topics[0].Stopped != 1 || all.Topics[0].Loading != 1 {
		t.Errorf("schedules are %+v, %v", all, err)
	}
	b.Stop()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(aside, dir); err != nil {
		t.Fatal(err)
	}
	b.Restart()
	wantGauge(ctx, t, b, "orders", 20)
}
