package group

import (
	"slices"
	"time"

	"github.com/morrowmq/morrow/broker/coord"
)

// retryExpel is when a member whose time is up is looked at again if its removal
// could not be recorded.
const retryExpel = time.Second

// expireConsumer handles a deadline of a member: it did not heartbeat, did not
// give up partitions, or, speaking the classic protocol, did not rejoin or sync.
func (s *machine) expireConsumer(tx *coord.Tx, g *consumerGroup, key timerKey) {
	m := g.members[key.member]
	if m == nil || (key.kind == timerRevoke && m.state != memberUnrevoked) {
		return
	}
	s.log.Info("group member timed out", "group", g.id, "member", m.id, "waited_for", key.kind)
	if err := s.expel(tx, g, m); err != nil {
		s.log.Warn("removal of group member not recorded, will retry", "group", g.id, "member", m.id, "err", err)
		s.setTimer(tx, key, retryExpel)
	}
}

// expel removes a member for good, which changes the target of the others.
func (s *machine) expel(tx *coord.Tx, g *consumerGroup, m *consumerMember) error {
	if s.mayDowngrade(g, m) && len(g.members) > 1 {
		return s.downgradeWithout(tx, g, m)
	}
	records := append(g.memberTombstones(m.id), s.raised(g, m))
	if err := tx.Append(records...); err != nil {
		return err
	}
	s.cancelMember(g.id, m.id)
	return nil
}

// raised is the record of the next group epoch, without the given members.
func (s *machine) raised(g *consumerGroup, without ...*consumerMember) coord.Record {
	rest := slices.DeleteFunc(g.sorted(), func(m *consumerMember) bool { return slices.Contains(without, m) })
	s.metrics.rebalances.WithLabelValues(g.kind.protocol).Inc()
	return g.epochRecord(g.epoch+1, s.facts(rest).hash)
}

// resumeConsumer sets the deadlines of a group that was just loaded or converted.
func (s *machine) resumeConsumer(tx *coord.Tx, g *consumerGroup) {
	for _, m := range g.sorted() {
		s.setTimer(tx, timerKey{timerHeartbeat, g.id, m.id}, s.sessionOf(g, m))
		if m.state == memberUnrevoked && m.classic == nil {
			s.setTimer(tx, timerKey{timerRevoke, g.id, m.id}, m.rebalanceTimeout)
		}
	}
}

func (s *machine) sessionOf(g *consumerGroup, m *consumerMember) time.Duration {
	if m.classic != nil {
		return m.classic.sessionTimeout
	}
	timing := s.cfg().consumer
	if g.kind.shares {
		timing = s.cfg().share
	}
	session, _ := timing(g.id)
	return session
}

// cancelMember removes every deadline a member of a consumer group may have.
func (s *machine) cancelMember(group, id string) {
	for _, kind := range []timerKind{timerHeartbeat, timerRevoke, timerMemberJoin, timerMemberSync} {
		s.timers.Cancel(timerKey{kind, group, id})
	}
}
