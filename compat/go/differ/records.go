package main

import (
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func producing(s *side) {
	s.topic("compact-produce", 1, "cleanup.policy", "compact")
	s.topic("small", 1, "max.message.bytes", "200")
	s.topic("append-time", 1, "message.timestamp.type", "LogAppendTime")
	s.topic("strict-time", 1, "message.timestamp.before.max.ms", "1000")
	s.versionsFrom(kmsg.Produce, 3, func(v int16) {
		name := fmt.Sprintf("produce-%d", v)
		s.topic(name, 2)
		send := func(what, topic string, partition int32, records []byte) {
			s.ask(what, v, s.produce(topic, partition, records))
		}
		for _, acks := range []int16{1, -1, 2, -2} {
			req := s.produce(name, 0, batch("a"))
			req.Acks = acks
			s.ask(fmt.Sprintf("acks %d", acks), v, req)
			req = s.produce("nowhere-produce", 0, batch("a"))
			req.Acks = acks
			s.ask(fmt.Sprintf("acks %d to no topic", acks), v, req)
		}
		s.unanswered("acks 0", v, s.produce(name, 0, batch("a")))
		s.unanswered("acks 0 to no topic", v, s.produce("nowhere-produce", 0, batch("a")))
		send("no partition", name, 9, batch("a"))
		send("a negative partition", name, -1, batch("a"))
		send("a bad name", "a b", 0, batch("a"))
		send("the zero id", "(zero)", 0, batch("a"))
		send("nothing", name, 0, []byte{})
		send("two batches", name, 0, append(batch("a"), batch("b")...))
		send("a torn batch", name, 0, batch("abcdefgh")[:64])
		send("a batch and a half", name, 1, append(batch("a"), batch("b")[:64]...))
		send("a short header", name, 0, batch("a")[:10])
		send("a wrong checksum", name, 0, changed(batch("a"), 20, 0xff))
		send("magic 1", name, 0, changed(batch("a"), 16, 1))
		send("magic 3", name, 0, changed(batch("a"), 16, 3))
		send("an unknown codec", name, 0, sealed(changed(batch("a"), 22, 7)))
		send("a codec that it is not", name, 0, sealed(changed(batch("a"), 22, 1)))
		send("a count that lies", name, 0, sealed(changed(batch("a"), 60, 2)))
		send("a last offset that lies", name, 0, sealed(changed(batch("a"), 26, 2)))
		send("a base offset", name, 0, changed(batch("a"), 7, 5))
		send("no records", name, 0, plainBatch().of())
		send("a control batch", name, 0, sealed(changed(batch("a"), 22, 0x20)))
		send("a transactional batch", name, 0, sealed(changed(batch("a"), 22, 0x10)))
		send("an append time", name, 0, sealed(changed(batch("a"), 22, 0x08)))
		send("too much", "small", 0, batch(strings.Repeat("x", 300)))
		send("no key to a compacted topic", "compact-produce", 0, batch("a"))
		keyed := plainBatch()
		keyed.key = []byte("k")
		send("a key to a compacted topic", "compact-produce", 0, keyed.of("a"))
		send("with append time", "append-time", 0, batch("a"))
		send("too old", "strict-time", 0, batch("a"))
		future := plainBatch()
		future.timestamp = 4_000_000_000_000
		send("from the future", name, 0, future.of("a"))
		send("to an internal topic", "__consumer_offsets", 0, batch("a"))
		twice := s.produce(name, 1, batch("a"))
		twice.Topics[0].Partitions = append(twice.Topics[0].Partitions, twice.Topics[0].Partitions[0])
		s.ask("a partition twice", v, twice)
		topicTwice := s.produce(name, 0, batch("a"))
		topicTwice.Topics = append(topicTwice.Topics, s.produce(name, 1, batch("b")).Topics[0])
		s.ask("a topic twice", v, topicTwice)
		s.ask("no topics", v, emptyProduce())
		noPartitions := s.produce(name, 0, nil)
		noPartitions.Topics[0].Partitions = nil
		s.ask("no partitions", v, noPartitions)
		mixed := s.produce(name, 0, batch("a"))
		mixed.Topics = append(mixed.Topics, s.produce("nowhere-produce", 0, batch("a")).Topics[0])
		mixed.Topics[0].Partitions = append(mixed.Topics[0].Partitions, s.produce(name, 7, batch("b")).Topics[0].Partitions[0])
		s.ask("some that go and some that do not", v, mixed)
		s.ask("what is there then", s.latest(kmsg.ListOffsets), listOffsets(name, 0, -1))
	})
	for v := int16(0); v < 3; v++ {
		req := s.produce("small", 0, batch("a"))
		s.ask("a version that is gone", v, req)
	}
}

// changed changes one byte.
func changed(b []byte, at int, to byte) []byte {
	b[at] = to
	return b
}

func emptyProduce() *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 1000
	return req
}

