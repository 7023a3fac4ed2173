package group

import (
	"context"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/coord"
)

// ShareGroupHeartbeat serves key 76, version 1 (KIP-932): the one request by which
// a member of a share group joins, stays, changes its subscription and leaves.
func (c *Coordinator) ShareGroupHeartbeat(ctx context.Context, client Client, req *kmsg.ShareGroupHeartbeatRequest) *kmsg.ShareGroupHeartbeatResponse {
	resp, err := c.shareHeartbeat(ctx, client, req)
	if err != nil {
		resp = kmsg.NewPtrShareGroupHeartbeatResponse()
		resp.ErrorCode, resp.ErrorMessage = codeOf(err), messageOf(err)
	}
	resp.Version = req.Version
	return resp
}

func (c *Coordinator) shareHeartbeat(ctx context.Context, client Client, req *kmsg.ShareGroupHeartbeatRequest) (*kmsg.ShareGroupHeartbeatResponse, error) {
	if err := checkShareHeartbeat(req); err != nil {
		return nil, err
	}
	return coord.Do(ctx, c.shards.Of(req.GroupID), func(m *machine, tx *coord.Tx) (*kmsg.ShareGroupHeartbeatResponse, error) {
		if req.MemberEpoch == epochLeave {
			return m.shareLeave(tx, req)
		}
		return m.shareHeartbeat(tx, client, req)
	})
}

// maxMemberID is how long a member id may be: clients make theirs, and use UUIDs.
const maxMemberID = 36

func checkShareHeartbeat(req *kmsg.ShareGroupHeartbeatRequest) error {
	invalid := func(reason string) error { return refuse(kerr.InvalidRequest, reason) }
	switch {
	case strings.TrimSpace(req.GroupID) == "":
		return invalid("GroupId can't be empty.")
	case strings.TrimSpace(req.MemberID) == "":
		return invalid("MemberId can't be empty.")
	case len(req.MemberID) > maxMemberID:
		return invalid("MemberId can't be longer than 36 characters.")
	case req.RackID != nil && strings.TrimSpace(*req.RackID) == "":
		return invalid("RackId can't be empty.")
	case req.MemberEpoch < epochLeave:
		return invalid("MemberEpoch is invalid.")
	case req.MemberEpoch == epochJoin && len(req.SubscribedTopicNames) == 0:
		return invalid("SubscribedTopicNames must be set in first request.")
	}
	return nil
}

// shareHeartbeat handles a member that joins or stays.
func (s *machine) shareHeartbeat(tx *coord.Tx, client Client, req *kmsg.ShareGroupHeartbeatRequest) (*kmsg.ShareGroupHeartbeatResponse, error) {
	g, err := s.shareGroupFor(req.GroupID, req.MemberEpoch == epochJoin)
	if err != nil {
		return nil, err
	}
	was := g.members[req.MemberID]
	switch {
	case was == nil && req.MemberEpoch != epochJoin:
		return nil, refuse(kerr.UnknownMemberID, "member "+req.MemberID+" is not in group "+g.id)
	case was == nil && len(g.members) >= s.cfg().ShareMaxSize:
		return nil, refuse(kerr.GroupMaxSizeReached, "the group has as many members as group.share.max.size allows")
	case was == nil:
		was = &consumerMember{}
	case req.MemberEpoch != epochJoin:
		if err := was.checkEpoch(req.MemberEpoch, partitionSet{}); err != nil {
			return nil, err
		}
	}
	c := &change{g: g, seen: g.seen}
	m := s.advance(c, was, shareInfo(was, client, req), "", nil)
	if err := tx.Append(c.records...); err != nil {
		return nil, err
	}
	s.settle(tx, c, nil, m, "")
	session, heartbeat := s.cfg().share(g.id)
	s.setTimer(tx, timerKey{timerHeartbeat, g.id, m.id}, session)

	resp := kmsg.NewPtrShareGroupHeartbeatResponse()
	resp.MemberID, resp.MemberEpoch = &m.id, m.epoch
	resp.HeartbeatIntervalMillis = durationMillis(heartbeat)
	if req.MemberEpoch == epochJoin || req.SubscribedTopicNames != nil || c.moved && !m.assigned.samePartitions(was.assigned) {
		resp.Assignment = shareAssignment(m.assigned)
	}
	return resp, nil
}

// shareGroupFor returns the group as a share group, a new one if there is no group of
// that id and create says so.
func (s *machine) shareGroupFor(id string, create bool) (*consumerGroup, error) {
	g := s.groups[id]
	switch {
	case g != nil && g.share != nil:
		return g.share, nil
	case g == nil && create:
		return newConsumerGroup(id, shareKind), nil
	}
	return nil, refuse(kerr.GroupIDNotFound, "group "+id+" is not a share group")
}

