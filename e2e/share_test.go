package e2e

import (
	"context"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/internal/testnet"
)

// shareConsumer joins a share group that reads a topic.
func shareConsumer(t *testing.T, b *testnet.Broker, group, topic string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	return client(t, b, append([]kgo.Opt{
		kgo.ShareGroup(group), kgo.ConsumeTopics(topic), kgo.FetchMaxWait(200 * time.Millisecond),
		kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }),
	}, opts...)...)
}

// configureGroup sets configs of a group: names and values in turn.
func configureGroup(t *testing.T, b *testnet.Broker, group string, configs ...string) {
	t.Helper()
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	rr := kmsg.NewIncrementalAlterConfigsRequestResource()
	rr.ResourceType, rr.ResourceName = kmsg.ConfigResourceTypeGroupConfig, group
	for i := 0; i < len(configs); i += 2 {
		c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		c.Name, c.Value = configs[i], &configs[i+1]
		rr.Configs = append(rr.Configs, c)
	}
	req.Resources = append(req.Resources, rr)
	resp, err := req.RequestWith(deadline(t, 20*time.Second), client(t, b))
	if err != nil {
		t.Fatal(err)
	}
	if r := resp.Resources[0]; r.ErrorCode != 0 {
		t.Fatalf("configure group %s: code %d, %s", group, r.ErrorCode, *r.ErrorMessage)
	}
}

// produceNumbers writes the numbers below n to a topic.
func produceNumbers(t *testing.T, b *testnet.Broker, topic string, n int) {
	t.Helper()
	cl := client(t, b, kgo.DefaultProduceTopic(topic))
	for i := range n {
		cl.Produce(t.Context(), kgo.KeyStringRecord("k", strconv.Itoa(i)), func(_ *kgo.Record, err error) {
			if err != nil {
				t.Errorf("produce: %v", err)
			}
		})
	}
	if err := cl.Flush(deadline(t, 30*time.Second)); err != nil {
		t.Fatal(err)
	}
}

// pollShare returns the records of the next poll that has any.
func pollShare(t *testing.T, cl *kgo.Client, within time.Duration) []*kgo.Record {
	t.Helper()
	ctx := deadline(t, within)
	for ctx.Err() == nil {
		if records := cl.PollFetches(ctx).Records(); len(records) > 0 {
			return records
		}
	}
	t.Fatalf("no records within %v", within)
	return nil
}

func flushAcks(t *testing.T, cl *kgo.Client) {
	t.Helper()
	if err := cl.FlushAcks(deadline(t, 20*time.Second)); err != nil {
		t.Fatalf("flush acknowledgements: %v", err)
	}
}

func TestShareGroupAcceptsReleasesAndRejects(t *testing.T) {
	b := start(t)
	createTopic(t, b, "jobs", 1, nil)
	configureGroup(t, b, "g", "share.auto.offset.reset", "earliest")
	produceNumbers(t, b, "jobs", 30)
	cl := shareConsumer(t, b, "g", "jobs")
	deliveries := map[string]int32{}
	for len(deliveries) < 30 {
		for _, r := range pollShare(t, cl, 30*time.Second) {
			n, _ := strconv.Atoi(string(r.Value))
			deliveries[string(r.Value)] = r.DeliveryCount()
			switch {
			case n%3 == 1:
				r.Ack(kgo.AckReject)
			case n%3 == 2 && r.DeliveryCount() < 3:
				delete(deliveries, string(r.Value))
				r.Ack(kgo.AckRelease)
			default:
				r.Ack(kgo.AckAccept)
			}
		}
		flushAcks(t, cl)
	}
	for v, count := range deliveries {
		n, _ := strconv.Atoi(v)
		if want := map[bool]int32{true: 3, false: 1}[n%3 == 2]; count != want {
			t.Errorf("record %s was delivered %d times, want %d", v, count, want)
		}
	}
}

func TestReleasedRecordComesBackAfterItsDelay(t *testing.T) {
	b := start(t)
	createTopic(t, b, "jobs", 1, nil)
	configureGroup(t, b, "g", "share.auto.offset.reset", "earliest", "share.retry.delay.ms", "1500", "share.retry.delay.max.ms", "2000")
	produceNumbers(t, b, "jobs", 1)
	cl := shareConsumer(t, b, "g", "jobs")
	var released time.Time
	for delivery := int32(1); delivery <= 3; delivery++ {
		r := pollShare(t, cl, 30*time.Second)[0]
		at := time.Now()
		if r.DeliveryCount() != delivery {
			t.Fatalf("delivery %d counts as %d", delivery, r.DeliveryCount())
		}
		least := map[int32]time.Duration{2: 1500 * time.Millisecond, 3: 2 * time.Second}[delivery] - 20*time.Millisecond
		if wait := at.Sub(released); delivery > 1 && wait < least {
			t.Errorf("delivery %d came %v after the release, want at least %v", delivery, wait, least)
		}
		released = time.Now()
		r.Ack(kgo.AckRelease)
		flushAcks(t, cl)
		if delivery == 1 { // what waits is remembered, and so are its deliveries
			b.Kill9()
			b.Restart()
		}
	}
}

