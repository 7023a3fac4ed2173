package check

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

type scenario struct {
	name string
	run  func(*env)
}

// scenarios are the checks of compat/checks_test.go in its order.
func scenarios() []scenario {
	var all []scenario
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		for _, acks := range []string{"0", "1", "all"} {
			opts := ProduceOptions{Codec: codec, Acks: acks}
			all = append(all, scenario{"produce/" + codec + "/acks=" + acks, func(e *env) { e.produceAndRead(opts) }})
		}
	}
	return append(all, []scenario{
		{"produce/idempotent", func(e *env) {
			e.produceAndRead(ProduceOptions{Codec: "none", Acks: "all", Idempotent: true})
		}},
		{"consume/beginning", consumeBeginning},
		{"consume/end", consumeEnd},
		{"consume/timestamp", consumeTimestamp},
		{"group/rebalance", func(e *env) { e.groupRebalance(JoinOptions{}) }},
		{"group/resume", func(e *env) { e.groupResume(JoinOptions{}) }},
		{"group848/rebalance", func(e *env) { e.groupRebalance(JoinOptions{ConsumerProtocol: true}) }},
		{"group848/resume", func(e *env) { e.groupResume(JoinOptions{ConsumerProtocol: true}) }},
		{"admin/create-topic", adminCreateTopic},
		{"admin/describe-topic", adminDescribeTopic},
		{"admin/create-partitions", adminCreatePartitions},
		{"admin/delete-topic", adminDeleteTopic},
		{"admin/describe-configs", adminDescribeConfigs},
		{"admin/alter-configs", adminAlterConfigs},
		{"admin/list-offsets", adminListOffsets},
		{"admin/delete-records", adminDeleteRecords},
		{"admin/list-groups", adminListGroups},
		{"admin/describe-group", adminDescribeGroup},
		{"admin/delete-group", adminDeleteGroup},
		{"admin/describe-log-dirs", adminDescribeLogDirs},
		{"admin/describe-cluster", adminDescribeCluster},
		{"delay/delivered", delayDelivered},
		{"delay/refused", delayRefused},
		{"delay/sentence", delaySentence},
		{"txn/commit", txnCommit},
		{"txn/abort", txnAbort},
		{"txn/offsets", txnOffsets},
		{"txn/delayed", txnDelayed},
		{"hidden/bounded", func(e *env) { e.hiddenBounded(ConsumeOptions{}) }},
		{"hidden/read-committed", func(e *env) { e.hiddenBounded(ConsumeOptions{ReadCommitted: true}) }},
		{"hidden/only", hiddenOnly},
		{"hidden/hole", hiddenHole},
		{"hidden/lag", hiddenLag},
		{"hidden/commit-inside", hiddenCommitInside},
		{"hidden/caught-up", hiddenCaughtUp},
	}...)
}

// createTopic makes the topic of the check.
func (e *env) createTopic(partitions int) {
	e.ok(e.client.CreateTopic(e.ctx, e.topic, partitions, nil), "create topic")
}

var durable = ProduceOptions{Codec: "none", Acks: "all"}

// produce sends values to partition 0 and returns their offsets.
func (e *env) produce(values ...string) []int64 {
	records := make([]Record, len(values))
	for i, v := range values {
		records[i] = Record{Value: v}
	}
	offsets, err := e.client.Produce(e.ctx, e.topic, durable, records...)
	e.ok(err, "produce")
	return offsets
}

// hide appends n records that nobody sees for an hour.
func (e *env) hide(n int) {
	const chunk = 5000 // in one call, so that a client need not hold them all
	for n > 0 {
		records := make([]Record, min(n, chunk))
		for i := range records {
			records[i] = Record{Value: "hidden", Headers: map[string]string{"morrow-delay": "1h"}}
		}
		_, err := e.client.Produce(e.ctx, e.topic, durable, records...)
		e.ok(err, "produce hidden records")
		n -= len(records)
	}
}

func (e *env) consume(from Start, opts ConsumeOptions) Consumer {
	c, err := e.client.Consume(e.ctx, e.topic, from, opts)
	e.ok(err, "consume")
	e.closers = append(e.closers, c.Close)
	return c
}

// read returns the next n records of c.
func (e *env) read(c Consumer, n int) []Record {
	var records []Record
	for len(records) < n {
		r, err := c.Next(e.ctx)
		if err != nil {
			e.fail("after %d of %d records: %w", len(records), n, err)
		}
		records = append(records, r)
	}
	return records
}

