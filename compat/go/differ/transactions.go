package main

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func initProducer(id *string, timeout int32, producer int64, epoch int16) *kmsg.InitProducerIDRequest {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.TransactionalID, req.TransactionTimeoutMillis, req.ProducerID, req.ProducerEpoch = id, timeout, producer, epoch
	return req
}

func initializing(s *side) {
	s.versions(kmsg.InitProducerID, func(v int16) {
		name := ptr(fmt.Sprintf("init-%d", v))
		init := func(what string, id *string, timeout int32, producer int64, epoch int16) *kmsg.InitProducerIDResponse {
			resp, _ := s.ask(what, v, initProducer(id, timeout, producer, epoch)).(*kmsg.InitProducerIDResponse)
			return resp
		}
		init("idempotent", nil, 60_000, -1, -1)
		init("idempotent with timeout 0", nil, 0, -1, -1)
		init("idempotent with a negative timeout", nil, -1, -1, -1)
		init("idempotent with an id", nil, 60_000, 5, 3)
		init("idempotent with an id and no epoch", nil, 60_000, 5, -1)
		init("idempotent with an epoch and no id", nil, 60_000, -1, 3)
		init("an empty transactional id", ptr(""), 60_000, -1, -1)
		init("timeout 0", name, 0, -1, -1)
		init("a negative timeout", name, -1, -1, -1)
		init("a timeout that is too long", name, 900_001, -1, -1)
		init("an id nobody has", name, 60_000, 123_456, 0)
		init("an id and no epoch", name, 60_000, 123_456, -1)
		init("an epoch and no id", name, 60_000, -1, 0)
		first := init("first", name, 60_000, -1, -1)
		if first == nil {
			return
		}
		init("second", name, 60_000, -1, -1)
		if v >= 3 {
			init("as the first", name, 60_000, first.ProducerID, first.ProducerEpoch)
			init("as one to come", name, 60_000, first.ProducerID, first.ProducerEpoch+7)
			init("as another", name, 60_000, first.ProducerID+1, first.ProducerEpoch+1)
			init("as the second", name, 60_000, first.ProducerID, first.ProducerEpoch+1)
			init("as the second again", name, 60_000, first.ProducerID, first.ProducerEpoch+1)
		}
	})
}

// producer is a transactional producer.
type producer struct {
	id    string
	pid   int64
	epoch int16
}

func (s *side) producer(id string) producer {
	resp := want[*kmsg.InitProducerIDResponse](s, 4, initProducer(&id, 60_000, -1, -1))
	return producer{id, resp.ProducerID, resp.ProducerEpoch}
}

func (p producer) with(epoch int16) producer {
	p.epoch += epoch
	return p
}

func (p producer) addPartitions(topic string, partitions ...int32) *kmsg.AddPartitionsToTxnRequest {
	req := kmsg.NewPtrAddPartitionsToTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch = p.id, p.pid, p.epoch
	t := kmsg.NewAddPartitionsToTxnRequestTopic()
	t.Topic, t.Partitions = topic, partitions
	req.Topics = append(req.Topics, t)
	txn, tt := kmsg.NewAddPartitionsToTxnRequestTransaction(), kmsg.NewAddPartitionsToTxnRequestTransactionTopic()
	txn.TransactionalID, txn.ProducerID, txn.ProducerEpoch = p.id, p.pid, p.epoch
	tt.Topic, tt.Partitions = topic, partitions
	txn.Topics = append(txn.Topics, tt)
	req.Transactions = append(req.Transactions, txn)
	return req
}

func (p producer) addOffsets(group string) *kmsg.AddOffsetsToTxnRequest {
	req := kmsg.NewPtrAddOffsetsToTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group = p.id, p.pid, p.epoch, group
	return req
}

func (p producer) end(commit bool) *kmsg.EndTxnRequest {
	req := kmsg.NewPtrEndTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = p.id, p.pid, p.epoch, commit
	return req
}

func (s *side) produceIn(p producer, topic string, partition, sequence int32) *kmsg.ProduceRequest {
	o := plainBatch()
	o.producerID, o.epoch, o.sequence, o.attributes = p.pid, p.epoch, sequence, 0x10
	req := s.produce(topic, partition, o.of("a"))
	req.TransactionID = &p.id
	return req
}

