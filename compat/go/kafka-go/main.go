// Kafka-go does the checks of package check with segmentio/kafka-go.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/morrowmq/morrow/compat/go/check"
)

func main() {
	check.Main("kafka-go", "github.com/segmentio/kafka-go", func(bootstrap string) (check.Client, error) {
		return &client{
			bootstrap: bootstrap,
			adm:       &kafka.Client{Addr: kafka.TCP(bootstrap), Timeout: 20 * time.Second},
			writers:   map[check.ProduceOptions]*kafka.Writer{},
		}, nil
	})
}

type client struct {
	bootstrap string
	adm       *kafka.Client

	mu      sync.Mutex
	writers map[check.ProduceOptions]*kafka.Writer // guarded by mu
}

const maxWait = 500 * time.Millisecond

// slot travels with a message as its WriterData: where it goes and, once written, the offset it got.
type slot struct {
	partition int
	offset    atomic.Int64
}

// writer returns the writer for opts, which lives as long as the process.
func (c *client) writer(opts check.ProduceOptions) *kafka.Writer {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w, ok := c.writers[opts]; ok {
		return w
	}
	w := &kafka.Writer{
		Addr:         kafka.TCP(c.bootstrap),
		BatchSize:    1000,
		BatchTimeout: 5 * time.Millisecond,
		RequiredAcks: map[string]kafka.RequiredAcks{"0": kafka.RequireNone, "1": kafka.RequireOne, "all": kafka.RequireAll}[opts.Acks],
		Compression: map[string]kafka.Compression{
			"gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd,
		}[opts.Codec],
		Balancer: kafka.BalancerFunc(func(m kafka.Message, _ ...int) int { return m.WriterData.(*slot).partition }),
		Completion: func(messages []kafka.Message, err error) {
			for _, m := range messages {
				if err == nil && opts.Acks != "0" {
					m.WriterData.(*slot).offset.Store(m.Offset)
				}
			}
		},
	}
	c.writers[opts] = w
	return w
}

func (c *client) Produce(ctx context.Context, topic string, opts check.ProduceOptions, records ...check.Record) ([]int64, error) {
	if opts.Idempotent {
		return nil, check.ErrUnsupported
	}
	var messages []kafka.Message
	for _, r := range records {
		s := &slot{partition: int(r.Partition)}
		s.offset.Store(-1)
		m := kafka.Message{Topic: topic, Key: []byte(r.Key), Value: []byte(r.Value), WriterData: s}
		for k, v := range r.Headers {
			m.Headers = append(m.Headers, kafka.Header{Key: k, Value: []byte(v)})
		}
		messages = append(messages, m)
	}
	if err := c.writer(opts).WriteMessages(ctx, messages...); err != nil {
		return nil, translate(err)
	}
	var offsets []int64
	for _, m := range messages {
		offsets = append(offsets, m.WriterData.(*slot).offset.Load())
	}
	return offsets, nil
}

// Transactional and Relay: there are calls for every step of a transaction, but no Writer that produces in one.
func (c *client) Transactional(context.Context, string) (check.Transactional, error) {
	return nil, check.ErrUnsupported
}

func (c *client) Relay(context.Context, string, string, string, string, int, bool) error {
	return check.ErrUnsupported
}

// translate adds the error of package check that err is.
func translate(err error) error {
	if failed, ok := errors.AsType[kafka.WriteErrors](err); ok { // which does not unwrap
		err = errors.Join(failed...)
	}
	switch {
	case errors.Is(err, kafka.InvalidRecord):
		return fmt.Errorf("%w: %w", check.ErrInvalidRecord, err)
	case errors.Is(err, kafka.TopicAlreadyExists):
		return fmt.Errorf("%w: %w", check.ErrTopicExists, err)
	default:
		return err
	}
}

func record(m kafka.Message) check.Record {
	headers := map[string]string{}
	for _, h := range m.Headers {
		headers[h.Key] = string(h.Value)
	}
	return check.Record{
		Partition: int32(m.Partition), Offset: m.Offset, Key: string(m.Key), Value: string(m.Value),
		Headers: headers, Time: m.Time, HighWatermark: m.HighWaterMark,
	}
}

func (c *client) reader(topic string, partition int, isolation kafka.IsolationLevel) *kafka.Reader {
	return kafka.NewReader(kafka.ReaderConfig{
		Brokers: []string{c.bootstrap}, Topic: topic, Partition: partition, IsolationLevel: isolation,
		MinBytes: 1, MaxBytes: 10 << 20, MaxWait: maxWait, ReadLagInterval: -1,
	})
}

// consumer reads in a goroutine, because a reader does nothing, not even look up its offset, before it is read.
type consumer struct {
	reader  *kafka.Reader
	records chan check.Record
	stop    context.CancelFunc
	done    chan struct{} // closed when the goroutine has ended

	mu      sync.Mutex
	fetches int64 // guarded by mu; Stats counts from one call to the next
}