// unanswered sends a produce without acks and notes whether the connection lives on.
func (s *side) unanswered(name string, v int16, req *kmsg.ProduceRequest) {
	req.Acks, req.Version = 0, v
	if s.conn == nil {
		s.connect()
	}
	err := s.conn.send(req)
	if err == nil {
		_, err = s.conn.versions()
	}
	if err != nil {
		s.hangUp()
		s.note(name, v, outcome(err))
		return
	}
	s.note(name, v, "(the connection lives)")
}

func (s *side) newProducer() int64 {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.TransactionTimeoutMillis = 60_000
	return want[*kmsg.InitProducerIDResponse](s, 4, req).ProducerID
}

func producingIdempotent(s *side) {
	s.versionsFrom(kmsg.Produce, 3, func(v int16) {
		name := fmt.Sprintf("idempotent-%d", v)
		s.topic(name, 1)
		id := s.newProducer()
		send := func(what string, id int64, epoch int16, sequence int32, values ...string) {
			o := plainBatch()
			o.producerID, o.epoch, o.sequence = id, epoch, sequence
			s.ask(what, v, s.produce(name, 0, o.of(values...)))
		}
		send("a first that is not 0", id, 0, 5, "a")
		send("the first", id, 0, 0, "a", "b")
		send("the first again", id, 0, 0, "a", "b")
		send("a part of it", id, 0, 0, "a")
		send("a gap", id, 0, 7, "a")
		send("the second", id, 0, 2, "c")
		send("the first once more", id, 0, 0, "a", "b")
		send("a newer epoch that does not begin", id, 1, 3, "d")
		send("a newer epoch", id, 1, 0, "d")
		send("an older epoch", id, 0, 3, "d")
		send("a producer nobody gave", 987_654, 3, 0, "a")
		send("a producer nobody gave, not from 0", 987_655, 3, 9, "a")
		send("no epoch", id, -1, 0, "a")
		send("no sequence", id, 1, -1, "a")
		send("an epoch without id", -1, 0, -1, "a")
		send("a sequence without id", -1, -1, 0, "a")
		send("a negative id", -2, 0, 0, "a")
	})
}

// producingInternal produces to the topics of coordinators.
func producingInternal(s *side) {
	for _, topic := range []string{"__consumer_offsets", "__transaction_state", "__share_group_state", "__cluster_metadata"} {
		for _, acks := range []int16{1, -1} {
			req := s.produce(topic, 0, batch("a"))
			req.Acks = acks
			s.ask(fmt.Sprintf("to %s, acks %d", topic, acks), 12, req)
		}
		s.ask("read "+topic, 12, s.fetch(topic, 999, 0))
	}
}

