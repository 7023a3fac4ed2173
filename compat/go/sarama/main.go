// Sarama does the checks of package check with IBM/sarama.
package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/rcrowley/go-metrics"

	"github.com/morrowmq/morrow/compat/go/check"
)

func main() {
	check.Main("sarama", "github.com/IBM/sarama", func(bootstrap string) (check.Client, error) {
		adm, err := sarama.NewClusterAdmin([]string{bootstrap}, config())
		if err != nil {
			return nil, err
		}
		return &client{bootstrap: bootstrap, adm: adm, producers: map[check.ProduceOptions]sarama.SyncProducer{}}, nil
	})
}

type client struct {
	bootstrap string
	adm       sarama.ClusterAdmin

	mu        sync.Mutex
	producers map[check.ProduceOptions]sarama.SyncProducer // guarded by mu
}

func config() *sarama.Config {
	c := sarama.NewConfig()
	c.Version = sarama.MaxVersion
	c.Consumer.MaxWaitTime = 500 * time.Millisecond
	c.Consumer.Offsets.AutoCommit.Enable = false
	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	c.Consumer.Group.Heartbeat.Interval = 300 * time.Millisecond
	c.Producer.Partitioner = sarama.NewManualPartitioner
	c.Producer.Return.Successes = true
	return c
}

// producer returns the producer for opts, which lives as long as the process.
func (c *client) producer(opts check.ProduceOptions) (sarama.SyncProducer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p, ok := c.producers[opts]; ok {
		return p, nil
	}
	conf := config()
	conf.Producer.Compression = map[string]sarama.CompressionCodec{
		"none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP, "snappy": sarama.CompressionSnappy,
		"lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD,
	}[opts.Codec]
	conf.Producer.RequiredAcks = map[string]sarama.RequiredAcks{
		"0": sarama.NoResponse, "1": sarama.WaitForLocal, "all": sarama.WaitForAll,
	}[opts.Acks]
	if opts.Idempotent {
		conf.Producer.Idempotent = true
		conf.Net.MaxOpenRequests = 1
	}
	p, err := sarama.NewSyncProducer([]string{c.bootstrap}, conf)
	if err == nil {
		c.producers[opts] = p
	}
	return p, err
}

func (c *client) Produce(_ context.Context, topic string, opts check.ProduceOptions, records ...check.Record) ([]int64, error) {
	p, err := c.producer(opts)
	if err != nil {
		return nil, err
	}
	messages := toMessages(topic, records)
	if err := p.SendMessages(messages); err != nil {
		return nil, translate(err)
	}
	var offsets []int64
	for _, m := range messages {
		offsets = append(offsets, m.Offset)
	}
	return offsets, nil
}

func toMessages(topic string, records []check.Record) []*sarama.ProducerMessage {
	var messages []*sarama.ProducerMessage
	for _, r := range records {
		m := &sarama.ProducerMessage{
			Topic: topic, Partition: r.Partition, Key: sarama.StringEncoder(r.Key), Value: sarama.StringEncoder(r.Value),
		}
		for k, v := range r.Headers {
			m.Headers = append(m.Headers, sarama.RecordHeader{Key: []byte(k), Value: []byte(v)})
		}
		messages = append(messages, m)
	}
	return messages
}

// translate adds the error of package check that err is.
func translate(err error) error {
	if failed, ok := errors.AsType[sarama.ProducerErrors](err); ok && len(failed) > 0 {
		err = failed[0].Err // ProducerErrors does not unwrap
	}
	if topic, ok := errors.AsType[*sarama.TopicError](err); ok {
		err = topic.Err
	}
	switch {
	case errors.Is(err, sarama.ErrInvalidRecord):
		return fmt.Errorf("%w: %w", check.ErrInvalidRecord, err)
	case errors.Is(err, sarama.ErrTopicAlreadyExists):
		return fmt.Errorf("%w: %w", check.ErrTopicExists, err)
	default:
		return err
	}
}

func record(m *sarama.ConsumerMessage, highWatermark int64) check.Record {
	headers := map[string]string{}
	for _, h := range m.Headers {
		headers[string(h.Key)] = string(h.Value)
	}
	return check.Record{
		Partition: m.Partition, Offset: m.Offset, Key: string(m.Key), Value: string(m.Value),
		Headers: headers, Time: m.Timestamp, HighWatermark: highWatermark,
	}
}

type consumer struct {
	cl        sarama.Client
	consumer  sarama.Consumer
	partition sarama.PartitionConsumer
}