func (c *client) Consume(ctx context.Context, topic string, from check.Start, opts check.ConsumeOptions) (check.Consumer, error) {
	isolation := kafka.ReadUncommitted
	if opts.ReadCommitted {
		isolation = kafka.ReadCommitted
	}
	readCtx, stop := context.WithCancel(context.Background())
	con := &consumer{
		reader: c.reader(topic, 0, isolation), records: make(chan check.Record), stop: stop, done: make(chan struct{}),
	}
	var err error
	if from.Time.IsZero() {
		err = con.reader.SetOffset(from.Offset) // Beginning and End are kafka-go's numbers too
	} else {
		err = con.reader.SetOffsetAt(ctx, from.Time)
	}
	go con.read(readCtx)
	for err == nil && con.Fetches() == 0 {
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
	if err != nil {
		con.Close()
		return nil, err
	}
	return con, nil
}

func (c *consumer) read(ctx context.Context) {
	defer close(c.done)
	for {
		m, err := c.reader.ReadMessage(ctx)
		if err != nil {
			return
		}
		select {
		case c.records <- record(m):
		case <-ctx.Done():
			return
		}
	}
}

func (c *consumer) Next(ctx context.Context) (check.Record, error) {
	select {
	case r := <-c.records:
		return r, nil
	case <-c.done:
		return check.Record{}, errors.New("the reader has ended")
	case <-ctx.Done():
		return check.Record{}, ctx.Err()
	}
}

func (c *consumer) Fetches() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fetches += c.reader.Stats().Fetches
	return int(c.fetches)
}

func (c *consumer) Close() {
	c.stop()
	_ = c.reader.Close()
	<-c.done
}

// member takes one generation after the other in a goroutine until it leaves, and reads each of its
// partitions in another.
type member struct {
	client *client
	topic  string
	group  *kafka.ConsumerGroup
	done   chan struct{} // closed when the goroutine of the generations has ended

	mu         sync.Mutex
	generation *kafka.Generation // guarded by mu; nil while there is none
	positions  map[int]int64     // guarded by mu
	records    []check.Record    // guarded by mu
}

func (c *client) Join(_ context.Context, group, topic string, opts check.JoinOptions) (check.Member, error) {
	if opts.ConsumerProtocol {
		return nil, check.ErrUnsupported
	}
	g, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID: group, Brokers: []string{c.bootstrap}, Topics: []string{topic}, StartOffset: kafka.FirstOffset,
		HeartbeatInterval: 300 * time.Millisecond, SessionTimeout: 10 * time.Second, JoinGroupBackoff: 100 * time.Millisecond,
	})
	if err != nil {
		return nil, err
	}
	m := &member{client: c, topic: topic, group: g, done: make(chan struct{}), positions: map[int]int64{}}
	go m.run()
	return m, nil
}

func (m *member) run() {
	defer close(m.done)
	for {
		generation, err := m.group.Next(context.Background())
		if errors.Is(err, kafka.ErrGroupClosed) {
			return
		}
		if err != nil {
			continue // a rebalance that failed; Next tries again, after its back-off
		}
		m.mu.Lock()
		m.generation = generation
		clear(m.positions)
		m.mu.Unlock()
		for _, assignment := range generation.Assignments[m.topic] {
			generation.Start(func(ctx context.Context) { m.read(ctx, assignment) })
		}
		generation.Start(func(ctx context.Context) {
			<-ctx.Done()
			m.mu.Lock()
			defer m.mu.Unlock()
			if m.generation == generation {
				m.generation = nil
			}
		})
	}
}

func (m *member) read(ctx context.Context, assignment kafka.PartitionAssignment) {
	reader := m.client.reader(m.topic, assignment.ID, kafka.ReadUncommitted)
	defer func() { _ = reader.Close() }()
	if err := reader.SetOffset(assignment.Offset); err != nil {
		return
	}
	for {
		msg, err := reader.ReadMessage(ctx)
		if err != nil {
			return
		}
		m.mu.Lock()
		m.records = append(m.records, record(msg))
		m.positions[assignment.ID] = msg.Offset + 1
		m.mu.Unlock()
	}
}

func (m *member) Assigned() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.generation == nil {
		return 0
	}
	return len(m.generation.Assignments[m.topic])
}

func (m *member) Records() []check.Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.records)
}

func (m *member) Commit(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.generation == nil {
		return errors.New("no generation to commit in")
	}
	return m.generation.CommitOffsets(map[string]map[int]int64{m.topic: m.positions})
}

func (m *member) Leave() {
	_ = m.group.Close()
	<-m.done
}

func (c *client) CreateTopic(ctx context.Context, topic string, partitions int, configs map[string]string) error {
	config := kafka.TopicConfig{Topic: topic, NumPartitions: partitions, ReplicationFactor: -1}
	for k, v := range configs {
		config.ConfigEntries = append(config.ConfigEntries, kafka.ConfigEntry{ConfigName: k, ConfigValue: v})
	}
	resp, err := c.adm.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{config}})
	if err != nil {
		return err
	}
	return translate(resp.Errors[topic])
}

func (c *client) Leaders(ctx context.Context, topic string) ([]int32, error) {
	resp, err := c.adm.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		return nil, err
	}
	var leaders []int32
	for _, p := range resp.Topics[0].Partitions {
		leaders = append(leaders, int32(p.Leader.ID))
	}
	return leaders, resp.Topics[0].Error
}