// nothing ends the check if c gets a record within the time.
func (e *env) nothing(c Consumer, within time.Duration) {
	ctx, cancel := context.WithTimeout(e.ctx, within)
	defer cancel()
	if r, err := c.Next(ctx); err == nil {
		e.fail("got %q, want nothing", r.Value)
	}
}

// readToLatest is the loop of every bounded reader: from the beginning until its position is what
// ListOffsets says is the end.
func (e *env) readToLatest(opts ConsumeOptions) []Record {
	earliest, latest := e.offsets()
	if earliest == latest {
		return nil
	}
	c := e.consume(Start{Offset: Beginning}, opts)
	var records []Record
	for position := earliest; position < latest; {
		r := e.read(c, 1)[0]
		records = append(records, r)
		position = r.Offset + 1
	}
	return records
}

func (e *env) offsets() (earliest, latest int64) {
	earliest, latest, err := e.client.Offsets(e.ctx, e.topic)
	e.ok(err, "list offsets")
	return earliest, latest
}

// numbered returns the numbers from first to last as values.
func numbered(first, last int) []string {
	var values []string
	for i := first; i <= last; i++ {
		values = append(values, strconv.Itoa(i))
	}
	return values
}

func values(records []Record) []string {
	var values []string
	for _, r := range records {
		values = append(values, r.Value)
	}
	return values
}

func (e *env) produceAndRead(opts ProduceOptions) {
	e.createTopic(1)
	var records []Record
	for _, n := range numbered(1, 100) {
		records = append(records, Record{Key: "key-" + n, Value: "value-" + n, Headers: map[string]string{"h": n}})
	}
	offsets, err := e.client.Produce(e.ctx, e.topic, opts, records...)
	e.ok(err, "produce")
	for i, offset := range offsets {
		if offset >= 0 && opts.Acks != "0" {
			e.equal("offset told to the producer", offset, i)
		}
	}
	c := e.consume(Start{Offset: Beginning}, ConsumeOptions{})
	for i, r := range e.read(c, len(records)) {
		want := records[i]
		e.equal("record", []any{r.Offset, r.Key, r.Value, r.Headers}, []any{i, want.Key, want.Value, want.Headers})
	}
}

func consumeBeginning(e *env) {
	e.createTopic(1)
	e.produce(numbered(1, 10)...)
	c := e.consume(Start{Offset: Beginning}, ConsumeOptions{})
	e.equal("values", values(e.read(c, 10)), numbered(1, 10))
}

func consumeEnd(e *env) {
	e.createTopic(1)
	e.produce(numbered(1, 10)...)
	c := e.consume(Start{Offset: End}, ConsumeOptions{})
	e.produce(numbered(11, 15)...)
	e.equal("values", values(e.read(c, 5)), numbered(11, 15))
}

func consumeTimestamp(e *env) {
	e.createTopic(1)
	e.produce(numbered(1, 10)...)
	from := time.Now().Add(time.Millisecond)
	e.await("the clock moves on", func() bool { return time.Since(from) > time.Millisecond })
	e.produce(numbered(11, 15)...)
	c := e.consume(Start{Time: from}, ConsumeOptions{})
	e.equal("values", values(e.read(c, 5)), numbered(11, 15))
}

func (e *env) join(opts JoinOptions) Member {
	m, err := e.client.Join(e.ctx, e.topic, e.topic, opts)
	e.ok(err, "join group")
	e.closers = append(e.closers, m.Leave)
	return m
}

// spread sends one value to every partition of a topic for groups.
func (e *env) spread(value string) {
	var records []Record
	for p := range int32(groupPartitions) {
		records = append(records, Record{Partition: p, Value: fmt.Sprintf("%s@%d", value, p)})
	}
	_, err := e.client.Produce(e.ctx, e.topic, durable, records...)
	e.ok(err, "produce")
}

// awaitAll waits until the members have read, together, every value that was spread, each at least once.
func (e *env) awaitAll(spread []string, members ...Member) {
	e.awaitNone(func() string {
		var got, missing []string
		for _, m := range members {
			got = append(got, values(m.Records())...)
		}
		for _, value := range spread {
			for p := range groupPartitions {
				if want := fmt.Sprintf("%s@%d", value, p); !slices.Contains(got, want) {
					missing = append(missing, want)
				}
			}
		}
		if missing == nil {
			return ""
		}
		return "these are read: " + strings.Join(missing, ", ")
	})
}

