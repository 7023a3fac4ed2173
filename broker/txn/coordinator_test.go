package txn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/coord"
	"github.com/morrowmq/morrow/broker/coord/coordtest"
)

// fakeCluster is topics and the markers written to them.
type fakeCluster struct {
	mu      sync.Mutex
	topics  map[string]int32
	ids     map[string][16]byte // of topics that were made again
	markers []string
	refuse  map[string]error // by "topic/partition"
	refused int              // markers so far
	takes   time.Duration    // to write a marker
	writing int              // markers at the moment
	most    int              // markers that were written at the same time
	next    int64
	reserve error
}

func (f *fakeCluster) Partitions(name string) (int32, [16]byte, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, ok := f.topics[name]
	id, again := f.ids[name]
	if !again {
		id = topicID(name)
	}
	return n, id, ok
}

func (f *fakeCluster) Writable(name string) bool { return name != "journal" }

func (f *fakeCluster) OffsetsPartition(group string) (Partition, error) {
	if group == "lost" {
		return Partition{}, errors.New("no topic")
	}
	return Partition{"offsets", topicID("offsets"), int32(len(group))}, nil
}

func (f *fakeCluster) ReserveProducerIDs(_ context.Context, n int64) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next += n
	return f.next - n + 1000, f.reserve
}

func (f *fakeCluster) WriteMarker(_ context.Context, p Partition, m Marker) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writing++
	f.most = max(f.most, f.writing)
	takes := f.takes
	f.mu.Unlock()
	time.Sleep(takes)
	f.mu.Lock()
	f.writing--
	at := fmt.Sprintf("%s/%d", p.Topic, p.Number)
	if err := f.refuse[at]; err != nil {
		f.refused++
		return err
	}
	f.markers = append(f.markers, fmt.Sprintf("%s %d/%d in %s", outcome(m.Commit), m.ProducerID, m.Epoch, at))
	return nil
}

func (f *fakeCluster) set(at string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuse[at] = err
}

// tries is how many markers were refused so far.
func (f *fakeCluster) tries() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.refused
}

// written is the markers so far, in order of partition.
func (f *fakeCluster) written() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	slices.Sort(f.markers)
	return strings.Join(f.markers, ", ")
}

// running is a running coordinator of two shards inside a synctest bubble.
type running struct {
	*Coordinator
	t        *testing.T
	cluster  *fakeCluster
	journals []*coordtest.Journal
	registry *prometheus.Registry
	stop     func()
}

func start(t *testing.T) *running {
	c := &fakeCluster{topics: map[string]int32{"a": 4, "b": 4, "offsets": 50, "journal": 2}, ids: map[string][16]byte{}, refuse: map[string]error{}}
	r := &running{t: t, cluster: c, journals: []*coordtest.Journal{{}, {}}}
	r.run()
	return r
}

func (r *running) run() {
	r.registry = prometheus.NewRegistry()
	r.Coordinator = New(DefaultConfig, r.cluster, 2, slog.New(slog.DiscardHandler), r.registry, nil)
	ctx, cancel := context.WithCancel(r.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	for i, j := range r.journals {
		r.Elect(int32(i), 5, j)
	}
	r.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			r.t.Error(err)
		}
	}
	synctest.Wait()
}

// restart stops the coordinator and starts it again on its journals.
func (r *running) restart() {
	r.stop()
	r.run()
}

func (r *running) producer(id string) producer {
	r.t.Helper()
	req := kmsg.NewPtrInitProducerIDRequest()
	req.Version, req.TransactionalID, req.TransactionTimeoutMillis = 4, &id, 60_000
	resp := r.InitProducerID(r.t.Context(), req)
	if resp.ErrorCode != 0 {
		r.t.Fatalf("init %s: %v", id, kerr.ErrorForCode(resp.ErrorCode))
	}
	return producer{resp.ProducerID, resp.ProducerEpoch}
}

func claimOf(id string, p producer) Claim { return Claim{id, p.id, p.epoch} }