func (s *side) commitIn(p producer, group, topic string, partition int32) *kmsg.TxnOffsetCommitRequest {
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group, req.Generation = p.id, p.pid, p.epoch, group, -1
	t, tp := kmsg.NewTxnOffsetCommitRequestTopic(), kmsg.NewTxnOffsetCommitRequestTopicPartition()
	tp.Partition, tp.Offset, tp.Metadata = partition, 5, ptr("")
	t.Topic, t.TopicID, t.Partitions = topic, s.idOf(topic), append(t.Partitions, tp)
	req.Topics = append(req.Topics, t)
	return req
}

func transactions(s *side) {
	s.topic("txn", 3)
	nobody := producer{"nobody", 4711, 0}
	s.versions(kmsg.AddPartitionsToTxn, func(v int16) {
		p := s.producer(fmt.Sprintf("add-%d", v))
		s.ask("add for nobody", v, nobody.addPartitions("txn", 0))
		s.ask("add for an empty id", v, producer{"", p.pid, 0}.addPartitions("txn", 0))
		s.ask("add no topic", v, p.addPartitions("nowhere-txn", 0))
		s.ask("add no partition", v, p.addPartitions("txn", 9))
		s.ask("add no partitions", v, p.addPartitions("txn"))
		s.ask("add in an epoch to come", v, p.with(5).addPartitions("txn", 0))
		s.ask("add in an epoch that was", v, p.with(-1).addPartitions("txn", 0))
		s.ask("add as another", v, producer{p.id, p.pid + 1, p.epoch}.addPartitions("txn", 0))
		mixed := p.addPartitions("txn", 0, 9)
		s.ask("add some that are and some that are not", v, mixed)
		s.ask("add an internal topic", v, p.addPartitions("__consumer_offsets", 0))
		if v < 4 {
			s.ask("add nothing", v, kmsg.NewPtrAddPartitionsToTxnRequest())
		}
		if v >= 4 {
			verify := p.addPartitions("txn", 0)
			verify.Transactions[0].VerifyOnly = true
			s.ask("verify", v, verify)
			two := p.addPartitions("txn", 0)
			two.Transactions = append(two.Transactions, nobody.addPartitions("txn", 0).Transactions...)
			s.ask("add for two", v, two)
		}
		s.ask("add", v, p.addPartitions("txn", 0, 1))
		s.ask("add again", v, p.addPartitions("txn", 1))
		if v >= 4 {
			verify := p.addPartitions("txn", 0, 2)
			verify.Transactions[0].VerifyOnly = true
			s.ask("verify what is there", v, verify)
		}
		s.ask("end", 3, p.end(false))
	})
	s.versions(kmsg.AddOffsetsToTxn, func(v int16) {
		p := s.producer(fmt.Sprintf("offsets-%d", v))
		s.ask("add offsets for nobody", v, nobody.addOffsets("g"))
		s.ask("add offsets for an empty id", v, producer{"", p.pid, 0}.addOffsets("g"))
		s.ask("add offsets of an empty group", v, p.addOffsets(""))
		s.ask("add offsets in an epoch that was", v, p.with(-1).addOffsets("g"))
		s.ask("add offsets", v, p.addOffsets("g"))
		s.ask("end", 3, p.end(false))
	})
	s.versions(kmsg.EndTxn, func(v int16) {
		p := s.producer(fmt.Sprintf("end-%d", v))
		s.ask("end for nobody", v, nobody.end(true))
		s.ask("end for an empty id", v, producer{"", p.pid, 0}.end(true))
		s.ask("commit nothing", v, p.end(true))
		p = s.producer(p.id)
		s.ask("abort nothing", v, p.end(false))
		p = s.producer(p.id)
		s.ask("end in an epoch to come", v, p.with(5).end(true))
		s.ask("end in an epoch that was", v, p.with(-1).end(true))
		s.ask("end as another", v, producer{p.id, p.pid + 1, p.epoch}.end(true))
		want[*kmsg.AddPartitionsToTxnResponse](s, 3, p.addPartitions("txn", 0))
		s.ask("end", v, p.end(true))
		s.ask("end again", v, p.end(true))
		s.ask("end the other way", v, p.end(false))
	})
	s.versionsFrom(kmsg.Produce, 3, func(v int16) {
		p := s.producer(fmt.Sprintf("produce-%d", v))
		s.ask("produce for nobody", v, s.produceIn(nobody, "txn", 0, 0))
		s.ask("produce for an empty id", v, s.produceIn(producer{"", p.pid, p.epoch}, "txn", 0, 0))
		s.ask("produce in an epoch that was", v, s.produceIn(p.with(-1), "txn", 0, 0))
		s.ask("produce in an epoch to come", v, s.produceIn(p.with(5), "txn", 0, 0))
		s.ask("produce as another", v, s.produceIn(producer{p.id, p.pid + 1, p.epoch}, "txn", 0, 0))
		other := s.produceIn(p, "txn", 0, 0)
		other.TransactionID = nil
		s.ask("produce without an id", v, other)
		s.ask("produce what is not added", v, s.produceIn(p, "txn", 0, 0))
		want[*kmsg.AddPartitionsToTxnResponse](s, 3, p.addPartitions("txn", 1))
		s.ask("produce", v, s.produceIn(p, "txn", 1, 0))
		bad := s.produceIn(p, "txn", 1, 1)
		bad.Acks = 7
		s.ask("produce with bad acks", v, bad)
		bad = s.produceIn(p, "txn", 1, 1)
		bad.Acks = 1
		s.ask("produce with acks 1", v, bad)
		s.ask("produce to an internal topic", v, s.produceIn(p, "__consumer_offsets", 0, 0))
		s.ask("produce to no topic", v, s.produceIn(p, "nowhere-txn", 0, 0))
		s.ask("produce to no partition", v, s.produceIn(p, "txn", 9, 0))
		s.ask("produce a gap", v, s.produceIn(p, "txn", 1, 9))
		s.ask("end", min(v, 4), p.end(true))
		s.awaitStable("txn", 1)
		s.ask("produce after the end", v, s.produceIn(p, "txn", 1, 2))
	})
	s.versions(kmsg.TxnOffsetCommit, func(v int16) {
		p := s.producer(fmt.Sprintf("commit-%d", v))
		group := "txn-" + p.id
		s.ask("commit offsets for nobody", v, s.commitIn(nobody, group, "txn", 0))
		s.ask("commit offsets for an empty id", v, s.commitIn(producer{"", p.pid, p.epoch}, group, "txn", 0))
		s.ask("commit offsets that are not added", v, s.commitIn(p, group, "txn", 0))
		want[*kmsg.AddOffsetsToTxnResponse](s, 3, p.addOffsets(group))
		s.ask("commit offsets", v, s.commitIn(p, group, "txn", 0))
		s.ask("commit offsets in an epoch that was", v, s.commitIn(p.with(-1), group, "txn", 0))
		s.ask("commit offsets in an epoch to come", v, s.commitIn(p.with(5), group, "txn", 0))
		s.ask("commit offsets as another", v, s.commitIn(producer{p.id, p.pid + 1, p.epoch}, group, "txn", 0))
		s.ask("commit offsets of an empty group", v, s.commitIn(p, "", "txn", 0))
		s.ask("commit offsets of no topic", v, s.commitIn(p, group, "nowhere-txn", 0))
		s.ask("commit offsets of the zero id", v, s.commitIn(p, group, "(zero)", 0))
		s.ask("commit offsets of no partition", v, s.commitIn(p, group, "txn", 9))
		if v >= 3 {
			member := s.commitIn(p, group, "txn", 0)
			member.MemberID, member.Generation = "m", 3
			s.ask("commit offsets as no member", v, member)
			member.MemberID, member.Generation = "", 3
			s.ask("commit offsets in a generation", v, member)
		}
		s.ask("what is committed", 9, s.fetchOffsets(group, "txn", 0))
		stable := s.fetchOffsets(group, "txn", 0)
		stable.RequireStable = true
		s.ask("what is stable", 9, stable)
		s.ask("end", 3, p.end(true))
	})
}

