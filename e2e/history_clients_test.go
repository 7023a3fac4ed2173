package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/e2e/history"
	"github.com/morrowmq/morrow/internal/testnet"
)

// The clients of the history test. Each writes down what it asks for and what it is told, and takes
// every error as it comes: it is the checker that judges.

const (
	historyTopic      = "history"
	historyPartitions = 3
)

// historian is what the clients of one run have in common.
type historian struct {
	t   *testing.T
	b   *testnet.Broker
	rec *history.Recorder
	// partitions is how many the topic has; it may grow.
	partitions atomic.Int32
	topic      kadm.TopicID // set before clients begin

	mu     sync.Mutex
	errors map[string]int // guarded by mu: what producers were told, how often
}

func newHistorian(t *testing.T, b *testnet.Broker) *historian {
	h := &historian{t: t, b: b, rec: new(history.Recorder), errors: map[string]int{}}
	h.partitions.Store(historyPartitions)
	return h
}

func (h *historian) client(opts ...kgo.Opt) *kgo.Client {
	h.t.Helper()
	return client(h.t, h.b, append([]kgo.Opt{
		kgo.DefaultProduceTopic(historyTopic),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(2 * time.Millisecond),
		kgo.MetadataMaxAge(time.Second), // partitions that are added are seen
		kgo.MaxBufferedRecords(200),
		kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }),
		kgo.FetchMaxWait(100 * time.Millisecond),
	}, opts...)...)
}

// settled tells the outcome of a send or cancel.
func settled(err error) history.Outcome {
	switch {
	case err == nil:
		return history.Done
	case errors.Is(err, kerr.InvalidRecord):
		return history.Refused
	}
	return history.Unknown
}

// send produces a record that carries its id.
func (h *historian) send(ctx context.Context, cl *kgo.Client, s history.Send, told func(*kgo.Record, error)) {
	s.ID = fmt.Sprintf("%s/%d/%d", s.Producer, s.Partition, s.Seq)
	r := &kgo.Record{Partition: s.Partition, Key: []byte(s.ID), Value: make([]byte, 20+s.Seq%300)}
	if s.Delay > 0 {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: "morrow-delay", Value: strconv.AppendInt(nil, s.Delay.Milliseconds(), 10)})
	}
	settle := h.rec.Send(s)
	cl.Produce(ctx, r, func(r *kgo.Record, err error) {
		settle(settled(err), r.Offset)
		if err != nil {
			h.mu.Lock()
			h.errors[fmt.Sprintf("%s: %.100v", s.Producer, err)]++
			h.mu.Unlock()
		}
		if told != nil {
			told(r, err)
		}
	})
}

// produce sends records one by one until working ends, and waits for their answers.
func (h *historian) produce(ctx, working context.Context, name string, g history.Guarantee, seed uint64) {
	opts := []kgo.Opt{kgo.ProducerBatchCompression([]kgo.CompressionCodec{kgo.NoCompression(), kgo.ZstdCompression(), kgo.Lz4Compression()}[seed%3])}
	if g == history.AtLeastOnce {
		opts = append(opts, kgo.DisableIdempotentWrite())
	}
	cl, rng := h.client(opts...), rand.New(rand.NewPCG(seed, 1))
	for seq := 1; working.Err() == nil; seq++ {
		h.send(ctx, cl, history.Send{Producer: name, Seq: seq, Partition: rng.Int32N(h.partitions.Load()), Guarantee: g}, nil)
		time.Sleep(time.Duration(rng.IntN(6)) * time.Millisecond)
	}
	_ = cl.Flush(ctx) // what has no answer then is unknown
}

// delay sends delayed records and cancels some of them, from a client of its own, because a refused
// cancel fails its batch.
func (h *historian) delay(ctx, working context.Context, name string, seed uint64) {
	cl, canceller, rng := h.client(), h.client(), rand.New(rand.NewPCG(seed, 2))
	var cancels sync.WaitGroup
	for seq := 1; working.Err() == nil; seq++ {
		cancel, wait := rng.IntN(4) == 0, time.Duration(rng.IntN(1500))*time.Millisecond
		cancels.Add(1)
		h.send(ctx, cl, history.Send{
			Producer: name, Seq: seq, Partition: rng.Int32N(h.partitions.Load()), Guarantee: history.Idempotent,
			Delay: time.Duration(50+rng.IntN(2500)) * time.Millisecond,
		}, func(r *kgo.Record, err error) {
			if err != nil || !cancel {
				cancels.Done()
				return
			}
			time.AfterFunc(wait, func() {
				defer cancels.Done()
				h.rec.Cancel(string(r.Key), settled(canceller.ProduceSync(ctx, cancelOf(r)).FirstErr()))
			})
		})
		time.Sleep(time.Duration(rng.IntN(12)) * time.Millisecond)
	}
	_ = cl.Flush(ctx)
	cancels.Wait()
}