func (r *running) add(id string, p producer, version int16, partitions ...int32) {
	r.t.Helper()
	var ps []Partition
	for _, n := range partitions {
		ps = append(ps, Partition{"a", topicID("a"), n})
	}
	if err := r.Add(r.t.Context(), claimOf(id, p), ps, version); err != nil {
		r.t.Fatalf("add to %s: %v", id, err)
	}
}

func (r *running) end(id string, p producer, version int16, commit bool) *kmsg.EndTxnResponse {
	req := kmsg.NewPtrEndTxnRequest()
	req.Version, req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = version, id, p.id, p.epoch, commit
	return r.EndTxn(r.t.Context(), req)
}

func (r *running) want(what string, code int16, want *kerr.Error) {
	r.t.Helper()
	if want == nil && code == 0 || want != nil && code == want.Code {
		return
	}
	r.t.Errorf("%s: %v, expected %v", what, kerr.ErrorForCode(code), want)
}

func (r *running) state(id string) string {
	r.t.Helper()
	req := kmsg.NewPtrDescribeTransactionsRequest()
	req.TransactionalIDs = []string{id}
	return r.DescribeTransactions(r.t.Context(), req).TransactionStates[0].State
}

func TestCommitWritesAMarkerToEveryPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t)
		defer r.stop()
		p := r.producer("t")
		r.add("t", p, version2, 0, 2)
		resp := r.end("t", p, 5, true)
		r.want("end", resp.ErrorCode, nil)
		if resp.ProducerID != p.id || resp.ProducerEpoch != p.epoch+1 {
			t.Errorf("goes on as %d/%d", resp.ProducerID, resp.ProducerEpoch)
		}
		synctest.Wait()
		if got, want := r.cluster.written(), "commit 1000/1 in a/0, commit 1000/1 in a/2"; got != want {
			t.Errorf("markers are %s, expected %s", got, want)
		}
		if got := r.state("t"); got != "CompleteCommit" {
			t.Errorf("state is %s", got)
		}
	})
}

func TestMarkersOfALargeTransactionAreWrittenAFewAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t)
		defer r.stop()
		const n = 5 * maxMarkers
		r.cluster.mu.Lock()
		r.cluster.topics["a"], r.cluster.takes = n, time.Second
		r.cluster.mu.Unlock()
		p := r.producer("t")
		var all []int32
		for i := range int32(n) {
			all = append(all, i)
		}
		r.add("t", p, version2, all...)
		r.want("end", r.end("t", p, 5, true).ErrorCode, nil)
		time.Sleep(6 * time.Second)
		r.cluster.mu.Lock()
		defer r.cluster.mu.Unlock()
		if len(r.cluster.markers) != n || r.cluster.most != maxMarkers {
			t.Errorf("%d markers were written, %d at the same time; want %d and %d", len(r.cluster.markers), r.cluster.most, n, maxMarkers)
		}
	})
}

func TestMarkersAreWrittenUntilTheyAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t)
		defer r.stop()
		p, q := r.producer("t"), r.producer("u")
		r.cluster.set("a/1", errors.New("disk on fire"))
		r.add("t", p, version2, 0, 1)
		r.want("end", r.end("t", p, 5, false).ErrorCode, nil)
		time.Sleep(time.Minute)
		if n := r.cluster.tries(); n < 8 || n > 16 {
			t.Errorf("%d tries in a minute, expected them to become rarer", n)
		}
		if got := r.state("t"); got != "PrepareAbort" {
			t.Errorf("state is %s without a marker in a/1", got)
		}
		// Others are not held up, and the producer is told to come again.
		r.add("u", q, version2, 3)
		r.want("end of another", r.end("u", q, 5, true).ErrorCode, nil)
		synctest.Wait()
		if got := r.state("u"); got != "CompleteCommit" {
			t.Errorf("state of another is %s", got)
		}
		p.epoch++
		if err := r.Add(t.Context(), claimOf("t", p), []Partition{{"a", topicID("a"), 0}}, version2); !errors.Is(err, kerr.ConcurrentTransactions) {
			t.Errorf("add meanwhile: %v", err)
		}
		r.cluster.set("a/1", nil)
		time.Sleep(maxRetry)
		synctest.Wait()
		if got := r.state("t"); got != "CompleteAbort" {
			t.Errorf("state is %s at last", got)
		}
	})
}

