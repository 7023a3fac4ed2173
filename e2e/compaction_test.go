package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/morrowmq/morrow/internal/testnet"
)

// eager is a broker that cleans all the time.
const eager = "log.cleaner.backoff.ms: 100\nlog.cleaner.threads: 2\nlog.retention.check.interval.ms: 300\n"

// table is what a compacted topic should hold.
type table struct {
	mu   sync.Mutex
	last map[string]string // by key; "" is a tombstone
	errs []error
}

// put produces the next value of a key, or its tombstone.
func (m *table) put(ctx context.Context, cl *kgo.Client, key, value string, headers ...kgo.RecordHeader) {
	m.mu.Lock()
	m.last[key] = value
	m.mu.Unlock()
	r := &kgo.Record{Key: []byte(key), Value: []byte(value), Headers: headers}
	if value == "" {
		r.Value = nil
	}
	cl.Produce(ctx, r, func(_ *kgo.Record, err error) {
		if err != nil {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.errs = append(m.errs, err)
		}
	})
}

// latest reads a topic from the beginning, up to the end as of now, and returns the last value of
// every key and how many records there were.
func latest(t *testing.T, b *testnet.Broker, topic string) (values map[string]string, n int) {
	t.Helper()
	ctx := deadline(t, time.Minute)
	ends, err := kadm.NewClient(client(t, b)).ListEndOffsets(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	cl := client(t, b, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(200*time.Millisecond),
		kgo.KeepControlRecords()) // the last may be one
	defer cl.Close()
	values = map[string]string{}
	for len(left) > 0 {
		fs := cl.PollFetches(ctx)
		if err := fs.Err0(); err != nil {
			t.Fatalf("%d records of %s, waiting for %v: %v", n, topic, left, err)
		}
		fs.EachError(func(_ string, p int32, err error) { t.Fatalf("fetch %s-%d: %v", topic, p, err) })
		fs.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				n++
				values[string(r.Key)] = string(r.Value)
			}
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition) // the record before the end is never compacted away
			}
		})
	}
	return values, n
}

// TestCompactedTopicKeepsLastValuesOverKill9 writes values, tombstones and delayed values to a
// topic that is cleaned all the time, and kills the broker. Whoever reads the topic finds the last
// value of every key.
func TestCompactedTopicKeepsLastValuesOverKill9(t *testing.T) {
	config := writeFile(t, "morrow.yaml", eager)
	b := start(t, "--config", config)
	createTopic(t, b, "state", 2, map[string]string{
		"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01", "segment.bytes": "20000", "segment.ms": "1000", "delete.retention.ms": "500",
	})
	ctx := deadline(t, 2*time.Minute)
	cl := client(t, b, kgo.DefaultProduceTopic("state"), kgo.ProducerLinger(time.Millisecond), kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }))
	m := &table{last: map[string]string{}}
	rng := rand.New(rand.NewPCG(uint64(*seed), 0))
	const kills, keys = 5, 100
	count := 0
	for round := range kills {
		for i := range 20 {
			key := fmt.Sprintf("late-%d-%d", round, i)
			m.put(ctx, cl, key, "early")
			m.put(ctx, cl, key, "late", kgo.RecordHeader{Key: "morrow-delay", Value: []byte(strconv.Itoa(500+rng.IntN(4000)) + "ms")})
		}
		for until := time.Now().Add(1500 * time.Millisecond); time.Now().Before(until); count++ {
			value := strconv.Itoa(count)
			if rng.IntN(10) == 0 {
				value = ""
			}
			m.put(ctx, cl, fmt.Sprint("key-", rng.IntN(keys)), value)
			if rng.IntN(20) == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		b.Kill9()
		b.Restart("--config", config)
	}
	if err := cl.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	for s := summary(ctx, b, "state"); s.Topic == "" || s.Loading > 0 || s.Pending > 0; s = summary(ctx, b, "state") {
		if ctx.Err() != nil {
			t.Fatalf("schedule is %+v", s)
		}
		time.Sleep(50 * time.Millisecond)
	}
	produced := count + kills*40
	var values map[string]string
	for n := produced; n > produced/2; time.Sleep(100 * time.Millisecond) {
		if values, n = latest(t, b, "state"); ctx.Err() != nil {
			t.Fatalf("%d records are left of %d", n, produced)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, err := range m.errs {
		t.Errorf("produce: %v", err)
	}
	for key, want := range m.last {
		if got := values[key]; got != want {
			t.Errorf("%s is %q, and was set to %q last", key, got, want)
		}
	}
	if strings.Contains(b.Logs(), "is not cleaned any more") {
		t.Error("a partition could not be cleaned")
	}
}

// TestOffsetsTopicIsCompacted commits the same offsets again and again. The topic of offsets stays
// small, and the last commits are there after a kill -9.
func TestOffsetsTopicIsCompacted(t *testing.T) {
	config := writeFile(t, "morrow.yaml", eager+"offsets.topic.num.partitions: 1\noffsets.topic.segment.bytes: 20000\n")
	b := start(t, "--config", config)
	createTopic(t, b, "orders", 1, nil)
	ctx := deadline(t, 3*time.Minute)
	adm := kadm.NewClient(client(t, b))
	const commits = 2000
	for n := range commits {
		var offsets kadm.Offsets
		offsets.AddOffset("orders", 0, int64(n), -1)
		if err := adm.CommitAllOffsets(ctx, "group", offsets); err != nil {
			t.Fatal(err)
		}
	}
	left := commits
	for left > commits/2 {
		if ctx.Err() != nil {
			t.Fatalf("%d records are left of %d commits", left, commits)
		}
		_, left = latest(t, b, "__consumer_offsets")
	}
	b.Kill9()
	b.Restart("--config", config)
	committed, err := kadm.NewClient(client(t, b)).FetchOffsets(ctx, "group")
	if err != nil {
		t.Fatal(err)
	}
	if o, _ := committed.Lookup("orders", 0); o.At != commits-1 {
		t.Errorf("committed offset is %d, expected %d", o.At, commits-1)
	}
}
