package api

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/protocol"
)

// DescribeTopicPartitions, key 75, version 0 (KIP-966). Topics come by name and in pages of at most
// max.request.partition.size.limit partitions. There are no eligible leader replicas besides the in-sync ones.
//
// The answer has no error of its own, so a request whose cursor makes no sense gets INVALID_REQUEST
// for each topic it names; Kafka does the same.

func (a *API) describeTopicPartitions(_ context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.DescribeTopicPartitionsRequest)
	return func(context.Context) (protocol.Answer, error) {
		img := a.store.Image()
		resp := req.ResponseKind().(*kmsg.DescribeTopicPartitionsResponse)
		if !validCursor(req) {
			for i := range req.Topics {
				resp.Topics = append(resp.Topics, undescribed(req.Topics[i].Topic, kerr.InvalidRequest))
			}
			return protocol.Answer{Message: resp}, nil
		}
		limit := min(a.intConfig("max.request.partition.size.limit"), int(req.ResponsePartitionLimit))
		p := partitionPage{api: a, img: img, resp: resp, left: max(limit, 1)}
		for _, name := range describedNames(img, req) {
			first := int32(0)
			if req.Cursor != nil && req.Cursor.Topic == name {
				first = req.Cursor.Partition
			}
			if !p.add(name, first, len(req.Topics) == 0) {
				break
			}
		}
		return protocol.Answer{Message: resp}, nil
	}
}

// validCursor reports whether a request goes on at one of the topics it names.
func validCursor(req *kmsg.DescribeTopicPartitionsRequest) bool {
	c := req.Cursor
	if c == nil {
		return true
	}
	named := func(t kmsg.DescribeTopicPartitionsRequestTopic) bool { return t.Topic == c.Topic }
	return c.Partition >= 0 && (len(req.Topics) == 0 || slices.ContainsFunc(req.Topics, named))
}

// describedNames lists the topics asked for, all if none, by name, from the cursor on.
func describedNames(img *cluster.Image, req *kmsg.DescribeTopicPartitionsRequest) []string {
	var names []string
	for _, t := range req.Topics {
		names = append(names, t.Topic)
	}
	if len(names) == 0 {
		for _, t := range img.Topics() {
			names = append(names, t.Name)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if req.Cursor != nil {
		names = slices.DeleteFunc(names, func(n string) bool { return n < req.Cursor.Topic })
	}
	return names
}

// partitionPage is an answer being filled.
type partitionPage struct {
	api  *API
	img  *cluster.Image
	resp *kmsg.DescribeTopicPartitionsResponse
	left int // partitions
}

// add describes a topic from partition first on, and reports whether the page goes on. A topic that
// is gone again is left out if all were asked for.
func (p *partitionPage) add(name string, first int32, all bool) bool {
	if p.left == 0 {
		p.next(name, 0)
		return false
	}
	t, ok := p.img.Topic(name)
	if !ok {
		if !all {
			p.resp.Topics = append(p.resp.Topics, undescribed(name, unknownTopic(name)))
		}
		return true
	}
	rt := kmsg.NewDescribeTopicPartitionsResponseTopic()
	rt.Topic, rt.TopicID, rt.IsInternal, rt.AuthorizedOperations = &t.Name, t.ID, t.Internal, topicOperations
	n := int(first)
	for ; n < len(t.Partitions) && p.left > 0; n++ {
		rt.Partitions = append(rt.Partitions, p.api.describedPartition(t, int32(n)))
		p.left--
	}
	p.resp.Topics = append(p.resp.Topics, rt)
	if n < len(t.Partitions) {
		p.next(name, int32(n))
		return false
	}
	return true
}

// next says where the next page begins.
func (p *partitionPage) next(topic string, partition int32) {
	c := kmsg.NewDescribeTopicPartitionsResponseNextCursor()
	c.Topic, c.Partition = topic, partition
	p.resp.NextCursor = &c
}

func undescribed(name string, err error) kmsg.DescribeTopicPartitionsResponseTopic {
	rt := kmsg.NewDescribeTopicPartitionsResponseTopic()
	rt.Topic, rt.IsInternal, rt.ErrorCode = &name, cluster.IsReserved(name), code(err)
	rt.AuthorizedOperations = topicOperations
	return rt
}

// unknownTopic is the error for a topic that does not exist, or cannot.
func unknownTopic(name string) error {
	if err := cluster.ValidateTopicName(name); err != nil {
		return err
	}
	return kerr.UnknownTopicOrPartition
}

func (a *API) describedPartition(t *cluster.Topic, n int32) kmsg.DescribeTopicPartitionsResponseTopicPartition {
	p := &t.Partitions[n]
	rp := kmsg.NewDescribeTopicPartitionsResponseTopicPartition()
	rp.Partition, rp.LeaderID, rp.LeaderEpoch = n, p.Leader, p.LeaderEpoch
	rp.Replicas, rp.ISR = p.Replicas, p.ISR
	rp.EligibleLeaderReplicas, rp.LastKnownELR = []int32{}, []int32{} // Java stumbles over null
	if a.offline(t.ID, n) {
		rp.LeaderID = cluster.NoLeader // as in Kafka, without an error code
		rp.OfflineReplicas = []int32{a.nodeID}
	}
	return rp
}
