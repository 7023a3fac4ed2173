package group

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/coord"
)

// ShareGroupDescribe serves key 77, version 1. To it, other groups do not exist.
func (c *Coordinator) ShareGroupDescribe(ctx context.Context, req *kmsg.ShareGroupDescribeRequest) *kmsg.ShareGroupDescribeResponse {
	resp := req.ResponseKind().(*kmsg.ShareGroupDescribeResponse)
	for _, id := range distinct(req.GroupIDs) {
		d, err := c.describeShare(ctx, id)
		if err != nil {
			d = kmsg.NewShareGroupDescribeResponseGroup()
			d.ErrorCode, d.ErrorMessage = codeOf(err), messageOf(err)
		}
		d.GroupID = id
		if req.IncludeAuthorizedOperations && d.ErrorCode == 0 {
			d.AuthorizedOperations = groupOperations
		}
		resp.Groups = append(resp.Groups, d)
	}
	return resp
}

func (c *Coordinator) describeShare(ctx context.Context, id string) (kmsg.ShareGroupDescribeResponseGroup, error) {
	if id == "" {
		return kmsg.ShareGroupDescribeResponseGroup{}, kerr.InvalidGroupID
	}
	return coord.Do(ctx, c.shards.Of(id), func(m *machine, _ *coord.Tx) (kmsg.ShareGroupDescribeResponseGroup, error) {
		g, err := m.shareGroupFor(id, false)
		if err != nil {
			return kmsg.ShareGroupDescribeResponseGroup{}, err
		}
		return m.describeShare(g), nil
	})
}

func (s *machine) describeShare(g *consumerGroup) kmsg.ShareGroupDescribeResponseGroup {
	d := kmsg.NewShareGroupDescribeResponseGroup()
	d.GroupState, d.GroupEpoch, d.AssignmentEpoch, d.Assignor = g.state(), g.epoch, g.targetEpoch, assignorShare
	for _, m := range g.sorted() {
		dm := kmsg.NewShareGroupDescribeResponseGroupMember()
		dm.MemberID, dm.RackID, dm.MemberEpoch = m.id, m.rack, m.epoch
		dm.ClientID, dm.ClientHost, dm.SubscribedTopicNames = m.clientID, m.host, m.topics
		set := m.assigned.set()
		for id, name := range s.named(set) {
			t := kmsg.NewShareGroupDescribeResponseGroupMemberAssignmentTopicPartition()
			t.TopicID, t.Topic, t.Partitions = id, name, set[id]
			dm.Assignment.TopicPartitions = append(dm.Assignment.TopicPartitions, t)
		}
		d.Members = append(d.Members, dm)
	}
	return d
}
