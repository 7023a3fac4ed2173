package api

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/cluster"
)

// metadataRequest asks for topics by name.
func metadataRequest(names ...string) *kmsg.MetadataRequest {
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{}
	for _, name := range names {
		rt := kmsg.NewMetadataRequestTopic()
		rt.Topic = &name
		req.Topics = append(req.Topics, rt)
	}
	return req
}

// names lists the topics of an answer.
func names(resp *kmsg.MetadataResponse) string {
	var all []string
	for _, t := range resp.Topics {
		all = append(all, deref(t.Topic))
	}
	return strings.Join(all, " ")
}

func TestMetadataOfAllTopics(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 2)
	c := w.connect()
	const all = "__schedule.orders orders"
	for v := int16(0); v <= 13; v++ {
		if v >= 1 {
			if got := names(ask[*kmsg.MetadataResponse](c, v, kmsg.NewPtrMetadataRequest())); got != all {
				t.Errorf("version %d without a list answers %q", v, got)
			}
		}
		want := ""
		if v == 0 {
			want = all
		}
		if got := names(ask[*kmsg.MetadataResponse](c, v, metadataRequest())); got != want {
			t.Errorf("version %d with an empty list answers %q, expected %q", v, got, want)
		}
	}
}

func TestMetadataDescribesPartitionsAndBrokers(t *testing.T) {
	w := newWorld(t)
	topic := w.create("orders", 2)
	c := w.connect()
	for v := int16(0); v <= 13; v++ {
		resp := ask[*kmsg.MetadataResponse](c, v, metadataRequest("orders", "orders"))
		if len(resp.Topics) != 1 {
			t.Fatalf("version %d answers %+v", v, resp.Topics)
		}
		rt := resp.Topics[0]
		if rt.ErrorCode != 0 || rt.IsInternal || len(rt.Partitions) != 2 || v >= 10 && cluster.TopicID(rt.TopicID) != topic.ID {
			t.Errorf("version %d answers %+v", v, rt)
		}
		for i, p := range rt.Partitions {
			if p.Partition != int32(i) || p.Leader != node || len(p.Replicas) != 1 || len(p.ISR) != 1 || v >= 7 && p.LeaderEpoch != 0 || len(p.OfflineReplicas) > 0 || p.ErrorCode != 0 {
				t.Errorf("version %d answers %+v", v, p)
			}
		}
		b := resp.Brokers[0]
		if len(resp.Brokers) != 1 || b.NodeID != node || b.Host != "broker.test" || b.Port != 9092 || v >= 1 && (deref(b.Rack) != "r1" || resp.ControllerID != node) {
			t.Errorf("version %d answers %+v", v, resp)
		}
		if v >= 2 && deref(resp.ClusterID) != w.store.Image().ClusterID() {
			t.Errorf("version %d answers cluster %q", v, deref(resp.ClusterID))
		}
	}
}

func TestMetadataByID(t *testing.T) {
	w := newWorld(t)
	topic := w.create("orders", 1)
	c := w.connect()
	byID := func(id cluster.TopicID) kmsg.MetadataRequestTopic {
		rt := kmsg.NewMetadataRequestTopic()
		rt.TopicID = id
		return rt
	}
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = append(metadataRequest("nowhere").Topics, byID(topic.ID), byID(cluster.TopicID{1}))
	resp := ask[*kmsg.MetadataResponse](c, 12, req)
	if len(resp.Topics) != 2 || deref(resp.Topics[0].Topic) != "orders" || resp.Topics[1].Topic != nil || resp.Topics[1].TopicID != [16]byte{1} {
		t.Errorf("ids beside a name: %+v", resp.Topics)
	}
	wantCode(t, "unknown id", resp.Topics[1].ErrorCode, kerr.UnknownTopicID)
	for v := int16(10); v <= 11; v++ { // had the fields, but not yet their meaning
		req := kmsg.NewPtrMetadataRequest()
		req.Topics = append(metadataRequest("orders").Topics, byID(topic.ID))
		req.Topics[1].Topic = kmsg.StringPtr("x")
		for _, rt := range ask[*kmsg.MetadataResponse](c, v, req).Topics {
			wantCode(t, "id before version 12", rt.ErrorCode, kerr.InvalidRequest)
		}
	}
}

func TestMetadataCreatesTopics(t *testing.T) {
	for _, test := range []struct {
		name    string
		topic   string
		version int16
		allow   bool
		enabled string
		want    *kerr.Error
	}{
		{name: "allowed", topic: "orders", version: 12, allow: true, enabled: "true"},
		{name: "not allowed by the client", topic: "orders", version: 12, enabled: "true", want: kerr.UnknownTopicOrPartition},
		{name: "always allowed before version 4", topic: "orders", version: 3, enabled: "true"},
		{name: "not allowed by the broker", topic: "orders", version: 12, allow: true, enabled: "false", want: kerr.UnknownTopicOrPartition},
		{name: "bad name", topic: "or ders", version: 12, allow: true, enabled: "true", want: kerr.InvalidTopicException},
		{name: "bad name, not allowed", topic: "or ders", version: 12, enabled: "true", want: kerr.InvalidTopicException},
		{name: "schedule", topic: "__schedule.orders", version: 12, allow: true, enabled: "true", want: kerr.InvalidTopicException},
		{name: "transactions", topic: cluster.TransactionsTopic, version: 12, allow: true, enabled: "true"},
		{name: "offsets", topic: cluster.OffsetsTopic, version: 12, allow: true, enabled: "true"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, with("auto.create.topics.enable", test.enabled), with("num.partitions", "3"))
			req := metadataRequest(test.topic)
			req.AllowAutoTopicCreation = test.allow
			c := w.connect()
			rt := ask[*kmsg.MetadataResponse](c, test.version, req).Topics[0]
			wantCode(t, "answer", rt.ErrorCode, test.want)
			if internal := strings.HasPrefix(test.topic, "__"); rt.IsInternal != internal || deref(rt.Topic) != test.topic {
				t.Errorf("answer is %+v", rt)
			}
			created, exists := w.store.Image().Topic(test.topic)
			if exists != (test.want == nil) {
				t.Fatalf("topic exists: %t", exists)
			}
			if !exists {
				return
			}
			want := 3
			if created.Internal {
				want = 2
			}
			if len(rt.Partitions) != want || rt.Partitions[0].Leader != node {
				t.Errorf("partitions are %+v, expected %d with a leader", rt.Partitions, want)
			}
			if !created.Internal {
				c.produce(test.topic, values("a")...) // at once
			}
		})
	}
}

func TestMetadataAuthorizedOperations(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1)
	c := w.connect()
	const unasked = -1 << 31
	for v := int16(8); v <= 13; v++ {
		for _, asked := range []bool{false, true} {
			req := metadataRequest("orders")
			req.IncludeTopicAuthorizedOperations, req.IncludeClusterAuthorizedOperations = asked, asked
			resp := ask[*kmsg.MetadataResponse](c, v, req)
			topic, whole := int32(unasked), int32(unasked)
			if asked {
				topic = topicOperations
				if v <= 10 { // then DescribeCluster tells it
					whole = clusterOperations
				}
			}
			if resp.Topics[0].AuthorizedOperations != topic || resp.AuthorizedOperations != whole {
				t.Errorf("version %d, asked %t: %#x and %#x, expected %#x and %#x", v, asked, resp.Topics[0].AuthorizedOperations, resp.AuthorizedOperations, topic, whole)
			}
		}
	}
}
