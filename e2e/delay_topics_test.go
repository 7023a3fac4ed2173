package e2e

import (
	"context"
	"flag"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/morrowmq/morrow/internal/testnet"
)

var delayTopics = flag.Int("delay.topics", 200, "how many topics with pending records are created and deleted")

// TestTopicsWithPendingRecordsLeaveNothing is D4d: topics are created, given ten pending records
// each, and deleted. Neither series nor memory nor directories grow with their number, nothing is
// complained about, and a kill -9 on the way changes nothing about that.
func TestTopicsWithPendingRecordsLeaveNothing(t *testing.T) {
	const workers = 8
	b := start(t)
	ctx := deadline(t, time.Minute+time.Duration(*delayTopics)*time.Second)
	cycle := func(from, to int) {
		var group sync.WaitGroup
		adm := kadm.NewClient(client(t, b)) // the one before may be connected to a broker that was killed
		for w := range workers {
			cl := client(t, b, kgo.RecordPartitioner(kgo.ManualPartitioner()))
			group.Go(func() {
				for i := from + w; i < to; i += workers {
					if err := fleeting(ctx, adm, cl, fmt.Sprintf("fleeting-%d", i)); err != nil {
						t.Errorf("topic %d: %v", i, err)
						return
					}
				}
			})
		}
		group.Wait()
	}
	cycle(0, 5*workers) // what is allocated once
	series, heap := footprint(ctx, t, b)
	began := time.Now()
	cycle(5*workers, *delayTopics/2)
	b.Kill9()
	b.Restart()
	cycle(*delayTopics/2, *delayTopics)
	most := heap + 2 + float64(*delayTopics)/1000
	after, heapAfter := footprint(ctx, t, b)
	for end := time.Now().Add(patience * 30 * time.Second); heapAfter > most && time.Now().Before(end); after, heapAfter = footprint(ctx, t, b) {
		time.Sleep(time.Second) // buffers are in use and in pools for a while
	}
	t.Logf("%d series and %.1f MiB of heap before, %d and %.1f MiB after %d topics, which took %v", series, heap, after, heapAfter, *delayTopics, time.Since(began))
	if after > series+5 { // some appear when something happens for the first time
		t.Errorf("there were %d series, and are %d", series, after)
	}
	if heapAfter > most {
		t.Errorf("the heap has grown from %.1f to %.1f MiB", heap, heapAfter)
	}
	dirs := topicDirectories(t, b)
	for end := time.Now().Add(time.Minute); len(dirs) > 0 && time.Now().Before(end); dirs = topicDirectories(t, b) {
		time.Sleep(50 * time.Millisecond)
	}
	if len(dirs) > 0 {
		t.Errorf("left in the data directory: %v", dirs)
	}
	if left, err := kadm.NewClient(client(t, b)).ListTopicsWithInternal(ctx); err != nil || len(left) > 0 {
		t.Errorf("topics that are left: %v, %v", left.Names(), err)
	}
	if logs := b.Logs(); strings.Contains(logs, "level=ERROR") || strings.Contains(logs, "level=WARN") {
		t.Errorf("the broker complained:\n%s", logs)
	}
}

// topicDirectories lists the directories of topics: logs, those of their schedules, temporary
// files, and what the tier knows of them here.
func topicDirectories(t *testing.T, b *testnet.Broker) (all []string) {
	t.Helper()
	for _, pattern := range []string{"logs/*-*", "scratch/*", "remote/*-*"} {
		names, err := filepath.Glob(filepath.Join(b.DataDir(), pattern))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, names...)
	}
	return all
}

// fleeting creates a topic, gives it pending records and deletes it.
func fleeting(ctx context.Context, adm *kadm.Client, cl *kgo.Client, topic string) error {
	if _, err := adm.CreateTopic(ctx, 1, 1, nil, topic); err != nil {
		return err
	}
	records := make([]*kgo.Record, 10)
	for i := range records {
		records[i] = &kgo.Record{Topic: topic, Value: []byte("later"), Headers: []kgo.RecordHeader{{Key: "morrow-delay", Value: []byte("1h")}}}
	}
	if err := cl.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return err
	}
	if _, err := adm.DeleteTopic(ctx, topic); err != nil {
		return err
	}
	cl.PurgeTopicsFromProducing(topic)
	return nil
}

// collect has the broker's garbage collected.
func collect(ctx context.Context, t *testing.T, b *testnet.Broker) {
	t.Helper()
	get(ctx, t, b, "/debug/pprof/heap?gc=1")
}

// footprint counts the series, and the live heap in MiB, once no series of a fleeting topic is left.
func footprint(ctx context.Context, t *testing.T, b *testnet.Broker) (series int, heap float64) {
	t.Helper()
	for {
		lines, left := scrape(ctx, t, b), ""
		for _, line := range lines {
			if strings.Contains(line, "fleeting-") {
				left = line
			}
		}
		if left == "" {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("still there: %s", left)
		}
		time.Sleep(50 * time.Millisecond)
	}
	for range 3 { // what pools hold goes with the second
		collect(ctx, t, b)
	}
	lines := scrape(ctx, t, b)
	for _, line := range lines {
		if v, ok := strings.CutPrefix(line, "go_memstats_heap_alloc_bytes "); ok {
			bytes, err := strconv.ParseFloat(v, 64)
			if err != nil {
				t.Fatal(err)
			}
			heap = bytes / (1 << 20)
		}
	}
	return len(lines), heap
}

// TestTopicIsDeletedWithDelaysSwitchedOff is D4c: with records pending from before, and without any.
func TestTopicIsDeletedWithDelaysSwitchedOff(t *testing.T) {
	b := start(t)
	ctx := deadline(t, time.Minute)
	adm := kadm.NewClient(client(t, b))
	createTopic(t, b, "never", 2, map[string]string{"delay.enable": "false"})
	createTopic(t, b, "before", 2, nil)
	delay(ctx, t, b, "before", 20, time.Now().Add(time.Hour))
	if err := alterTopic(ctx, adm, "before", "delay.enable", "false"); err != nil {
		t.Fatal(err)
	}
	// A header is only a header now.
	delay(ctx, t, b, "before", 20, time.Now().Add(time.Hour))
	if got := consume(t, b, "before", 20); len(got) != 20 {
		t.Errorf("%d records are there at once", len(got))
	}
	wantGauge(ctx, t, b, "before", 20)
	if _, err := adm.DeleteTopics(ctx, "never", "before"); err != nil {
		t.Fatal(err)
	}
	awaitNoSeries(ctx, t, b, "before")
	if logs := b.Logs(); strings.Contains(logs, "level=ERROR") || strings.Contains(logs, "level=WARN") {
		t.Errorf("the broker complained:\n%s", logs)
	}
}
