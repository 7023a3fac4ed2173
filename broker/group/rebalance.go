package group

import (
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/coord"
)

// minRejoinWait keeps a static member that allows no time to rejoin from keeping
// the shard busy until its session times out.
const minRejoinWait = time.Second

// rebalanceOrCompleteJoin starts a rebalance unless one has its join phase open;
// then it ends that phase if everybody is there.
func (s *machine) rebalanceOrCompleteJoin(tx *coord.Tx, g *classicGroup, reason string) {
	if g.state == statePreparing {
		s.maybeCompleteJoin(tx, g)
		return
	}
	s.prepareRebalance(tx, g, reason)
}

// prepareRebalance opens the join phase.
func (s *machine) prepareRebalance(tx *coord.Tx, g *classicGroup, reason string) {
	if g.state == stateCompleting {
		s.endSync(tx, g, kerr.RebalanceInProgress)
	}
	clear(g.pendingSync)
	s.timers.Cancel(timerKey{kind: timerSync, group: g.id})
	s.log.Info("group rebalances", "group", g.id, "from", g.state, "generation", g.generation, "reason", reason)
	s.metrics.rebalances.WithLabelValues(protocolClassic).Inc()

	g.enter(statePreparing, tx.Now())
	if g.initial {
		g.delay = s.cfg().InitialRebalanceDelay
		g.delayLeft = max(g.rebalanceTimeout()-g.delay, 0)
		g.joinedDuringDelay = false
		s.setTimer(tx, timerKey{kind: timerJoin, group: g.id}, g.delay)
		return
	}
	if g.allJoined() {
		s.completeJoin(tx, g)
		return
	}
	s.setTimer(tx, timerKey{kind: timerJoin, group: g.id}, g.rebalanceTimeout())
}

// maybeCompleteJoin ends the join phase when nobody is missing; that of a new
// group lasts as long as its delay says.
func (s *machine) maybeCompleteJoin(tx *coord.Tx, g *classicGroup) {
	if g.state == statePreparing && !g.initial && g.allJoined() {
		s.completeJoin(tx, g)
	}
}

// joinTimedOut ends the join phase, or extends that of a new group as long as
// members keep arriving.
func (s *machine) joinTimedOut(tx *coord.Tx, g *classicGroup) {
	if g.state != statePreparing {
		return
	}
	if g.initial && g.joinedDuringDelay && g.delayLeft > 0 {
		g.joinedDuringDelay = false
		delay := min(s.cfg().InitialRebalanceDelay, g.delayLeft)
		g.delayLeft = max(g.delayLeft-g.delay, 0)
		g.delay = delay
		s.setTimer(tx, timerKey{kind: timerJoin, group: g.id}, delay)
		return
	}
	s.completeJoin(tx, g)
}

// completeJoin ends the join phase: dynamic members who did not come are out,
// and everybody else learns the new generation. Without members the group
// becomes Empty, without a member who came it waits on.
func (s *machine) completeJoin(tx *coord.Tx, g *classicGroup) {
	s.timers.Cancel(timerKey{kind: timerJoin, group: g.id})
	for _, m := range g.sorted() {
		if m.join == nil && m.instance == nil {
			s.log.Info("group member did not rejoin", "group", g.id, "member", m.id)
			s.removeMember(g, m.id)
		}
	}
	if len(g.members) == 0 {
		s.becomeEmpty(tx, g)
		return
	}
	if !g.electJoined() {
		s.setTimer(tx, timerKey{kind: timerJoin, group: g.id}, max(g.rebalanceTimeout(), minRejoinWait))
		return
	}
	g.generation = nextGeneration(g.generation)
	protocol := g.vote()
	g.protocol = &protocol
	g.learnTopics()
	g.enter(stateCompleting, tx.Now())
	s.log.Info("group has a new generation", "group", g.id, "generation", g.generation,
		"members", len(g.members), "leader", g.leader, "protocol", protocol)

	clear(g.pendingSync)
	for _, m := range g.sorted() {
		if m.join != nil {
			m.join.Send(tx, g.joined(m, m.id == g.leader))
			g.update(m, func() { m.join = nil })
		}
		s.setTimer(tx, timerKey{timerSession, g.id, m.id}, m.sessionTimeout)
		m.fresh = false
		g.pendingSync[m.id] = true
	}
	s.setTimer(tx, timerKey{kind: timerSync, group: g.id}, g.rebalanceTimeout())
}

