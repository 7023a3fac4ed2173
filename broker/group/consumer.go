package group

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/coord"
)

type consumerGroup struct{}

func (g *consumerGroup) empty() bool                        { return true }
func (g *consumerGroup) state() string                      { return "Empty" }
func (g *consumerGroup) subscribed(string) bool             { return false }
func (g *consumerGroup) tombstones() []coord.Record         { return nil }
func (g *consumerGroup) validateCommit(commitClaim) error   { return nil }
func (g *consumerGroup) validateFetch(*string, int32) error { return nil }

func (s *machine) resumeConsumer(*coord.Tx, *consumerGroup)           {}
func (s *machine) expireConsumer(*coord.Tx, *consumerGroup, timerKey) {}
func (s *machine) heartbeatConsumerGroup(*coord.Tx, *consumerGroup, *kmsg.HeartbeatRequest) error {
	return kerr.UnknownMemberID
}
func (s *machine) joinConsumerGroup(tx *coord.Tx, _ *consumerGroup, _ Client, _ *kmsg.JoinGroupRequest, reply *joinReply) {
	reply.Send(tx, joinError("", kerr.InconsistentGroupProtocol))
}
func (s *machine) syncConsumerGroup(tx *coord.Tx, _ *consumerGroup, _ *kmsg.SyncGroupRequest, reply *syncReply) {
	reply.Send(tx, syncError(kerr.UnknownMemberID))
}
func (s *machine) leaveConsumerGroup(*coord.Tx, *consumerGroup, []kmsg.LeaveGroupRequestMember) ([]kmsg.LeaveGroupResponseMember, error) {
	return nil, kerr.UnknownMemberID
}

// ConsumerGroupHeartbeat serves key 68.
func (c *Coordinator) ConsumerGroupHeartbeat(_ context.Context, _ Client, req *kmsg.ConsumerGroupHeartbeatRequest) *kmsg.ConsumerGroupHeartbeatResponse {
	resp := req.ResponseKind().(*kmsg.ConsumerGroupHeartbeatResponse)
	resp.ErrorCode = kerr.UnsupportedVersion.Code
	return resp
}

// ConsumerGroupDescribe serves key 69.
func (c *Coordinator) ConsumerGroupDescribe(_ context.Context, req *kmsg.ConsumerGroupDescribeRequest) *kmsg.ConsumerGroupDescribeResponse {
	resp := req.ResponseKind().(*kmsg.ConsumerGroupDescribeResponse)
	for _, id := range req.Groups {
		d := kmsg.NewConsumerGroupDescribeResponseGroup()
		d.Group, d.ErrorCode = id, kerr.GroupIDNotFound.Code
		resp.Groups = append(resp.Groups, d)
	}
	return resp
}
