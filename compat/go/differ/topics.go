package main

import (
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func metadataOf(names ...string) *kmsg.MetadataRequest {
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{}
	for _, name := range names {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &name
		req.Topics = append(req.Topics, t)
	}
	return req
}

func metadataByID(id [16]byte, name *string) *kmsg.MetadataRequest {
	req := kmsg.NewPtrMetadataRequest()
	t := kmsg.NewMetadataRequestTopic()
	t.TopicID, t.Topic = id, name
	req.Topics = append(req.Topics, t)
	return req
}

func metadata(s *side) {
	s.topic("meta", 2)
	s.versions(kmsg.Metadata, func(v int16) {
		s.ask("a topic", v, metadataOf("meta"))
		s.ask("no topics", v, metadataOf())
		s.ask("twice", v, metadataOf("meta", "meta"))
		s.ask("unknown", v, metadataOf("nowhere-meta"))
		s.ask("bad name", v, metadataOf("no where", "..", strings.Repeat("x", 250)))
		s.ask("empty name", v, metadataOf(""))
		if v >= 8 {
			req := metadataOf("meta")
			req.IncludeTopicAuthorizedOperations = true
			req.IncludeClusterAuthorizedOperations = v <= 10
			s.ask("authorized operations", v, req)
		}
		if v >= 10 {
			s.ask("unknown id", v, metadataByID(unknownID, nil))
			s.ask("zero id", v, metadataByID([16]byte{}, nil))
			s.ask("id", v, metadataByID(s.ids["meta"], nil))
			s.ask("id and name", v, metadataByID(s.ids["meta"], ptr("meta")))
		}
	})
}

// autoCreate asks for topics that are made by that.
func autoCreate(s *side) {
	s.versionsFrom(kmsg.Metadata, 0, func(v int16) {
		name := fmt.Sprintf("auto-%d", v)
		req := metadataOf(name, "bad name")
		req.AllowAutoTopicCreation = true
		s.ask("missing", v, req)
		s.awaitTopic(name, 1)
		s.ask("made", v, metadataOf(name))
	})
	req := metadataOf("auto-not")
	req.AllowAutoTopicCreation = false
	s.ask("not allowed", s.latest(kmsg.Metadata), req)
	req = metadataOf("__auto")
	req.AllowAutoTopicCreation = true
	s.ask("with the name of an internal topic", s.latest(kmsg.Metadata), req)
}

func creating(s *side) {
	s.topic("exists", 1)
	s.topic("ex_ists", 1)
	assigned := func(name string, brokers ...int32) kmsg.CreateTopicsRequestTopic {
		t := newTopic(name, -1, -1)
		a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
		a.Replicas = brokers
		t.ReplicaAssignment = append(t.ReplicaAssignment, a)
		return t
	}
	s.versions(kmsg.CreateTopics, func(v int16) {
		n := func(name string) string { return fmt.Sprintf("create-%s-%d", name, v) }
		create := func(name string, topics ...kmsg.CreateTopicsRequestTopic) {
			s.ask(name, v, createTopics(topics...))
		}
		create("nothing")
		create("one", newTopic(n("one"), 3, 1))
		create("one that exists", newTopic("exists", 1, 1))
		create("one that collides", newTopic("ex.ists", 1, 1))
		create("twice", newTopic(n("twice"), 1, 1), newTopic(n("twice"), 2, 1))
		create("bad names", newTopic("", 1, 1), newTopic(".", 1, 1), newTopic("..", 1, 1), newTopic("a b", 1, 1), newTopic("ü", 1, 1), newTopic(strings.Repeat("x", 250), 1, 1))
		create("no partitions", newTopic(n("p0"), 0, 1))
		create("negative partitions", newTopic(n("p-2"), -2, 1))
		create("default partitions", newTopic(n("p-1"), -1, 1))
		create("no replicas", newTopic(n("r0"), 1, 0))
		create("negative replicas", newTopic(n("r-2"), 1, -2))
		create("default replicas", newTopic(n("r-1"), 1, -1))
		create("too many replicas", newTopic(n("r3"), 1, 3))
		create("an internal name", newTopic("__consumer_offsets", 1, 1))
		create("the metadata topic", newTopic("__cluster_metadata", 1, 1))
		create("assigned", assigned(n("assigned"), 1))
		create("assigned nowhere", assigned(n("nowhere")))
		create("assigned to an unknown broker", assigned(n("unknown"), 99))
		create("assigned twice to a broker", assigned(n("same"), 1, 1))
		both := assigned(n("both"), 1)
		both.NumPartitions, both.ReplicationFactor = 1, 1
		create("assigned and counted", both)
		gap := assigned(n("gap"), 1)
		gap.ReplicaAssignment[0].Partition = 1
		create("assigned from partition 1", gap)
		create("a config", withConfig(newTopic(n("config"), 1, 1), "retention.ms", ptr("1000")))
		create("a config that is unknown", withConfig(newTopic(n("c1"), 1, 1), "no.such", ptr("1")))
		create("a config that is null", withConfig(newTopic(n("c2"), 1, 1), "retention.ms", nil))
		create("a config that is bad", withConfig(newTopic(n("c3"), 1, 1), "retention.ms", ptr("soon")))
		create("a config that is empty", withConfig(newTopic(n("c4"), 1, 1), "retention.ms", ptr("")))
		create("a config twice", withConfig(withConfig(newTopic(n("c5"), 1, 1), "retention.ms", ptr("1000")), "retention.ms", ptr("2000")))
		create("a config without name", withConfig(newTopic(n("c6"), 1, 1), "", ptr("1")))
		only := createTopics(newTopic(n("only"), 2, 1), newTopic("exists", 1, 1))
		only.ValidateOnly = true
		s.ask("only looking", v, only)
		soon := createTopics(newTopic(n("soon"), 1, 1))
		soon.TimeoutMillis = 0
		s.ask("without time", v, soon)
	})
}

func growing(s *side) {
	grow := func(topic string, count int32, assignments ...[]int32) *kmsg.CreatePartitionsRequest {
		req := kmsg.NewPtrCreatePartitionsRequest()
		req.TimeoutMillis = 10_000
		t := kmsg.NewCreatePartitionsRequestTopic()
		t.Topic, t.Count = topic, count
		for _, brokers := range assignments {
			a := kmsg.NewCreatePartitionsRequestTopicAssignment()
			a.Replicas = brokers
			t.Assignment = append(t.Assignment, a)
		}
		req.Topics = append(req.Topics, t)
		return req
	}
	s.topic("grow", 2)
	s.versions(kmsg.CreatePartitions, func(v int16) {
		name := fmt.Sprintf("grow-%d", v)
		s.topic(name, 2)
		s.ask("nothing", v, kmsg.NewPtrCreatePartitionsRequest())
		s.ask("no topic", v, grow("nowhere-grow", 3))
		s.ask("to fewer", v, grow("grow", 1))
		s.ask("to as many", v, grow("grow", 2))
		s.ask("to none", v, grow("grow", 0))
		s.ask("to less than none", v, grow("grow", -1))
		s.ask("assigned to too few", v, grow("grow", 4, []int32{1}))
		s.ask("assigned to an unknown broker", v, grow("grow", 3, []int32{99}))
		s.ask("assigned twice to a broker", v, grow("grow", 3, []int32{1, 1}))
		s.ask("assigned nowhere", v, grow("grow", 3, []int32{}))
		twice := grow("grow", 3)
		twice.Topics = append(twice.Topics, twice.Topics[0])
		s.ask("twice", v, twice)
		only := grow(name, 5)
		only.ValidateOnly = true
		s.ask("only looking", v, only)
		s.ask("assigned", v, grow(name, 3, []int32{1}))
		s.awaitTopic(name, 3)
		s.ask("more", v, grow(name, 4))
		s.awaitTopic(name, 4)
		s.ask("and then", s.latest(kmsg.Metadata), metadataOf(name))
		s.ask("an internal topic", v, grow("__consumer_offsets", 2))
	})
}

func deleting(s *side) {
	byName := func(names ...string) *kmsg.DeleteTopicsRequest {
		req := kmsg.NewPtrDeleteTopicsRequest()
		req.TimeoutMillis = 10_000
		req.TopicNames = names
		for _, name := range names {
			t := kmsg.NewDeleteTopicsRequestTopic()
			t.Topic = &name
			req.Topics = append(req.Topics, t)
		}
		return req
	}
	byID := func(name *string, ids ...[16]byte) *kmsg.DeleteTopicsRequest {
		req := kmsg.NewPtrDeleteTopicsRequest()
		req.TimeoutMillis = 10_000
		for _, id := range ids {
			t := kmsg.NewDeleteTopicsRequestTopic()
			t.Topic, t.TopicID = name, id
			req.Topics = append(req.Topics, t)
		}
		return req
	}
	s.topic("keep", 1)
	s.versions(kmsg.DeleteTopics, func(v int16) {
		name := fmt.Sprintf("delete-%d", v)
		s.topic(name, 1)
		s.ask("nothing", v, byName())
		s.ask("no topic", v, byName("nowhere-delete"))
		s.ask("bad names", v, byName("a b", ""))
		s.ask("one and another that is not", v, byName(name, "nowhere-delete"))
		s.ask("again", v, byName(name))
		name = fmt.Sprintf("delete-twice-%d", v)
		s.topic(name, 1)
		s.ask("twice", v, byName(name, name))
		if v >= 6 {
			name = fmt.Sprintf("delete-id-%d", v)
			s.topic(name, 1)
			s.ask("no id", v, byID(nil, unknownID))
			s.ask("the zero id", v, byID(nil, [16]byte{}))
			s.ask("by name and id", v, byID(ptr("keep"), s.ids["keep"]))
			s.ask("an id twice", v, byID(nil, s.ids["keep"], s.ids["keep"]))
			s.ask("by id", v, byID(nil, s.ids[name]))
		}
	})
}

func deletingRecords(s *side) {
	remove := func(topic string, partition int32, offset int64) *kmsg.DeleteRecordsRequest {
		req := kmsg.NewPtrDeleteRecordsRequest()
		req.TimeoutMillis = 10_000
		t, p := kmsg.NewDeleteRecordsRequestTopic(), kmsg.NewDeleteRecordsRequestTopicPartition()
		p.Partition, p.Offset = partition, offset
		t.Topic = topic
		t.Partitions = append(t.Partitions, p)
		req.Topics = append(req.Topics, t)
		return req
	}
	s.topic("compacted", 1, "cleanup.policy", "compact")
	s.topic("compacted-deleted", 1, "cleanup.policy", "compact,delete")
	s.topic("kept", 1, "cleanup.policy", "")
	s.versions(kmsg.DeleteRecords, func(v int16) {
		name := fmt.Sprintf("records-%d", v)
		s.topic(name, 2)
		want[*kmsg.ProduceResponse](s, 9, s.produce(name, 0, batch("a", "b", "c", "d", "e")))
		s.ask("of nothing", v, kmsg.NewPtrDeleteRecordsRequest())
		s.ask("of no topic", v, remove("nowhere-records", 0, 0))
		s.ask("of a bad name", v, remove("a b", 0, 0))
		s.ask("of no partition", v, remove(name, 9, 0))
		s.ask("of a negative partition", v, remove(name, -1, 0))
		s.ask("below", v, remove(name, 0, -2))
		s.ask("above", v, remove(name, 0, 6))
		s.ask("to 2", v, remove(name, 0, 2))
		s.ask("back to 1", v, remove(name, 0, 1))
		s.ask("to the end", v, remove(name, 0, -1))
		s.ask("to the end again", v, remove(name, 0, 5))
		s.ask("of an empty partition", v, remove(name, 1, 0))
		s.ask("of a compacted topic", v, remove("compacted", 0, 0))
		s.ask("of a compacted and deleted topic", v, remove("compacted-deleted", 0, 0))
		s.ask("of a topic that keeps all", v, remove("kept", 0, 0))
		s.ask("of an internal topic", v, remove("__consumer_offsets", 0, 0))
		twice := remove(name, 0, 1)
		twice.Topics = append(twice.Topics, twice.Topics[0])
		s.ask("twice", v, twice)
	})
}

func describingPartitions(s *side) {
	describe := func(limit int32, topics ...string) *kmsg.DescribeTopicPartitionsRequest {
		req := kmsg.NewPtrDescribeTopicPartitionsRequest()
		req.ResponsePartitionLimit = limit
		for _, name := range topics {
			t := kmsg.NewDescribeTopicPartitionsRequestTopic()
			t.Topic = name
			req.Topics = append(req.Topics, t)
		}
		return req
	}
	from := func(req *kmsg.DescribeTopicPartitionsRequest, topic string, partition int32) *kmsg.DescribeTopicPartitionsRequest {
		c := kmsg.NewDescribeTopicPartitionsRequestCursor()
		c.Topic, c.Partition = topic, partition
		req.Cursor = &c
		return req
	}
	s.topic("dp-a", 3)
	s.topic("dp-b", 2)
	s.topic("dp-c", 1)
	s.versions(kmsg.DescribeTopicPartitions, func(v int16) {
		s.askOrdered("all that are asked for", v, describe(100, "dp-c", "dp-a", "dp-b"))
		s.askOrdered("no topic", v, describe(100, "nowhere-dp", "dp-a"))
		s.askOrdered("bad names", v, describe(100, "a b"))
		s.askOrdered("twice", v, describe(100, "dp-a", "dp-a"))
		s.askOrdered("a limit of 1", v, describe(1, "dp-a", "dp-b"))
		s.askOrdered("a limit of 3", v, describe(3, "dp-a", "dp-b"))
		s.askOrdered("a limit of 4", v, describe(4, "dp-a", "dp-b"))
		s.askOrdered("a limit of 0", v, describe(0, "dp-a", "dp-b"))
		s.askOrdered("a limit below 0", v, describe(-1, "dp-a"))
		s.askOrdered("from a partition", v, from(describe(2, "dp-a", "dp-b"), "dp-a", 1))
		s.askOrdered("from the second topic", v, from(describe(2, "dp-a", "dp-b"), "dp-b", 0))
		s.askOrdered("from past the last partition", v, from(describe(9, "dp-a", "dp-b"), "dp-a", 3))
		s.askOrdered("from a negative partition", v, from(describe(9, "dp-a", "dp-b"), "dp-a", -1))
		s.askOrdered("from a topic that is not asked for", v, from(describe(9, "dp-a", "dp-c"), "dp-b", 1))
		s.askOrdered("from a topic that is not", v, from(describe(9, "dp-a", "dp-c"), "dp-aa", 1))
		s.askOrdered("from past all", v, from(describe(9, "dp-a"), "x", 0))
	})
}
