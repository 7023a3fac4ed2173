// Franz-go does the checks of package check with twmb/franz-go.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/compat/go/check"
)

func main() {
	check.Main("franz-go", "github.com/twmb/franz-go", func(bootstrap string) (check.Client, error) {
		cl, err := kgo.NewClient(kgo.SeedBrokers(bootstrap))
		if err != nil {
			return nil, err
		}
		return &client{bootstrap: bootstrap, producers: map[check.ProduceOptions]*kgo.Client{}, adm: kadm.NewClient(cl)}, nil
	})
}

type client struct {
	bootstrap string
	adm       *kadm.Client

	mu        sync.Mutex
	producers map[check.ProduceOptions]*kgo.Client // guarded by mu
}

const maxWait = 500 * time.Millisecond

// producer returns the producer for opts, which lives as long as the process.
func (c *client) producer(opts check.ProduceOptions) (*kgo.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p, ok := c.producers[opts]; ok {
		return p, nil
	}
	codec := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}[opts.Codec]
	acks := map[string]kgo.Acks{"0": kgo.NoAck(), "1": kgo.LeaderAck(), "all": kgo.AllISRAcks()}[opts.Acks]
	options := []kgo.Opt{
		kgo.SeedBrokers(c.bootstrap), kgo.ProducerBatchCompression(codec), kgo.RequiredAcks(acks),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
	}
	if !opts.Idempotent {
		options = append(options, kgo.DisableIdempotentWrite())
	}
	p, err := kgo.NewClient(options...)
	if err == nil {
		c.producers[opts] = p
	}
	return p, err
}

func (c *client) Produce(ctx context.Context, topic string, opts check.ProduceOptions, records ...check.Record) ([]int64, error) {
	p, err := c.producer(opts)
	if err != nil {
		return nil, err
	}
	out := toRecords(topic, records)
	if err := p.ProduceSync(ctx, out...).FirstErr(); err != nil {
		return nil, translate(err)
	}
	var offsets []int64
	for _, r := range out {
		offsets = append(offsets, r.Offset)
	}
	return offsets, nil
}

func toRecords(topic string, records []check.Record) []*kgo.Record {
	var out []*kgo.Record
	for _, r := range records {
		rec := &kgo.Record{Topic: topic, Partition: r.Partition, Key: []byte(r.Key), Value: []byte(r.Value)}
		for k, v := range r.Headers {
			rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: k, Value: []byte(v)})
		}
		out = append(out, rec)
	}
	return out
}

// translate adds the error of package check that err is.
func translate(err error) error {
	switch {
	case errors.Is(err, kerr.InvalidRecord):
		return fmt.Errorf("%w: %w", check.ErrInvalidRecord, err)
	case errors.Is(err, kerr.TopicAlreadyExists):
		return fmt.Errorf("%w: %w", check.ErrTopicExists, err)
	default:
		return err
	}
}

func record(r *kgo.Record, highWatermark int64) check.Record {
	headers := map[string]string{}
	for _, h := range r.Headers {
		headers[h.Key] = string(h.Value)
	}
	return check.Record{
		Partition: r.Partition, Offset: r.Offset, Key: string(r.Key), Value: string(r.Value),
		Headers: headers, Time: r.Timestamp, HighWatermark: highWatermark,
	}
}

// consumer buffers what its client polled.
type consumer struct {
	cl      *kgo.Client
	fetches atomic.Int64
	buffer  []check.Record
}

// OnBrokerWrite counts fetch requests.
func (c *consumer) OnBrokerWrite(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, _ error) {
	if key == int16(kmsg.Fetch) {
		c.fetches.Add(1)
	}
}

