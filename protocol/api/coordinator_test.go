package api

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/cluster"
)

func TestFindCoordinatorOfAGroup(t *testing.T) {
	w := newWorld(t)
	c := w.connect()
	for v := int16(0); v <= 6; v++ {
		req := groupRequest("g")
		req.CoordinatorKeys = []string{"g", "", "h"}
		resp := ask[*kmsg.FindCoordinatorResponse](c, v, req)
		if v < 4 {
			if resp.ErrorCode != 0 || resp.NodeID != node || resp.Host != "broker.test" || resp.Port != 9092 || resp.ErrorMessage != nil {
				t.Errorf("version %d answers %+v", v, resp)
			}
			continue
		}
		if len(resp.Coordinators) != 3 {
			t.Fatalf("version %d answers %+v", v, resp)
		}
		for i, found := range resp.Coordinators {
			if found.ErrorCode != 0 || found.Key != req.CoordinatorKeys[i] || found.NodeID != node || found.Host != "broker.test" || found.Port != 9092 {
				t.Errorf("version %d answers %+v", v, found)
			}
		}
	}
	topic, ok := w.store.Image().Topic(cluster.OffsetsTopic)
	if !ok || !topic.Internal || !topic.Resolved().Compact || topic.Resolved().Delete {
		t.Errorf("the offsets topic is %+v", topic)
	}
}

func TestFindCoordinatorOfWhatHasNone(t *testing.T) {
	w := newWorld(t)
	c := w.connect()
	for kind, want := range map[int8]*kerr.Error{2: kerr.InvalidRequest, 3: kerr.InvalidRequest, -1: kerr.InvalidRequest} {
		for v := int16(1); v <= 6; v++ {
			req := groupRequest("x")
			req.CoordinatorType = kind
			resp := ask[*kmsg.FindCoordinatorResponse](c, v, req)
			got, message, id, port := resp.ErrorCode, resp.ErrorMessage, resp.NodeID, resp.Port
			if v >= 4 {
				got, message, id, port = resp.Coordinators[0].ErrorCode, resp.Coordinators[0].ErrorMessage, resp.Coordinators[0].NodeID, resp.Coordinators[0].Port
			}
			wantCode(t, fmt.Sprintf("type %d", kind), got, want)
			if deref(message) == "" || id != -1 || port != -1 {
				t.Errorf("type %d, version %d: %+v", kind, v, resp)
			}
		}
	}
	for v := int16(1); v <= 5; v++ {
		req := groupRequest("g:AAAAAAAAAAAAAAAAAAAAAQ:0")
		req.CoordinatorType, req.CoordinatorKeys = shareCoordinator, []string{req.CoordinatorKey}
		resp := ask[*kmsg.FindCoordinatorResponse](c, v, req)
		for _, found := range resp.Coordinators {
			resp.ErrorCode = found.ErrorCode
		}
		wantCode(t, fmt.Sprintf("a share group before version 6, in %d", v), resp.ErrorCode, kerr.InvalidRequest)
	}
	if n := len(w.store.Image().Topics()); n != 0 {
		t.Errorf("%d topics were made for nothing", n)
	}
}

func TestInitProducerID(t *testing.T) {
	w := newWorld(t)
	c := w.connect()
	seen := map[int64]bool{}
	for v := int16(0); v <= 5; v++ {
		req := kmsg.NewPtrInitProducerIDRequest()
		resp := ask[*kmsg.InitProducerIDResponse](c, v, req)
		if resp.ErrorCode != 0 || resp.ProducerID < 0 || resp.ProducerEpoch != 0 || seen[resp.ProducerID] {
			t.Errorf("version %d answers %+v", v, resp)
		}
		seen[resp.ProducerID] = true
		if v < 3 {
			continue
		}
		// A producer that had an id and lost track gets another (KIP-360).
		req.ProducerID, req.ProducerEpoch = resp.ProducerID, 3
		again := ask[*kmsg.InitProducerIDResponse](c, v, req)
		if again.ErrorCode != 0 || seen[again.ProducerID] || again.ProducerEpoch != 0 {
			t.Errorf("version %d with an id answers %+v", v, again)
		}
		seen[again.ProducerID] = true
	}
	for _, test := range []struct {
		name  string
		txn   *string
		id    int64
		epoch int16
		want  *kerr.Error
	}{
		{"id without epoch", nil, 5, -1, kerr.InvalidRequest},
		{"epoch without id", nil, -1, 5, kerr.InvalidRequest},
		{"transactional before its coordinator was asked for", kmsg.StringPtr("t"), -1, -1, kerr.NotCoordinator},
		{"empty transactional id", kmsg.StringPtr(""), -1, -1, kerr.InvalidRequest},
	} {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.TransactionTimeoutMillis = test.txn, test.id, test.epoch, 1000
		resp := ask[*kmsg.InitProducerIDResponse](c, 4, req)
		wantCode(t, test.name, resp.ErrorCode, test.want)
		if resp.ProducerID != -1 || resp.ProducerEpoch != -1 {
			t.Errorf("%s: %+v", test.name, resp)
		}
	}
}