func (c *client) Consume(_ context.Context, topic string, from check.Start, opts check.ConsumeOptions) (check.Consumer, error) {
	conf := config()
	if opts.ReadCommitted {
		conf.Consumer.IsolationLevel = sarama.ReadCommitted
	}
	cl, err := sarama.NewClient([]string{c.bootstrap}, conf)
	if err != nil {
		return nil, err
	}
	con := &consumer{cl: cl}
	offset := from.Offset // Beginning and End are sarama's numbers too
	if !from.Time.IsZero() {
		if offset, err = cl.GetOffset(topic, 0, from.Time.UnixMilli()); err != nil {
			con.Close()
			return nil, err
		}
	}
	if con.consumer, err = sarama.NewConsumerFromClient(cl); err != nil {
		con.Close()
		return nil, err
	}
	// ConsumePartition asks for the offset before it returns.
	if con.partition, err = con.consumer.ConsumePartition(topic, 0, offset); err != nil {
		con.Close()
		return nil, err
	}
	return con, nil
}

func (c *consumer) Next(ctx context.Context) (check.Record, error) {
	select {
	case m := <-c.partition.Messages():
		return record(m, c.partition.HighWaterMarkOffset()), nil
	case <-ctx.Done():
		return check.Record{}, ctx.Err()
	}
}

func (c *consumer) Fetches() int {
	meter, ok := c.cl.Config().MetricRegistry.Get("consumer-fetch-rate").(metrics.Meter)
	if !ok {
		return 0
	}
	return int(meter.Count())
}

func (c *consumer) Close() {
	if c.partition != nil {
		_ = c.partition.Close()
	}
	if c.consumer != nil {
		_ = c.consumer.Close()
	}
	_ = c.cl.Close()
}

// member runs one generation after the other in a goroutine until it leaves.
type member struct {
	topic string
	group sarama.ConsumerGroup
	stop  context.CancelFunc
	done  chan struct{} // closed when the goroutine has ended

	mu      sync.Mutex
	session sarama.ConsumerGroupSession // guarded by mu; nil between generations
	records []check.Record              // guarded by mu
}

func (c *client) Join(_ context.Context, group, topic string, opts check.JoinOptions) (check.Member, error) {
	if opts.ConsumerProtocol {
		return nil, check.ErrUnsupported
	}
	g, err := sarama.NewConsumerGroup([]string{c.bootstrap}, group, config())
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	m := &member{topic: topic, group: g, stop: stop, done: make(chan struct{})}
	go func() {
		defer close(m.done)
		for ctx.Err() == nil {
			if err := g.Consume(ctx, []string{topic}, m); errors.Is(err, sarama.ErrClosedConsumerGroup) {
				return
			}
		}
	}()
	return m, nil
}

// Setup, Cleanup and ConsumeClaim make a member the handler of its generations.
func (m *member) Setup(s sarama.ConsumerGroupSession) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.session = s
	return nil
}

func (m *member) Cleanup(sarama.ConsumerGroupSession) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.session = nil
	return nil
}

func (m *member) ConsumeClaim(s sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case msg, ok := <-claim.Messages():
			if !ok {
				return nil
			}
			m.mu.Lock()
			m.records = append(m.records, record(msg, -1))
			m.mu.Unlock()
			s.MarkMessage(msg, "")
		case <-s.Context().Done():
			return nil
		}
	}
}

func (m *member) Assigned() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.session == nil {
		return 0
	}
	return len(m.session.Claims()[m.topic])
}

func (m *member) Records() []check.Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.records)
}

func (m *member) Commit(context.Context) error {
	m.mu.Lock()
	s := m.session
	m.mu.Unlock()
	if s == nil {
		return errors.New("no generation to commit in")
	}
	s.Commit()
	select {
	case err := <-m.group.Errors():
		return err
	default:
		return nil
	}
}

func (m *member) Leave() {
	m.stop()
	<-m.done
	_ = m.group.Close()
}

func (c *client) CreateTopic(_ context.Context, topic string, partitions int, configs map[string]string) error {
	entries := map[string]*string{}
	for k, v := range configs {
		entries[k] = &v
	}
	detail := &sarama.TopicDetail{NumPartitions: int32(partitions), ReplicationFactor: -1, ConfigEntries: entries}
	return translate(c.adm.CreateTopic(topic, detail, false))
}

func (c *client) Leaders(_ context.Context, topic string) ([]int32, error) {
	topics, err := c.adm.DescribeTopics([]string{topic})
	if err != nil {
		return nil, err
	}
	if topics[0].Err != sarama.ErrNoError {
		return nil, topics[0].Err
	}
	var leaders []int32
	for _, p := range topics[0].Partitions {
		leaders = append(leaders, p.Leader)
	}
	return leaders, nil
}

