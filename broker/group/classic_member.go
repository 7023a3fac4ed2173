package group

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/coord"
)

// The methods below serve members of a consumer group that speak the classic
// protocol (KIP-848, online migration). To them the coordinator is the leader:
// JoinGroup takes the place of the heartbeat that reconciles, its generation is
// the member epoch, SyncGroup returns the assignment, and Heartbeat says when to
// rejoin.

// joinConsumerGroup answers a JoinGroup of such a member, always at once.
func (s *machine) joinConsumerGroup(tx *coord.Tx, g *consumerGroup, client Client, req *kmsg.JoinGroupRequest, reply *joinReply) {
	resp, err := s.joinAsClassic(tx, g, client, req)
	if err != nil {
		resp = joinError(req.MemberID, err)
	}
	reply.Send(tx, resp)
}

func (s *machine) joinAsClassic(tx *coord.Tx, g *consumerGroup, client Client, req *kmsg.JoinGroupRequest) (*kmsg.JoinGroupResponse, error) {
	id := req.MemberID
	if id == "" {
		id = s.newID()
	}
	switch {
	case g.members[id] == nil && len(g.members) >= s.cfg().ConsumerMaxSize:
		return nil, kerr.GroupMaxSizeReached
	case !g.supports(req.ProtocolType, req.Protocols):
		return nil, kerr.InconsistentGroupProtocol
	case req.MemberID == "" && req.InstanceID == nil && req.Version >= 4:
		return joinError(id, kerr.MemberIDRequired), nil
	}
	subscription, err := parseSubscription(req.Protocols[0].Metadata)
	if err != nil {
		return nil, kerr.InconsistentGroupProtocol
	}
	c := &change{g: g, seen: g.seen}
	was, replaced, err := c.admitClassic(id, req)
	if err != nil {
		return nil, err
	}
	last := g.members[replaced] // may be the last that speaks the consumer protocol
	m := s.advance(c, was, classicInfo(was, id, client, req, &subscription), replaced, s.heldByClassic(&subscription))
	if last != nil && s.mayDowngrade(g, last) {
		err = s.downgradeReplacing(tx, c, last, m)
	} else if err = tx.Append(c.records...); err == nil {
		s.settle(tx, c, nil, m, replaced)
		s.timers.Cancel(timerKey{timerMemberJoin, g.id, id})
		s.setTimer(tx, timerKey{timerHeartbeat, g.id, id}, m.classic.sessionTimeout)
		s.setTimer(tx, timerKey{timerMemberSync, g.id, id}, m.rebalanceTimeout)
	}
	if err != nil {
		return nil, err
	}
	resp := kmsg.NewPtrJoinGroupResponse()
	resp.MemberID, resp.Generation = id, m.epoch
	resp.ProtocolType, resp.Protocol = pointer(consumerProtocol), &m.classic.protocols[0].Name
	return resp, nil
}

// supports reports whether a classic member with these protocols could join
// those that are there.
func (g *consumerGroup) supports(protoType string, protocols []kmsg.JoinGroupRequestProtocol) bool {
	if protoType != consumerProtocol || len(protocols) == 0 {
		return false
	}
	return slices.ContainsFunc(protocols, func(p kmsg.JoinGroupRequestProtocol) bool {
		for _, m := range g.members {
			if m.classic != nil && !slices.ContainsFunc(m.classic.protocols, func(q kmsg.JoinGroupRequestProtocol) bool { return q.Name == p.Name }) {
				return false
			}
		}
		return true
	})
}

// admitClassic is [change.admit] for a JoinGroup. A static member without an id
// takes over its instance id from whoever has it.
func (c *change) admitClassic(id string, req *kmsg.JoinGroupRequest) (was *consumerMember, replaced string, err error) {
	g := c.g
	if req.InstanceID != nil {
		if req.MemberID != "" {
			was, err = g.check(id, req.InstanceID)
			return was, "", err
		}
		if holder := g.members[g.static[*req.InstanceID]]; holder != nil {
			return c.inherit(holder, id), holder.id, nil
		}
	}
	if was = g.members[id]; was == nil {
		was = &consumerMember{}
	}
	return was, "", nil
}

func classicInfo(was *consumerMember, id string, client Client, req *kmsg.JoinGroupRequest, subscription *kmsg.ConsumerMemberMetadata) memberInfo {
	info := was.memberInfo
	info.id, info.clientID, info.host = id, client.ID, client.Host
	if req.InstanceID != nil {
		info.instance = req.InstanceID
	}
	if subscription.Rack != nil {
		info.rack = subscription.Rack
	}
	info.topics, info.regex, info.assignor = sortedUnique(subscription.Topics), "", ""
	info.rebalanceTimeout = rebalanceTimeout(req)
	info.classic = &classicMember{millis(req.SessionTimeoutMillis), req.Protocols}
	return info
}

// heldByClassic is what the metadata of a classic member says it holds. One too
// old to say holds nothing when it joins: it has given up everything before.
func (s *machine) heldByClassic(subscription *kmsg.ConsumerMemberMetadata) partitionSet {
	held := partitionSet{}
	for _, t := range subscription.OwnedPartitions {
		if _, id, ok := s.topics.Partitions(t.Topic); ok {
			held[id] = append(held[id], t.Partitions...)
		}
	}
	return held
}