// transact runs transactions of a few records and a position, and aborts some. When it is not told
// how one ended it goes on with a new client, whose first request makes the broker settle that.
func (h *historian) transact(ctx, working context.Context, name string, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 3))
	seq, offset := 0, int64(0)
	for n := 0; working.Err() == nil; {
		cl := h.client(kgo.TransactionalID(name), kgo.TransactionTimeout(20*time.Second))
		for err := error(nil); err == nil && working.Err() == nil; n++ {
			offset++
			err = h.transaction(ctx, cl, fmt.Sprintf("%s-%d", name, n), name, &seq, offset, rng)
		}
		cl.Close()
	}
	// One more, to settle the last.
	cl := h.client(kgo.TransactionalID(name), kgo.TransactionTimeout(20*time.Second))
	for last := errors.ErrUnsupported; last != nil && ctx.Err() == nil; offset++ {
		last = h.transaction(ctx, cl, fmt.Sprintf("%s-last-%d", name, offset), name, &seq, offset+1, rng)
	}
}

func (h *historian) transaction(ctx context.Context, cl *kgo.Client, id, name string, seq *int, offset int64, rng *rand.Rand) error {
	if err := cl.BeginTransaction(); err != nil {
		return err
	}
	ending, ended := h.rec.Begin(id)
	var failed atomic.Pointer[error]
	for range 1 + rng.IntN(8) {
		*seq++
		s := history.Send{Producer: name, Seq: *seq, Partition: rng.Int32N(h.partitions.Load()), Guarantee: history.Transactional, Txn: id}
		if rng.IntN(6) == 0 {
			s.Delay = time.Duration(50+rng.IntN(1000)) * time.Millisecond
		}
		h.send(ctx, cl, s, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.Store(&err)
			}
		})
	}
	err := cl.Flush(ctx)
	if p := failed.Load(); p != nil {
		err = *p // the client aborts such a transaction, whatever it is asked
	}
	time.Sleep(time.Duration(rng.IntN(30)) * time.Millisecond)
	offsets := map[int32]int64{}
	if err == nil && rng.IntN(2) == 0 {
		if err = h.commitInTransaction(ctx, cl, name, offset); err == nil { // else nobody knows whether it is part of the transaction
			offsets[0] = offset
		}
	}
	commit := err == nil && rng.IntN(4) > 0
	ending(commit, "of-"+name, offsets)
	end := cl.EndTransaction(ctx, kgo.TransactionEndTry(commit))
	if end == nil {
		ended(history.Done)
	} else {
		ended(history.Unknown)
	}
	return errors.Join(err, end)
}

// commitInTransaction adds a position of the group "of-<name>" to the transaction of a client.
func (h *historian) commitInTransaction(ctx context.Context, cl *kgo.Client, name string, offset int64) error {
	id, epoch, err := cl.ProducerID(ctx)
	if err != nil {
		return err
	}
	add := kmsg.NewPtrAddOffsetsToTxnRequest()
	add.TransactionalID, add.ProducerID, add.ProducerEpoch, add.Group = name, id, epoch, "of-"+name
	added, err := add.RequestWith(ctx, cl)
	if err == nil {
		err = kerr.ErrorForCode(added.ErrorCode)
	}
	if err != nil {
		return err
	}
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group, req.Generation = name, id, epoch, "of-"+name, -1
	topic, partition := kmsg.NewTxnOffsetCommitRequestTopic(), kmsg.NewTxnOffsetCommitRequestTopicPartition()
	partition.Offset = offset
	topic.Topic, topic.TopicID, topic.Partitions = historyTopic, h.topic, append(topic.Partitions, partition)
	req.Topics = append(req.Topics, topic)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
}

// noted is a consumed record as a history has it; control records are not in it.
func noted(r *kgo.Record) history.Read {
	read := history.Read{Partition: r.Partition, Offset: r.Offset, ID: string(r.Key), At: time.Now(), Appended: r.Timestamp, Ticket: -1}
	if due, err := strconv.ParseInt(header(r, "morrow-due"), 10, 64); err == nil {
		read.Due = time.UnixMilli(due)
	}
	if ticket, err := strconv.ParseInt(header(r, "morrow-ticket"), 10, 64); err == nil {
		read.Ticket = ticket
	}
	return read
}

func isolation(committed bool) kgo.Opt {
	if committed {
		return kgo.FetchIsolationLevel(kgo.ReadCommitted())
	}
	return kgo.FetchIsolationLevel(kgo.ReadUncommitted())
}

// watch consumes the topic from its beginning, in one session, until working ends.
func (h *historian) watch(working context.Context, name string, committed bool) {
	cl := h.client(kgo.ConsumeTopics(historyTopic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), isolation(committed))
	read := h.rec.Session(name, committed)
	for working.Err() == nil {
		cl.PollFetches(working).EachRecord(func(r *kgo.Record) { read(noted(r)) })
	}
}

