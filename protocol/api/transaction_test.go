package api

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/log/record"
)

// shop is a client that writes in the transactions of one transactional id, by the requests of its versions.
type shop struct {
	*client
	t     *testing.T
	id    int64
	epoch int16
	next  map[string]int32 // sequence, by topic
}

const shopID = "shop"

// open finds the coordinators, which makes their topics, and becomes the producer of the id.
func (w *world) open(t *testing.T) *shop {
	c := w.openAlone(t)
	c.findGroup()
	return c
}

// findGroup finds the coordinator of the group, and waits until it is loaded.
func (c *shop) findGroup() {
	wantCode(c.t, "find the group's coordinator", ask[*kmsg.FindCoordinatorResponse](c.client, 4, groupRequest("g")).Coordinators[0].ErrorCode, nil)
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group = "g"
	for ask[*kmsg.OffsetFetchResponse](c.client, 7, req).ErrorCode == kerr.CoordinatorLoadInProgress.Code {
		time.Sleep(time.Millisecond)
	}
}

// openAlone is open without a look for the group.
func (w *world) openAlone(t *testing.T) *shop {
	c := &shop{client: w.connect(), t: t, next: map[string]int32{}}
	find := groupRequest(shopID)
	find.CoordinatorType = transactionCoordinator
	wantCode(t, "find the coordinator", ask[*kmsg.FindCoordinatorResponse](c.client, 4, find).Coordinators[0].ErrorCode, nil)
	req := kmsg.NewPtrInitProducerIDRequest()
	req.TransactionalID, req.TransactionTimeoutMillis = kmsg.StringPtr(shopID), 60_000
	for {
		resp := ask[*kmsg.InitProducerIDResponse](c.client, 4, req)
		if resp.ErrorCode == kerr.CoordinatorLoadInProgress.Code || resp.ErrorCode == kerr.ConcurrentTransactions.Code {
			time.Sleep(time.Millisecond)
			continue
		}
		wantCode(t, "init", resp.ErrorCode, nil)
		c.id, c.epoch = resp.ProducerID, resp.ProducerEpoch
		return c
	}
}

// write produces one record in the transaction and returns the code.
func (c *shop) write(version int16, topic, value string) int16 {
	b := sequenced(batch(values(value)...), c.id, c.epoch, c.next[topic])
	b.Stamp(record.Transactional, b.MaxTimestamp())
	req := producingTo(topic, b)
	req.TransactionID = kmsg.StringPtr(shopID)
	code := ask[*kmsg.ProduceResponse](c.client, version, req).Topics[0].Partitions[0].ErrorCode
	if code == 0 {
		c.next[topic]++
	}
	return code
}

func (c *shop) add(topic string) int16 {
	req := kmsg.NewPtrAddPartitionsToTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch = shopID, c.id, c.epoch
	req.Topics = []kmsg.AddPartitionsToTxnRequestTopic{{Topic: topic, Partitions: []int32{0}}}
	return ask[*kmsg.AddPartitionsToTxnResponse](c.client, 3, req).Topics[0].Partitions[0].ErrorCode
}

func (c *shop) commitOffset(version int16, offset int64) int16 {
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.Group, req.ProducerID, req.ProducerEpoch, req.Generation = shopID, "g", c.id, c.epoch, -1
	p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	p.Offset = offset
	topic, _ := c.w.store.Image().Topic("orders")
	req.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: "orders", TopicID: topic.ID, Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{p}}}
	return ask[*kmsg.TxnOffsetCommitResponse](c.client, version, req).Topics[0].Partitions[0].ErrorCode
}

// end ends the transaction, and takes the epoch to go on in.
func (c *shop) end(version int16, commit bool) {
	c.t.Helper()
	req := kmsg.NewPtrEndTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = shopID, c.id, c.epoch, commit
	resp := ask[*kmsg.EndTxnResponse](c.client, version, req)
	wantCode(c.t, "end", resp.ErrorCode, nil)
	if version >= 5 {
		c.id, c.epoch = resp.ProducerID, resp.ProducerEpoch
		clear(c.next)
	}
}