// TestMarkersAreNotRepeatedWhileOthersCannotBeWritten is a transaction with a partition that is
// offline, and then one whose coordinator cannot note that it is complete.
func TestMarkersAreNotRepeatedWhileOthersCannotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t)
		defer func() { r.stop() }()
		p := r.producer("t")
		r.cluster.set("a/1", errors.New("disk on fire"))
		r.add("t", p, version2, 0, 1, 2)
		r.want("end", r.end("t", p, 5, true).ErrorCode, nil)
		time.Sleep(time.Minute)
		if got, want := r.cluster.written(), "commit 1000/1 in a/0, commit 1000/1 in a/2"; got != want {
			t.Errorf("markers after a minute are %s, expected %s", got, want)
		}
		refuse := func(err error) {
			synctest.Wait()
			for _, j := range r.journals {
				j.Refuse = err
			}
			r.cluster.set("a/1", nil)
		}
		refuse(errors.New("disk full"))
		time.Sleep(time.Minute)
		refuse(nil)
		time.Sleep(maxRetry)
		synctest.Wait()
		if got, want := r.cluster.written(), "commit 1000/1 in a/0, commit 1000/1 in a/1, commit 1000/1 in a/2"; got != want || r.state("t") != "CompleteCommit" {
			t.Errorf("markers are %s in state %s, expected %s", got, r.state("t"), want)
		}
	})
}

// TestMarkersAreWrittenOnceTheGroupsAreLoaded is a broker that has just started, and a transaction
// with offsets of a group.
func TestMarkersAreWrittenOnceTheGroupsAreLoaded(t *testing.T) {
	for _, reason := range []error{coord.ErrNotLeader, coord.ErrLoading} {
		synctest.Test(t, func(t *testing.T) {
			r := start(t)
			defer r.stop()
			p := r.producer("t")
			r.cluster.set("a/1", reason)
			r.add("t", p, version2, 0, 1)
			r.want("end", r.end("t", p, 5, true).ErrorCode, nil)
			synctest.Wait()
			if got := r.state("t"); got != "PrepareCommit" {
				t.Errorf("%v: state is %s without a marker in a/1", reason, got)
			}
			r.cluster.set("a/1", nil)
			time.Sleep(2 * minRetry)
			if got := r.state("t"); got != "CompleteCommit" {
				t.Errorf("%v: state is %s afterwards", reason, got)
			}
		})
	}
}

func TestRestartTakesUpWhatWasDecided(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t)
		p := r.producer("t")
		r.cluster.set("a/1", errors.New("disk on fire"))
		r.add("t", p, 0, 0, 1)
		r.want("end", r.end("t", p, 3, true).ErrorCode, nil)
		synctest.Wait()
		r.cluster.set("a/1", nil)
		r.restart()
		defer func() { r.stop() }()
		if got := r.state("t"); got != "CompleteCommit" {
			t.Errorf("state is %s", got)
		}
		if got, want := r.cluster.written(), "commit 1000/0 in a/0, commit 1000/0 in a/0, commit 1000/0 in a/1"; got != want {
			t.Errorf("markers are %s, expected %s", got, want)
		}
		r.restart()
		if got := len(r.cluster.markers); got != 3 {
			t.Errorf("%d markers after another restart", got)
		}
	})
}

func TestWhatCannotHaveAMarkerNeedsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t)
		defer r.stop()
		p := r.producer("t")
		r.add("t", p, version2, 0)
		if err := r.Add(t.Context(), claimOf("t", p), []Partition{{"b", topicID("b"), 0}}, version2); err != nil {
			t.Fatal(err)
		}
		if err := r.Add(t.Context(), claimOf("t", p), []Partition{{"journal", topicID("journal"), 0}}, version2); err != nil {
			t.Fatal(err) // it may be in the journal, however it came there
		}
		r.cluster.set("a/0", fmt.Errorf("%w: by an admin", ErrFenced))
		r.cluster.mu.Lock()
		r.cluster.ids["b"] = [16]byte{9} // deleted, and made again
		r.cluster.mu.Unlock()
		r.want("end", r.end("t", p, 5, true).ErrorCode, nil)
		synctest.Wait()
		if got := r.state("t"); got != "CompleteCommit" || r.cluster.written() != "" {
			t.Errorf("state is %s, markers are %q", got, r.cluster.written())
		}
	})
}

func TestNewInstanceIsAnsweredOnceTheOldTransactionIsAborted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t)
		defer r.stop()
		old := r.producer("t")
		r.add("t", old, version2, 0)
		p := r.producer("t")
		if p.epoch != old.epoch+2 || r.cluster.written() != "abort 1000/1 in a/0" {
			t.Errorf("new instance is %v, markers are %s", p, r.cluster.written())
		}
		for version, want := range map[int16]*kerr.Error{1: kerr.InvalidProducerEpoch, 2: kerr.ProducerFenced, 5: kerr.ProducerFenced} {
			r.want(fmt.Sprintf("end by the old one, version %d", version), r.end("t", old, version, true).ErrorCode, want)
		}
		offsets := kmsg.NewPtrAddOffsetsToTxnRequest()
		offsets.Version, offsets.TransactionalID, offsets.ProducerID, offsets.ProducerEpoch, offsets.Group = 1, "t", old.id, old.epoch, "g"
		r.want("offsets of the old one", r.AddOffsetsToTxn(t.Context(), offsets).ErrorCode, kerr.InvalidProducerEpoch)
		offsets.ProducerEpoch = p.epoch
		r.want("offsets", r.AddOffsetsToTxn(t.Context(), offsets).ErrorCode, nil)
		offsets.Group = "lost"
		r.want("offsets of nowhere", r.AddOffsetsToTxn(t.Context(), offsets).ErrorCode, kerr.CoordinatorNotAvailable)
		if err := r.VerifyOffsets(t.Context(), claimOf("t", p), "g"); err != nil {
			t.Errorf("verify offsets: %v", err)
		}
		if err := r.VerifyOffsets(t.Context(), claimOf("t", p), "other"); !errors.Is(err, kerr.TransactionAbortable) {
			t.Errorf("verify other offsets: %v", err)
		}
	})
}

func TestAddPartitionsToTxn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t)
		defer r.stop()
		p := r.producer("t")
		codes := func(version int16, epoch int16, topics ...kmsg.AddPartitionsToTxnRequestTopic) string {
			req := kmsg.NewPtrAddPartitionsToTxnRequest()
			req.Version, req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Topics = version, "t", p.id, epoch, topics
			var all []string
			for _, rt := range r.AddPartitionsToTxn(t.Context(), req).Topics {
				for _, rp := range rt.Partitions {
					all = append(all, fmt.Sprintf("%s/%d %s", rt.Topic, rp.Partition, codeName(rp.ErrorCode)))
				}
			}
			return strings.Join(all, ", ")
		}
		a := kmsg.AddPartitionsToTxnRequestTopic{Topic: "a", Partitions: []int32{0, 9}}
		nowhere := kmsg.AddPartitionsToTxnRequestTopic{Topic: "nowhere", Partitions: []int32{0}}
		if got, want := codes(3, p.epoch, a, nowhere), "a/0 OPERATION_NOT_ATTEMPTED, a/9 UNKNOWN_TOPIC_OR_PARTITION, nowhere/0 UNKNOWN_TOPIC_OR_PARTITION"; got != want {
			t.Errorf("got %s, expected %s", got, want)
		}
		a.Partitions = []int32{0, 1}
		if got, want := codes(3, p.epoch, a), "a/0 ok, a/1 ok"; got != want {
			t.Errorf("got %s, expected %s", got, want)
		}
		if got, want := codes(1, p.epoch+1, a), "a/0 INVALID_PRODUCER_EPOCH, a/1 INVALID_PRODUCER_EPOCH"; got != want {
			t.Errorf("got %s, expected %s", got, want)
		}
		if got, want := codes(2, p.epoch+1, a), "a/0 PRODUCER_FENCED, a/1 PRODUCER_FENCED"; got != want {
			t.Errorf("got %s, expected %s", got, want)
		}
	})
}

