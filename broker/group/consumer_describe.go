package group

import (
	"context"
	"iter"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/coord"
)

// ConsumerGroupDescribe serves key 69, versions 0 and 1. To it, a group of the
// classic protocol does not exist.
func (c *Coordinator) ConsumerGroupDescribe(ctx context.Context, req *kmsg.ConsumerGroupDescribeRequest) *kmsg.ConsumerGroupDescribeResponse {
	resp := req.ResponseKind().(*kmsg.ConsumerGroupDescribeResponse)
	for _, id := range distinct(req.Groups) {
		d, err := c.describeConsumer(ctx, id)
		if err != nil {
			d = kmsg.NewConsumerGroupDescribeResponseGroup()
			d.ErrorCode, d.ErrorMessage = codeOf(err), messageOf(err)
		}
		d.Group = id
		if req.IncludeAuthorizedOperations && d.ErrorCode == 0 {
			d.AuthorizedOperations = groupOperations
		}
		resp.Groups = append(resp.Groups, d)
	}
	return resp
}

func (c *Coordinator) describeConsumer(ctx context.Context, id string) (kmsg.ConsumerGroupDescribeResponseGroup, error) {
	if id == "" {
		return kmsg.ConsumerGroupDescribeResponseGroup{}, kerr.InvalidGroupID
	}
	return coord.Do(ctx, c.shards.Of(id), func(m *machine, _ *coord.Tx) (kmsg.ConsumerGroupDescribeResponseGroup, error) {
		if g := m.groups[id]; g != nil && g.consumer != nil {
			return m.describeConsumer(g.consumer), nil
		}
		return kmsg.ConsumerGroupDescribeResponseGroup{}, refuse(kerr.GroupIDNotFound, "group "+id+" is not a consumer group")
	})
}

func (s *machine) describeConsumer(g *consumerGroup) kmsg.ConsumerGroupDescribeResponseGroup {
	d := kmsg.NewConsumerGroupDescribeResponseGroup()
	d.State, d.Epoch, d.AssignmentEpoch = g.state(), g.epoch, g.targetEpoch
	members := g.sorted()
	d.AssignorName = s.assignorOf(members)
	for _, m := range members {
		dm := kmsg.NewConsumerGroupDescribeResponseGroupMember()
		dm.MemberID, dm.InstanceID, dm.RackID, dm.MemberEpoch = m.id, m.instance, m.rack, m.epoch
		dm.ClientID, dm.ClientHost = m.clientID, m.host
		dm.SubscribedTopics, dm.SubscribedTopicRegex = m.topics, nonEmpty(m.regex)
		dm.Assignment = s.describeSet(m.assigned.set())
		dm.TargetAssignment = s.describeSet(g.target[m.id])
		dm.MemberType = memberTypeConsumer
		if m.classic != nil {
			dm.MemberType = memberTypeClassic
		}
		d.Members = append(d.Members, dm)
	}
	return d
}

// What ConsumerGroupDescribe calls members of either protocol.
const (
	memberTypeClassic  int8 = 0
	memberTypeConsumer int8 = 1
)

// describeSet names partitions.
func (s *machine) describeSet(set partitionSet) kmsg.Assignment {
	a := kmsg.NewAssignment()
	for id, name := range s.named(set) {
		t := kmsg.NewAssignmentTopicPartition()
		t.TopicID, t.Topic, t.Partitions = id, name, set[id]
		a.TopicPartitions = append(a.TopicPartitions, t)
	}
	return a
}

// named yields the topics of a set with their names. Topics that are gone have none
// any more, and are left out.
func (s *machine) named(set partitionSet) iter.Seq2[topicID, string] {
	return func(yield func(topicID, string) bool) {
		for _, id := range set.topics() {
			if name, ok := s.topics.NameOf(id); ok && !yield(id, name) {
				return
			}
		}
	}
}