// stable is what a reader of committed records gets of a topic, and how many aborted transactions
// it has to skip. It asks until the last transaction is over.
func (c *shop) stable(topic string) (highWatermark int64, aborted int) {
	for {
		req := kmsg.NewPtrFetchRequest()
		req.MaxBytes, req.IsolationLevel = 1<<20, 1
		p := kmsg.NewFetchRequestTopicPartition()
		p.PartitionMaxBytes = 1 << 20
		req.Topics = []kmsg.FetchRequestTopic{{Topic: topic, Partitions: []kmsg.FetchRequestTopicPartition{p}}}
		rp := ask[*kmsg.FetchResponse](c.client, 11, req).Topics[0].Partitions[0]
		if rp.LastStableOffset == rp.HighWatermark {
			return rp.HighWatermark, len(rp.AbortedTransactions)
		}
		time.Sleep(time.Millisecond)
	}
}

func (c *shop) offset(stable bool) (int64, int16) {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group, req.RequireStable = "g", stable
	req.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: "orders", Partitions: []int32{0}}}
	p := ask[*kmsg.OffsetFetchResponse](c.client, 7, req).Topics[0].Partitions[0]
	return p.Offset, p.ErrorCode
}

// settledOffset is the offset once no transaction is about to replace it.
func (c *shop) settledOffset() int64 {
	for {
		if o, code := c.offset(true); code == 0 {
			return o
		}
		time.Sleep(time.Millisecond)
	}
}

func TestTransactionsOfTheOldProtocol(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1)
	c := w.open(t)
	wantCode(t, "write before the partition is added, version 9", c.write(9, "orders", "a"), kerr.InvalidTxnState)
	wantCode(t, "write before the partition is added, version 11", c.write(11, "orders", "a"), kerr.TransactionAbortable)
	wantCode(t, "add", c.add("orders"), nil)
	wantCode(t, "write", c.write(9, "orders", "a"), nil)
	wantCode(t, "offset before the group is added", c.commitOffset(3, 7), kerr.InvalidTxnState)
	offsets := kmsg.NewPtrAddOffsetsToTxnRequest()
	offsets.TransactionalID, offsets.ProducerID, offsets.ProducerEpoch, offsets.Group = shopID, c.id, c.epoch, "g"
	wantCode(t, "add the group", ask[*kmsg.AddOffsetsToTxnResponse](c.client, 3, offsets).ErrorCode, nil)
	wantCode(t, "offset", c.commitOffset(3, 7), nil)
	if o, code := c.offset(true); o != -1 || code != kerr.UnstableOffsetCommit.Code {
		t.Errorf("while the transaction is open the offset is %d, %v", o, kerr.ErrorForCode(code))
	}
	c.end(3, true)
	if o := c.settledOffset(); o != 7 {
		t.Errorf("committed offset is %d", o)
	}
	if end, aborted := c.stable("orders"); end != 2 || aborted != 0 {
		t.Errorf("after the commit the end is %d, %d aborted", end, aborted)
	}
	wantCode(t, "add again", c.add("orders"), nil)
	wantCode(t, "write again", c.write(9, "orders", "b"), nil)
	c.end(3, false)
	if end, aborted := c.stable("orders"); end != 4 || aborted != 1 {
		t.Errorf("after the abort the end is %d, %d aborted", end, aborted)
	}
	wantCode(t, "write after the end", c.write(9, "orders", "c"), kerr.InvalidTxnState)
}

func TestTransactionsOfVersion2NameNoPartitions(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1)
	c := w.open(t)
	for i, commit := range []bool{true, false, true, true} {
		epoch := c.epoch
		wantCode(t, "write", c.write(12, "orders", "a"), nil)
		wantCode(t, "write more", c.write(12, "orders", "b"), nil)
		wantCode(t, "offset", c.commitOffset(5+int16(i%2), int64(10*i)), nil)
		c.end(5, commit)
		if c.epoch != epoch+1 {
			t.Errorf("goes on in epoch %d after %d", c.epoch, epoch)
		}
	}
	if o := c.settledOffset(); o != 30 {
		t.Errorf("committed offset is %d", o)
	}
	if end, aborted := c.stable("orders"); end != 12 || aborted != 1 {
		t.Errorf("the end is %d, %d aborted", end, aborted)
	}
	c.epoch--
	clear(c.next)
	wantCode(t, "write in an old epoch", c.write(12, "orders", "z"), kerr.InvalidProducerEpoch)
	wantCode(t, "offset in an old epoch", c.commitOffset(5, 1), kerr.InvalidProducerEpoch)
}

