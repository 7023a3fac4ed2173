package api

import (
	"context"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/protocol"
)

// DescribeTopicPartitions, key 75, version 0 (KIP-966). Topics come by name and in pages; eligible leader replicas are empty.

// maxDescribedPartitions bounds a page (max.request.partition.size.limit in Kafka).
const maxDescribedPartitions = 2000

func (a *API) describeTopicPartitions(_ context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.DescribeTopicPartitionsRequest)
	return func(context.Context) (protocol.Answer, error) {
		p := partitionPage{api: a, resp: req.ResponseKind().(*kmsg.DescribeTopicPartitionsResponse), left: maxDescribedPartitions}
		if n := int(req.ResponsePartitionLimit); n > 0 {
			p.left = min(p.left, n)
		}
		for _, name := range a.describedNames(req) {
			first := int32(0)
			if req.Cursor != nil && req.Cursor.Topic == name {
				first = max(0, req.Cursor.Partition)
			}
			if !p.add(name, first) {
				break
			}
		}
		return protocol.Answer{Message: p.resp}, nil
	}
}

// describedNames lists the topics asked for, all if none, by name, from the cursor on.
func (a *API) describedNames(req *kmsg.DescribeTopicPartitionsRequest) []string {
	var names []string
	for _, t := range req.Topics {
		names = append(names, t.Topic)
	}
	if len(names) == 0 {
		for _, t := range a.store.Image().Topics() {
			names = append(names, t.Name)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if req.Cursor != nil {
		names = slices.DeleteFunc(names, func(n string) bool { return strings.Compare(n, req.Cursor.Topic) < 0 })
	}
	return names
}

// partitionPage is an answer being filled.
type partitionPage struct {
	api  *API
	resp *kmsg.DescribeTopicPartitionsResponse
	left int
}

// add describes a topic from partition first on, and reports whether there is room for more.
func (p *partitionPage) add(name string, first int32) bool {
	if p.left == 0 {
		p.resp.NextCursor = &kmsg.DescribeTopicPartitionsResponseNextCursor{Topic: name, Partition: first}
		return false
	}
	rt := kmsg.NewDescribeTopicPartitionsResponseTopic()
	rt.Topic = kmsg.StringPtr(name)
	t, ok := p.api.store.Image().Topic(name)
	if !ok {
		rt.ErrorCode = kerr.UnknownTopicOrPartition.Code
		if cluster.ValidateTopicName(name) != nil {
			rt.ErrorCode = kerr.InvalidTopicException.Code
		}
		p.resp.Topics = append(p.resp.Topics, rt)
		return true
	}
	rt.TopicID, rt.IsInternal, rt.AuthorizedOperations = t.ID, t.Internal, topicOperations
	n := int(first)
	for ; n < len(t.Partitions) && p.left > 0; n++ {
		rt.Partitions = append(rt.Partitions, p.api.describedPartition(t, int32(n)))
		p.left--
	}
	p.resp.Topics = append(p.resp.Topics, rt)
	if n < len(t.Partitions) {
		p.resp.NextCursor = &kmsg.DescribeTopicPartitionsResponseNextCursor{Topic: name, Partition: int32(n)}
		return false
	}
	return true
}

func (a *API) describedPartition(t *cluster.Topic, n int32) kmsg.DescribeTopicPartitionsResponseTopicPartition {
	p := &t.Partitions[n]
	rp := kmsg.NewDescribeTopicPartitionsResponseTopicPartition()
	rp.Partition, rp.LeaderID, rp.LeaderEpoch = n, p.Leader, p.LeaderEpoch
	rp.Replicas, rp.ISR = p.Replicas, p.ISR
	// Empty, not null: the Java admin client does not look for null here.
	rp.EligibleLeaderReplicas, rp.LastKnownELR = []int32{}, []int32{}
	if a.offline(t.ID, n) {
		rp.ErrorCode, rp.LeaderID = kerr.LeaderNotAvailable.Code, -1
		rp.OfflineReplicas = []int32{a.nodeID}
	}
	return rp
}