// downgradeReplacing lets a static member that now speaks the classic protocol
// replace the last one that did not: the group becomes a classic one.
func (s *machine) downgradeReplacing(tx *coord.Tx, c *change, last, heir *consumerMember) error {
	members := []*consumerMember{heir}
	for _, m := range c.g.sorted() {
		if m != last {
			members = append(members, m)
		}
	}
	target := map[string]partitionSet{heir.id: c.g.target[last.id]}
	records := c.records
	for _, m := range members {
		records = append(records, c.g.memberTombstones(m.id)...)
		if m != heir {
			target[m.id] = c.g.target[m.id]
		}
	}
	records = append(records, c.g.targetEpochTombstone(), c.g.tombstone())
	return s.downgrade(tx, c.g, records, members, target, stateStable)
}

// classicMemberOf returns the member a request of the classic protocol comes
// from, and refuses those who speak the consumer protocol.
func (g *consumerGroup) classicMemberOf(id string, instance *string, generation int32) (*consumerMember, error) {
	m, err := g.check(id, instance)
	switch {
	case err != nil:
		return nil, err
	case m.classic == nil:
		return nil, kerr.UnknownMemberID
	case m.epoch != generation:
		return nil, kerr.IllegalGeneration
	}
	return m, nil
}

// syncConsumerGroup answers a SyncGroup of a classic member.
func (s *machine) syncConsumerGroup(tx *coord.Tx, g *consumerGroup, req *kmsg.SyncGroupRequest, reply *syncReply) {
	m, err := g.classicMemberOf(req.MemberID, req.InstanceID, req.Generation)
	if err != nil {
		reply.Send(tx, syncError(err))
		return
	}
	protocol := m.classic.protocols[0]
	differ := func(theirs *string, ours string) bool { return theirs != nil && *theirs != ours }
	switch {
	case differ(req.ProtocolType, consumerProtocol), differ(req.Protocol, protocol.Name):
		reply.Send(tx, syncError(kerr.InconsistentGroupProtocol))
		return
	case g.epoch > m.epoch && m.state != memberUnrevoked:
		s.expectRejoin(tx, g, m)
		reply.Send(tx, syncError(kerr.RebalanceInProgress))
		return
	}
	s.timers.Cancel(timerKey{timerMemberSync, g.id, m.id})
	s.setTimer(tx, timerKey{timerHeartbeat, g.id, m.id}, m.classic.sessionTimeout)
	resp := kmsg.NewPtrSyncGroupResponse()
	resp.ProtocolType, resp.Protocol = pointer(consumerProtocol), &protocol.Name
	resp.MemberAssignment = s.formatAssignment(m.assigned.set(), protocol.Metadata)
	reply.Send(tx, resp)
}

// heartbeatConsumerGroup answers a Heartbeat of a classic member: it is to
// rejoin when there is a new target, when it has partitions to give up, and when
// those it waits for have become free.
func (s *machine) heartbeatConsumerGroup(tx *coord.Tx, g *consumerGroup, req *kmsg.HeartbeatRequest) error {
	m, err := g.classicMemberOf(req.MemberID, req.InstanceID, req.Generation)
	if err != nil {
		return err
	}
	s.setTimer(tx, timerKey{timerHeartbeat, g.id, m.id}, m.classic.sessionTimeout)
	if m.epoch < g.epoch || m.state == memberUnrevoked || (m.state == memberUnreleased && !g.waits(m)) {
		s.expectRejoin(tx, g, m)
		return kerr.RebalanceInProgress
	}
	return nil
}

// expectRejoin gives a member that was told to rejoin its rebalance timeout.
func (s *machine) expectRejoin(tx *coord.Tx, g *consumerGroup, m *consumerMember) {
	key := timerKey{timerMemberJoin, g.id, m.id}
	if _, running := s.timers.At(key); !running {
		s.setTimer(tx, key, m.rebalanceTimeout)
	}
}

// waits reports whether somebody else still holds a partition of m's target.
func (g *consumerGroup) waits(m *consumerMember) bool {
	for id, parts := range g.target[m.id] {
		for _, p := range parts {
			if owner, taken := g.owner[id][p]; taken && owner != m.id {
				return true
			}
		}
	}
	return false
}

// leaveConsumerGroup removes classic members.
func (s *machine) leaveConsumerGroup(tx *coord.Tx, g *consumerGroup, leaving []kmsg.LeaveGroupRequestMember) ([]kmsg.LeaveGroupResponseMember, error) {
	var records []coord.Record
	var gone []*consumerMember
	out := outcomes(leaving, func(l kmsg.LeaveGroupRequestMember) error {
		m, err := g.leaver(l)
		if err == nil && !slices.Contains(gone, m) {
			s.log.Info("group member left", "group", g.id, "member", m.id, "reason", reasonOf(l))
			records = append(records, g.memberTombstones(m.id)...)
			gone = append(gone, m)
		}
		return err
	})
	if len(gone) == 0 {
		return out, nil
	}
	if err := tx.Append(append(records, s.raised(g, gone...))...); err != nil {
		return nil, err
	}
	for _, m := range gone {
		s.cancelMember(g.id, m.id)
	}
	return out, nil
}

// leaver returns the member that leaves. An admin names a static member by its
// instance id alone.
func (g *consumerGroup) leaver(l kmsg.LeaveGroupRequestMember) (*consumerMember, error) {
	id := l.MemberID
	if id == "" && l.InstanceID != nil {
		id = g.static[*l.InstanceID]
	}
	m, err := g.check(id, l.InstanceID)
	if err == nil && m.classic == nil {
		return nil, kerr.UnknownMemberID
	}
	return m, err
}
