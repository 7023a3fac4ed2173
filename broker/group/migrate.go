package group

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/coord"
)

// upgrade turns a running classic group into a consumer group, because a member
// that speaks the consumer protocol joins it (KIP-848, online migration). Its
// members stay, keep what they are assigned, and go on speaking the classic
// protocol. Nothing is written yet.
func (s *machine) upgrade(from *classicGroup) (*change, error) {
	cfg := s.cfg()
	why := ""
	switch {
	case !cfg.ConsumerMigrationPolicy.upgrade():
		why = "online upgrade is disabled by group.consumer.migration.policy"
	case !from.isConsumer():
		why = "its members do not use the consumer protocol type"
	case len(from.members) > cfg.ConsumerMaxSize:
		why = "it has more members than group.consumer.max.size allows"
	}
	if why != "" {
		return nil, cannotUpgrade(from.id, why)
	}
	g := newConsumerGroup(from.id, consumerKind)
	g.epoch, g.targetEpoch = from.generation, from.generation
	for _, m := range from.sorted() {
		cm, err := s.upgradeMember(from, m)
		if err != nil {
			return nil, err
		}
		g.put(cm)
		g.target[cm.id] = cm.assigned.set()
	}
	facts := s.facts(g.sorted())
	g.topicsHash, g.seen = facts.hash, facts.version

	c := &change{g: g, seen: g.seen, records: []coord.Record{classicTombstone(g.id), g.epochRecord(g.epoch, g.topicsHash)}}
	for _, m := range g.sorted() {
		c.records = append(c.records,
			g.memberRecord(m.memberInfo),
			g.targetRecord(m.id, g.target[m.id]),
			g.positionRecord(m.id, m.memberPosition))
	}
	c.records = append(c.records, g.targetEpochRecord(g.targetEpoch))
	return c, nil
}

func cannotUpgrade(id, why string) error {
	return refuse(kerr.GroupIDNotFound, "classic group "+id+" cannot become a consumer group: "+why)
}

func (s *machine) upgradeMember(from *classicGroup, m *member) (*consumerMember, error) {
	metadata := m.protocols[0].Metadata
	if from.protocol != nil {
		metadata = m.metadata(*from.protocol)
	}
	subscription, err := parseSubscription(metadata)
	if err != nil {
		return nil, cannotUpgrade(from.id, "the metadata of member "+m.id+" cannot be read")
	}
	assigned, err := s.parseAssignment(m.assignment, from.generation)
	if err != nil {
		return nil, cannotUpgrade(from.id, "member "+m.id+": "+err.Error())
	}
	return &consumerMember{
		memberInfo{
			id: m.id, instance: m.instance, rack: subscription.Rack, clientID: m.clientID, host: m.host,
			topics: sortedUnique(subscription.Topics), rebalanceTimeout: m.rebalanceTimeout,
			classic: &classicMember{m.sessionTimeout, m.protocols},
		},
		memberPosition{
			epoch: from.generation, previous: from.generation, state: memberStable, assigned: assigned, revoking: owned{},
		},
	}, nil
}

// abandon ends the calls and deadlines of a classic group that has become a
// consumer group: its members rejoin and find out.
func (s *machine) abandon(tx *coord.Tx, g *classicGroup) {
	for _, m := range g.sorted() {
		if m.join != nil {
			m.join.Send(tx, joinError(m.id, kerr.RebalanceInProgress))
		}
		if m.sync != nil {
			m.sync.Send(tx, syncError(kerr.RebalanceInProgress))
		}
		s.timers.Cancel(timerKey{timerSession, g.id, m.id})
	}
	for id := range g.pendingJoin {
		s.timers.Cancel(timerKey{timerSession, g.id, id})
	}
	s.timers.Cancel(timerKey{kind: timerJoin, group: g.id})
	s.timers.Cancel(timerKey{kind: timerSync, group: g.id})
}