// Brokers verify many transactions at once. Each partition has its own answer.
func TestVerifyOnlyAnswersForEachPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t)
		defer r.stop()
		p := r.producer("t")
		r.add("t", p, 0, 0, 1)
		transaction := func(epoch int16, topics ...kmsg.AddPartitionsToTxnRequestTransactionTopic) kmsg.AddPartitionsToTxnRequestTransaction {
			one := kmsg.NewAddPartitionsToTxnRequestTransaction()
			one.TransactionalID, one.ProducerID, one.ProducerEpoch, one.VerifyOnly, one.Topics = "t", p.id, epoch, true, topics
			return one
		}
		a := func(numbers ...int32) kmsg.AddPartitionsToTxnRequestTransactionTopic {
			return kmsg.AddPartitionsToTxnRequestTransactionTopic{Topic: "a", Partitions: numbers}
		}
		b := kmsg.AddPartitionsToTxnRequestTransactionTopic{Topic: "b", Partitions: []int32{1}}
		req := kmsg.NewPtrAddPartitionsToTxnRequest()
		req.Version = 5
		req.Transactions = []kmsg.AddPartitionsToTxnRequestTransaction{
			transaction(p.epoch, a(0, 2, 1), b), transaction(p.epoch+1, a(0, 2)), transaction(p.epoch, a(0, 2, 9)),
		}
		var got []string
		for _, rt := range r.AddPartitionsToTxn(t.Context(), req).Transactions {
			var codes []string
			for _, t := range rt.Topics {
				for _, p := range t.Partitions {
					codes = append(codes, fmt.Sprintf("%s/%d %s", t.Topic, p.Partition, codeName(p.ErrorCode)))
				}
			}
			got = append(got, strings.Join(codes, ", "))
		}
		want := []string{
			"a/0 ok, a/2 TRANSACTION_ABORTABLE, a/1 ok, b/1 TRANSACTION_ABORTABLE",
			"a/0 PRODUCER_FENCED, a/2 PRODUCER_FENCED",
			"a/0 OPERATION_NOT_ATTEMPTED, a/2 OPERATION_NOT_ATTEMPTED, a/9 UNKNOWN_TOPIC_OR_PARTITION",
		}
		if !slices.Equal(got, want) {
			t.Errorf("got\n%s\nexpected\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

func codeName(code int16) string {
	if code == 0 {
		return "ok"
	}
	return kerr.TypedErrorForCode(code).Message
}

func TestInitProducerIDRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t)
		defer r.stop()
		for _, test := range []struct {
			name    string
			timeout int32
			id      int64
			epoch   int16
			want    *kerr.Error
		}{
			{"no timeout", 0, -1, -1, kerr.InvalidTransactionTimeout},
			{"a timeout beyond the limit", 900_001, -1, -1, kerr.InvalidTransactionTimeout},
			{"an id without epoch", 1000, 5, -1, kerr.InvalidRequest},
		} {
			req := kmsg.NewPtrInitProducerIDRequest()
			req.Version, req.TransactionalID, req.TransactionTimeoutMillis = 4, kmsg.StringPtr("t"), test.timeout
			req.ProducerID, req.ProducerEpoch = test.id, test.epoch
			resp := r.InitProducerID(t.Context(), req)
			r.want(test.name, resp.ErrorCode, test.want)
			if resp.ProducerID != -1 || resp.ProducerEpoch != -1 {
				t.Errorf("%s: %+v", test.name, resp)
			}
		}
		r.cluster.mu.Lock()
		r.cluster.reserve = errors.New("disk full")
		r.cluster.mu.Unlock()
		for _, id := range []*string{nil, kmsg.StringPtr("t")} {
			req := kmsg.NewPtrInitProducerIDRequest()
			req.Version, req.TransactionalID, req.TransactionTimeoutMillis = 4, id, 1000
			r.want("no id can be reserved", r.InitProducerID(t.Context(), req).ErrorCode, kerr.CoordinatorLoadInProgress)
		}
		r.Resign(r.FindShard("t"))
		r.want("end after the shard is gone", r.end("t", producer{}, 5, true).ErrorCode, kerr.NotCoordinator)
	})
}

