package group

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/coord"
)

// ConsumerGroupHeartbeat serves key 68, versions 0 and 1 (KIP-848): the one
// request by which a consumer joins, stays, changes its subscription,
// acknowledges revocations and leaves.
func (c *Coordinator) ConsumerGroupHeartbeat(ctx context.Context, client Client, req *kmsg.ConsumerGroupHeartbeatRequest) *kmsg.ConsumerGroupHeartbeatResponse {
	resp, err := c.consumerHeartbeat(ctx, client, req)
	if err != nil {
		resp = kmsg.NewPtrConsumerGroupHeartbeatResponse()
		resp.ErrorCode, resp.ErrorMessage = codeOf(err), messageOf(err)
	}
	resp.Version = req.Version
	return resp
}

func (c *Coordinator) consumerHeartbeat(ctx context.Context, client Client, req *kmsg.ConsumerGroupHeartbeatRequest) (*kmsg.ConsumerGroupHeartbeatResponse, error) {
	if err := checkHeartbeat(req, c.cfg().assignors()); err != nil {
		return nil, err
	}
	return coord.Do(ctx, c.shards.Of(req.Group), func(m *machine, tx *coord.Tx) (*kmsg.ConsumerGroupHeartbeatResponse, error) {
		if req.MemberEpoch == epochLeave || req.MemberEpoch == epochStaticLeave {
			return m.consumerLeave(tx, req)
		}
		return m.consumerHeartbeat(tx, client, req)
	})
}

// checkHeartbeat refuses what no state of any group could make right.
func checkHeartbeat(req *kmsg.ConsumerGroupHeartbeatRequest, assignors []string) error {
	invalid := func(reason string) error { return refuse(kerr.InvalidRequest, reason) }
	blank := func(s *string) bool { return s != nil && *s == "" }
	needsID := req.Version >= 1 || req.MemberEpoch != epochJoin
	switch {
	case req.Group == "":
		return invalid("GroupId can't be empty.")
	case blank(req.InstanceID):
		return invalid("InstanceId can't be empty.")
	case blank(req.RackID):
		return invalid("RackId can't be empty.")
	case req.MemberEpoch < epochStaticLeave:
		return invalid("MemberEpoch is invalid.")
	case needsID && req.MemberID == "":
		return invalid("MemberId can't be empty.")
	case req.MemberEpoch == epochStaticLeave && req.InstanceID == nil:
		return invalid("InstanceId can't be null.")
	case req.ServerAssignor != nil && !slices.Contains(assignors, *req.ServerAssignor):
		return refuse(kerr.UnsupportedAssignor, "ServerAssignor "+*req.ServerAssignor+" is not supported.")
	}
	if req.MemberEpoch == epochJoin {
		switch {
		case req.RebalanceTimeoutMillis == -1:
			return invalid("RebalanceTimeoutMs must be provided in first request.")
		case req.Topics == nil || len(req.Topics) > 0:
			return invalid("TopicPartitions must be empty when (re-)joining.")
		case req.SubscribedTopicNames == nil && req.SubscribedTopicRegex == nil:
			return invalid("Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.")
		}
	}
	if expression := stringOf(req.SubscribedTopicRegex); expression != "" {
		_, err := compile(expression)
		return err
	}
	return nil
}

// consumerHeartbeat handles a member that joins or stays.
func (s *machine) consumerHeartbeat(tx *coord.Tx, client Client, req *kmsg.ConsumerGroupHeartbeatRequest) (*kmsg.ConsumerGroupHeartbeatResponse, error) {
	c, formerly, err := s.consumerGroupFor(req.Group, req.MemberEpoch == epochJoin)
	if err != nil {
		return nil, err
	}
	id, held := req.MemberID, heldBy(req.Topics)
	if id == "" {
		id = s.newID()
	}
	if c.g.members[id] == nil && len(c.g.members) >= s.cfg().ConsumerMaxSize {
		return nil, refuse(kerr.GroupMaxSizeReached, "the group has as many members as group.consumer.max.size allows")
	}
	was, replaced, err := c.admit(id, req, held)
	if err != nil {
		return nil, err
	}
	m := s.advance(c, was, heartbeatInfo(was, id, client, req), replaced, held)
	if err := tx.Append(c.records...); err != nil {
		return nil, err
	}
	s.settle(tx, c, formerly, m, replaced)
	session, heartbeat := s.cfg().consumer(req.Group)
	s.setTimer(tx, timerKey{timerHeartbeat, req.Group, id}, session)

	resp := kmsg.NewPtrConsumerGroupHeartbeatResponse()
	resp.MemberID, resp.MemberEpoch = &m.id, m.epoch
	resp.HeartbeatIntervalMillis = durationMillis(heartbeat)
	if fullHeartbeat(req) || c.moved && !m.assigned.samePartitions(was.assigned) {
		resp.Assignment = heartbeatAssignment(m.assigned)
	}
	return resp, nil
}