func (c *client) Consume(ctx context.Context, topic string, from check.Start, opts check.ConsumeOptions) (check.Consumer, error) {
	at := kgo.NewOffset()
	switch {
	case !from.Time.IsZero():
		at = at.AfterMilli(from.Time.UnixMilli())
	case from.Offset == check.Beginning:
		at = at.AtStart()
	case from.Offset == check.End:
		at = at.AtEnd()
	default:
		at = at.At(from.Offset)
	}
	isolation := kgo.ReadUncommitted()
	if opts.ReadCommitted {
		isolation = kgo.ReadCommitted()
	}
	con := &consumer{}
	cl, err := kgo.NewClient(
		kgo.SeedBrokers(c.bootstrap), kgo.FetchMaxWait(maxWait), kgo.FetchIsolationLevel(isolation), kgo.WithHooks(con),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: at}}),
	)
	if err != nil {
		return nil, err
	}
	con.cl = cl
	// The position is known when the first fetch names it.
	for con.fetches.Load() == 0 {
		select {
		case <-ctx.Done():
			cl.Close()
			return nil, ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
	return con, nil
}

func (c *consumer) Next(ctx context.Context) (check.Record, error) {
	for len(c.buffer) == 0 {
		fetches := c.cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return check.Record{}, err
		}
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			for _, r := range p.Records {
				c.buffer = append(c.buffer, record(r, p.HighWatermark))
			}
		})
	}
	r := c.buffer[0]
	c.buffer = c.buffer[1:]
	return r, nil
}

func (c *consumer) Fetches() int { return int(c.fetches.Load()) }
func (c *consumer) Close()       { c.cl.Close() }

// member polls in a goroutine until it leaves.
type member struct {
	cl   *kgo.Client
	done chan struct{} // closed when the polling goroutine has ended

	mu       sync.Mutex
	assigned int            // guarded by mu
	records  []check.Record // guarded by mu
}

func (c *client) Join(_ context.Context, group, topic string, opts check.JoinOptions) (check.Member, error) {
	m := &member{done: make(chan struct{})}
	options := []kgo.Opt{
		kgo.SeedBrokers(c.bootstrap), kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(maxWait),
		kgo.HeartbeatInterval(300 * time.Millisecond), kgo.SessionTimeout(10 * time.Second),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, p map[string][]int32) { m.change(len(p[topic])) }),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, p map[string][]int32) { m.change(-len(p[topic])) }),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, p map[string][]int32) { m.change(-len(p[topic])) }),
	}
	if opts.ConsumerProtocol {
		options = append(options, kgo.Balancers(kgo.RangeBalancer()), kgo.ServerSideBalancer())
	}
	cl, err := kgo.NewClient(options...)
	if err != nil {
		return nil, err
	}
	m.cl = cl
	go m.poll()
	return m, nil
}

func (m *member) poll() {
	defer close(m.done)
	for {
		fetches := m.cl.PollFetches(context.Background())
		if fetches.IsClientClosed() {
			return
		}
		m.mu.Lock()
		fetches.EachRecord(func(r *kgo.Record) { m.records = append(m.records, record(r, -1)) })
		m.mu.Unlock()
	}
}

func (m *member) change(by int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.assigned += by
}

func (m *member) Assigned() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.assigned
}

func (m *member) Records() []check.Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]check.Record(nil), m.records...)
}

func (m *member) Commit(ctx context.Context) error { return m.cl.CommitUncommittedOffsets(ctx) }

func (m *member) Leave() {
	m.cl.Close()
	<-m.done
}

func (c *client) CreateTopic(ctx context.Context, topic string, partitions int, configs map[string]string) error {
	entries := map[string]*string{}
	for k, v := range configs {
		entries[k] = &v
	}
	_, err := c.adm.CreateTopic(ctx, int32(partitions), -1, entries, topic)
	return translate(err)
}

func (c *client) Leaders(ctx context.Context, topic string) ([]int32, error) {
	topics, err := c.adm.ListTopics(ctx, topic)
	if err != nil {
		return nil, err
	}
	var leaders []int32
	for _, p := range topics[topic].Partitions.Sorted() {
		leaders = append(leaders, p.Leader)
	}
	return leaders, topics[topic].Err
}

func (c *client) CreatePartitions(ctx context.Context, topic string, total int) error {
	resp, err := c.adm.UpdatePartitions(ctx, total, topic)
	if err != nil {
		return err
	}
	return resp.Error()
}