func fetching(s *side) {
	s.topic("fetch", 2)
	want[*kmsg.ProduceResponse](s, 9, s.produce("fetch", 0, batch("a", "b", "c")))
	want[*kmsg.ProduceResponse](s, 9, s.produce("fetch", 0, batch("d", "e")))
	s.versions(kmsg.Fetch, func(v int16) {
		get := func(what, topic string, partition int32, offset int64, more ...func(*kmsg.FetchRequest, *kmsg.FetchRequestTopicPartition)) {
			req := s.fetch(topic, partition, offset)
			req.Version = v
			for _, m := range more {
				m(req, &req.Topics[0].Partitions[0])
			}
			s.ask(what, v, req)
		}
		type (
			request   = *kmsg.FetchRequest
			partition = *kmsg.FetchRequestTopicPartition
		)
		get("all", "fetch", 0, 0)
		get("from inside a batch", "fetch", 0, 1)
		get("the second batch", "fetch", 0, 3)
		get("at the end", "fetch", 0, 5)
		get("above", "fetch", 0, 6)
		get("below", "fetch", 0, -1)
		get("far below", "fetch", 0, -3)
		get("an empty partition", "fetch", 1, 0)
		get("no partition", "fetch", 9, 0)
		get("a negative partition", "fetch", -1, 0)
		get("no topic", "nowhere-fetch", 0, 0)
		get("a bad name", "a b", 0, 0)
		get("the zero id", "(zero)", 0, 0)
		get("committed", "fetch", 0, 0, func(r request, _ partition) { r.IsolationLevel = 1 })
		get("an unknown isolation", "fetch", 0, 0, func(r request, _ partition) { r.IsolationLevel = 7 })
		get("few bytes", "fetch", 0, 0, func(r request, p partition) { r.MaxBytes, p.PartitionMaxBytes = 1, 1 })
		get("no bytes", "fetch", 0, 0, func(r request, p partition) { r.MaxBytes, p.PartitionMaxBytes = 0, 0 })
		get("negative bytes", "fetch", 0, 0, func(r request, p partition) { r.MaxBytes, p.PartitionMaxBytes = -1, -1 })
		get("a negative wait", "fetch", 0, 5, func(r request, _ partition) { r.MaxWaitMillis, r.MinBytes = -1, 1 })
		get("an old start", "fetch", 0, 0, func(_ request, p partition) { p.LogStartOffset = 3 })
		get("the epoch", "fetch", 0, 0, func(_ request, p partition) { p.CurrentLeaderEpoch = 0 })
		get("an epoch to come", "fetch", 0, 0, func(_ request, p partition) { p.CurrentLeaderEpoch = 99 })
		get("an epoch below all", "fetch", 0, 0, func(_ request, p partition) { p.CurrentLeaderEpoch = -2 })
		get("a last epoch", "fetch", 0, 3, func(_ request, p partition) { p.LastFetchedEpoch = 0 })
		get("a last epoch to come", "fetch", 0, 3, func(_ request, p partition) { p.LastFetchedEpoch = 9 })
		get("a last epoch beyond its end", "fetch", 0, 9, func(_ request, p partition) { p.LastFetchedEpoch = 0 })
		get("as a follower", "fetch", 0, 0, func(r request, _ partition) { as(r, 7, 3) })
		get("as a debugger", "fetch", 0, 0, func(r request, _ partition) { as(r, -2, -1) })
		get("a rack", "fetch", 0, 0, func(r request, _ partition) { r.Rack = "r1" })
		get("another cluster", "fetch", 0, 0, func(r request, _ partition) { r.ClusterID = ptr("another") })
		twice := s.fetch("fetch", 0, 0)
		twice.Topics[0].Partitions = append(twice.Topics[0].Partitions, twice.Topics[0].Partitions[0])
		s.ask("a partition twice", v, twice)
		mixed := s.fetch("fetch", 0, 0)
		mixed.Topics = append(mixed.Topics, s.fetchTopic("nowhere-fetch", 0, 0), s.fetchTopic("fetch", 1, 9))
		s.ask("some that go and some that do not", v, mixed)
		nothing := s.fetch("fetch", 0, 0)
		nothing.Topics = nil
		s.ask("nothing", v, nothing)
	})
}

// as makes a fetch that of a replica, by the field that its version has.
func as(r *kmsg.FetchRequest, replica int32, epoch int64) {
	if r.Version >= 15 {
		r.ReplicaState.ID, r.ReplicaState.Epoch = replica, epoch
		return
	}
	r.ReplicaID = replica
}

func fetchingInSessions(s *side) {
	s.topic("session", 2)
	want[*kmsg.ProduceResponse](s, 9, s.produce("session", 0, batch("a", "b")))
	s.versionsFrom(kmsg.Fetch, 7, func(v int16) {
		get := func(what string, session, epoch int32, topics ...kmsg.FetchRequestTopic) int32 {
			req := s.fetch("session", 0, 0)
			req.Topics, req.SessionID, req.SessionEpoch = topics, session, epoch
			if resp, ok := s.ask(what, v, req).(*kmsg.FetchResponse); ok {
				return resp.SessionID
			}
			return 0
		}
		get("a session that is not", 12345, 3)
		get("a session that is not, from the start", 12345, 0, s.fetchTopic("session", 0, 0))
		get("the end of a session that is not", 12345, -1, s.fetchTopic("session", 0, 0))
		get("no session, an epoch", 0, 7, s.fetchTopic("session", 0, 0))
		get("an epoch below all", 0, -2, s.fetchTopic("session", 0, 0))
		get("nothing", 0, 0)
		id := get("a new one", 0, 0, s.fetchTopic("session", 0, 0), s.fetchTopic("session", 1, 0), s.fetchTopic("nowhere-session", 0, 0))
		get("what has changed", id, 1)
		get("what has changed, again", id, 2)
		get("an epoch that was", id, 1)
		get("an epoch to come", id, 9)
		get("a partition more", id, 3, s.fetchTopic("session", 0, 2), s.fetchTopic("session", 5, 0))
		forget := s.fetch("session", 0, 0)
		forget.Topics, forget.SessionID, forget.SessionEpoch = nil, id, 4
		f := kmsg.NewFetchRequestForgottenTopic()
		f.Topic, f.TopicID, f.Partitions = "session", s.ids["session"], []int32{1, 5, 8}
		forget.ForgottenTopics = append(forget.ForgottenTopics, f)
		s.ask("fewer", v, forget)
		want[*kmsg.ProduceResponse](s, 9, s.produce("session", 0, batch("a", "b")))
		get("what is new", id, 5)
		get("the end", id, -1)
		get("after the end", id, 6)
	})
}

