package api

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/share"
	"github.com/morrowmq/morrow/protocol"
)

// A request may name the same thing a million times in a few megabytes. However large the thing's
// description is, that must not cost more than what each naming is worth: every array of every
// request is tried.
func TestNamingAThingOftenCostsLittle(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 2)
	w.largeGroup("group")
	w.wantCheapRepetition(w.api.Routes())
}

// The same with a group that is a share group, and a transaction, that have much to say.
func TestNamingAShareGroupOrTransactionOftenCostsLittle(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1000)
	w.largeShareGroup("group")
	w.largeTransaction("transaction", "orders", 1000)
	routes := slices.DeleteFunc(w.api.Routes(), func(r protocol.Route) bool {
		return !slices.Contains([]kmsg.Key{kmsg.ShareGroupDescribe, kmsg.DescribeShareGroupOffsets, kmsg.DescribeTransactions}, kmsg.Key(r.Key))
	})
	w.wantCheapRepetition(routes)
}

func (w *world) wantCheapRepetition(routes []protocol.Route) {
	w.Helper()
	const times, most = 2000, 8 << 10
	for _, r := range routes {
		for version := max(r.Min, r.Serve); version <= r.Max; version += max(1, r.Max-version) {
			for _, path := range arrays(reflect.TypeOf(kmsg.RequestForKey(r.Key)).Elem()) {
				once := w.costOf(r.Key, version, path, 1)
				often := w.costOf(r.Key, version, path, times)
				if each := (int64(often) - int64(once)) / times; each > most {
					w.Errorf("%s v%d: %d bytes are allocated for each further element of %s, expected at most %d",
						kmsg.NameForKey(r.Key), version, each, strings.Join(path, "."), most)
				}
			}
		}
	}
}

// largeShareGroup makes a share group with a member that reads much, or would.
func (w *world) largeShareGroup(id string) {
	w.Helper()
	topic, _ := w.store.Image().Topic("orders")
	s := w.joins(topic, id, "m1")
	req := kmsg.NewPtrShareGroupHeartbeatRequest()
	req.GroupID, req.MemberID, req.MemberEpoch = id, "m1", 0
	req.SubscribedTopicNames = []string{"orders"}
	for i := range 100 {
		req.SubscribedTopicNames = append(req.SubscribedTopicNames, fmt.Sprintf("%0200d", i))
	}
	wantCode(w, "heartbeat", ask[*kmsg.ShareGroupHeartbeatResponse](s.client, 1, req).ErrorCode, nil)
	for n := range int32(len(topic.Partitions)) {
		if err := w.shares.Open(w.Context(), share.Key{Group: id, Topic: topic.ID, Partition: n}, 0); err != nil {
			w.Fatal(err)
		}
	}
}

// largeTransaction begins a transaction in every partition of a topic.
func (w *world) largeTransaction(id, topic string, partitions int32) {
	w.Helper()
	c := w.connect()
	begin := kmsg.NewPtrInitProducerIDRequest()
	begin.TransactionalID, begin.TransactionTimeoutMillis = &id, 60_000
	var p *kmsg.InitProducerIDResponse
	for p == nil || p.ErrorCode == kerr.NotCoordinator.Code || p.ErrorCode == kerr.CoordinatorLoadInProgress.Code {
		ask[*kmsg.FindCoordinatorResponse](c, 2, &kmsg.FindCoordinatorRequest{CoordinatorKey: id, CoordinatorType: transactionCoordinator})
		p = ask[*kmsg.InitProducerIDResponse](c, 4, begin)
	}
	wantCode(w, "init", p.ErrorCode, nil)
	add := kmsg.NewPtrAddPartitionsToTxnRequest()
	add.TransactionalID, add.ProducerID, add.ProducerEpoch = id, p.ProducerID, p.ProducerEpoch
	rt := kmsg.NewAddPartitionsToTxnRequestTopic()
	rt.Topic = topic
	for n := range partitions {
		rt.Partitions = append(rt.Partitions, n)
	}
	add.Topics = append(add.Topics, rt)
	wantCode(w, "add", ask[*kmsg.AddPartitionsToTxnResponse](c, 3, add).Topics[0].Partitions[0].ErrorCode, nil)
}

