package group

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/coord"
)

// classicState is where a classic group stands.
//
//	Empty ──join──► PreparingRebalance ──all joined──► CompletingRebalance ──leader syncs──► Stable
//	  ▲                 │    ▲                                │                               │
//	  └──last leaves────┘    └──────────join, leave, timeout──┴───────────────────────────────┘
type classicState uint8

const (
	stateEmpty classicState = iota
	statePreparing
	stateCompleting
	stateStable
)

func (st classicState) String() string {
	return [...]string{"Empty", "PreparingRebalance", "CompletingRebalance", "Stable"}[st]
}

const stateDead = "Dead" // what a group that does not exist is described as

// classicGroup is a group whose members agree on an assignment among themselves
// (JoinGroup, SyncGroup). The journal holds it as it was when it last became
// Stable or Empty, or ceased to be a consumer group; the phases in between live
// in memory only.
type classicGroup struct {
	id          string
	state       classicState
	sinceMs     int64 // when it entered the state
	initial     bool  // PreparingRebalance was entered from Empty
	generation  int32
	protoType   string  // "" until the first member joined
	protocol    *string // chosen for the generation
	leader      string  // member id; "" for none
	members     map[string]*member
	static      map[string]string // instance id to member id
	pendingJoin map[string]bool   // ids given out with MEMBER_ID_REQUIRED
	pendingSync map[string]bool   // members of the generation that have not synced
	supported   map[string]int    // how many members support a protocol
	awaiting    int               // members with a waiting JoinGroup
	nextSeq     uint64

	// The first rebalance of a group waits for more members, each time one
	// arrives, for at most the rebalance timeout in total.
	joinedDuringDelay bool
	delay, delayLeft  time.Duration

	topics      map[string]bool // what the members of the generation subscribe to
	topicsKnown bool            // false when that could not be parsed
}

// member is one member of a classic group.
type member struct {
	id               string
	seq              uint64 // order of joining
	instance         *string
	clientID, host   string
	rebalanceTimeout time.Duration
	sessionTimeout   time.Duration
	protocols        []kmsg.JoinGroupRequestProtocol // by preference
	assignment       []byte
	fresh            bool                                  // has not got the answer to its first JoinGroup
	join             *coord.Reply[*kmsg.JoinGroupResponse] // waiting, or nil
	sync             *coord.Reply[*kmsg.SyncGroupResponse] // waiting, or nil
}

func newClassicGroup(id string, now time.Time) *classicGroup {
	return &classicGroup{
		id: id, sinceMs: now.UnixMilli(),
		members: map[string]*member{}, static: map[string]string{},
		pendingJoin: map[string]bool{}, pendingSync: map[string]bool{}, supported: map[string]int{},
	}
}

func (g *classicGroup) enter(st classicState, now time.Time) {
	g.initial = st == statePreparing && g.state == stateEmpty
	g.state, g.sinceMs = st, now.UnixMilli()
}

// add takes in a member that is not in the group. The first one decides what
// kind of group it is.
func (g *classicGroup) add(m *member, protoType string) {
	if len(g.members) == 0 {
		g.protoType = protoType
	}
	if g.leader == "" {
		g.leader = m.id
	}
	if m.instance != nil {
		g.static[*m.instance] = m.id
	}
	g.nextSeq++
	m.seq = g.nextSeq
	g.members[m.id] = m
	g.count(m, +1)
	delete(g.pendingJoin, m.id)
}

// count keeps supported and awaiting in step with a member that comes or goes.
func (g *classicGroup) count(m *member, by int) {
	for _, p := range m.protocols {
		g.supported[p.Name] += by
	}
	if m.join != nil {
		g.awaiting += by
	}
}

// update changes what a member is about, and whether it waits for the join
// phase to end.
func (g *classicGroup) update(m *member, change func()) {
	g.count(m, -1)
	change()
	g.count(m, +1)
}

// remove takes out a member, or an id that has yet to join. The longest-standing
// member replaces a leader.
func (g *classicGroup) remove(id string) {
	if m := g.members[id]; m != nil {
		delete(g.members, id)
		g.count(m, -1)
		if m.instance != nil && g.static[*m.instance] == id {
			delete(g.static, *m.instance)
		}
	}
	if g.leader == id {
		g.leader = ""
		if rest := g.sorted(); len(rest) > 0 {
			g.leader = rest[0].id
		}
	}
	delete(g.pendingJoin, id)
	delete(g.pendingSync, id)
}

// replace puts one member in the place of another, which has the same instance
// id and the same rank.
func (g *classicGroup) replace(old, heir *member) {
	g.count(old, -1)
	delete(g.members, old.id)
	g.members[heir.id] = heir
	g.count(heir, +1)
	g.static[*heir.instance] = heir.id
	if g.leader == old.id {
		g.leader = heir.id
	}
	if g.pendingSync[old.id] {
		delete(g.pendingSync, old.id)
		g.pendingSync[heir.id] = true
	}
}

