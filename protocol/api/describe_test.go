package api

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/cluster"
)

func TestDescribeCluster(t *testing.T) {
	w := newWorld(t)
	w.elsewhere("moved") // registers another broker
	c := w.connect()
	for v := int16(0); v <= 2; v++ {
		req := kmsg.NewPtrDescribeClusterRequest()
		req.IncludeClusterAuthorizedOperations = v == 1
		resp := ask[*kmsg.DescribeClusterResponse](c, v, req)
		operations := int32(-1 << 31)
		if v == 1 {
			operations = clusterOperations
		}
		if resp.ErrorCode != 0 || resp.ClusterID != w.store.Image().ClusterID() || resp.ControllerID != node || resp.EndpointType != 1 || resp.ClusterAuthorizedOperations != operations {
			t.Errorf("version %d answers %+v", v, resp)
		}
		if len(resp.Brokers) != 2 || resp.Brokers[0].NodeID != node || resp.Brokers[0].Host != "broker.test" || deref(resp.Brokers[0].Rack) != "r1" || resp.Brokers[1].Rack != nil || resp.Brokers[0].IsFenced {
			t.Errorf("version %d lists %+v", v, resp.Brokers)
		}
	}
	for kind, want := range map[int8]*kerr.Error{2: kerr.MismatchedEndpointType, 3: kerr.UnsupportedEndpointType} {
		req := kmsg.NewPtrDescribeClusterRequest()
		req.EndpointType = kind
		resp := ask[*kmsg.DescribeClusterResponse](c, 1, req)
		wantCode(t, "endpoint type", resp.ErrorCode, want)
		if len(resp.Brokers) > 0 || deref(resp.ErrorMessage) == "" {
			t.Errorf("endpoint type %d: %+v", kind, resp)
		}
	}
}

func TestDescribeLogDirs(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 2)
	w.elsewhere("moved")
	c := w.connect()
	c.produce("orders", values("a")...)
	size := int64(len(batch(values("a")...)))
	for v := int16(1); v <= 5; v++ {
		resp := ask[*kmsg.DescribeLogDirsResponse](c, v, kmsg.NewPtrDescribeLogDirsRequest())
		d := resp.Dirs[0]
		if len(resp.Dirs) != 1 || d.ErrorCode != 0 || d.Dir != "/data" || v >= 4 && (d.TotalBytes <= 0 || d.UsableBytes <= 0) {
			t.Errorf("version %d answers %+v", v, resp)
		}
		sizes := map[string]int64{}
		for _, topic := range d.Topics {
			for _, p := range topic.Partitions {
				sizes[fmt.Sprintf("%s-%d", topic.Topic, p.Partition)] = p.Size
			}
		}
		if len(sizes) != 4 || sizes["orders-0"] != size || sizes["orders-1"] != 0 {
			t.Errorf("version %d answers sizes %v", v, sizes)
		}
	}
	req := kmsg.NewPtrDescribeLogDirsRequest()
	req.Topics = []kmsg.DescribeLogDirsRequestTopic{{Topic: "orders", Partitions: []int32{0, 7}}, {Topic: "nowhere", Partitions: []int32{0}}, {Topic: "moved", Partitions: []int32{0}}, {Topic: "orders", Partitions: []int32{}}}
	topics := ask[*kmsg.DescribeLogDirsResponse](c, 4, req).Dirs[0].Topics
	if len(topics) != 1 || topics[0].Topic != "orders" || len(topics[0].Partitions) != 1 || topics[0].Partitions[0].Size != size {
		t.Errorf("asked for some, got %+v", topics)
	}
}

// pages describes topics page by page and prints them: "topic:first-last" for each piece of a
// topic, pages separated by bars.
func (c *client) pages(limit int32, names ...string) string {
	c.w.Helper()
	req := kmsg.NewPtrDescribeTopicPartitionsRequest()
	req.ResponsePartitionLimit = limit
	for _, name := range names {
		req.Topics = append(req.Topics, kmsg.DescribeTopicPartitionsRequestTopic{Topic: name})
	}
	var pages []string
	for range 20 {
		resp := ask[*kmsg.DescribeTopicPartitionsResponse](c, 0, req)
		var page []string
		for _, rt := range resp.Topics {
			if rt.ErrorCode != 0 {
				page = append(page, fmt.Sprintf("%s:%s", deref(rt.Topic), codeName(rt.ErrorCode)))
				continue
			}
			page = append(page, fmt.Sprintf("%s:%d-%d", deref(rt.Topic), rt.Partitions[0].Partition, rt.Partitions[len(rt.Partitions)-1].Partition))
		}
		pages = append(pages, strings.Join(page, " "))
		if resp.NextCursor == nil {
			break
		}
		req.Cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: resp.NextCursor.Topic, Partition: resp.NextCursor.Partition}
	}
	return strings.Join(pages, " | ")
}