func (c *client) CreatePartitions(ctx context.Context, topic string, total int) error {
	resp, err := c.adm.CreatePartitions(ctx, &kafka.CreatePartitionsRequest{
		Topics: []kafka.TopicPartitionsConfig{{Name: topic, Count: int32(total)}},
	})
	if err != nil {
		return err
	}
	return resp.Errors[topic]
}

func (c *client) DeleteTopic(ctx context.Context, topic string) error {
	resp, err := c.adm.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: []string{topic}})
	if err != nil {
		return err
	}
	return resp.Errors[topic]
}

func (c *client) Topics(ctx context.Context) ([]string, error) {
	resp, err := c.adm.Metadata(ctx, &kafka.MetadataRequest{})
	if err != nil {
		return nil, err
	}
	var topics []string
	for _, t := range resp.Topics {
		topics = append(topics, t.Name)
	}
	return topics, nil
}

func (c *client) Configs(ctx context.Context, topic string) (map[string]string, error) {
	resp, err := c.adm.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{
		Resources: []kafka.DescribeConfigRequestResource{{ResourceType: kafka.ResourceTypeTopic, ResourceName: topic}},
	})
	if err != nil {
		return nil, err
	}
	configs := map[string]string{}
	for _, e := range resp.Resources[0].ConfigEntries {
		configs[e.ConfigName] = e.ConfigValue
	}
	return configs, resp.Resources[0].Error
}

func (c *client) AlterConfig(ctx context.Context, topic, key, value string) error {
	resp, err := c.adm.IncrementalAlterConfigs(ctx, &kafka.IncrementalAlterConfigsRequest{
		Resources: []kafka.IncrementalAlterConfigsRequestResource{{
			ResourceType: kafka.ResourceTypeTopic, ResourceName: topic,
			Configs: []kafka.IncrementalAlterConfigsRequestConfig{{Name: key, Value: value, ConfigOperation: kafka.ConfigOperationSet}},
		}},
	})
	if err != nil {
		return err
	}
	return resp.Resources[0].Error
}

func (c *client) Offsets(ctx context.Context, topic string) (earliest, latest int64, err error) {
	resp, err := c.adm.ListOffsets(ctx, &kafka.ListOffsetsRequest{
		Topics: map[string][]kafka.OffsetRequest{topic: {kafka.FirstOffsetOf(0), kafka.LastOffsetOf(0)}},
	})
	if err != nil {
		return 0, 0, err
	}
	p := resp.Topics[topic][0]
	return p.FirstOffset, p.LastOffset, p.Error
}

func (c *client) DeleteRecords(context.Context, string, int64) error { return check.ErrUnsupported }

func (c *client) Groups(ctx context.Context) ([]string, error) {
	resp, err := c.adm.ListGroups(ctx, &kafka.ListGroupsRequest{})
	if err != nil {
		return nil, err
	}
	var groups []string
	for _, g := range resp.Groups {
		groups = append(groups, g.GroupID)
	}
	return groups, resp.Error
}

func (c *client) DescribeGroup(ctx context.Context, group string) (state string, members int, err error) {
	resp, err := c.adm.DescribeGroups(ctx, &kafka.DescribeGroupsRequest{GroupIDs: []string{group}})
	if err != nil {
		return "", 0, err
	}
	g := resp.Groups[0]
	return g.GroupState, len(g.Members), g.Error
}

// GroupType is never asked for, because Join refuses the consumer protocol.
func (c *client) GroupType(context.Context, string) (string, error) { return "", check.ErrUnsupported }

func (c *client) DeleteGroup(ctx context.Context, group string) error {
	resp, err := c.adm.DeleteGroups(ctx, &kafka.DeleteGroupsRequest{GroupIDs: []string{group}})
	if err != nil {
		return err
	}
	return resp.Errors[group]
}

func (c *client) Commit(ctx context.Context, group, topic string, offset int64) error {
	resp, err := c.adm.OffsetCommit(ctx, &kafka.OffsetCommitRequest{
		GroupID: group, GenerationID: -1, Topics: map[string][]kafka.OffsetCommit{topic: {{Partition: 0, Offset: offset}}},
	})
	if err != nil {
		return err
	}
	return resp.Topics[topic][0].Error
}

func (c *client) Committed(ctx context.Context, group, topic string) (int64, error) {
	resp, err := c.adm.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: {0}}})
	if err != nil {
		return 0, err
	}
	p := resp.Topics[topic][0]
	return p.CommittedOffset, errors.Join(resp.Error, p.Error)
}

func (c *client) LogDirSize(context.Context, string) (int64, error) { return 0, check.ErrUnsupported }

func (c *client) Brokers(ctx context.Context) ([]string, error) {
	resp, err := c.adm.Metadata(ctx, &kafka.MetadataRequest{})
	if err != nil {
		return nil, err
	}
	var brokers []string
	for _, b := range resp.Brokers {
		brokers = append(brokers, net.JoinHostPort(b.Host, strconv.Itoa(b.Port)))
	}
	return brokers, nil
}