// mayDowngrade reports whether a consumer group becomes a classic one when a
// member goes: it is the last to speak the consumer protocol.
func (s *machine) mayDowngrade(g *consumerGroup, last *consumerMember) bool {
	if last.classic != nil || !s.cfg().ConsumerMigrationPolicy.downgrade() || len(g.members) > s.cfg().MaxSize {
		return false
	}
	for _, m := range g.members {
		if m != last && m.classic == nil {
			return false
		}
	}
	return true
}

// downgradeWithout removes the last member that speaks the consumer protocol and
// turns the group into a classic one, which rebalances.
func (s *machine) downgradeWithout(tx *coord.Tx, g *consumerGroup, gone *consumerMember) error {
	rest := slices.DeleteFunc(g.sorted(), func(m *consumerMember) bool { return m == gone })
	if err := s.downgrade(tx, g, g.tombstones(), rest, g.target, statePreparing); err != nil {
		return err
	}
	s.prepareRebalance(tx, s.groups[g.id].classic, "last member with the consumer protocol left")
	return nil
}

// downgrade replaces a consumer group by a classic one with the given members,
// after the given records. It is stable, or about to rebalance.
func (s *machine) downgrade(tx *coord.Tx, g *consumerGroup, records []coord.Record, members []*consumerMember, target map[string]partitionSet, state classicState) error {
	to := newClassicGroup(g.id, tx.Now())
	to.generation, to.state = g.epoch, state
	for _, m := range members {
		to.add(&member{
			id: m.id, instance: m.instance, clientID: m.clientID, host: m.host,
			rebalanceTimeout: m.rebalanceTimeout, sessionTimeout: m.classic.sessionTimeout, protocols: m.classic.protocols,
		}, consumerProtocol)
	}
	protocol := to.vote()
	to.protocol = &protocol
	for _, m := range to.sorted() {
		metadata := m.metadata(protocol)
		m.assignment = s.formatAssignment(target[m.id], metadata)
	}
	if err := tx.Append(append(records, to.record(tx.Now()))...); err != nil {
		return err
	}
	s.log.Info("consumer group is now a classic group", "group", g.id, "members", len(members))
	for _, m := range g.members {
		s.cancelMember(g.id, m.id)
	}
	live := s.groups[g.id].classic
	for id, m := range live.members {
		live.update(m, func() { m.protocols = to.members[id].protocols })
		s.cancelMember(g.id, id)
		s.setTimer(tx, timerKey{timerSession, g.id, id}, m.sessionTimeout)
	}
	return nil
}

// parseSubscription reads what a consumer of the classic protocol says about
// itself.
func parseSubscription(metadata []byte) (kmsg.ConsumerMemberMetadata, error) {
	m := kmsg.NewConsumerMemberMetadata()
	err := m.ReadFrom(metadata)
	return m, err
}

// parseAssignment reads what the leader of a classic group assigned.
func (s *machine) parseAssignment(assignment []byte, since int32) (owned, error) {
	out := owned{}
	if len(assignment) == 0 {
		return out, nil
	}
	a := kmsg.NewConsumerMemberAssignment()
	if err := a.ReadFrom(assignment); err != nil {
		return nil, err
	}
	if len(a.UserData) > 0 {
		return nil, errCustomAssignor
	}
	for _, t := range a.Topics {
		if n, id, ok := s.topics.Partitions(t.Topic); ok {
			for _, p := range t.Partitions {
				if p >= 0 && p < n {
					out.add(id, p, since)
				}
			}
		}
	}
	return out, nil
}

// formatAssignment writes an assignment for a member of the classic protocol, in
// the version of its own metadata.
func (s *machine) formatAssignment(set partitionSet, metadata []byte) []byte {
	a := kmsg.NewConsumerMemberAssignment()
	if m, err := parseSubscription(metadata); err == nil {
		a.Version = m.Version
	}
	for id, name := range s.named(set) {
		t := kmsg.NewConsumerMemberAssignmentTopic()
		t.Topic, t.Partitions = name, set[id]
		a.Topics = append(a.Topics, t)
	}
	return a.AppendTo(nil)
}