// join consumes as a member of a group and commits what it has read, until working ends. Every
// assignment begins a session.
func (h *historian) join(ctx, working context.Context, name string, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 4))
	for life := 0; working.Err() == nil; life++ {
		alive, cancel := context.WithTimeout(working, time.Duration(5+rng.IntN(15))*time.Second)
		h.member(ctx, alive, fmt.Sprintf("%s.%d", name, life))
		cancel()
	}
}

func (h *historian) member(ctx, alive context.Context, name string) {
	reads, sessions := map[int32]func(history.Read){}, 0
	assigned := func(_ context.Context, _ *kgo.Client, topics map[string][]int32) {
		for _, p := range topics[historyTopic] {
			sessions++
			reads[p] = h.rec.Session(fmt.Sprintf("%s of partition %d, session %d", name, p, sessions), true)
		}
	}
	cl := h.client(
		kgo.ConsumeTopics(historyTopic), kgo.ConsumerGroup("group"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), isolation(true),
		kgo.Balancers(kgo.RangeBalancer()), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(), kgo.OnPartitionsAssigned(assigned),
		kgo.SessionTimeout(6*time.Second), kgo.HeartbeatInterval(300*time.Millisecond), kgo.RebalanceTimeout(6*time.Second),
	)
	defer cl.Close()
	for alive.Err() == nil {
		fetched := cl.PollFetches(alive)
		next := map[int32]kgo.EpochOffset{}
		fetched.EachRecord(func(r *kgo.Record) {
			reads[r.Partition](noted(r))
			next[r.Partition] = kgo.EpochOffset{Epoch: r.LeaderEpoch, Offset: r.Offset + 1}
		})
		h.commit(ctx, cl, next)
		cl.AllowRebalance()
	}
}

func (h *historian) commit(ctx context.Context, cl *kgo.Client, next map[int32]kgo.EpochOffset) {
	if len(next) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	begin, codes := time.Now(), map[int32]int16{}
	cl.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{historyTopic: next}, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		if err != nil || resp == nil {
			return
		}
		for _, p := range resp.Topics[0].Partitions {
			codes[p.Partition] = p.ErrorCode
		}
	})
	for p, o := range next {
		outcome := history.Unknown
		switch code, answered := codes[p]; {
		case answered && code == 0:
			outcome = history.Done
		case answered && (code == kerr.IllegalGeneration.Code || code == kerr.UnknownMemberID.Code || code == kerr.RebalanceInProgress.Code):
			outcome = history.Refused
		}
		h.rec.Commit("group", p, o.Offset, begin, outcome)
	}
}

// ask asks for the positions of groups until working ends.
func (h *historian) ask(working context.Context, groups ...string) {
	cl := h.client()
	for working.Err() == nil {
		for _, g := range groups {
			h.positions(working, cl, g)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// positions asks for the positions of a group as a consumer does that must not miss one whose
// transaction has just been committed.
func (h *historian) positions(ctx context.Context, cl *kgo.Client, group string) {
	begin := time.Now()
	topic := kmsg.NewOffsetFetchRequestGroupTopic()
	for p := range h.partitions.Load() {
		topic.Partitions = append(topic.Partitions, p)
	}
	topic.Topic = historyTopic
	asked := kmsg.NewOffsetFetchRequestGroup()
	asked.Group, asked.Topics = group, append(asked.Topics, topic)
	req := kmsg.NewPtrOffsetFetchRequest()
	req.RequireStable, req.Groups = true, append(req.Groups, asked)
	req.Group = group
	legacy := kmsg.NewOffsetFetchRequestTopic()
	legacy.Topic, legacy.Partitions = historyTopic, topic.Partitions
	req.Topics = append(req.Topics, legacy)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil || len(resp.Groups) != 1 || resp.Groups[0].ErrorCode != 0 {
		return
	}
	for _, t := range resp.Groups[0].Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode == 0 {
				h.rec.Position(group, p.Partition, p.Offset, begin)
			}
		}
	}
}

// everything reads the whole topic.
func (h *historian) everything(ctx context.Context, committed bool) history.Session {
	h.t.Helper()
	adm := kadm.NewClient(h.client())
	list := adm.ListEndOffsets
	if committed {
		list = adm.ListCommittedOffsets
	}
	ends, err := list(ctx, historyTopic)
	if err != nil {
		h.t.Fatal(err)
	}
	left := map[int32]int64{} // where reading ends
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	cl := h.client(kgo.ConsumeTopics(historyTopic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), isolation(committed), kgo.KeepControlRecords())
	all := history.Session{Name: "the log", Committed: committed}
	for len(left) > 0 {
		fetched := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			h.t.Fatalf("partitions %v were not read to their ends %v", slices.Collect(maps.Keys(left)), left)
		}
		fetched.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				all.Reads = append(all.Reads, noted(r))
			}
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		})
	}
	return all
}