func (c *client) CreatePartitions(_ context.Context, topic string, total int) error {
	return c.adm.CreatePartitions(topic, int32(total), nil, false)
}

func (c *client) DeleteTopic(_ context.Context, topic string) error { return c.adm.DeleteTopic(topic) }

func (c *client) Topics(context.Context) ([]string, error) {
	topics, err := c.adm.ListTopics()
	return slices.Collect(maps.Keys(topics)), err
}

func (c *client) Configs(_ context.Context, topic string) (map[string]string, error) {
	resource := &sarama.ConfigResource{Type: sarama.TopicResource, Name: topic}
	results, err := c.adm.DescribeConfigs([]*sarama.ConfigResource{resource}, sarama.DescribeConfigsOptions{})
	if err != nil {
		return nil, err
	}
	if results[0].ErrorCode != sarama.ErrNoError {
		return nil, results[0].ErrorCode
	}
	configs := map[string]string{}
	for _, e := range results[0].Configs {
		configs[e.Name] = e.Value
	}
	return configs, nil
}

func (c *client) AlterConfig(_ context.Context, topic, key, value string) error {
	return c.adm.IncrementalAlterConfig(sarama.TopicResource, topic, map[string]sarama.IncrementalAlterConfigsEntry{
		key: {Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &value},
	}, false)
}

func (c *client) Offsets(_ context.Context, topic string) (earliest, latest int64, err error) {
	at := func(position int64) int64 {
		offsets, e := c.adm.ListOffsets(map[string]map[int32]int64{topic: {0: position}}, nil)
		if e != nil {
			err = errors.Join(err, e)
			return -1
		}
		result := offsets[topic][0]
		if result.Err != nil && !errors.Is(result.Err, sarama.ErrNoError) {
			err = errors.Join(err, result.Err)
		}
		return result.Offset
	}
	return at(sarama.OffsetOldest), at(sarama.OffsetNewest), err
}

func (c *client) DeleteRecords(_ context.Context, topic string, before int64) error {
	return c.adm.DeleteRecords(topic, map[int32]int64{0: before})
}

func (c *client) Groups(context.Context) ([]string, error) {
	groups, err := c.adm.ListConsumerGroups()
	return slices.Collect(maps.Keys(groups)), err
}

func (c *client) DescribeGroup(_ context.Context, group string) (state string, members int, err error) {
	groups, err := c.adm.DescribeConsumerGroups([]string{group})
	if err != nil {
		return "", 0, err
	}
	if groups[0].Err != sarama.ErrNoError {
		return "", 0, groups[0].Err
	}
	return groups[0].State, len(groups[0].Members), nil
}

// GroupType is never asked for, because Join refuses the consumer protocol.
func (c *client) GroupType(context.Context, string) (string, error) { return "", check.ErrUnsupported }

func (c *client) DeleteGroup(_ context.Context, group string) error {
	return c.adm.DeleteConsumerGroup(group)
}

func (c *client) Commit(_ context.Context, group, topic string, offset int64) error {
	resp, err := c.adm.AlterConsumerGroupOffsets(group, map[string]map[int32]sarama.OffsetAndMetadata{
		topic: {0: {Offset: offset, LeaderEpoch: -1}},
	}, nil)
	if err != nil {
		return err
	}
	if code := resp.Errors[topic][0]; code != sarama.ErrNoError {
		return code
	}
	return nil
}

func (c *client) Committed(_ context.Context, group, topic string) (int64, error) {
	resp, err := c.adm.ListConsumerGroupOffsets(group, map[string][]int32{topic: {0}})
	if err != nil {
		return 0, err
	}
	block := resp.GetBlock(topic, 0)
	if block == nil {
		return 0, errors.New("nothing committed")
	}
	if block.Err != sarama.ErrNoError {
		return 0, block.Err
	}
	return block.Offset, nil
}

func (c *client) LogDirSize(_ context.Context, topic string) (int64, error) {
	brokers, _, err := c.adm.DescribeCluster()
	if err != nil {
		return 0, err
	}
	var ids []int32
	for _, b := range brokers {
		ids = append(ids, b.ID())
	}
	all, err := c.adm.DescribeLogDirs(ids)
	var size int64
	for _, dirs := range all {
		for _, dir := range dirs {
			for _, t := range dir.Topics {
				if t.Topic != topic {
					continue
				}
				for _, p := range t.Partitions {
					size += p.Size
				}
			}
		}
	}
	return size, err
}

func (c *client) Brokers(context.Context) ([]string, error) {
	brokers, _, err := c.adm.DescribeCluster()
	var addrs []string
	for _, b := range brokers {
		addrs = append(addrs, b.Addr())
	}
	return addrs, err
}