// fullHeartbeat reports whether the member said everything about itself, as it
// does when it joins or lost an answer; it then wants to know everything, too.
func fullHeartbeat(req *kmsg.ConsumerGroupHeartbeatRequest) bool {
	return req.MemberEpoch == epochJoin || req.RebalanceTimeoutMillis != -1 &&
		(req.SubscribedTopicNames != nil || req.SubscribedTopicRegex != nil) && req.Topics != nil
}

// consumerGroupFor returns the group as a consumer group, with the records that
// make it one. A classic group without members becomes one freely, one with
// members if the migration policy lets it; formerly is what it was.
func (s *machine) consumerGroupFor(id string, create bool) (c *change, formerly *classicGroup, err error) {
	g := s.groups[id]
	switch {
	case g != nil && g.consumer != nil:
		return &change{g: g.consumer, seen: g.consumer.seen}, nil, nil
	case !create || g != nil && g.share != nil:
		return nil, nil, refuse(kerr.GroupIDNotFound, "group "+id+" is not a consumer group")
	case g == nil || g.classic == nil:
		return &change{g: newConsumerGroup(id, consumerKind)}, nil, nil
	case g.empty():
		return &change{g: newConsumerGroup(id, consumerKind), records: []coord.Record{classicTombstone(id)}}, g.classic, nil
	}
	c, err = s.upgrade(g.classic)
	return c, g.classic, err
}

// admit returns the member a heartbeat comes from, the zero member if it is new,
// and whom it replaces: a static member that left for a while, or that spoke the
// classic protocol, and whose position it takes over.
func (c *change) admit(id string, req *kmsg.ConsumerGroupHeartbeatRequest, held partitionSet) (was *consumerMember, replaced string, err error) {
	g := c.g
	if req.MemberEpoch != epochJoin {
		if was, err = g.check(id, req.InstanceID); err != nil {
			return nil, "", err
		}
		return was, "", was.checkEpoch(req.MemberEpoch, held)
	}
	if req.InstanceID != nil {
		if holder := g.members[g.static[*req.InstanceID]]; holder != nil && holder.id != id {
			if holder.classic == nil && holder.epoch != epochStaticLeave {
				return nil, "", refuse(kerr.UnreleasedInstanceID, "instance id "+*req.InstanceID+" belongs to member "+holder.id)
			}
			return c.inherit(holder, id), holder.id, nil
		}
	}
	if was = g.members[id]; was == nil {
		was = &consumerMember{}
	}
	return was, "", nil
}

// inherit writes a new member in the place of a static one and returns it.
func (c *change) inherit(holder *consumerMember, id string) *consumerMember {
	heir := *holder
	heir.id, heir.epoch, heir.previous = id, 0, 0
	if heir.state == memberUnrevoked {
		heir.state, heir.revoking = memberStable, owned{}
	}
	c.records = append(c.records, c.g.memberTombstones(holder.id)...)
	c.records = append(c.records,
		c.g.memberRecord(heir.memberInfo),
		c.g.targetRecord(id, c.g.target[holder.id]),
		c.g.positionRecord(id, heir.memberPosition))
	return &heir
}