func TestListTransactions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t)
		defer r.stop()
		var ids []int64
		for _, id := range []string{"orders-1", "orders-2", "bills-1"} {
			p := r.producer(id)
			r.add(id, p, version2, 0)
			ids = append(ids, p.id)
			time.Sleep(time.Second)
		}
		p := r.producer("idle")
		r.want("end", r.end("bills-1", producer{ids[2], 0}, 5, true).ErrorCode, nil)
		synctest.Wait()
		list := func(change func(*kmsg.ListTransactionsRequest)) string {
			req := kmsg.NewPtrListTransactionsRequest()
			req.Version, req.DurationFilterMillis = 2, -1
			change(req)
			resp := r.ListTransactions(t.Context(), req)
			var all []string
			if resp.ErrorCode != 0 {
				all = append(all, codeName(resp.ErrorCode))
			}
			for _, s := range resp.TransactionStates {
				all = append(all, s.TransactionalID+" "+s.TransactionState)
			}
			return strings.Join(append(all, resp.UnknownStateFilters...), ", ")
		}
		for _, test := range []struct {
			name   string
			change func(*kmsg.ListTransactionsRequest)
			want   string
		}{
			{"all", func(*kmsg.ListTransactionsRequest) {}, "bills-1 CompleteCommit, idle Empty, orders-1 Ongoing, orders-2 Ongoing"},
			{"by state", func(r *kmsg.ListTransactionsRequest) { r.StateFilters = []string{"Empty", "Odd"} }, "idle Empty, Odd"},
			{"by producer", func(r *kmsg.ListTransactionsRequest) { r.ProducerIDFilters = []int64{p.id, ids[0]} }, "idle Empty, orders-1 Ongoing"},
			{"by duration", func(r *kmsg.ListTransactionsRequest) { r.DurationFilterMillis = 2500 }, "orders-1 Ongoing"},
			{"by pattern", func(r *kmsg.ListTransactionsRequest) { r.TransactionalIDPattern = kmsg.StringPtr("orders-.*") }, "orders-1 Ongoing, orders-2 Ongoing"},
			{"by a part of the id", func(r *kmsg.ListTransactionsRequest) { r.TransactionalIDPattern = kmsg.StringPtr("orders") }, ""},
			{"by one of two patterns", func(r *kmsg.ListTransactionsRequest) { r.TransactionalIDPattern = kmsg.StringPtr("nobody|orders-1") }, "orders-1 Ongoing"},
			{"by a flag", func(r *kmsg.ListTransactionsRequest) { r.TransactionalIDPattern = kmsg.StringPtr("(?i)ORDERS-1") }, "orders-1 Ongoing"},
			{"by a pattern that is none by itself", func(r *kmsg.ListTransactionsRequest) { r.TransactionalIDPattern = kmsg.StringPtr("orders-1)|(.*") }, "INVALID_REGULAR_EXPRESSION"},
			{"by what RE2 lacks", func(r *kmsg.ListTransactionsRequest) { r.TransactionalIDPattern = kmsg.StringPtr("(?=orders).*") }, "INVALID_REGULAR_EXPRESSION"},
			{"by a bad pattern", func(r *kmsg.ListTransactionsRequest) { r.TransactionalIDPattern = kmsg.StringPtr("(") }, "INVALID_REGULAR_EXPRESSION"},
		} {
			if got := list(test.change); got != test.want {
				t.Errorf("%s: %s, expected %s", test.name, got, test.want)
			}
		}
		req := kmsg.NewPtrDescribeTransactionsRequest()
		req.TransactionalIDs = []string{"orders-1", "unknown", ""}
		d := r.DescribeTransactions(t.Context(), req).TransactionStates
		if d[0].State != "Ongoing" || d[0].ProducerID != ids[0] || d[0].TimeoutMillis != 60_000 || len(d[0].Topics) != 1 || d[0].Topics[0].Topic != "a" || d[0].StartTimestamp <= 0 {
			t.Errorf("described as %+v", d[0])
		}
		r.want("describe what is not", d[1].ErrorCode, kerr.TransactionalIDNotFound)
		r.want("describe what cannot be", d[2].ErrorCode, kerr.InvalidRequest)
	})
}

func TestWriteTxnMarkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t)
		defer r.stop()
		r.cluster.set("a/1", fmt.Errorf("%w: newer", ErrFenced))
		r.cluster.set("a/2", errors.New("not here"))
		r.cluster.set("a/3", coord.ErrLoading)
		req := kmsg.NewPtrWriteTxnMarkersRequest()
		m := kmsg.NewWriteTxnMarkersRequestMarker()
		m.ProducerID, m.ProducerEpoch = 7, 3
		m.Topics = []kmsg.WriteTxnMarkersRequestMarkerTopic{{Topic: "a", Partitions: []int32{0, 1, 2, 3, 4}}, {Topic: "x", Partitions: []int32{0}}, {Topic: "journal", Partitions: []int32{0}}}
		req.Version, req.Markers = 2, append(req.Markers, m)
		var got []string
		for _, rt := range r.WriteTxnMarkers(t.Context(), req).Markers[0].Topics {
			for _, rp := range rt.Partitions {
				got = append(got, fmt.Sprintf("%s/%d %s", rt.Topic, rp.Partition, codeName(rp.ErrorCode)))
			}
		}
		want := "a/0 ok, a/1 INVALID_PRODUCER_EPOCH, a/2 NOT_LEADER_FOR_PARTITION, a/3 COORDINATOR_LOAD_IN_PROGRESS, a/4 UNKNOWN_TOPIC_OR_PARTITION, x/0 UNKNOWN_TOPIC_OR_PARTITION, journal/0 INVALID_TOPIC_EXCEPTION"
		if strings.Join(got, ", ") != want || r.cluster.written() != "abort 7/3 in a/0" {
			t.Errorf("got %s, markers are %s", got, r.cluster.written())
		}
	})
}

// measured is what the metrics say.
func (r *running) measured() string {
	families, err := r.registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	var all []string
	for _, f := range families {
		name := strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(f.GetName(), "morrow_transactional_"), "morrow_transactions_"), "morrow_transaction_")
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			all = append(all, fmt.Sprintf("%s %v", name, m.GetGauge().GetValue()+m.GetCounter().GetValue()))
			name, _, _ = strings.Cut(name, " ")
		}
	}
	return strings.Join(all, ", ")
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t)
		defer r.stop()
		p, q := r.producer("t"), r.producer("u")
		r.add("t", p, version2, 0)
		time.Sleep(30 * time.Second)
		r.add("u", q, version2, 0)
		r.want("end", r.end("u", q, 5, true).ErrorCode, nil)
		synctest.Wait()
		want := "oldest_open_seconds 30, ids CompleteAbort 0, ids CompleteCommit 1, ids Empty 0, ids Ongoing 1, ids PrepareAbort 0, ids PrepareCommit 0, " +
			"ended_total abort 0, ended_total commit 1, timed_out_total 0"
		if got := r.measured(); got != want {
			t.Errorf("measured %s,\nexpected %s", got, want)
		}
		time.Sleep(time.Minute)
		if got := r.state("t"); got != "CompleteAbort" {
			t.Errorf("after its timeout the transaction is %s", got)
		}
		if got := r.measured(); !strings.Contains(got, "timed_out_total 1") || !strings.Contains(got, "oldest_open_seconds 0") {
			t.Errorf("measured %s", got)
		}
	})
}
