package group

import (
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/coord"
)

// Client is who sent a request, as the protocol server knows it.
type Client struct {
	ID   string // client.id, may be empty
	Host string // address as Kafka prints it: a slash, then the IP
}

type joinReply = coord.Reply[*kmsg.JoinGroupResponse]

// newMemberJoinMillis bounds how long a member that has never been answered may
// wait in a join phase: it cannot send heartbeats, and a client that gave up and
// tries again would leave members behind otherwise.
const newMemberJoinMillis = 5 * 60 * 1000

// joinGroup answers a JoinGroup request now, or when the join phase ends.
func (s *machine) joinGroup(tx *coord.Tx, c Client, req *kmsg.JoinGroupRequest, reply *joinReply) {
	g := s.groups[req.Group]
	if g != nil && g.share != nil {
		reply.Send(tx, joinError(req.MemberID, kerr.InconsistentGroupProtocol))
		return
	}
	if g != nil && g.consumer != nil {
		if !g.consumer.empty() {
			s.joinConsumerGroup(tx, g.consumer, c, req, reply)
			return
		}
		if err := tx.Append(g.consumer.tombstones()...); err != nil {
			reply.Send(tx, joinError("", err))
			return
		}
		g = s.groups[req.Group] // a simple group if it has offsets, else gone
	}
	if g == nil && req.MemberID != "" {
		reply.Send(tx, joinError(req.MemberID, kerr.UnknownMemberID))
		return
	}
	g = s.ensure(req.Group)
	created := g.classic == nil
	if created {
		g.classic = newClassicGroup(g.id, tx.Now())
	}
	s.joinClassic(tx, g.classic, c, req, reply)
	if created && len(g.classic.members) == 0 && len(g.classic.pendingJoin) == 0 {
		g.classic = nil // the member was refused
		s.dropIfVoid(g)
	}
}

func (s *machine) joinClassic(tx *coord.Tx, g *classicGroup, c Client, req *kmsg.JoinGroupRequest, reply *joinReply) {
	switch {
	case !s.accepts(g, req.MemberID):
		reply.Send(tx, joinError("", kerr.GroupMaxSizeReached))
		s.removeMember(g, req.MemberID)
		s.maybeCompleteJoin(tx, g)
	case !g.supports(req.ProtocolType, req.Protocols):
		reply.Send(tx, joinError(req.MemberID, kerr.InconsistentGroupProtocol))
	case req.MemberID == "":
		s.joinNew(tx, g, c, req, reply)
	case g.pendingJoin[req.MemberID] && req.InstanceID == nil:
		s.addMember(tx, g, c, req, req.MemberID, reply)
	default:
		if err := g.check(req.MemberID, req.InstanceID); err != nil {
			reply.Send(tx, joinError(req.MemberID, err))
			return
		}
		s.rejoin(tx, g, g.members[req.MemberID], req, reply)
	}
}

// accepts applies group.max.size. During a join phase those who wait count, not
// the members: the limit may have been lowered, and then the last to rejoin are
// the ones who have to go.
func (s *machine) accepts(g *classicGroup, id string) bool {
	m, limit := g.members[id], s.cfg().MaxSize
	switch g.state {
	case stateEmpty:
		return true
	case statePreparing:
		return m != nil && m.join != nil || g.awaiting < limit
	default:
		return m != nil || len(g.members) < limit
	}
}

// memberID makes the id of a member that has none. It begins with what the
// client calls itself, as far as there is room: records hold ids of 32767 bytes.
func (s *machine) memberID(prefix string) string {
	const room = 30_000
	if len(prefix) > room {
		prefix = strings.ToValidUTF8(prefix[:room], "")
	}
	return prefix + "-" + s.newID()
}

// joinNew handles a member that has no id yet.
func (s *machine) joinNew(tx *coord.Tx, g *classicGroup, c Client, req *kmsg.JoinGroupRequest, reply *joinReply) {
	if req.InstanceID != nil {
		id := s.memberID(*req.InstanceID)
		if old, ok := g.static[*req.InstanceID]; ok {
			s.replaceStatic(tx, g, g.members[old], id, req, reply)
		} else {
			s.addMember(tx, g, c, req, id, reply)
		}
		return
	}
	id := s.memberID(c.ID)
	if req.Version < 4 {
		s.addMember(tx, g, c, req, id, reply)
		return
	}
	// KIP-394: the client must prove that it got the id before it counts as a
	// member, lest every retry of a lost answer adds one.
	g.pendingJoin[id] = true
	s.setTimer(tx, timerKey{timerSession, g.id, id}, millis(req.SessionTimeoutMillis))
	reply.Send(tx, joinError(id, kerr.MemberIDRequired))
}

func (s *machine) addMember(tx *coord.Tx, g *classicGroup, c Client, req *kmsg.JoinGroupRequest, id string, reply *joinReply) {
	if g.state == statePreparing && g.initial {
		g.joinedDuringDelay = true
	}
	g.add(&member{
		id:               id,
		instance:         req.InstanceID,
		clientID:         c.ID,
		host:             c.Host,
		rebalanceTimeout: rebalanceTimeout(req),
		sessionTimeout:   millis(req.SessionTimeoutMillis),
		protocols:        req.Protocols,
		fresh:            true,
		join:             reply,
	}, req.ProtocolType)
	s.setTimer(tx, timerKey{timerSession, g.id, id}, millis(newMemberJoinMillis))
	s.rebalanceOrCompleteJoin(tx, g, "member "+id+" joins")
}

