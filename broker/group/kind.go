package group

// groupKind is what tells the two kinds of groups apart that the coordinator
// assigns partitions in: those whose members each have partitions of their own
// (KIP-848), and those whose members share them (KIP-932).
type groupKind struct {
	protocol string // as ListGroups and metrics name it

	// The kinds of their records.
	group, member, targetEpoch, targetMember, position int16

	// shares says that a partition may have many members. None has to be given up
	// before another may have it, so a member reaches its target in one step.
	shares bool
}

var (
	consumerKind = &groupKind{
		protocol: protocolConsumer,
		group:    keyConsumerGroup, member: keyConsumerMember, targetEpoch: keyTargetEpoch,
		targetMember: keyTargetMember, position: keyCurrentAssignment,
	}
	shareKind = &groupKind{
		protocol: protocolShare,
		group:    keyShareGroup, member: keyShareMember, targetEpoch: keyShareTargetEpoch,
		targetMember: keyShareTargetMember, position: keyShareAssignment,
		shares: true,
	}
)

// of returns the group as one of a kind, or nil.
func (g *group) of(k *groupKind) *consumerGroup {
	if k.shares {
		return g.share
	}
	return g.consumer
}

// become makes the group one of another kind, or, with nil, a simple one.
func (g *group) become(c *consumerGroup) {
	g.classic, g.consumer, g.share = nil, nil, nil
	switch {
	case c == nil:
	case c.kind.shares:
		g.share = c
	default:
		g.consumer = c
	}
}

// assigned returns the group if the coordinator assigns its partitions, or nil.
func (g *group) assigned() *consumerGroup {
	if g.share != nil {
		return g.share
	}
	return g.consumer
}
