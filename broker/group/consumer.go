package group

import (
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/coord"
)

type topicID = [16]byte

// consumerGroup is a consumer group of KIP-848 or a share group of KIP-932: the
// coordinator computes a target assignment and leads each member towards it. All
// of it is in the journal.
//
// Three epochs tell how far things are: the group epoch counts the changes of
// members and topics, the target epoch is the group epoch the target was computed
// for, and a member's epoch is the target epoch it has reached.
type consumerGroup struct {
	id          string
	kind        *groupKind
	epoch       int32
	topicsHash  uint64 // of the topics subscribed to, when epoch was last raised
	targetEpoch int32
	target      map[string]partitionSet // by member id
	members     map[string]*consumerMember
	static      map[string]string // instance id to member id

	// owner says which member holds a partition, or has yet to give it up.
	// Invariant: at most one does.
	owner map[topicID]map[int32]string

	// seen is the version of [Topics] the hash was last compared with. It is not
	// in the journal; a loaded group compares anew.
	seen int64
}

// partitionSet is a set of partitions, sorted within each topic. It is never
// changed once it is part of the state.
type partitionSet map[topicID][]int32

// consumerMember is one member of a consumer group. It is never changed once it
// is part of the state, but replaced.
type consumerMember struct {
	memberInfo
	memberPosition
}

// memberInfo is what a member said about itself.
type memberInfo struct {
	id               string
	instance, rack   *string
	clientID, host   string
	topics           []string // subscribed by name, sorted
	regex            string   // subscribed by expression; "" for none
	rebalanceTimeout time.Duration
	assignor         string         // it prefers; "" for the default
	classic          *classicMember // nil when it speaks the consumer protocol
}

// classicMember is what a member that speaks the classic protocol adds.
type classicMember struct {
	sessionTimeout time.Duration
	protocols      []kmsg.JoinGroupRequestProtocol
}

// memberPosition is how far a member has been led.
type memberPosition struct {
	epoch    int32
	previous int32 // accepted once more, in case the answer that raised it was lost
	state    memberState
	assigned owned // may be used by the member
	revoking owned // has to be given up before the member may advance
}

// owned is a set of partitions, each with the member epoch it was assigned at:
// what the member commits for it since then is valid (KIP-1251).
type owned map[topicID]map[int32]int32

type memberState int8

const (
	memberStable     memberState = 0 // has reached its epoch's target
	memberUnrevoked  memberState = 1 // has to give up partitions first
	memberUnreleased memberState = 2 // waits for partitions others have to give up
)

// Epochs with a meaning of their own, in requests and for members.
const (
	epochJoin        = 0
	epochLeave       = -1
	epochStaticLeave = -2 // back soon: keep the assignment
)

func newConsumerGroup(id string, kind *groupKind) *consumerGroup {
	return &consumerGroup{
		id: id, kind: kind, target: map[string]partitionSet{}, members: map[string]*consumerMember{},
		static: map[string]string{}, owner: map[topicID]map[int32]string{}, seen: -1,
	}
}

func (g *consumerGroup) empty() bool { return len(g.members) == 0 }

// state names the state of the group as Kafka does.
func (g *consumerGroup) state() string {
	switch {
	case g.empty():
		return "Empty"
	case g.kind.shares:
		return "Stable" // nobody waits for anybody
	case g.epoch > g.targetEpoch:
		return "Assigning"
	}
	for _, m := range g.members {
		if !m.reconciled(g.targetEpoch) {
			return "Reconciling"
		}
	}
	return "Stable"
}

func (m *consumerMember) reconciled(targetEpoch int32) bool {
	return m.state == memberStable && m.epoch == targetEpoch
}

// put adds or replaces a member and keeps the indexes right.
func (g *consumerGroup) put(m *consumerMember) {
	g.disown(g.members[m.id])
	g.members[m.id] = m
	if m.instance != nil {
		g.static[*m.instance] = m.id
	}
	if g.kind.shares {
		return // a partition has no owner
	}
	for _, set := range []owned{m.assigned, m.revoking} {
		for id, parts := range set {
			if g.owner[id] == nil {
				g.owner[id] = map[int32]string{}
			}
			for p := range parts {
				g.owner[id][p] = m.id
			}
		}
	}
}