// TestGroupRequestsReachTheCoordinator goes once through every group request; package group tests
// what they mean.
func TestGroupRequestsReachTheCoordinator(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 2)
	ctx := t.Context()
	producer := w.franz(kgo.DefaultProduceTopic("orders"))
	if err := producer.ProduceSync(ctx, kgo.StringRecord("a"), kgo.StringRecord("b"), kgo.StringRecord("c")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	for _, protocol := range []string{"classic", "consumer"} {
		if protocol == "consumer" {
			ctx = context.WithValue(ctx, "opt_in_kafka_next_gen_balancer_beta", true) //nolint:staticcheck // franz-go looks for this very string
		}
		opts := []kgo.Opt{kgo.ConsumerGroup(protocol), kgo.ConsumeTopics("orders"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(), kgo.WithContext(ctx), kgo.ClientID("me")}
		cl := w.franz(opts...)
		var got []string
		for len(got) < 3 {
			fs := cl.PollFetches(ctx)
			if err := fs.Err(); err != nil {
				t.Fatal(err)
			}
			for _, r := range fs.Records() {
				got = append(got, string(r.Value))
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, []string{"a", "b", "c"}) {
			t.Errorf("%s: consumed %v", protocol, got)
		}
		if err := cl.CommitUncommittedOffsets(ctx); err != nil {
			t.Errorf("%s: commit: %v", protocol, err)
		}
		admin := kadm.NewClient(producer)
		describe(t, admin, protocol)
		if err := cl.LeaveGroupContext(ctx); err != nil {
			t.Errorf("%s: leave: %v", protocol, err)
		}
		offsets, err := admin.FetchOffsets(ctx, protocol)
		if total := sum(offsets); err != nil || total != 3 {
			t.Errorf("%s: committed up to %d in all, %v", protocol, total, err)
		}
		if _, err := admin.DeleteOffsets(ctx, protocol, offsets.Offsets().TopicsSet()); err != nil {
			t.Errorf("%s: delete offsets: %v", protocol, err)
		}
		if rs, err := admin.DeleteGroups(ctx, protocol); err != nil || rs.Error() != nil {
			t.Errorf("%s: delete: %v %v", protocol, err, rs.Error())
		}
	}
}

func sum(offsets kadm.OffsetResponses) (total int64) {
	offsets.Each(func(o kadm.OffsetResponse) { total += o.At })
	return total
}

// describe looks a group with one member up, in the list and by its name.
func describe(t *testing.T, admin *kadm.Client, group string) {
	t.Helper()
	listed, err := admin.ListGroups(t.Context())
	if err != nil || !slices.Contains(listed.Groups(), group) {
		t.Errorf("%s: list: %v, %v", group, listed.Groups(), err)
	}
	if group == "consumer" {
		described, err := admin.DescribeConsumerGroups(t.Context(), group)
		if members := described[group].Members; err != nil || len(members) != 1 || members[0].ClientID != "me" || members[0].ClientHost != "/10.0.0.1" {
			t.Errorf("%s: %+v, %v", group, described, err)
		}
		return
	}
	described, err := admin.DescribeGroups(t.Context(), group)
	if members := described[group].Members; err != nil || len(members) != 1 || members[0].ClientID != "me" || members[0].ClientHost != "/10.0.0.1" {
		t.Errorf("%s: %+v, %v", group, described, err)
	}
}