// checkEpoch fences a member that is not where the coordinator led it. The
// previous epoch will do if the answer that raised it may have been lost.
func (m *consumerMember) checkEpoch(epoch int32, held partitionSet) error {
	switch {
	case epoch == m.epoch:
		return nil
	case epoch < m.epoch && epoch == m.previous && held.subsetOf(m.assigned):
		return nil
	}
	return refuse(kerr.FencedMemberEpoch, "the member must give up its partitions and join again")
}

// heartbeatInfo merges what a heartbeat says into what is known. Null means
// unchanged.
func heartbeatInfo(was *consumerMember, id string, client Client, req *kmsg.ConsumerGroupHeartbeatRequest) memberInfo {
	info := was.memberInfo
	info.id, info.clientID, info.host, info.classic = id, client.ID, client.Host, nil
	if req.InstanceID != nil {
		info.instance = req.InstanceID
	}
	if req.RackID != nil {
		info.rack = req.RackID
	}
	if req.RebalanceTimeoutMillis != -1 {
		info.rebalanceTimeout = millis(req.RebalanceTimeoutMillis)
	}
	if req.ServerAssignor != nil {
		info.assignor = *req.ServerAssignor
	}
	if req.SubscribedTopicNames != nil {
		info.topics = sortedUnique(req.SubscribedTopicNames)
	}
	if req.SubscribedTopicRegex != nil {
		info.regex = *req.SubscribedTopicRegex
	}
	return info
}

// settle follows up on a change once it is written: timers, and calls that were
// waiting in the group it was converted from.
func (s *machine) settle(tx *coord.Tx, c *change, formerly *classicGroup, m *consumerMember, replaced string) {
	g := s.groups[c.g.id].of(c.g.kind)
	g.seen = c.seen
	if replaced != "" {
		s.cancelMember(g.id, replaced)
	}
	if formerly != nil {
		s.abandon(tx, formerly)
		s.resumeConsumer(tx, g)
	}
	switch revoke := (timerKey{timerRevoke, g.id, m.id}); {
	case m.classic != nil || m.state != memberUnrevoked:
		s.timers.Cancel(revoke)
	case c.moved:
		s.setTimer(tx, revoke, m.rebalanceTimeout)
	}
}

// consumerLeave handles a member that leaves for good, or, when static, for a while.
func (s *machine) consumerLeave(tx *coord.Tx, req *kmsg.ConsumerGroupHeartbeatRequest) (*kmsg.ConsumerGroupHeartbeatResponse, error) {
	g := s.groups[req.Group]
	if g == nil || g.consumer == nil {
		return nil, refuse(kerr.GroupIDNotFound, "group "+req.Group+" is not a consumer group")
	}
	m, err := g.consumer.check(req.MemberID, req.InstanceID)
	if err != nil {
		return nil, err
	}
	s.log.Info("group member left", "group", g.id, "member", m.id, "epoch", req.MemberEpoch)
	if req.MemberEpoch == epochStaticLeave {
		away := m.memberPosition
		away.epoch, away.revoking = epochStaticLeave, owned{}
		err = tx.Append(g.consumer.positionRecord(m.id, away))
		s.timers.Cancel(timerKey{timerRevoke, g.id, m.id})
	} else {
		err = s.expel(tx, g.consumer, m)
	}
	if err != nil {
		return nil, err
	}
	resp := kmsg.NewPtrConsumerGroupHeartbeatResponse()
	resp.MemberID, resp.MemberEpoch = &m.id, req.MemberEpoch
	return resp, nil
}

// heldBy is what a member says it holds; nil when it did not say.
func heldBy(topics []kmsg.ConsumerGroupHeartbeatRequestTopic) partitionSet {
	if topics == nil {
		return nil
	}
	held := partitionSet{}
	for _, t := range topics {
		held[t.TopicID] = append(held[t.TopicID], t.Partitions...)
	}
	return held
}

func heartbeatAssignment(assigned owned) *kmsg.ConsumerGroupHeartbeatResponseAssignment {
	a := kmsg.NewConsumerGroupHeartbeatResponseAssignment()
	set := assigned.set()
	for _, id := range set.topics() {
		t := kmsg.NewConsumerGroupHeartbeatResponseAssignmentTopic()
		t.TopicID, t.Partitions = id, set[id]
		a.Topics = append(a.Topics, t)
	}
	return &a
}