func (e *env) groupRebalance(opts JoinOptions) {
	e.createTopic(groupPartitions)
	e.spread("alone")
	first := e.join(opts)
	e.await("the first member has all partitions", func() bool { return first.Assigned() == groupPartitions })
	if opts.ConsumerProtocol { // clients may fall back to the classic protocol
		groupType, err := e.client.GroupType(e.ctx, e.topic)
		e.ok(err, "list groups")
		e.equal("group type", groupType, "consumer")
	}
	e.awaitAll([]string{"alone"}, first)
	second := e.join(opts)
	e.await("each member has half of the partitions", func() bool {
		return first.Assigned() == groupPartitions/2 && second.Assigned() == groupPartitions/2
	})
	e.spread("together")
	e.awaitAll([]string{"alone", "together"}, first, second)
	e.ok(second.Commit(e.ctx), "commit")
	second.Leave()
	e.await("the first member has all partitions again", func() bool { return first.Assigned() == groupPartitions })
	e.spread("again")
	e.awaitAll([]string{"alone", "together", "again"}, first, second)
}

func (e *env) groupResume(opts JoinOptions) {
	e.createTopic(1)
	e.produce(numbered(1, 10)...)
	first := e.join(opts)
	e.await("10 records are read", func() bool { return len(first.Records()) >= 10 })
	e.ok(first.Commit(e.ctx), "commit")
	first.Leave()
	e.produce(numbered(11, 15)...)
	second := e.join(opts)
	e.await("5 more records are read", func() bool { return len(second.Records()) >= 5 })
	e.equal("values of the second member", values(second.Records()), numbered(11, 15))
}

func adminCreateTopic(e *env) {
	configs := map[string]string{"retention.ms": "3600000"}
	e.ok(e.client.CreateTopic(e.ctx, e.topic, 3, configs), "create topic")
	leaders, err := e.client.Leaders(e.ctx, e.topic)
	e.ok(err, "describe topic")
	e.equal("partitions", len(leaders), 3)
	if err := e.client.CreateTopic(e.ctx, e.topic, 3, configs); !errors.Is(err, ErrTopicExists) {
		e.fail("creating the topic again: got %v, want TOPIC_ALREADY_EXISTS", err)
	}
}

func adminDescribeTopic(e *env) {
	e.createTopic(2)
	leaders, err := e.client.Leaders(e.ctx, e.topic)
	e.ok(err, "describe topic")
	e.equal("partitions", len(leaders), 2)
	for _, leader := range leaders {
		if leader < 0 {
			e.fail("a partition has no leader: %v", leaders)
		}
	}
}

func adminCreatePartitions(e *env) {
	e.createTopic(1)
	e.ok(e.client.CreatePartitions(e.ctx, e.topic, 3), "create partitions")
	e.await("there are 3 partitions", func() bool {
		leaders, err := e.client.Leaders(e.ctx, e.topic)
		e.ok(err, "describe topic")
		return len(leaders) == 3
	})
}

func adminDeleteTopic(e *env) {
	e.createTopic(1)
	topics, err := e.client.Topics(e.ctx)
	e.ok(err, "list topics")
	e.equal("the topic is listed", slices.Contains(topics, e.topic), true)
	e.ok(e.client.DeleteTopic(e.ctx, e.topic), "delete topic")
	e.await("the topic is not listed", func() bool {
		topics, err := e.client.Topics(e.ctx)
		e.ok(err, "list topics")
		return !slices.Contains(topics, e.topic)
	})
}

func adminDescribeConfigs(e *env) {
	e.ok(e.client.CreateTopic(e.ctx, e.topic, 1, map[string]string{"retention.ms": "7200000"}), "create topic")
	configs, err := e.client.Configs(e.ctx, e.topic)
	e.ok(err, "describe configs")
	e.equal("retention.ms", configs["retention.ms"], "7200000")
	e.equal("cleanup.policy", configs["cleanup.policy"], "delete")
}