func TestDescribeProducersAndEndWhatHangs(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1)
	c := w.open(t)
	wantCode(t, "write", c.write(12, "orders", "a"), nil)
	describe := kmsg.NewPtrDescribeProducersRequest()
	describe.Topics = []kmsg.DescribeProducersRequestTopic{{Topic: "orders", Partitions: []int32{0, 3}}}
	all := ask[*kmsg.DescribeProducersResponse](c.client, 0, describe).Topics[0].Partitions
	wantCode(t, "no partition", all[1].ErrorCode, kerr.UnknownTopicOrPartition)
	if p := all[0].ActiveProducers; len(p) != 1 || p[0].ProducerID != c.id || p[0].CurrentTxnStartOffset != 0 || p[0].LastSequence != 0 {
		t.Fatalf("described as %+v", all[0])
	}
	req := kmsg.NewPtrWriteTxnMarkersRequest()
	m := kmsg.NewWriteTxnMarkersRequestMarker()
	m.ProducerID, m.ProducerEpoch, m.CoordinatorEpoch = c.id, c.epoch, -1
	m.Topics = []kmsg.WriteTxnMarkersRequestMarkerTopic{{Topic: "orders", Partitions: []int32{0}}}
	req.Markers = append(req.Markers, m)
	wantCode(t, "marker", ask[*kmsg.WriteTxnMarkersResponse](c.client, 1, req).Markers[0].Topics[0].Partitions[0].ErrorCode, nil)
	if end, aborted := c.stable("orders"); end != 2 || aborted != 1 {
		t.Errorf("the end is %d, %d aborted", end, aborted)
	}
}

// TestTransactionsHoldNothingOfTheBrokersOwn names topics in which coordinators and schedules keep
// what they know: a marker there would be found when that is loaded.
func TestTransactionsHoldNothingOfTheBrokersOwn(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1)
	c := w.open(t)
	for _, topic := range []string{cluster.TransactionsTopic, cluster.SchedulePrefix + "orders"} {
		for _, version := range []int16{11, 12} {
			wantCode(t, "write to "+topic, c.write(version, topic, "a"), kerr.InvalidTopicException)
		}
		wantCode(t, "add "+topic, c.add(topic), kerr.InvalidTopicException)
		req := kmsg.NewPtrWriteTxnMarkersRequest()
		m := kmsg.NewWriteTxnMarkersRequestMarker()
		m.ProducerID, m.ProducerEpoch, m.CoordinatorEpoch = c.id, c.epoch, -1
		m.Topics = []kmsg.WriteTxnMarkersRequestMarkerTopic{{Topic: topic, Partitions: []int32{0}}}
		req.Markers = append(req.Markers, m)
		wantCode(t, "marker in "+topic, ask[*kmsg.WriteTxnMarkersResponse](c.client, 1, req).Markers[0].Topics[0].Partitions[0].ErrorCode, kerr.InvalidTopicException)
	}
	describe := kmsg.NewPtrDescribeTransactionsRequest()
	describe.TransactionalIDs = []string{shopID}
	if d := ask[*kmsg.DescribeTransactionsResponse](c.client, 0, describe).TransactionStates[0]; d.State != "Empty" || len(d.Topics) > 0 {
		t.Errorf("the transaction is %s with %v", d.State, d.Topics)
	}
}

// A producer may be the first to name a group: it adds its offsets to the transaction before it
// looks for the group's coordinator.
func TestOffsetsOfTheFirstGroupAreAddedToATransaction(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1)
	c := w.openAlone(t)
	if _, there := w.store.Image().Topic(cluster.OffsetsTopic); there {
		t.Fatal("there are groups: the test is void")
	}
	offsets := kmsg.NewPtrAddOffsetsToTxnRequest()
	offsets.TransactionalID, offsets.ProducerID, offsets.ProducerEpoch, offsets.Group = shopID, c.id, c.epoch, "g"
	wantCode(t, "add the group", ask[*kmsg.AddOffsetsToTxnResponse](c.client, 3, offsets).ErrorCode, nil)
	c.findGroup()
	wantCode(t, "offset", c.commitOffset(3, 7), nil)
	c.end(3, true)
	if o := c.settledOffset(); o != 7 {
		t.Errorf("committed offset is %d", o)
	}
}