func listing(s *side) {
	s.topic("list", 2)
	o := plainBatch()
	want[*kmsg.ProduceResponse](s, 9, s.produce("list", 0, o.of("a", "b", "c")))
	o.timestamp += 1000
	want[*kmsg.ProduceResponse](s, 9, s.produce("list", 0, o.of("d", "e")))
	s.versions(kmsg.ListOffsets, func(v int16) {
		get := func(what, topic string, partition int32, timestamp int64, more ...func(*kmsg.ListOffsetsRequest, *kmsg.ListOffsetsRequestTopicPartition)) {
			req := listOffsets(topic, partition, timestamp)
			for _, m := range more {
				m(req, &req.Topics[0].Partitions[0])
			}
			s.ask(what, v, req)
		}
		for t := int64(0); t >= -8; t-- {
			get(fmt.Sprintf("timestamp %d", t), "list", 0, t)
			get(fmt.Sprintf("timestamp %d of nothing", t), "list", 1, t)
		}
		get("the time of the first", "list", 0, plainBatch().timestamp)
		get("a time between", "list", 0, plainBatch().timestamp+1)
		get("the time of the last", "list", 0, o.timestamp)
		get("a time after", "list", 0, o.timestamp+1)
		get("no topic", "nowhere-list", 0, -1)
		get("a bad name", "a b", 0, -1)
		get("no partition", "list", 9, -1)
		get("a negative partition", "list", -1, -1)
		get("committed", "list", 0, -1, func(r *kmsg.ListOffsetsRequest, _ *kmsg.ListOffsetsRequestTopicPartition) { r.IsolationLevel = 1 })
		get("an unknown isolation", "list", 0, -1, func(r *kmsg.ListOffsetsRequest, _ *kmsg.ListOffsetsRequestTopicPartition) { r.IsolationLevel = 9 })
		get("as a follower", "list", 0, -1, func(r *kmsg.ListOffsetsRequest, _ *kmsg.ListOffsetsRequestTopicPartition) { r.ReplicaID = 7 })
		get("as a debugger", "list", 0, -1, func(r *kmsg.ListOffsetsRequest, _ *kmsg.ListOffsetsRequestTopicPartition) { r.ReplicaID = -2 })
		for _, epoch := range []int32{0, 9, -2} {
			get(fmt.Sprintf("epoch %d", epoch), "list", 0, -1, func(_ *kmsg.ListOffsetsRequest, p *kmsg.ListOffsetsRequestTopicPartition) {
				p.CurrentLeaderEpoch = epoch
			})
		}
		twice := listOffsets("list", 0, -1)
		twice.Topics[0].Partitions = append(twice.Topics[0].Partitions, twice.Topics[0].Partitions[0])
		s.ask("a partition twice", v, twice)
		s.ask("nothing", v, kmsg.NewPtrListOffsetsRequest())
	})
}

func leaderEpochs(s *side) {
	s.topic("epochs", 2)
	want[*kmsg.ProduceResponse](s, 9, s.produce("epochs", 0, batch("a", "b")))
	s.versions(kmsg.OffsetForLeaderEpoch, func(v int16) {
		get := func(what, topic string, partition, current, epoch, replica int32) {
			req := kmsg.NewPtrOffsetForLeaderEpochRequest()
			req.ReplicaID = replica
			t, p := kmsg.NewOffsetForLeaderEpochRequestTopic(), kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
			t.Topic, p.Partition, p.CurrentLeaderEpoch, p.LeaderEpoch = topic, partition, current, epoch
			t.Partitions = append(t.Partitions, p)
			req.Topics = append(req.Topics, t)
			s.ask(what, v, req)
		}
		get("the epoch", "epochs", 0, -1, 0, -1)
		get("of nothing", "epochs", 1, -1, 0, -1)
		get("an epoch to come", "epochs", 0, -1, 9, -1)
		get("an epoch below all", "epochs", 0, -1, -1, -1)
		get("an epoch further below", "epochs", 0, -1, -5, -1)
		get("at the epoch", "epochs", 0, 0, 0, -1)
		get("at an epoch to come", "epochs", 0, 9, 0, -1)
		get("no topic", "nowhere-epochs", 0, -1, 0, -1)
		get("no partition", "epochs", 9, -1, 0, -1)
		get("as a follower", "epochs", 0, -1, 0, 5)
		get("as a debugger", "epochs", 0, -1, 0, -2)
		s.ask("nothing", v, kmsg.NewPtrOffsetForLeaderEpochRequest())
	})
}