func adminAlterConfigs(e *env) {
	e.createTopic(1)
	e.ok(e.client.AlterConfig(e.ctx, e.topic, "retention.ms", "5400000"), "alter configs")
	e.await("the new value is described", func() bool {
		configs, err := e.client.Configs(e.ctx, e.topic)
		e.ok(err, "describe configs")
		return configs["retention.ms"] == "5400000"
	})
}

func adminListOffsets(e *env) {
	e.createTopic(1)
	e.produce(numbered(1, 7)...)
	earliest, latest := e.offsets()
	e.equal("earliest and latest", []int64{earliest, latest}, []int64{0, 7})
}

func adminDeleteRecords(e *env) {
	e.createTopic(1)
	e.produce(numbered(0, 9)...)
	e.ok(e.client.DeleteRecords(e.ctx, e.topic, 4), "delete records")
	earliest, latest := e.offsets()
	e.equal("earliest and latest", []int64{earliest, latest}, []int64{4, 10})
	c := e.consume(Start{Offset: Beginning}, ConsumeOptions{})
	e.equal("first value", e.read(c, 1)[0].Value, "4")
}

func (e *env) groups() []string {
	groups, err := e.client.Groups(e.ctx)
	e.ok(err, "list groups")
	return groups
}

func adminListGroups(e *env) {
	e.createTopic(1)
	e.ok(e.client.Commit(e.ctx, e.topic, e.topic, 0), "commit")
	e.equal("the group is listed", slices.Contains(e.groups(), e.topic), true)
}

func adminDescribeGroup(e *env) {
	if _, _, err := e.client.DescribeGroup(e.ctx, e.topic); errors.Is(err, ErrUnsupported) {
		e.ok(err, "describe group")
	}
	e.createTopic(groupPartitions)
	m := e.join(JoinOptions{})
	e.await("the member has its partitions", func() bool { return m.Assigned() == groupPartitions })
	state, members, err := e.client.DescribeGroup(e.ctx, e.topic)
	e.ok(err, "describe group")
	e.equal("state and members", []any{state, members}, []any{"Stable", 1})
}

func adminDeleteGroup(e *env) {
	e.createTopic(1)
	e.ok(e.client.Commit(e.ctx, e.topic, e.topic, 0), "commit")
	e.ok(e.client.DeleteGroup(e.ctx, e.topic), "delete group")
	e.equal("the group is listed", slices.Contains(e.groups(), e.topic), false)
}

func adminDescribeLogDirs(e *env) {
	e.createTopic(1)
	e.produce(numbered(1, 10)...)
	size, err := e.client.LogDirSize(e.ctx, e.topic)
	e.ok(err, "describe log directories")
	if size <= 0 {
		e.fail("the size of the topic is %d", size)
	}
}

func adminDescribeCluster(e *env) {
	brokers, err := e.client.Brokers(e.ctx)
	e.ok(err, "describe cluster")
	e.equal("brokers", brokers, []string{e.bootstrap})
}

func delayDelivered(e *env) {
	e.createTopic(1)
	e.produce("first")
	const delay = 2 * time.Second
	before := time.Now().Truncate(time.Millisecond)
	offsets, err := e.client.Produce(e.ctx, e.topic, durable, Record{
		Key: "key", Value: "later", Headers: map[string]string{"morrow-delay": "2s", "other": "kept"},
	})
	e.ok(err, "produce")
	c := e.consume(Start{Offset: Beginning}, ConsumeOptions{})
	r := e.read(c, 2)[1]
	arrived := time.Now()

	e.equal("key, value and header", []string{r.Key, r.Value, r.Headers["other"]}, []string{"key", "later", "kept"})
	if v, ok := r.Headers["morrow-delay"]; ok {
		e.fail("delivered with its header morrow-delay: %s", v)
	}
	if offsets[0] >= 0 {
		e.equal("morrow-ticket", r.Headers["morrow-ticket"], offsets[0])
	}
	e.equal("morrow-ticket", r.Headers["morrow-ticket"], 1)
	dueMillis, err := strconv.ParseInt(r.Headers["morrow-due"], 10, 64)
	e.ok(err, "morrow-due")
	due := time.UnixMilli(dueMillis)
	if due.Before(before.Add(delay)) || r.Time.Before(due) || arrived.Before(due) {
		e.fail("early: produced at %d, due %d, delivered at %d, arrived at %d",
			before.UnixMilli(), dueMillis, r.Time.UnixMilli(), arrived.UnixMilli())
	}
}