func TestGivenUpRecordsGoToTheDeadLetterTopic(t *testing.T) {
	b := start(t)
	createTopic(t, b, "jobs", 1, nil)
	configureGroup(t, b, "g", "share.auto.offset.reset", "earliest", "share.delivery.count.limit", "2", "errors.deadletterqueue.topic.name", "jobs.dead")
	cl := client(t, b, kgo.DefaultProduceTopic("jobs"))
	for _, v := range []string{"fine", "bad", "worse"} {
		r := &kgo.Record{Key: []byte("k"), Value: []byte(v), Headers: []kgo.RecordHeader{{Key: "own", Value: []byte("1")}}}
		if err := cl.ProduceSync(deadline(t, 20*time.Second), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	consumer := shareConsumer(t, b, "g", "jobs")
	for seen := map[string]int32{}; seen["worse"] == 0 || seen["bad"] < 2; {
		for _, r := range pollShare(t, consumer, 30*time.Second) {
			seen[string(r.Value)] = r.DeliveryCount()
			r.Ack(map[string]kgo.AckStatus{"fine": kgo.AckAccept, "bad": kgo.AckRelease, "worse": kgo.AckReject}[string(r.Value)])
		}
		flushAcks(t, consumer)
	}
	dead := map[string]map[string]string{}
	for _, r := range consume(t, b, "jobs.dead", 2) {
		headers := map[string]string{"key": string(r.Key)}
		for _, h := range r.Headers {
			headers[h.Key] = string(h.Value)
		}
		dead[string(r.Value)] = headers
	}
	for v, want := range map[string][3]string{
		"bad":   {"1", "2", "Offset delivery count exceeded the threshold."},
		"worse": {"2", "1", "Offset rejected by client."},
	} {
		for name, text := range map[string]string{
			"key": "k", "own": "1", "__dlq.errors.topic": "jobs", "__dlq.errors.partition": "0", "__dlq.errors.offset": want[0],
			"__dlq.errors.group": "g", "__dlq.errors.delivery.count": want[1], "__dlq.errors.message": want[2],
		} {
			if got := dead[v][name]; got != text {
				t.Errorf("dead letter %s: %s is %q, want %q", v, name, got, text)
			}
		}
	}
}

// TestShareGroupLosesNothingUnderKill9 has several consumers accept, release and forget records
// while the broker is killed again and again. In the end every record was accepted, and none was
// given to two of them at a time: that is seen by the acknowledgements the broker took.
func TestShareGroupLosesNothingUnderKill9(t *testing.T) {
	t.Parallel()
	const records, consumers = 600, 3
	t.Logf("seed %d", *seed)
	b := start(t)
	createTopic(t, b, "jobs", 3, nil)
	configureGroup(t, b, "g", "share.auto.offset.reset", "earliest", "share.retry.delay.ms", "50", "share.delivery.count.limit", "10")
	produceNumbers(t, b, "jobs", records)

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var mu sync.Mutex
	accepted := map[string]int{}
	var wg sync.WaitGroup
	for i := range consumers {
		rng := rand.New(rand.NewPCG(uint64(*seed), uint64(i)))
		cl := shareConsumer(t, b, "g", "jobs", kgo.ShareMaxRecords(20))
		wg.Go(func() {
			for ctx.Err() == nil {
				var mine []*kgo.Record
				cl.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
					if rng.IntN(4) == 0 && r.DeliveryCount() < 8 {
						r.Ack(kgo.AckRelease)
						return
					}
					r.Ack(kgo.AckAccept)
					mine = append(mine, r)
				})
				flush, cancel := context.WithTimeout(ctx, 10*time.Second)
				err := cl.FlushAcks(flush)
				cancel()
				if err != nil {
					continue
				}
				mu.Lock()
				for _, r := range mine {
					accepted[string(r.Value)]++
				}
				mu.Unlock()
			}
		})
	}
	done := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(accepted) == records
	}
	for round := 0; round < 5; round++ {
		time.Sleep(700 * time.Millisecond)
		b.Kill9()
		b.Restart()
	}
	for end := time.Now().Add(patience * 2 * time.Minute); !done() && time.Now().Before(end); {
		time.Sleep(100 * time.Millisecond)
	}
	stop()
	wg.Wait()
	if !done() {
		t.Fatalf("%d of %d records were accepted", len(accepted), records)
	}
	awaitShareLag(t, b, "g", "jobs", 3, 0)
}

// awaitShareLag waits until a group has that many records of a topic left to finish.
func awaitShareLag(t *testing.T, b *testnet.Broker, group, topic string, partitions int32, want int64) {
	t.Helper()
	cl := client(t, b)
	lag := int64(-1)
	for end := time.Now().Add(patience * 30 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		req := kmsg.NewPtrDescribeShareGroupOffsetsRequest()
		rg := kmsg.NewDescribeShareGroupOffsetsRequestGroup()
		rg.GroupID = group
		rt := kmsg.NewDescribeShareGroupOffsetsRequestGroupTopic()
		rt.Topic = topic
		for p := range partitions {
			rt.Partitions = append(rt.Partitions, p)
		}
		rg.Topics = append(rg.Topics, rt)
		req.Groups = append(req.Groups, rg)
		resp, err := req.RequestWith(deadline(t, 10*time.Second), cl)
		if err != nil {
			t.Fatal(err)
		}
		lag = 0
		for _, p := range resp.Groups[0].Topics[0].Partitions {
			lag += p.Lag
		}
		if lag == want {
			return
		}
	}
	t.Fatalf("lag of group %s is %d, want %d", group, lag, want)
}