// rejoin handles a member that is known.
func (s *machine) rejoin(tx *coord.Tx, g *classicGroup, m *member, req *kmsg.JoinGroupRequest, reply *joinReply) {
	same := sameProtocols(m.protocols, req.Protocols)
	switch {
	case g.state == stateEmpty:
		reply.Send(tx, joinError(m.id, kerr.UnknownMemberID))
	case g.state == stateCompleting && same:
		// It may not have got the first answer: give it again.
		reply.Send(tx, g.joined(m, m.id == g.leader))
	case g.state == stateStable && same && m.id != g.leader:
		reply.Send(tx, g.joined(m, false))
	default:
		// A leader that rejoins wants a rebalance, for instance because a topic
		// has grown, which no member's metadata shows.
		s.updateMember(tx, g, m, req, reply)
		s.rebalanceOrCompleteJoin(tx, g, "member "+m.id+" rejoins")
	}
}

// updateMember takes over what a rejoining member says and lets it wait. An
// earlier call of the same member that still waits is superseded.
func (s *machine) updateMember(tx *coord.Tx, g *classicGroup, m *member, req *kmsg.JoinGroupRequest, reply *joinReply) {
	if m.join != nil {
		m.join.Send(tx, joinError(m.id, kerr.RebalanceInProgress))
	}
	g.update(m, func() {
		m.protocols = req.Protocols
		m.rebalanceTimeout = rebalanceTimeout(req)
		m.sessionTimeout = millis(req.SessionTimeoutMillis)
		m.join = reply
	})
}

// replaceStatic lets a restarted static member take the place of its former
// self (KIP-345). In a stable group whose protocol stays the same this needs no
// rebalance: the new id inherits the assignment.
func (s *machine) replaceStatic(tx *coord.Tx, g *classicGroup, old *member, id string, req *kmsg.JoinGroupRequest, reply *joinReply) {
	formerLeader := g.leader
	heir := *old
	heir.id, heir.join, heir.sync, heir.fresh = id, nil, nil, false
	heir.protocols = req.Protocols
	heir.rebalanceTimeout = rebalanceTimeout(req)
	heir.sessionTimeout = millis(req.SessionTimeoutMillis)
	g.replace(old, &heir)

	quiet := g.state == stateStable && g.vote() == *g.protocol
	if quiet {
		if err := tx.Append(g.record(tx.Now())); err != nil {
			g.replace(&heir, old)
			reply.Send(tx, joinError("", err))
			return
		}
	}
	s.fence(tx, old)
	s.timers.Cancel(timerKey{timerSession, g.id, old.id})
	s.setTimer(tx, timerKey{timerSession, g.id, id}, heir.sessionTimeout)

	switch {
	case quiet && req.Version >= 9: // KIP-814: the leader learns that it need not assign
		answer := g.joined(&heir, id == g.leader)
		answer.SkipAssignment = id == g.leader
		reply.Send(tx, answer)
	case quiet:
		// An older client that found itself to be the leader would assign.
		answer := g.joined(&heir, false)
		answer.LeaderID = formerLeader
		reply.Send(tx, answer)
	case g.state == stateCompleting:
		// The leader is assigning to the old id: let it start again.
		g.update(&heir, func() { heir.join = reply })
		s.prepareRebalance(tx, g, "static member "+id+" replaces "+old.id)
	default:
		g.update(&heir, func() { heir.join = reply })
		s.rebalanceOrCompleteJoin(tx, g, "static member "+id+" replaces "+old.id+" with other protocols")
	}
}

// fence tells the calls of a replaced member that somebody else has its place.
func (s *machine) fence(tx *coord.Tx, m *member) {
	if m.join != nil {
		m.join.Send(tx, joinError(m.id, kerr.FencedInstanceID))
	}
	if m.sync != nil {
		m.sync.Send(tx, syncError(kerr.FencedInstanceID))
	}
}

// joined is the answer to a member of the current generation; the leader gets
// to see all of them.
func (g *classicGroup) joined(m *member, withMembers bool) *kmsg.JoinGroupResponse {
	r := kmsg.NewPtrJoinGroupResponse()
	r.Generation = g.generation
	r.ProtocolType = &g.protoType
	r.Protocol = g.protocol
	r.LeaderID = g.leader
	r.MemberID = m.id
	if withMembers {
		for _, m := range g.sorted() {
			rm := kmsg.NewJoinGroupResponseMember()
			rm.MemberID, rm.InstanceID = m.id, m.instance
			rm.ProtocolMetadata = m.metadata(*g.protocol)
			r.Members = append(r.Members, rm)
		}
	}
	return r
}

func joinError(memberID string, err error) *kmsg.JoinGroupResponse {
	r := kmsg.NewPtrJoinGroupResponse()
	r.Generation = -1
	r.MemberID = memberID
	r.ErrorCode = codeOf(err)
	return r
}

// rebalanceTimeout is the session timeout for clients too old to know better.
func rebalanceTimeout(req *kmsg.JoinGroupRequest) time.Duration {
	if req.Version < 1 {
		return millis(req.SessionTimeoutMillis)
	}
	return millis(req.RebalanceTimeoutMillis)
}