func delayRefused(e *env) {
	e.createTopic(1)
	e.produce("first")
	_, err := e.client.Produce(e.ctx, e.topic, durable, Record{Value: "never", Headers: map[string]string{"morrow-delay": "soon"}})
	if !errors.Is(err, ErrInvalidRecord) {
		e.fail("got %v, want INVALID_RECORD", err)
	}
	_, latest := e.offsets()
	e.equal("latest", latest, 1)
}

// delaySentence takes an error with nothing but the code for a client that has no way to show more.
func delaySentence(e *env) {
	e.createTopic(1)
	_, err := e.client.Produce(e.ctx, e.topic, durable, Record{Value: "never", Headers: map[string]string{"morrow-delay": "soon"}})
	if !errors.Is(err, ErrInvalidRecord) {
		e.fail("got %v, want INVALID_RECORD", err)
	}
	if !strings.Contains(err.Error(), "morrow-delay") || !strings.Contains(err.Error(), "soon") {
		e.ok(ErrUnsupported, "show the sentence")
	}
}

func (e *env) hiddenBounded(opts ConsumeOptions) {
	e.createTopic(1)
	e.produce(numbered(1, 10)...)
	e.hide(5)
	_, latest := e.offsets()
	e.equal("latest", latest, 10)
	records := e.readToLatest(opts)
	e.equal("values", values(records), numbered(1, 10))
	if high := records[9].HighWatermark; high >= 0 {
		e.equal("high watermark", high, 10)
	}
}

func hiddenOnly(e *env) {
	e.createTopic(1)
	e.hide(5)
	e.equal("values", values(e.readToLatest(ConsumeOptions{})), []string(nil))
	c := e.consume(Start{Offset: Beginning}, ConsumeOptions{})
	e.produce("visible")
	r := e.read(c, 1)[0]
	e.equal("offset and value", []any{r.Offset, r.Value}, []any{5, "visible"})
}

func hiddenHole(e *env) {
	const hole = 100_000
	e.createTopic(1)
	e.produce("before")
	e.hide(hole)
	e.produce("after")
	records := e.readToLatest(ConsumeOptions{})
	e.equal("values", values(records), []string{"before", "after"})
	e.equal("offsets", []int64{records[0].Offset, records[1].Offset}, []int64{0, hole + 1})
	_, latest := e.offsets()
	e.equal("latest", latest, hole+2)
}

func hiddenLag(e *env) {
	e.createTopic(1)
	e.produce(numbered(1, 10)...)
	e.hide(5)
	m := e.join(JoinOptions{})
	e.await("10 records are read", func() bool { return len(m.Records()) >= 10 })
	e.ok(m.Commit(e.ctx), "commit")
	m.Leave()
	committed, err := e.client.Committed(e.ctx, e.topic, e.topic)
	e.ok(err, "fetch committed offset")
	_, latest := e.offsets()
	e.equal("lag", latest-committed, 0)
	e.equal("values", values(m.Records()), numbered(1, 10))
}

func hiddenCommitInside(e *env) {
	e.createTopic(1)
	e.produce(numbered(1, 10)...)
	e.hide(5)
	e.ok(e.client.Commit(e.ctx, e.topic, e.topic, 13), "commit")
	m := e.join(JoinOptions{})
	e.await("the member has its partition", func() bool { return m.Assigned() == 1 })
	e.produce("visible")
	e.await("the visible record is read", func() bool { return slices.Contains(values(m.Records()), "visible") })
	e.equal("values", values(m.Records()), []string{"visible"})
	e.equal("offset", m.Records()[0].Offset, 15)
}

func hiddenCaughtUp(e *env) {
	const (
		batches    = 12
		pace       = 250 * time.Millisecond
		maxFetches = 30
	)
	e.createTopic(1)
	e.produce("first")
	c := e.consume(Start{Offset: Beginning}, ConsumeOptions{})
	e.read(c, 1)
	before := c.Fetches()
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for range batches {
		e.hide(1)
		<-tick.C
	}
	during := c.Fetches() - before
	e.produce("last")
	r := e.read(c, 1)[0]
	e.equal("offset and value", []any{r.Offset, r.Value}, []any{batches + 1, "last"})
	if before == 0 || during > maxFetches {
		e.fail("%d fetches while %d hidden batches arrived", during, batches)
	}
}
