package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/morrowmq/morrow/internal/testnet"
)

// transactional is a client of a transactional id that produces to a topic.
func transactional(t *testing.T, b *testnet.Broker, id, topic string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	return client(t, b, append([]kgo.Opt{kgo.TransactionalID(id), kgo.DefaultProduceTopic(topic), kgo.TransactionTimeout(5 * time.Minute)}, opts...)...)
}

// produceIn produces values in a transaction of their own.
func produceIn(ctx context.Context, cl *kgo.Client, end kgo.TransactionEndTry, records ...*kgo.Record) error {
	if err := cl.BeginTransaction(); err != nil {
		return err
	}
	if err := cl.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return errors.Join(err, cl.EndTransaction(ctx, kgo.TryAbort))
	}
	return cl.EndTransaction(ctx, end)
}

func values(from, n int) []*kgo.Record {
	var rs []*kgo.Record
	for i := range n {
		rs = append(rs, kgo.StringRecord(fmt.Sprint(from+i)))
	}
	return rs
}

// committed reads a topic as read_committed until as many records "end" as given, which must come
// last in their partitions, and returns all other values.
func committed(t *testing.T, b *testnet.Broker, topic string, ends int) []string {
	t.Helper()
	cl := client(t, b, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(200*time.Millisecond))
	defer cl.Close()
	ctx := deadline(t, time.Minute)
	var got []string
	for {
		fs := cl.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			t.Fatalf("read %v: %v", got, err)
		}
		for r := range fs.RecordsAll() {
			if string(r.Value) != "end" {
				got = append(got, string(r.Value))
			} else if ends--; ends == 0 {
				return got
			}
		}
	}
}

