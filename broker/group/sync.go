package group

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/coord"
)

type syncReply = coord.Reply[*kmsg.SyncGroupResponse]

// syncGroup answers a SyncGroup request now, or when the leader has brought the
// assignment of the generation.
func (s *machine) syncGroup(tx *coord.Tx, req *kmsg.SyncGroupRequest, reply *syncReply) {
	g := s.groups[req.Group]
	switch {
	case g == nil || g.empty() || g.share != nil:
		reply.Send(tx, syncError(kerr.UnknownMemberID))
	case g.consumer != nil:
		s.syncConsumerGroup(tx, g.consumer, req, reply)
	default:
		s.syncClassic(tx, g.classic, req, reply)
	}
}

func (s *machine) syncClassic(tx *coord.Tx, g *classicGroup, req *kmsg.SyncGroupRequest, reply *syncReply) {
	if err := g.checkSync(req); err != nil {
		reply.Send(tx, syncError(err))
		return
	}
	m := g.members[req.MemberID]
	switch g.state {
	case statePreparing:
		reply.Send(tx, syncError(kerr.RebalanceInProgress))
	case stateStable:
		s.synced(g, m.id)
		reply.Send(tx, g.assigned(m))
	case stateCompleting:
		if m.sync != nil {
			m.sync.Send(tx, syncError(kerr.RebalanceInProgress)) // superseded
		}
		m.sync = reply
		s.synced(g, m.id)
		if m.id == g.leader {
			s.assign(tx, g, req)
		}
	}
}

func (g *classicGroup) checkSync(req *kmsg.SyncGroupRequest) error {
	if err := g.check(req.MemberID, req.InstanceID); err != nil {
		return err
	}
	differ := func(theirs, ours *string) bool { return theirs != nil && ours != nil && *theirs != *ours }
	switch {
	case req.Generation != g.generation:
		return kerr.IllegalGeneration
	case differ(req.ProtocolType, &g.protoType), differ(req.Protocol, g.protocol):
		return kerr.InconsistentGroupProtocol
	}
	return nil
}

// synced notes that a member of the generation has asked for its assignment.
func (s *machine) synced(g *classicGroup, id string) {
	delete(g.pendingSync, id)
	if len(g.pendingSync) == 0 {
		s.timers.Cancel(timerKey{kind: timerSync, group: g.id})
	}
}

// assign records the assignment the leader made, which makes the group stable,
// and hands it out.
func (s *machine) assign(tx *coord.Tx, g *classicGroup, req *kmsg.SyncGroupRequest) {
	assignment := make(map[string][]byte, len(req.GroupAssignment))
	for _, a := range req.GroupAssignment {
		assignment[a.MemberID] = a.MemberAssignment
	}
	if err := tx.Append(g.recordAssigned(assignment, tx.Now())); err != nil {
		s.log.Error("group assignment not recorded", "group", g.id, "generation", g.generation, "err", err)
		s.endSync(tx, g, err)
		s.prepareRebalance(tx, g, "assignment not recorded")
		return
	}
	for _, m := range g.sorted() {
		if m.sync != nil {
			m.sync.Send(tx, g.assigned(m))
			m.sync = nil
			s.setTimer(tx, timerKey{timerSession, g.id, m.id}, m.sessionTimeout)
		}
	}
}

// endSync fails everybody who waits for an assignment; they will rejoin.
func (s *machine) endSync(tx *coord.Tx, g *classicGroup, err error) {
	for _, m := range g.sorted() {
		m.assignment = nil
		if m.sync != nil {
			m.sync.Send(tx, syncError(err))
			m.sync = nil
			s.setTimer(tx, timerKey{timerSession, g.id, m.id}, m.sessionTimeout)
		}
	}
}

func (g *classicGroup) assigned(m *member) *kmsg.SyncGroupResponse {
	r := kmsg.NewPtrSyncGroupResponse()
	r.ProtocolType = &g.protoType
	r.Protocol = g.protocol
	r.MemberAssignment = m.assignment
	return r
}

func syncError(err error) *kmsg.SyncGroupResponse {
	r := kmsg.NewPtrSyncGroupResponse()
	r.ErrorCode = codeOf(err)
	return r
}
