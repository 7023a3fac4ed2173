package group

import (
	"context"
	"iter"
	"slices"

	"github.com/morrowmq/morrow/broker/coord"
)

// Summary is one group at a glance.
type Summary struct {
	Group    string
	Protocol string // "classic", "consumer" or "share"
	State    string // as ListGroups names it
	Members  int
}

// CommittedOffset is one position of one group. Lag is the distance to the
// visible end of the partition, which this package does not know.
type CommittedOffset struct {
	Group     string
	Topic     string // exists, and is the one the offset was committed for
	TopicID   [16]byte
	Partition int32
	Offset    int64
}

// Groups yields the groups of the shards that are led here and loaded, in no
// particular order. Each shard is looked at once, under its lock; the loop body
// runs without it.
func (c *Coordinator) Groups() iter.Seq[Summary] {
	return perShard(c, func(m *machine) []Summary {
		out := make([]Summary, 0, len(m.groups))
		for _, g := range m.groups {
			d := g.summary()
			out = append(out, Summary{g.id, d.GroupType, d.GroupState, g.size()})
		}
		return out
	})
}

// Member is a member of a group whose partitions the coordinator assigns.
type Member struct {
	ID, ClientID, Host string
	Assigned           map[string][]int32 // partitions by topic
}

// Members are those of a consumer group or a share group, by id. Other groups have none of the kind.
func (c *Coordinator) Members(ctx context.Context, id string) ([]Member, error) {
	return coord.Do(ctx, c.shards.Of(id), func(m *machine, _ *coord.Tx) (members []Member, err error) {
		g := m.groups[id]
		if g == nil || g.assigned() == nil {
			return nil, nil
		}
		for _, member := range g.assigned().sorted() {
			shown := Member{ID: member.id, ClientID: member.clientID, Host: member.host, Assigned: make(map[string][]int32)}
			set := member.assigned.set()
			for topic, name := range m.named(set) {
				shown.Assigned[name] = slices.Clone(set[topic])
			}
			members = append(members, shown)
		}
		return members, nil
	})
}

// Offsets yields the committed offsets of the shards that are led here and
// loaded. It is like [Coordinator.Groups] otherwise.
func (c *Coordinator) Offsets() iter.Seq[CommittedOffset] {
	return perShard(c, func(m *machine) (out []CommittedOffset) {
		m.eachOffset(func(at CommittedOffset, _ committed) { out = append(out, at) })
		return out
	})
}

// eachOffset visits the committed offsets whose topics exist.
func (s *machine) eachOffset(visit func(CommittedOffset, committed)) {
	for _, g := range s.groups {
		for name, t := range g.offsets {
			_, id, ok := s.topics.Partitions(name)
			if !ok || !s.alive(name, t) {
				continue
			}
			for p, o := range t.parts {
				visit(CommittedOffset{g.id, name, id, p, o.offset}, o)
			}
		}
	}
}

// Position is a committed offset with all that was committed with it.
type Position struct {
	CommittedOffset
	LeaderEpoch int32
	Metadata    string
	Committed   int64 // ms since the epoch
	Expires     int64 // ms since the epoch; -1: by offsets.retention.minutes
}

// Positions returns all committed offsets, in no order. It is false if they are not all known here:
// a shard is led elsewhere, or is being loaded.
func (c *Coordinator) Positions() (all []Position, complete bool) {
	led := c.shards.Led()
	if len(led) < c.shards.Shards() {
		return nil, false
	}
	for _, shard := range led {
		known := shard.View(func(m *machine) {
			m.eachOffset(func(at CommittedOffset, o committed) {
				all = append(all, Position{at, o.leaderEpoch, o.metadata, o.commitMs, o.expireMs})
			})
		})
		if !known {
			return nil, false
		}
	}
	return all, true
}

// Record is the position as it lies in the journal of the group's shard.
func (p *Position) Record() coord.Record {
	return offsetRecord(offsetKey{p.Group, p.Topic, p.Partition}, p.TopicID, committed{
		offset: p.Offset, leaderEpoch: p.LeaderEpoch, metadata: p.Metadata, commitMs: p.Committed, expireMs: p.Expires,
	})
}

func perShard[T any](c *Coordinator, look func(*machine) []T) iter.Seq[T] {
	return func(yield func(T) bool) {
		for _, shard := range c.shards.Led() {
			var seen []T
			shard.View(func(m *machine) { seen = look(m) })
			for _, v := range seen {
				if !yield(v) {
					return
				}
			}
		}
	}
}

func (c *Coordinator) countOffsets() int {
	n := 0
	for _, shard := range c.shards.Led() {
		shard.View(func(m *machine) {
			for _, g := range m.groups {
				for _, t := range g.offsets {
					n += len(t.parts)
				}
			}
		})
	}
	return n
}

func (g *group) size() int {
	switch {
	case g.classic != nil:
		return len(g.classic.members)
	case g.assigned() != nil:
		return len(g.assigned().members)
	}
	return 0
}
