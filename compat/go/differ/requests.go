package main

import (
	"encoding/binary"
	"hash/crc32"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// What the scripts send is made here where more than one of them does.

func ptr[T any](v T) *T { return &v }

// unknownID is the id of no topic.
var unknownID = [16]byte{9, 9, 9}

func newTopic(name string, partitions int32, replicas int16) kmsg.CreateTopicsRequestTopic {
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, partitions, replicas
	return t
}

func withConfig(t kmsg.CreateTopicsRequestTopic, name string, value *string) kmsg.CreateTopicsRequestTopic {
	c := kmsg.NewCreateTopicsRequestTopicConfig()
	c.Name, c.Value = name, value
	t.Configs = append(t.Configs, c)
	return t
}

func createTopics(topics ...kmsg.CreateTopicsRequestTopic) *kmsg.CreateTopicsRequest {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = 10_000
	req.Topics = topics
	return req
}

// batchOptions are what a batch is made of besides its values.
type batchOptions struct {
	producerID int64
	epoch      int16
	sequence   int32
	attributes int16
	timestamp  int64
	key        []byte
}

// plainBatch are the options of a batch that is nothing special. Its time is given, so that both
// brokers have the same.
func plainBatch() batchOptions {
	return batchOptions{producerID: -1, epoch: -1, sequence: -1, timestamp: 1_700_000_000_000}
}

func batch(values ...string) []byte { return plainBatch().of(values...) }

// of encodes a batch of the values, uncompressed.
func (o batchOptions) of(values ...string) []byte {
	var records []byte
	for i, v := range values {
		r := kmsg.Record{OffsetDelta: int32(i), Key: o.key, Value: []byte(v)}
		r.Length = int32(len(r.AppendTo(nil)) - 1) // the length itself takes one byte while it is 0
		records = r.AppendTo(records)
	}
	b := kmsg.RecordBatch{
		PartitionLeaderEpoch: -1, Magic: 2, Attributes: o.attributes, LastOffsetDelta: int32(len(values) - 1),
		FirstTimestamp: o.timestamp, MaxTimestamp: o.timestamp,
		ProducerID: o.producerID, ProducerEpoch: o.epoch, FirstSequence: o.sequence,
		NumRecords: int32(len(values)), Records: records,
	}
	b.Length = int32(len(b.AppendTo(nil)) - 12)
	return sealed(b.AppendTo(nil))
}

// sealed gives a batch the checksum of what is in it.
func sealed(b []byte) []byte {
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// produce is a request for one partition. The topic has its id if it was made here.
func (s *side) produce(topic string, partition int32, records []byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 5000
	t, p := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = partition, records
	t.Topic, t.TopicID = topic, s.idOf(topic)
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

func (s *side) fetch(topic string, partition int32, offset int64) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.SessionEpoch = 50, 0, 1<<20, -1
	req.Topics = append(req.Topics, s.fetchTopic(topic, partition, offset))
	return req
}

func (s *side) fetchTopic(topic string, partition int32, offset int64) kmsg.FetchRequestTopic {
	t, p := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes = partition, offset, 1<<20
	t.Topic, t.TopicID = topic, s.idOf(topic)
	t.Partitions = append(t.Partitions, p)
	return t
}

func listOffsets(topic string, partition int32, timestamp int64) *kmsg.ListOffsetsRequest {
	req := kmsg.NewPtrListOffsetsRequest()
	t, p := kmsg.NewListOffsetsRequestTopic(), kmsg.NewListOffsetsRequestTopicPartition()
	t.Topic, p.Partition, p.Timestamp = topic, partition, timestamp
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

// idOf is the id of a topic that was made here, or that of no topic. A name in parentheses is that
// of the zero id.
func (s *side) idOf(topic string) [16]byte {
	if id, ok := s.ids[topic]; ok || strings.HasPrefix(topic, "(") {
		return id
	}
	return unknownID
}

func describeConfigs(kind kmsg.ConfigResourceType, name string, configs ...string) *kmsg.DescribeConfigsRequest {
	req := kmsg.NewPtrDescribeConfigsRequest()
	r := kmsg.NewDescribeConfigsRequestResource()
	r.ResourceType, r.ResourceName, r.ConfigNames = kind, name, configs
	req.Resources = append(req.Resources, r)
	return req
}

// change is one operation of an alteration.
type change struct {
	op    kmsg.IncrementalAlterConfigOp
	name  string
	value *string
}

func set(name, value string) change { return change{kmsg.IncrementalAlterConfigOpSet, name, &value} }

func unset(name string) change { return change{kmsg.IncrementalAlterConfigOpDelete, name, nil} }

func alter(kind kmsg.ConfigResourceType, name string, changes ...change) *kmsg.IncrementalAlterConfigsRequest {
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kind, name
	for _, c := range changes {
		rc := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		rc.Op, rc.Name, rc.Value = c.op, c.name, c.value
		r.Configs = append(r.Configs, rc)
	}
	req.Resources = append(req.Resources, r)
	return req
}

func alterAll(kind kmsg.ConfigResourceType, name string, changes ...change) *kmsg.AlterConfigsRequest {
	req := kmsg.NewPtrAlterConfigsRequest()
	r := kmsg.NewAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kind, name
	for _, c := range changes {
		rc := kmsg.NewAlterConfigsRequestResourceConfig()
		rc.Name, rc.Value = c.name, c.value
		r.Configs = append(r.Configs, rc)
	}
	req.Resources = append(req.Resources, r)
	return req
}
