package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/morrowmq/morrow/internal/testnet"
)

// transactional is a client of a transactional id that produces to a topic.
func transactional(t *testing.T, b *testnet.Broker, id, topic string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	return client(t, b, append([]kgo.Opt{kgo.TransactionalID(id), kgo.DefaultProduceTopic(topic), kgo.TransactionTimeout(30 * time.Second)}, opts...)...)
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

// committed reads a topic as read_committed until the given value, which must come last, and returns all values before it.
func committed(t *testing.T, b *testnet.Broker, topic, last string) []string {
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
			if string(r.Value) == last {
				return got
			}
			got = append(got, string(r.Value))
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
	if got, want := committed(t, b, "orders", "end"), []string{"0", "1", "2", "20", "21", "22"}; !slices.Equal(got, want) {
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
	if got := committed(t, b, "orders", "end"); !slices.Equal(got, []string{"kept"}) {
		t.Errorf("read %v", got)
	}
}
