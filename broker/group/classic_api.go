package group

import (
	"bytes"
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/coord"
)

// JoinGroup serves key 11, versions 0 to 9. It returns when the join phase of
// the group ends.
func (c *Coordinator) JoinGroup(ctx context.Context, client Client, req *kmsg.JoinGroupRequest) *kmsg.JoinGroupResponse {
	resp, err := c.joinGroup(ctx, client, req)
	if err != nil {
		resp = joinError(req.MemberID, err)
	}
	resp.Version = req.Version
	return resp
}

func (c *Coordinator) joinGroup(ctx context.Context, client Client, req *kmsg.JoinGroupRequest) (*kmsg.JoinGroupResponse, error) {
	cfg := c.cfg()
	switch session := millis(req.SessionTimeoutMillis); {
	case req.Group == "":
		return nil, kerr.InvalidGroupID
	case session < cfg.MinSessionTimeout || session > cfg.MaxSessionTimeout:
		return nil, kerr.InvalidSessionTimeout
	case protocolBytes(req.Protocols) > maxProtocolBytes:
		return nil, kerr.MessageTooLarge
	}
	own := *req
	own.Protocols = ownProtocols(req.Protocols)
	return coord.Call(ctx, c.shards.Of(req.Group), func(m *machine, tx *coord.Tx, reply *joinReply) {
		m.joinGroup(tx, client, &own, reply)
	})
}

// maxProtocolBytes bounds what a member says about itself. By default a record of the group has less
// room, and a request has more: what could never be journaled would lie in memory until
// its member times out, and reading it takes many times its size.
const maxProtocolBytes = 8 << 20

func protocolBytes(protocols []kmsg.JoinGroupRequestProtocol) int {
	size := 0
	for i := range protocols {
		size += len(protocols[i].Name) + len(protocols[i].Metadata)
	}
	return size
}

// ownProtocols copies what a member's state keeps of its request.
func ownProtocols(protocols []kmsg.JoinGroupRequestProtocol) []kmsg.JoinGroupRequestProtocol {
	own := slices.Clone(protocols)
	for i := range own {
		own[i].Metadata = bytes.Clone(own[i].Metadata)
	}
	return own
}

// SyncGroup serves key 14, versions 0 to 5. It returns when the leader of the
// generation has brought its assignment.
func (c *Coordinator) SyncGroup(ctx context.Context, req *kmsg.SyncGroupRequest) *kmsg.SyncGroupResponse {
	resp, err := c.syncGroup(ctx, req)
	if err != nil {
		resp = syncError(err)
	}
	resp.Version = req.Version
	return resp
}

func (c *Coordinator) syncGroup(ctx context.Context, req *kmsg.SyncGroupRequest) (*kmsg.SyncGroupResponse, error) {
	switch {
	case req.Version >= 5 && (req.ProtocolType == nil || req.Protocol == nil):
		return nil, kerr.InconsistentGroupProtocol
	case req.Group == "":
		return nil, kerr.InvalidGroupID
	}
	return coord.Call(ctx, c.shards.Of(req.Group), func(m *machine, tx *coord.Tx, reply *syncReply) {
		m.syncGroup(tx, req, reply)
	})
}

// Heartbeat serves key 12, versions 0 to 4. While the shard loads it answers
// that all is well: members would rejoin for nothing otherwise.
func (c *Coordinator) Heartbeat(ctx context.Context, req *kmsg.HeartbeatRequest) *kmsg.HeartbeatResponse {
	resp := req.ResponseKind().(*kmsg.HeartbeatResponse)
	if req.Group == "" {
		resp.ErrorCode = kerr.InvalidGroupID.Code
		return resp
	}
	_, err := coord.Do(ctx, c.shards.Of(req.Group), func(m *machine, tx *coord.Tx) (struct{}, error) {
		return struct{}{}, m.heartbeat(tx, req)
	})
	if resp.ErrorCode = codeOf(err); resp.ErrorCode == kerr.CoordinatorLoadInProgress.Code {
		resp.ErrorCode = 0
	}
	return resp
}

// LeaveGroup serves key 13, versions 0 to 5. Up to version 2 the one member it
// names is the sender.
func (c *Coordinator) LeaveGroup(ctx context.Context, req *kmsg.LeaveGroupRequest) *kmsg.LeaveGroupResponse {
	resp := req.ResponseKind().(*kmsg.LeaveGroupResponse)
	leaving := req.Members
	if req.Version < 3 {
		one := kmsg.NewLeaveGroupRequestMember()
		one.MemberID = req.MemberID
		leaving = []kmsg.LeaveGroupRequestMember{one}
	}
	if req.Group == "" {
		resp.ErrorCode = kerr.InvalidGroupID.Code
		return resp
	}
	members, err := coord.Do(ctx, c.shards.Of(req.Group), func(m *machine, tx *coord.Tx) ([]kmsg.LeaveGroupResponseMember, error) {
		return m.leaveGroup(tx, req.Group, leaving)
	})
	resp.ErrorCode = codeOf(err)
	if req.Version < 3 && err == nil {
		resp.ErrorCode = members[0].ErrorCode
	} else {
		resp.Members = members
	}
	return resp
}
