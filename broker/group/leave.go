package group

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/coord"
)

// leaveGroup removes members and returns the outcome for each.
func (s *machine) leaveGroup(tx *coord.Tx, groupID string, leaving []kmsg.LeaveGroupRequestMember) ([]kmsg.LeaveGroupResponseMember, error) {
	g := s.groups[groupID]
	switch {
	case g != nil && g.consumer != nil:
		return s.leaveConsumerGroup(tx, g.consumer, leaving)
	case g == nil || g.classic == nil:
		return outcomes(leaving, func(kmsg.LeaveGroupRequestMember) error { return kerr.UnknownMemberID }), nil
	}
	c, before := g.classic, len(g.classic.members)
	out := outcomes(leaving, func(l kmsg.LeaveGroupRequestMember) error { return s.leaveClassic(tx, c, l) })
	if len(c.members) < before {
		s.membersLeft(tx, c, "members left")
	} else {
		s.maybeCompleteJoin(tx, c) // one that never joined may have been waited for
	}
	return out, nil
}

// leaveClassic removes one member. An admin names a static member by its
// instance id alone.
func (s *machine) leaveClassic(tx *coord.Tx, g *classicGroup, l kmsg.LeaveGroupRequestMember) error {
	id := l.MemberID
	if id == "" {
		var ok bool
		if l.InstanceID == nil {
			return kerr.UnknownMemberID
		}
		if id, ok = g.static[*l.InstanceID]; !ok {
			return kerr.UnknownMemberID
		}
	}
	if g.pendingJoin[id] {
		s.removeMember(g, id)
		return nil
	}
	if err := g.check(id, l.InstanceID); err != nil {
		return err
	}
	s.log.Info("group member left", "group", g.id, "member", id, "reason", reasonOf(l))
	s.dismiss(tx, g, g.members[id])
	return nil
}

func outcomes(leaving []kmsg.LeaveGroupRequestMember, leave func(kmsg.LeaveGroupRequestMember) error) []kmsg.LeaveGroupResponseMember {
	out := make([]kmsg.LeaveGroupResponseMember, 0, len(leaving))
	for _, l := range leaving {
		r := kmsg.NewLeaveGroupResponseMember()
		r.MemberID, r.InstanceID = l.MemberID, l.InstanceID
		r.ErrorCode = codeOf(leave(l))
		out = append(out, r)
	}
	return out
}

// reasonOf is what the client gave as its reason (KIP-800).
func reasonOf(l kmsg.LeaveGroupRequestMember) string {
	if l.Reason == nil || *l.Reason == "" {
		return "not provided"
	}
	return *l.Reason
}