// sorted returns the members in the order in which they joined.
func (g *classicGroup) sorted() []*member {
	return slices.SortedFunc(maps.Values(g.members), func(a, b *member) int { return cmp.Compare(a.seq, b.seq) })
}

func (g *classicGroup) allJoined() bool {
	return len(g.pendingJoin) == 0 && g.awaiting == len(g.members)
}

func (g *classicGroup) rebalanceTimeout() time.Duration {
	var d time.Duration
	for _, m := range g.members {
		d = max(d, m.rebalanceTimeout)
	}
	return d
}

// electJoined makes sure that the leader is one of those who joined, and reports
// whether anybody did.
func (g *classicGroup) electJoined() bool {
	if l := g.members[g.leader]; l != nil && l.join != nil {
		return true
	}
	for _, m := range g.sorted() {
		if m.join != nil {
			g.leader = m.id
			return true
		}
	}
	return false
}

// supports reports whether a member with these protocols could be in the group.
func (g *classicGroup) supports(protoType string, protocols []kmsg.JoinGroupRequestProtocol) bool {
	if g.state == stateEmpty {
		return protoType != "" && len(protocols) > 0
	}
	if g.protoType != protoType {
		return false
	}
	return slices.ContainsFunc(protocols, func(p kmsg.JoinGroupRequestProtocol) bool { return g.supportedByAll(p.Name) })
}

func (g *classicGroup) supportedByAll(protocol string) bool {
	return g.supported[protocol] == len(g.members)
}

// vote returns the protocol most members prefer among those all support; of
// equals, the one the earliest member voted for.
func (g *classicGroup) vote() string {
	votes := map[string]int{}
	best := ""
	members := g.sorted()
	for _, m := range members {
		for _, p := range m.protocols {
			if g.supportedByAll(p.Name) {
				votes[p.Name]++
				break
			}
		}
	}
	for _, m := range members {
		for _, p := range m.protocols {
			if votes[p.Name] > votes[best] {
				best = p.Name
			}
		}
	}
	return best
}

// check says whether a request of a member comes from who it says it is.
func (g *classicGroup) check(id string, instance *string) error {
	if instance != nil {
		switch holder, ok := g.static[*instance]; {
		case !ok:
			return kerr.UnknownMemberID
		case holder != id:
			return kerr.FencedInstanceID
		}
	}
	if g.members[id] == nil {
		return kerr.UnknownMemberID
	}
	return nil
}

func (g *classicGroup) validateCommit(who commitClaim) error {
	if who.generation < 0 && g.state == stateEmpty {
		return nil // an admin, or a client that does not use group management
	}
	if who.generation < 0 && who.member == "" && who.instance == nil {
		return kerr.UnknownMemberID
	}
	if err := g.check(who.member, who.instance); err != nil {
		return err
	}
	if who.generation != g.generation {
		return kerr.IllegalGeneration
	}
	if g.state == stateCompleting {
		return kerr.RebalanceInProgress
	}
	return nil
}

func (g *classicGroup) isConsumer() bool { return g.protoType == consumerProtocol }

// subscribed reports whether offsets of the topic are in use. A group whose
// subscriptions cannot be parsed may use any.
func (g *classicGroup) subscribed(topic string) bool {
	if !g.topicsKnown {
		return g.isConsumer()
	}
	return g.topics[topic]
}

// learnTopics recomputes what the members subscribe to.
func (g *classicGroup) learnTopics() {
	g.topics, g.topicsKnown = nil, false
	if !g.isConsumer() || (len(g.members) > 0 && g.protocol == nil) {
		return
	}
	topics := map[string]bool{}
	for _, m := range g.members {
		metadata := m.metadata(*g.protocol)
		names, err := subscribedTopics(metadata)
		if err != nil {
			return
		}
		for _, name := range names {
			topics[name] = true
		}
	}
	g.topics, g.topicsKnown = topics, true
}

// failWaiting ends every waiting call with an error.
func (g *classicGroup) failWaiting(err error) {
	for _, m := range g.members {
		if m.join != nil {
			m.join.Fail(err)
		}
		if m.sync != nil {
			m.sync.Fail(err)
		}
	}
}

// metadata returns what a member said about itself under a protocol.
func (m *member) metadata(protocol string) []byte {
	for _, p := range m.protocols {
		if p.Name == protocol {
			return p.Metadata
		}
	}
	return nil
}

// sameProtocols reports whether a rejoining member says what it said before.
func sameProtocols(a, b []kmsg.JoinGroupRequestProtocol) bool {
	return slices.EqualFunc(a, b, func(a, b kmsg.JoinGroupRequestProtocol) bool {
		return a.Name == b.Name && bytes.Equal(a.Metadata, b.Metadata)
	})
}

// heard reports whether a member may stay although its session timed out: the
// broker owes it an answer, so it has nothing to send.
func (m *member) heard() bool {
	return !m.fresh && (m.join != nil || m.sync != nil)
}
