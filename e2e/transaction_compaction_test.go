package e2e

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/morrowmq/morrow/internal/testnet"
)

// relay copies a topic in transactions of up to 5 records, of which it aborts every third, until n
// records were copied. It returns how many transactions that took.
func relay(ctx context.Context, t *testing.T, b *testnet.Broker, id string, n int) int {
	t.Helper()
	session, err := kgo.NewGroupTransactSession(
		kgo.SeedBrokers(b.Addr()), kgo.TransactionalID(id), kgo.ConsumerGroup("relays"), kgo.ConsumeTopics("from"), kgo.DefaultProduceTopic("to"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.FetchMaxWait(200*time.Millisecond),
	)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	count := 0
	for copied := 0; copied < n; count++ {
		fs := session.PollRecords(ctx, 5)
		if err := fs.Err0(); err != nil {
			t.Fatalf("%d of %d records copied: %v", copied, n, err)
		}
		if err := session.Begin(); err != nil {
			t.Fatal(err)
		}
		fs.EachRecord(func(r *kgo.Record) { session.Produce(ctx, &kgo.Record{Value: r.Value}, nil) })
		committed, err := session.End(ctx, kgo.TransactionEndTry(count%3 != 2))
		if err != nil {
			t.Fatal(err)
		}
		if committed {
			copied += fs.NumRecords()
		}
	}
	return count
}

// transactionStates describes every transactional id, and the position of the group.
func transactionStates(ctx context.Context, t *testing.T, b *testnet.Broker) string {
	t.Helper()
	adm := kadm.NewClient(client(t, b))
	all, err := adm.DescribeTransactions(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, id := range slices.Sorted(maps.Keys(all)) {
		d := all[id]
		if d.Err != nil {
			t.Fatal(d.Err)
		}
		lines = append(lines, fmt.Sprintf("%s %s %d/%d of %d ms since %d in %v", id, d.State, d.ProducerID, d.ProducerEpoch, d.TimeoutMillis, d.StartTimestamp, d.Topics.Sorted()))
	}
	committed, err := adm.FetchOffsets(ctx, "relays")
	if err != nil {
		t.Fatal(err)
	}
	o, _ := committed.Lookup("from", 0)
	return strings.Join(append(lines, fmt.Sprint("position ", o.At)), "\n")
}

// TestTransactionsSurviveCompactionOfTheirTopicsAndKill9 runs many transactions, one of which stays
// open, while the topics of transactions and offsets are cleaned all the time, and kills the
// broker. Nothing of what is known of a transactional id or a group is lost.
func TestTransactionsSurviveCompactionOfTheirTopicsAndKill9(t *testing.T) {
	t.Parallel()
	config := writeFile(t, "morrow.yaml", eager+"transaction.state.log.num.partitions: 1\ntransaction.state.log.segment.bytes: 20000\n"+
		"offsets.topic.num.partitions: 1\noffsets.topic.segment.bytes: 20000\n")
	b := start(t, "--config", config)
	createTopic(t, b, "from", 1, nil)
	createTopic(t, b, "to", 1, nil)
	ctx := deadline(t, 3*time.Minute)

	open := transactional(t, b, "open", "to")
	if err := open.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := open.ProduceSync(ctx, kgo.StringRecord("never committed")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	const records = 400
	if err := client(t, b, kgo.DefaultProduceTopic("from")).ProduceSync(ctx, values(0, records)...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	n := relay(ctx, t, b, "relay-1", records/2) + relay(ctx, t, b, "relay-2", records/2)

	for _, topic := range []string{"__transaction_state", "__consumer_offsets"} {
		for left := n; left >= n; time.Sleep(50 * time.Millisecond) { // each transaction wrote several
			if _, left = latest(t, b, topic); ctx.Err() != nil {
				t.Fatalf("%d records of %d transactions are left in %s", left, n, topic)
			}
		}
	}
	before := transactionStates(ctx, t, b)
	for range 2 {
		b.Kill9()
		b.Restart("--config", config)
		if after := transactionStates(ctx, t, b); after != before {
			t.Errorf("before:\n%s\nafter a restart:\n%s", before, after)
		}
	}
	if !strings.Contains(before, "open Ongoing ") || !strings.HasSuffix(before, "position "+strconv.Itoa(records)) {
		t.Errorf("the states are void: %s", before)
	}

	// A new instance of each id goes on, and ends what the last left open.
	for _, id := range []string{"open", "relay-1", "relay-2"} {
		if err := produceIn(ctx, transactional(t, b, id, "to"), kgo.TryCommit, kgo.StringRecord("end")); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
	got := committed(t, b, "to", 3)
	slices.SortFunc(got, func(x, y string) int { return cmp.Or(len(x)-len(y), strings.Compare(x, y)) })
	want := make([]string, records)
	for i := range want {
		want[i] = strconv.Itoa(i)
	}
	if !slices.Equal(got, want) {
		t.Errorf("read %d records as committed, expected each of %d once", len(got), records)
	}
	if strings.Contains(b.Logs(), "is not cleaned any more") {
		t.Error("a partition could not be cleaned")
	}
}