// shareInfo merges what a heartbeat says into what is known. Null means unchanged.
func shareInfo(was *consumerMember, client Client, req *kmsg.ShareGroupHeartbeatRequest) memberInfo {
	info := was.memberInfo
	info.id, info.clientID, info.host = req.MemberID, client.ID, client.Host
	if req.RackID != nil {
		info.rack = req.RackID
	}
	if req.SubscribedTopicNames != nil {
		info.topics = sortedUnique(req.SubscribedTopicNames)
	}
	return info
}

// follow is the position of a member that takes its target over at once.
func (p memberPosition) follow(target partitionSet, targetEpoch int32) (next memberPosition, moved bool) {
	if p.epoch == targetEpoch {
		return p, false
	}
	return memberPosition{epoch: targetEpoch, previous: p.epoch, assigned: ownedSince(target, targetEpoch), revoking: owned{}}, true
}

// ownedSince is a set of partitions that were all assigned at one epoch.
func ownedSince(set partitionSet, epoch int32) owned {
	out := owned{}
	for id, parts := range set {
		for _, p := range parts {
			out.add(id, p, epoch)
		}
	}
	return out
}

func (s *machine) shareLeave(tx *coord.Tx, req *kmsg.ShareGroupHeartbeatRequest) (*kmsg.ShareGroupHeartbeatResponse, error) {
	g, err := s.shareGroupFor(req.GroupID, false)
	if err != nil {
		return nil, err
	}
	m, err := g.check(req.MemberID, nil)
	if err != nil {
		return nil, err
	}
	s.log.Info("group member left", "group", g.id, "member", m.id, "epoch", req.MemberEpoch)
	if err := s.expel(tx, g, m); err != nil {
		return nil, err
	}
	resp := kmsg.NewPtrShareGroupHeartbeatResponse()
	resp.MemberID, resp.MemberEpoch = &m.id, req.MemberEpoch
	return resp, nil
}

func shareAssignment(assigned owned) *kmsg.ShareGroupHeartbeatResponseAssignment {
	a := kmsg.NewShareGroupHeartbeatResponseAssignment()
	set := assigned.set()
	for _, id := range set.topics() {
		t := kmsg.NewShareGroupHeartbeatResponseAssignmentTopicPartition()
		t.TopicID, t.Partitions = id, set[id]
		a.TopicPartitions = append(a.TopicPartitions, t)
	}
	return &a
}

// ShareMember returns nil if the group is a share group with that member, and what
// a client is to be told otherwise.
func (c *Coordinator) ShareMember(ctx context.Context, group, member string) error {
	_, err := coord.Do(ctx, c.shards.Of(group), func(m *machine, _ *coord.Tx) (struct{}, error) {
		g, err := m.shareGroupFor(group, false)
		if err == nil {
			_, err = g.check(member, nil)
		}
		return struct{}{}, err
	})
	return coded(err)
}

// IsShareGroup returns nil if there is a share group of that id, and what a client
// is to be told otherwise.
func (c *Coordinator) IsShareGroup(ctx context.Context, group string) error {
	_, err := coord.Do(ctx, c.shards.Of(group), func(m *machine, _ *coord.Tx) (struct{}, error) {
		_, err := m.shareGroupFor(group, false)
		return struct{}{}, err
	})
	return coded(err)
}

// IdleShareGroup returns nil if the group is a share group without members, and
// what a client is to be told otherwise. create makes it one if there is no such group.
func (c *Coordinator) IdleShareGroup(ctx context.Context, group string, create bool) error {
	_, err := coord.Do(ctx, c.shards.Of(group), func(m *machine, tx *coord.Tx) (struct{}, error) {
		g, err := m.shareGroupFor(group, create)
		switch {
		case err != nil:
		case !g.empty():
			err = refuse(kerr.NonEmptyGroup, "group "+group+" has members")
		case m.groups[group] == nil:
			err = tx.Append(g.epochRecord(1, 0), g.targetEpochRecord(1))
		}
		return struct{}{}, err
	})
	return coded(err)
}

func appendShareMember(b []byte, m memberInfo) []byte {
	b = kbin.AppendCompactNullableString(b, m.rack)
	b = kbin.AppendCompactString(b, m.clientID)
	b = kbin.AppendCompactString(b, m.host)
	b = kbin.AppendCompactArrayLen(b, len(m.topics))
	for _, t := range m.topics {
		b = kbin.AppendCompactString(b, t)
	}
	return noTags(b)
}

func readShareMember(id string, b *kbin.Reader) memberInfo {
	m := memberInfo{id: id, rack: b.CompactNullableString(), clientID: b.CompactString(), host: b.CompactString()}
	for n := b.CompactArrayLen(); n > 0 && b.Ok(); n-- {
		m.topics = append(m.topics, b.CompactString())
	}
	readTags(b)
	return m
}

// share returns the session timeout and the heartbeat interval of a share group.
func (c Config) share(group string) (session, heartbeat time.Duration) {
	if c.OfShareGroup != nil {
		return c.OfShareGroup(group)
	}
	return c.ShareSessionTimeout, c.ShareHeartbeatInterval
}