func TestDescribeTopicPartitionsInPages(t *testing.T) {
	w := newWorld(t, with("max.request.partition.size.limit", "4"))
	w.create("b", 3)
	w.create("a", 2)
	c := w.connect()
	for _, test := range []struct {
		limit int32
		names []string
		want  string
	}{
		{100, []string{"a", "b"}, "a:0-1 b:0-1 | b:2-2"},
		{100, []string{"b", "a", "a"}, "a:0-1 b:0-1 | b:2-2"},
		{2, []string{"a", "b"}, "a:0-1 | b:0-1 | b:2-2"},
		{0, []string{"a"}, "a:0-0 | a:1-1"},
		{-1, []string{"a"}, "a:0-0 | a:1-1"},
		{100, nil, "__schedule.a:0-1 __schedule.b:0-1 | __schedule.b:2-2 a:0-1 b:0-0 | b:1-2"},
		{100, []string{"nowhere", "no where", "a"}, "a:0-1 no where:INVALID_TOPIC_EXCEPTION nowhere:UNKNOWN_TOPIC_OR_PARTITION"},
	} {
		if got := c.pages(test.limit, test.names...); got != test.want {
			t.Errorf("limit %d, topics %v:\n%s\nexpected\n%s", test.limit, test.names, got, test.want)
		}
	}
}

func TestDescribeTopicPartitionsTellsAllOfATopic(t *testing.T) {
	w := newWorld(t)
	topic := w.create("orders", 1)
	w.reelect(topic.ID, 2)
	c := w.connect()
	req := kmsg.NewPtrDescribeTopicPartitionsRequest()
	req.Topics = []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: "__schedule.orders"}, {Topic: "orders"}}
	resp := ask[*kmsg.DescribeTopicPartitionsResponse](c, 0, req)
	rt := resp.Topics[1]
	if !resp.Topics[0].IsInternal || rt.IsInternal || cluster.TopicID(rt.TopicID) != topic.ID || rt.AuthorizedOperations != topicOperations {
		t.Errorf("topics are %+v", resp.Topics)
	}
	p := rt.Partitions[0]
	if p.LeaderID != node || p.LeaderEpoch != 2 || len(p.Replicas) != 1 || len(p.ISR) != 1 || len(p.OfflineReplicas) != 0 || p.EligibleLeaderReplicas == nil || p.LastKnownELR == nil {
		t.Errorf("partition is %+v", p)
	}
	_ = w.log("orders", 0).Fail(nil)
	p = ask[*kmsg.DescribeTopicPartitionsResponse](c, 0, req).Topics[1].Partitions[0]
	if p.LeaderID != -1 || len(p.OfflineReplicas) != 1 {
		t.Errorf("partition offline is %+v", p)
	}
}

func TestDescribeTopicPartitionsWithACursorThatMakesNoSense(t *testing.T) {
	w := newWorld(t)
	w.create("a", 1)
	c := w.connect()
	for _, cursor := range []kmsg.DescribeTopicPartitionsRequestCursor{{Topic: "a", Partition: -1}, {Topic: "b"}} {
		req := kmsg.NewPtrDescribeTopicPartitionsRequest()
		req.Topics = []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: "a"}}
		req.Cursor = &cursor
		rt := ask[*kmsg.DescribeTopicPartitionsResponse](c, 0, req).Topics[0]
		wantCode(t, "cursor", rt.ErrorCode, kerr.InvalidRequest)
	}
	// Beyond the last partition there is nothing, which is no error.
	req := kmsg.NewPtrDescribeTopicPartitionsRequest()
	req.Topics = []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: "a"}}
	req.Cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: "a", Partition: 5}
	resp := ask[*kmsg.DescribeTopicPartitionsResponse](c, 0, req)
	if len(resp.Topics) != 1 || resp.Topics[0].ErrorCode != 0 || len(resp.Topics[0].Partitions) != 0 || resp.NextCursor != nil {
		t.Errorf("beyond the end: %+v", resp)
	}
}