func (g *consumerGroup) remove(id string) {
	m := g.members[id]
	if m == nil {
		return
	}
	g.disown(m)
	delete(g.members, id)
	if m.instance != nil && g.static[*m.instance] == id {
		delete(g.static, *m.instance)
	}
}

// disown forgets what a member holds. Of a partition that somebody else was seen
// to hold meanwhile, that one stays the owner: in a compacted journal the record
// by which the former owner gave it up may be gone.
func (g *consumerGroup) disown(m *consumerMember) {
	if m == nil {
		return
	}
	for _, set := range []owned{m.assigned, m.revoking} {
		for id, parts := range set {
			for p := range parts {
				if g.owner[id][p] == m.id {
					delete(g.owner[id], p)
				}
			}
			if len(g.owner[id]) == 0 {
				delete(g.owner, id)
			}
		}
	}
}

// sorted returns the members by id.
func (g *consumerGroup) sorted() []*consumerMember {
	out := make([]*consumerMember, 0, len(g.members))
	for _, id := range slices.Sorted(maps.Keys(g.members)) {
		out = append(out, g.members[id])
	}
	return out
}

// subscribed reports whether a member asked for the topic, by name or by
// expression.
func (g *consumerGroup) subscribed(s *machine, topic string) bool {
	for _, m := range g.members {
		if slices.Contains(m.topics, topic) || slices.Contains(s.match(m.regex), topic) {
			return true
		}
	}
	return false
}

// validateCommit says whether a member may commit for the partitions it names.
// It may with its present epoch, and with an older one for partitions it has
// held since then (KIP-1251).
func (g *consumerGroup) validateCommit(who commitClaim, positions []position) error {
	if who.generation < 0 && g.empty() {
		return nil // an admin, or a client that does not use group management
	}
	m := g.members[who.member]
	switch {
	case m == nil:
		return kerr.UnknownMemberID
	case m.classic == nil && who.version < 9:
		return kerr.UnsupportedVersion
	case who.generation == m.epoch:
		return nil
	case m.classic != nil:
		return kerr.IllegalGeneration
	case who.generation > m.epoch:
		return kerr.StaleMemberEpoch
	}
	for _, p := range positions {
		since, ok := m.holds(p.topicID, p.partition)
		if !ok || who.generation < since {
			return kerr.StaleMemberEpoch
		}
	}
	return nil
}

// holds returns the epoch since which a member has held a partition.
func (m *consumerMember) holds(id topicID, partition int32) (since int32, ok bool) {
	if since, ok = m.assigned[id][partition]; !ok {
		since, ok = m.revoking[id][partition]
	}
	return since, ok
}

// validateFetch says whether offsets may be read. Those who give no member id,
// tools for instance, always may.
func (g *consumerGroup) validateFetch(member *string, epoch int32) error {
	if member == nil && epoch < 0 {
		return nil
	}
	m := g.members[stringOf(member)]
	switch {
	case m == nil:
		return kerr.UnknownMemberID
	case epoch == m.epoch:
		return nil
	case m.classic != nil:
		return kerr.IllegalGeneration
	}
	return kerr.StaleMemberEpoch
}

// check says whether a request of a member comes from who it says it is, and
// returns the member.
func (g *consumerGroup) check(id string, instance *string) (*consumerMember, error) {
	if instance != nil {
		holder, ok := g.static[*instance]
		switch {
		case !ok:
			return nil, refuse(kerr.UnknownMemberID, "instance id "+*instance+" is unknown")
		case holder != id:
			return nil, refuse(kerr.FencedInstanceID, "instance id "+*instance+" belongs to member "+holder)
		}
	}
	if m := g.members[id]; m != nil {
		return m, nil
	}
	return nil, refuse(kerr.UnknownMemberID, "member "+id+" is not in group "+g.id)
}

// tombstones remove the group, but not its offsets.
func (g *consumerGroup) tombstones() []coord.Record {
	var records []coord.Record
	for _, m := range g.sorted() {
		records = append(records, g.memberTombstones(m.id)...)
	}
	return append(records, g.targetEpochTombstone(), g.tombstone())
}

func (g *consumerGroup) memberTombstones(member string) []coord.Record {
	return []coord.Record{
		{Key: memberKey(g.kind.position, g.id, member)},
		{Key: memberKey(g.kind.targetMember, g.id, member)},
		{Key: memberKey(g.kind.member, g.id, member)},
	}
}