func TestAbortedRecordsAreNotReadAsCommitted(t *testing.T) {
	b := start(t)
	createTopic(t, b, "orders", 1, nil)
	ctx := deadline(t, time.Minute)
	cl := transactional(t, b, "shop", "orders")
	for i, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort, kgo.TryCommit} {
		if err := produceIn(ctx, cl, end, values(10*i, 3)...); err != nil {
			t.Fatal(err)
		}
	}
	if err := client(t, b).ProduceSync(ctx, &kgo.Record{Topic: "orders", Value: []byte("end")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if got, want := committed(t, b, "orders", 1), []string{"0", "1", "2", "20", "21", "22"}; !slices.Equal(got, want) {
		t.Errorf("read %v, expected %v", got, want)
	}
	if got := consume(t, b, "orders", 10); len(got) != 10 {
		t.Errorf("%d records are there uncommitted", len(got))
	}
}

func TestZombieIsFencedByANewInstance(t *testing.T) {
	b := start(t)
	createTopic(t, b, "orders", 1, nil)
	ctx := deadline(t, time.Minute)
	old := transactional(t, b, "shop", "orders")
	if err := old.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := old.ProduceSync(ctx, kgo.StringRecord("lost")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := produceIn(ctx, transactional(t, b, "shop", "orders"), kgo.TryCommit, kgo.StringRecord("kept")); err != nil {
		t.Fatal(err)
	}
	err := old.ProduceSync(ctx, kgo.StringRecord("zombie")).FirstErr()
	if !errors.Is(err, kerr.InvalidProducerEpoch) && !errors.Is(err, kerr.ProducerFenced) {
		t.Errorf("the old instance may go on: %v", err)
	}
	if err := old.EndTransaction(ctx, kgo.TryCommit); err == nil {
		t.Error("the old instance may commit")
	}
	if err := client(t, b).ProduceSync(ctx, &kgo.Record{Topic: "orders", Value: []byte("end")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if got := committed(t, b, "orders", 1); !slices.Equal(got, []string{"kept"}) {
		t.Errorf("read %v", got)
	}
}

// TestExactlyOnceThroughKill9 copies a topic in transactions, with the offsets it has read, while
// the broker is killed again and again: every record is in the copy once.
func TestExactlyOnceThroughKill9(t *testing.T) {
	t.Parallel()
	b := start(t)
	createTopic(t, b, "in", 4, nil)
	createTopic(t, b, "out", 3, nil)
	const records, kills = 3000, 5
	ctx := deadline(t, 3*time.Minute)
	source := client(t, b, kgo.DefaultProduceTopic("in"))
	if err := source.ProduceSync(ctx, values(0, records)...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	var done atomic.Int64
	copying, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for i := range 2 {
		wg.Go(func() { copyInTransactions(copying, t, b, fmt.Sprint("copier-", i), &done) })
	}
	for range kills {
		time.Sleep(700 * time.Millisecond)
		b.Kill9()
		b.Restart()
	}
	for done.Load() < records && ctx.Err() == nil {
		time.Sleep(50 * time.Millisecond)
	}
	stop()
	wg.Wait()
	if err := client(t, b, kgo.RecordPartitioner(kgo.ManualPartitioner())).ProduceSync(ctx, sentinels("out", 3)...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, v := range committed(t, b, "out", 3) {
		seen[v]++
	}
	for i := range records {
		if n := seen[fmt.Sprint(i)]; n != 1 {
			t.Errorf("record %d is in the copy %d times", i, n)
		}
	}
	if len(seen) != records {
		t.Errorf("the copy has %d different records of %d", len(seen), records)
	}
}

// copyInTransactions copies from "in" to "out", a batch per transaction, until ctx ends.
func copyInTransactions(ctx context.Context, t *testing.T, b *testnet.Broker, id string, done *atomic.Int64) {
	s, err := kgo.NewGroupTransactSession(kgo.SeedBrokers(b.Addr()), kgo.TransactionalID(id), kgo.ConsumerGroup("copiers"), kgo.ConsumeTopics("in"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.DefaultProduceTopic("out"), kgo.FetchMaxWait(100*time.Millisecond), kgo.SessionTimeout(6*time.Second), kgo.TransactionTimeout(time.Minute))
	if err != nil {
		t.Error(err)
		return
	}
	defer s.Close()
	for ctx.Err() == nil {
		fs := s.PollRecords(ctx, 100)
		if fs.Empty() {
			continue
		}
		if err := s.Begin(); err != nil {
			t.Errorf("begin: %v", err)
			return
		}
		var rs []*kgo.Record
		for r := range fs.RecordsAll() {
			rs = append(rs, &kgo.Record{Value: r.Value})
		}
		err := s.ProduceSync(ctx, rs...).FirstErr()
		committed, endErr := s.End(ctx, kgo.TransactionEndTry(err == nil))
		if committed {
			done.Add(int64(len(rs)))
		}
		if endErr != nil && ctx.Err() == nil {
			t.Errorf("%s cannot go on: produced with %v, ended with %v", id, err, endErr)
			return
		}
	}
}

// sentinels are records that end every partition of a topic.
func sentinels(topic string, partitions int32) []*kgo.Record {
	var rs []*kgo.Record
	for p := range partitions {
		rs = append(rs, &kgo.Record{Topic: topic, Partition: p, Value: []byte("end")})
	}
	return rs
}

func TestDelayedRecordsOfATransactionThroughKill9(t *testing.T) {
	b := start(t)
	createTopic(t, b, "orders", 1, nil)
	ctx := deadline(t, time.Minute)
	later := func(value string) *kgo.Record {
		return &kgo.Record{Value: []byte(value), Headers: []kgo.RecordHeader{{Key: "morrow-delay", Value: []byte("1s")}}}
	}
	cl := transactional(t, b, "shop", "orders")
	if err := produceIn(ctx, cl, kgo.TryAbort, later("dropped"), kgo.StringRecord("aborted")); err != nil {
		t.Fatal(err)
	}
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := cl.ProduceSync(ctx, later("kept"), kgo.StringRecord("now")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	b.Kill9()
	time.Sleep(time.Second) // it falls due, and nobody knows yet whether it counts
	b.Restart()
	for cl.Ping(ctx) != nil && ctx.Err() == nil { // its connections are gone, as it finds out
		time.Sleep(50 * time.Millisecond)
	}
	if err := cl.EndTransaction(ctx, kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	b.Kill9()
	b.Restart()
	reader := client(t, b, kgo.ConsumeTopics("orders"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	var got []string
	for len(got) < 2 {
		fs := reader.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			t.Fatalf("read %v: %v", got, err)
		}
		for r := range fs.RecordsAll() {
			got = append(got, string(r.Value))
		}
	}
	if err := client(t, b).ProduceSync(ctx, &kgo.Record{Topic: "orders", Value: []byte("end")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if got := committed(t, b, "orders", 1); !slices.Equal(got, []string{"now", "kept"}) {
		t.Errorf("read %v", got)
	}
}