func (c *client) DeleteTopic(ctx context.Context, topic string) error {
	_, err := c.adm.DeleteTopic(ctx, topic)
	return err
}

func (c *client) Topics(ctx context.Context) ([]string, error) {
	topics, err := c.adm.ListTopics(ctx)
	return topics.Names(), err
}

func (c *client) Configs(ctx context.Context, topic string) (map[string]string, error) {
	resources, err := c.adm.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return nil, err
	}
	configs := map[string]string{}
	for _, r := range resources {
		if r.Err != nil {
			return nil, r.Err
		}
		for _, entry := range r.Configs {
			configs[entry.Key] = entry.MaybeValue()
		}
	}
	return configs, nil
}

func (c *client) AlterConfig(ctx context.Context, topic, key, value string) error {
	resp, err := c.adm.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: key, Value: &value}}, topic)
	if err != nil {
		return err
	}
	return resp[0].Err
}

func (c *client) Offsets(ctx context.Context, topic string) (earliest, latest int64, err error) {
	start, err := c.adm.ListStartOffsets(ctx, topic)
	if err != nil {
		return 0, 0, err
	}
	end, err := c.adm.ListEndOffsets(ctx, topic)
	if err != nil {
		return 0, 0, err
	}
	first, _ := start.Lookup(topic, 0)
	last, _ := end.Lookup(topic, 0)
	return first.Offset, last.Offset, errors.Join(first.Err, last.Err)
}

func (c *client) DeleteRecords(ctx context.Context, topic string, before int64) error {
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: topic, Partition: 0, At: before})
	resp, err := c.adm.DeleteRecords(ctx, offsets)
	if err != nil {
		return err
	}
	return resp.Error()
}

func (c *client) Groups(ctx context.Context) ([]string, error) {
	groups, err := c.adm.ListGroups(ctx)
	return groups.Groups(), err
}

func (c *client) DescribeGroup(ctx context.Context, group string) (state string, members int, err error) {
	groups, err := c.adm.DescribeGroups(ctx, group)
	if err != nil {
		return "", 0, err
	}
	return groups[group].State, len(groups[group].Members), groups[group].Err
}

func (c *client) GroupType(ctx context.Context, group string) (string, error) {
	groups, err := c.adm.ListGroupsByType(ctx, []string{"consumer"})
	if _, ok := groups[group]; ok {
		return "consumer", err
	}
	return "classic", err
}

func (c *client) DeleteGroup(ctx context.Context, group string) error {
	_, err := c.adm.DeleteGroup(ctx, group)
	return err
}

func (c *client) Commit(ctx context.Context, group, topic string, offset int64) error {
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: topic, Partition: 0, At: offset, LeaderEpoch: -1})
	resp, err := c.adm.CommitOffsets(ctx, group, offsets)
	if err != nil {
		return err
	}
	return resp.Error()
}

func (c *client) Committed(ctx context.Context, group, topic string) (int64, error) {
	offsets, err := c.adm.FetchOffsets(ctx, group)
	if err != nil {
		return 0, err
	}
	offset, ok := offsets.Lookup(topic, 0)
	if !ok {
		return 0, errors.New("nothing committed")
	}
	return offset.At, offset.Err
}

func (c *client) LogDirSize(ctx context.Context, topic string) (int64, error) {
	dirs, err := c.adm.DescribeAllLogDirs(ctx, kadm.TopicsSet{topic: {0: {}}})
	if err != nil {
		return 0, err
	}
	var size int64
	dirs.Each(func(d kadm.DescribedLogDir) {
		if p, ok := d.Topics.Lookup(topic, 0); ok {
			size += p.Size
		}
	})
	return size, nil
}

func (c *client) Brokers(ctx context.Context) ([]string, error) {
	metadata, err := c.adm.BrokerMetadata(ctx)
	var brokers []string
	for _, b := range metadata.Brokers {
		brokers = append(brokers, net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port))))
	}
	return brokers, err
}