// awaitStable returns once no transaction is open in a partition.
func (s *side) awaitStable(topic string, partition int32) {
	end := func(isolation int8) int64 {
		req := listOffsets(topic, partition, -1)
		req.IsolationLevel = isolation
		for _, t := range want[*kmsg.ListOffsetsResponse](s, 7, req).Topics {
			return t.Partitions[0].Offset
		}
		return -1
	}
	for range maxRetries {
		if end(0) == end(1) {
			return
		}
		time.Sleep(retryPause)
	}
	s.note("await the end of transactions", 7, "(it does not come)")
}

func transactionAdmin(s *side) {
	s.topic("txn-admin", 2)
	p := s.producer("txn-admin")
	s.ask("add", 3, p.addPartitions("txn-admin", 0))
	s.ask("produce", 9, s.produceIn(p, "txn-admin", 0, 0))
	s.versions(kmsg.DescribeTransactions, func(v int16) {
		describe := func(what string, ids ...string) {
			req := kmsg.NewPtrDescribeTransactionsRequest()
			req.TransactionalIDs = ids
			s.ask(what, v, req)
		}
		describe("describe", "txn-admin")
		describe("describe nothing")
		describe("describe no id", "nowhere")
		describe("describe an empty id", "")
		describe("describe twice", "nowhere", "nowhere")
	})
	s.versions(kmsg.ListTransactions, func(v int16) {
		list := func(what string, change func(*kmsg.ListTransactionsRequest)) {
			req := kmsg.NewPtrListTransactionsRequest()
			change(req)
			resp, err := s.quietly(v, req)
			if err != nil {
				s.note(what, v, outcome(err))
				return
			}
			r := resp.(*kmsg.ListTransactionsResponse)
			var kept []kmsg.ListTransactionsResponseTransactionState
			for _, t := range r.TransactionStates {
				if t.TransactionalID == "txn-admin" {
					kept = append(kept, t)
				}
			}
			r.TransactionStates = kept
			s.note(what, v, flatten(r, false, s.known)...)
		}
		list("list", func(*kmsg.ListTransactionsRequest) {})
		list("list ongoing ones", func(r *kmsg.ListTransactionsRequest) { r.StateFilters = []string{"Ongoing"} })
		list("list in lower case", func(r *kmsg.ListTransactionsRequest) { r.StateFilters = []string{"ongoing"} })
		list("list empty ones", func(r *kmsg.ListTransactionsRequest) { r.StateFilters = []string{"Empty"} })
		list("list in no state", func(r *kmsg.ListTransactionsRequest) { r.StateFilters = []string{"rubbish", "Ongoing"} })
		list("list of a producer", func(r *kmsg.ListTransactionsRequest) { r.ProducerIDFilters = []int64{p.pid} })
		list("list of no producer", func(r *kmsg.ListTransactionsRequest) { r.ProducerIDFilters = []int64{-5} })
		list("list long ones", func(r *kmsg.ListTransactionsRequest) { r.DurationFilterMillis = 1 << 40 })
		list("list all lengths", func(r *kmsg.ListTransactionsRequest) { r.DurationFilterMillis = 0 })
		list("list by pattern", func(r *kmsg.ListTransactionsRequest) { r.TransactionalIDPattern = ptr("txn-.*") })
		list("list by part of a pattern", func(r *kmsg.ListTransactionsRequest) { r.TransactionalIDPattern = ptr("txn") })
		list("list by another pattern", func(r *kmsg.ListTransactionsRequest) { r.TransactionalIDPattern = ptr("nothing.*") })
		list("list by an empty pattern", func(r *kmsg.ListTransactionsRequest) { r.TransactionalIDPattern = ptr("") })
		list("list by a bad pattern", func(r *kmsg.ListTransactionsRequest) { r.TransactionalIDPattern = ptr("(") })
	})
	s.versions(kmsg.DescribeProducers, func(v int16) {
		describe := func(what, topic string, partitions ...int32) {
			req := kmsg.NewPtrDescribeProducersRequest()
			t := kmsg.NewDescribeProducersRequestTopic()
			t.Topic, t.Partitions = topic, partitions
			req.Topics = append(req.Topics, t)
			s.ask(what, v, req)
		}
		describe("producers", "txn-admin", 0, 1)
		describe("producers of no topic", "nowhere-txn", 0)
		describe("producers of a bad name", "a b", 0)
		describe("producers of no partition", "txn-admin", 9)
		describe("producers of no partitions", "txn-admin")
		describe("producers twice", "txn-admin", 1, 1)
	})
	s.versions(kmsg.WriteTxnMarkers, func(v int16) {
		write := func(what string, p producer, coordinator int32, topic string, partition int32) {
			req := kmsg.NewPtrWriteTxnMarkersRequest()
			m, t := kmsg.NewWriteTxnMarkersRequestMarker(), kmsg.NewWriteTxnMarkersRequestMarkerTopic()
			t.Topic, t.Partitions = topic, []int32{partition}
			m.ProducerID, m.ProducerEpoch, m.CoordinatorEpoch, m.Topics = p.pid, p.epoch, coordinator, append(m.Topics, t)
			req.Markers = append(req.Markers, m)
			s.ask(what, v, req)
		}
		s.ask("no markers", v, kmsg.NewPtrWriteTxnMarkersRequest())
		write("a marker for no topic", p, 0, "nowhere-txn", 0)
		write("a marker for no partition", p, 0, "txn-admin", 9)
		write("a marker in an epoch that was", p.with(-1), 0, "txn-admin", 0)
		write("a marker for nobody", producer{"", 99_999, 0}, 0, "txn-admin", 1)
		write("a marker", p, 0, "txn-admin", 0)
		write("a marker of an older coordinator", p, -1, "txn-admin", 0)
	})
	s.ask("end", 3, p.end(true))
}
