package group

import (
	"cmp"
	"maps"
	"slices"

	"github.com/morrowmq/morrow/broker/coord"
)

// change is what one heartbeat, or one classic JoinGroup, does to a consumer
// group: the group as it was before, and the records that change it.
type change struct {
	g       *consumerGroup
	records []coord.Record
	seen    int64 // version of Topics the group has been compared with, then
	moved   bool  // the member's position is another than before
}

// advance takes over what a member says about itself and leads it towards the
// target. was is the member before, the zero value for a new one; info is what
// it is now; replaced is the id of the member whose instance id it takes over,
// or "". held is as in [memberPosition.reconcile]. It returns the member after.
//
//  1. The group epoch rises if subscriptions or topics changed.
//  2. A target is computed if the epoch is ahead of it.
//  3. The member is reconciled with the target.
func (s *machine) advance(c *change, was *consumerMember, info memberInfo, replaced string, held partitionSet) *consumerMember {
	g := c.g
	now := &consumerMember{info, was.memberPosition}
	if !info.equal(was.memberInfo) {
		c.records = append(c.records, g.memberRecord(info))
	}
	epoch, targetEpoch, target := g.epoch, g.targetEpoch, g.target[cmp.Or(replaced, info.id)]
	raise := epoch == 0 || was.id == "" || !info.sameSubscription(was.memberInfo)
	if raise || epoch > targetEpoch || g.seen != s.topics.Version() {
		members := g.with(now, replaced)
		facts := s.facts(members)
		c.seen = facts.version
		if raise || facts.hash != g.topicsHash {
			epoch++
			c.records = append(c.records, g.epochRecord(epoch, facts.hash))
			s.log.Info("group rebalances", "group", g.id, "epoch", epoch, "member", info.id)
			s.metrics.rebalances.WithLabelValues(g.kind.protocol).Inc()
		}
		if epoch > targetEpoch {
			targetEpoch = epoch
			target = s.retarget(c, members, facts, epoch, replaced)[info.id]
		}
	}
	if g.kind.shares {
		now.memberPosition, c.moved = was.follow(target, targetEpoch)
	} else {
		now.memberPosition, c.moved = was.reconcile(target, targetEpoch, held, func(id topicID, p int32) bool {
			owner, taken := g.owner[id][p]
			return !taken || owner == info.id || owner == replaced
		})
	}
	if c.moved {
		c.records = append(c.records, g.positionRecord(info.id, now.memberPosition))
	}
	return now
}

// with returns the members of the group with m among them, new or replaced.
func (g *consumerGroup) with(m *consumerMember, replaced string) []*consumerMember {
	members := []*consumerMember{m}
	for _, other := range g.sorted() {
		if other.id != m.id && other.id != replaced {
			members = append(members, other)
		}
	}
	return members
}

// retarget computes the target assignment of an epoch and records how it
// differs from the present one.
func (s *machine) retarget(c *change, members []*consumerMember, facts topicFacts, epoch int32, replaced string) map[string]partitionSet {
	g := c.g
	assignees := make([]assignee, 0, len(members))
	for _, m := range members {
		previous, ok := g.target[m.id]
		if !ok && m == members[0] {
			previous = g.target[replaced]
		}
		assignees = append(assignees, facts.assignee(s, m, previous))
	}
	assign := assignor(assignShare)
	if !g.kind.shares {
		assign = assignors[s.assignorOf(members)]
	}
	target := assign(assignees, facts.partitions)
	for _, id := range slices.Sorted(maps.Keys(target)) {
		if old, ok := g.target[id]; !ok || !old.equal(target[id]) {
			c.records = append(c.records, g.targetRecord(id, target[id]))
		}
	}
	c.records = append(c.records, g.targetEpochRecord(epoch))
	return target
}

// assignorOf returns the assignor most members prefer, of equals the first in
// the configured order; without a preference, the first.
func (s *machine) assignorOf(members []*consumerMember) string {
	votes := map[string]int{}
	for _, m := range members {
		votes[m.assignor]++
	}
	configured := s.cfg().assignors()
	best := configured[0]
	for _, name := range configured[1:] {
		if votes[name] > votes[best] {
			best = name
		}
	}
	return best
}

func (i memberInfo) sameSubscription(j memberInfo) bool {
	return i.regex == j.regex && slices.Equal(i.topics, j.topics)
}

func (i memberInfo) equal(j memberInfo) bool {
	return i.sameSubscription(j) && i.id == j.id && samePointee(i.instance, j.instance) && samePointee(i.rack, j.rack) &&
		i.clientID == j.clientID && i.host == j.host && i.rebalanceTimeout == j.rebalanceTimeout && i.assignor == j.assignor &&
		i.classic.equal(j.classic)
}

func (c *classicMember) equal(d *classicMember) bool {
	if c == nil || d == nil {
		return c == d
	}
	return c.sessionTimeout == d.sessionTimeout && sameProtocols(c.protocols, d.protocols)
}

func samePointee(a, b *string) bool {
	return a == b || a != nil && b != nil && *a == *b
}