// largeGroup makes a group with a member and a position that have much to say of themselves.
func (w *world) largeGroup(id string) {
	w.Helper()
	c := w.connect()
	ask[*kmsg.FindCoordinatorResponse](c, 4, groupRequest(id))
	w.awaitGroups()
	large := bytes.Repeat([]byte("large"), 4000)
	join := kmsg.NewPtrJoinGroupRequest()
	join.Group, join.ProtocolType, join.SessionTimeoutMillis, join.RebalanceTimeoutMillis = id, "consumer", 1_800_000, 60_000
	protocol := kmsg.NewJoinGroupRequestProtocol()
	protocol.Name, protocol.Metadata = "range", large
	join.Protocols = append(join.Protocols, protocol)
	joined := ask[*kmsg.JoinGroupResponse](c, 3, join)
	wantCode(w, "join", joined.ErrorCode, nil)
	sync := kmsg.NewPtrSyncGroupRequest()
	sync.Group, sync.MemberID, sync.Generation = id, joined.MemberID, joined.Generation
	assignment := kmsg.NewSyncGroupRequestGroupAssignment()
	assignment.MemberID, assignment.MemberAssignment = joined.MemberID, large
	sync.GroupAssignment = append(sync.GroupAssignment, assignment)
	wantCode(w, "sync", ask[*kmsg.SyncGroupResponse](c, 2, sync).ErrorCode, nil)
	commit := kmsg.NewPtrOffsetCommitRequest()
	commit.Group, commit.MemberID, commit.Generation = id, joined.MemberID, joined.Generation
	topic, partition := kmsg.NewOffsetCommitRequestTopic(), kmsg.NewOffsetCommitRequestTopicPartition()
	partition.Metadata = kmsg.StringPtr(strings.Repeat("m", 4000))
	topic.Topic, topic.Partitions = "orders", append(topic.Partitions, partition)
	commit.Topics = append(commit.Topics, topic)
	wantCode(w, "commit", ask[*kmsg.OffsetCommitResponse](c, 2, commit).Topics[0].Partitions[0].ErrorCode, nil)
}

// arrays lists the paths to the arrays of a request.
func arrays(t reflect.Type) (paths [][]string) {
	for i := range t.NumField() {
		f := t.Field(i)
		at := f.Type
		if at.Kind() == reflect.Slice && at.Elem().Kind() != reflect.Uint8 {
			paths = append(paths, []string{f.Name})
			at = at.Elem()
		}
		if at.Kind() != reflect.Struct {
			continue
		}
		for _, below := range arrays(at) {
			paths = append(paths, append([]string{f.Name}, below...))
		}
	}
	return paths
}

// costOf is how much is allocated for a request that means well but for one array, which has the
// same element n times.
func (w *world) costOf(key, version int16, path []string, n int) uint64 {
	w.Helper()
	req := newRequestMaker(w, nil).make(key, version)
	repeat(reflect.ValueOf(req).Elem(), path, n)
	frame := framed(req, version, 1)
	conn := w.connect()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		w.Fatal(err)
	}
	before := allocated()
	go func() { _, _ = conn.Write(frame) }()
	_, err := readAnswer(conn)
	spent := allocated() - before
	if err != nil {
		w.Errorf("%s v%d with %d times %s: %v", kmsg.NameForKey(key), version, n, strings.Join(path, "."), err)
	}
	conn.Close()
	return spent
}

func repeat(v reflect.Value, path []string, n int) {
	v = v.FieldByName(path[0])
	if len(path) == 1 {
		if v.Len() == 0 {
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		}
		first := v.Index(0)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			v.Index(i).Set(first)
		}
		return
	}
	if v.Kind() == reflect.Slice {
		if v.Len() == 0 {
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		}
		v = v.Index(0)
	}
	repeat(v, path[1:], n)
}