// becomeEmpty starts a generation without members. If it cannot be recorded,
// the previous one comes back after a restart and times out again, which does
// no harm: nobody is in it.
func (s *machine) becomeEmpty(tx *coord.Tx, g *classicGroup) {
	g.generation = nextGeneration(g.generation)
	g.protocol = nil
	g.leader = ""
	g.learnTopics()
	g.enter(stateEmpty, tx.Now())
	s.log.Info("group is empty", "group", g.id, "generation", g.generation)
	if err := tx.Append(g.record(tx.Now())); err != nil {
		s.log.Warn("empty group not recorded", "group", g.id, "err", err)
	}
}

// syncTimedOut throws out members of a generation who never asked for their
// assignment.
func (s *machine) syncTimedOut(tx *coord.Tx, g *classicGroup) {
	if len(g.pendingSync) == 0 || (g.state != stateCompleting && g.state != stateStable) {
		return
	}
	for _, m := range g.sorted() {
		if g.pendingSync[m.id] {
			s.log.Info("group member did not sync", "group", g.id, "member", m.id)
			s.removeMember(g, m.id)
		}
	}
	s.prepareRebalance(tx, g, "members did not sync")
}

// expireClassic handles a deadline of the group or of one of its members.
func (s *machine) expireClassic(tx *coord.Tx, g *classicGroup, key timerKey) {
	switch key.kind {
	case timerJoin:
		s.joinTimedOut(tx, g)
	case timerSync:
		s.syncTimedOut(tx, g)
	case timerSession:
		s.sessionTimedOut(tx, g, key.member)
	}
}

func (s *machine) sessionTimedOut(tx *coord.Tx, g *classicGroup, id string) {
	m := g.members[id]
	switch {
	case g.pendingJoin[id]:
		g.remove(id)
		s.maybeCompleteJoin(tx, g)
	case m == nil || m.heard():
	default:
		s.log.Info("group member timed out", "group", g.id, "member", id)
		s.dismiss(tx, g, m)
		s.membersLeft(tx, g, "session of "+id+" timed out")
	}
}

// dismiss removes a member and ends its waiting calls.
func (s *machine) dismiss(tx *coord.Tx, g *classicGroup, m *member) {
	if m.join != nil {
		m.join.Send(tx, joinError("", kerr.UnknownMemberID))
	}
	if m.sync != nil {
		m.sync.Send(tx, syncError(kerr.UnknownMemberID))
	}
	s.removeMember(g, m.id)
}

func (s *machine) removeMember(g *classicGroup, id string) {
	g.remove(id)
	s.timers.Cancel(timerKey{timerSession, g.id, id})
}

// membersLeft lets the group react to members that are gone.
func (s *machine) membersLeft(tx *coord.Tx, g *classicGroup, reason string) {
	if g.state == stateStable || g.state == stateCompleting {
		s.prepareRebalance(tx, g, reason)
		return
	}
	s.maybeCompleteJoin(tx, g)
}

// resumeClassic sets the deadlines of a group that was just loaded.
func (s *machine) resumeClassic(tx *coord.Tx, g *classicGroup) {
	for _, m := range g.members {
		s.setTimer(tx, timerKey{timerSession, g.id, m.id}, m.sessionTimeout)
	}
	switch {
	case g.state == statePreparing:
		s.prepareRebalance(tx, g, "loaded in a rebalance")
	case len(g.members) > s.cfg().MaxSize:
		s.prepareRebalance(tx, g, "loaded with more members than group.max.size")
	}
}

// keepAliveByCommit treats an offset commit as a sign of life.
func (s *machine) keepAliveByCommit(tx *coord.Tx, g *classicGroup, id string) {
	if m := g.members[id]; m != nil && (g.state == stateStable || g.state == statePreparing) {
		s.setTimer(tx, timerKey{timerSession, g.id, id}, m.sessionTimeout)
	}
}

// nextGeneration counts on, from the start again after the largest.
func nextGeneration(g int32) int32 { return max(g+1, 0) }

// heartbeat answers a Heartbeat request.
func (s *machine) heartbeat(tx *coord.Tx, req *kmsg.HeartbeatRequest) error {
	g := s.groups[req.Group]
	switch {
	case g == nil:
		return kerr.UnknownMemberID
	case g.consumer != nil:
		return s.heartbeatConsumerGroup(tx, g.consumer, req)
	case g.classic == nil:
		return kerr.UnknownMemberID
	}
	c := g.classic
	if err := c.check(req.MemberID, req.InstanceID); err != nil {
		return err
	}
	if req.Generation != c.generation {
		return kerr.IllegalGeneration
	}
	s.setTimer(tx, timerKey{timerSession, c.id, req.MemberID}, c.members[req.MemberID].sessionTimeout)
	if c.state == statePreparing {
		return kerr.RebalanceInProgress
	}
	return nil
}

// durationMillis is for fields of records and responses.
func durationMillis(d time.Duration) int32 { return int32(d / time.Millisecond) }
