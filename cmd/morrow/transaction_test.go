package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestTransactions(t *testing.T) {
	b := startBroker(t, "--set", "transaction.state.log.num.partitions=1")
	b.morrow(t, "topic", "create", "orders", "-p", "2")
	if got := decode[[]transactionRow](t, b, "transaction", "list"); len(got) != 0 {
		t.Errorf("listed before there was one: %+v", got)
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.addr), kgo.TransactionalID("shop"), kgo.TransactionTimeout(time.Minute), kgo.DefaultProduceTopic("orders"),
		kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	for p := range int32(2) {
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Value: []byte("a"), Partition: p}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	if got := decode[[]transactionRow](t, b, "transaction", "list", "--state", "Ongoing"); len(got) != 1 || got[0].ID != "shop" || got[0].State != "Ongoing" {
		t.Errorf("listed as %+v", got)
	}
	d := decode[[]transactionDescription](t, b, "transaction", "describe", "shop")[0]
	if d.State != "Ongoing" || d.TimeoutMs != 60_000 || d.StartedMs == nil || time.Since(time.UnixMilli(*d.StartedMs)) > time.Hour || !slices.Equal(d.Partitions["orders"], []int32{0, 1}) {
		t.Errorf("described as %+v", d)
	}
	if text := b.morrow(t, "transaction", "describe", "shop"); !strings.Contains(text, "orders-0 orders-1") {
		t.Errorf("described as\n%s", text)
	}
	for _, want := range []string{"aborted", "unchanged"} {
		if got := decode[outcomes](t, b, "transaction", "abort", "shop"); len(got) != 1 || got[0].Result != want {
			t.Errorf("abort: %+v, expected %s", got, want)
		}
	}
	if err := cl.EndTransaction(t.Context(), kgo.TryCommit); err == nil {
		t.Error("the producer commits what was aborted")
	}
	if got := decode[[]transactionDescription](t, b, "transaction", "describe", "shop")[0]; got.State == "Ongoing" || len(got.Partitions) != 0 {
		t.Errorf("after the abort: %+v", got)
	}
}
