package group

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/morrowmq/morrow/broker/coord"
)

// committed is the position a group stored for one partition.
type committed struct {
	offset      int64
	leaderEpoch int32
	metadata    string
	commitMs    int64
	expireMs    int64 // -1: by offsets.retention.minutes
	seq         int64 // orders the commits of a shard, those within transactions by when they were made
}

// topicOffsets are the positions of one group in one topic.
type topicOffsets struct {
	id    [16]byte // of the topic they were committed for; zero: not known
	parts map[int32]committed
}

// offsetKey names one committed offset.
type offsetKey struct {
	group, topic string
	partition    int32
}

// position is one partition of an OffsetCommit request that passed the checks
// which need no group.
type position struct {
	topic     string
	topicID   [16]byte
	partition int32
	committed
}

// commitOffsets stores positions for a member, or for a client that does not
// use group management. Either all of them are stored or none.
func (s *machine) commitOffsets(tx *coord.Tx, who commitClaim, positions []position) error {
	g := s.groups[who.group]
	if err := s.validateCommit(g, who, positions); err != nil {
		return err
	}
	if g != nil && g.classic != nil {
		s.keepAliveByCommit(tx, g.classic, who.member)
	}
	records := make([]coord.Record, 0, len(positions))
	for _, p := range positions {
		records = append(records, offsetRecord(offsetKey{who.group, p.topic, p.partition}, p.topicID, p.committed))
	}
	if err := tx.Append(records...); err != nil {
		return err
	}
	s.metrics.commits.Add(float64(len(records)))
	return nil
}

// commitClaim is who asks for an OffsetCommit, and in which generation.
type commitClaim struct {
	group      string
	member     string
	instance   *string
	generation int32 // or member epoch
	version    int16
}

func (s *machine) validateCommit(g *group, who commitClaim, positions []position) error {
	switch {
	case g == nil && who.generation < 0:
		return nil // a new simple group
	case g == nil && who.version >= 9:
		return kerr.GroupIDNotFound
	case g == nil:
		return kerr.IllegalGeneration
	case g.share != nil:
		return kerr.GroupIDNotFound // its offsets are not for members to set
	case g.consumer != nil:
		return g.consumer.validateCommit(who, positions)
	case g.classic != nil:
		return g.classic.validateCommit(who)
	case who.generation < 0:
		return nil
	}
	return kerr.UnknownMemberID // a simple group has no members
}

// fetchedOffset is what a group stored for one partition of a topic.
type fetchedOffset struct {
	partition int32
	committed
}

var noOffset = committed{offset: -1, leaderEpoch: -1, expireMs: -1}

// offset returns what a group committed for a partition, or noOffset.
func (s *machine) offset(g *group, topic string, partition int32) committed {
	if g != nil {
		if t := g.offsets[topic]; t != nil && s.alive(topic, t) {
			if c, ok := t.parts[partition]; ok {
				return c
			}
		}
	}
	return noOffset
}

// allOffsets returns the topics a group has offsets for, sorted by name.
func (s *machine) allOffsets(g *group) []string {
	var names []string
	for name, t := range g.offsets {
		if s.alive(name, t) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// alive reports whether offsets belong to the topic that has the name now. They
// do not when the topic was deleted, and perhaps created again, and the broker
// stopped before their tombstones were written.
func (s *machine) alive(name string, t *topicOffsets) bool {
	_, id, ok := s.topics.Partitions(name)
	return ok && (t.id == id || t.id == [16]byte{})
}

// deleteTopicOffsets writes tombstones for every offset in a topic that is gone, but for those of
// partitions in which a transaction commits: see [group.settledKeys].
func (s *machine) deleteTopicOffsets(tx *coord.Tx, id [16]byte, name string) error {
	var keys []offsetKey
	for _, g := range s.groups {
		if t := g.offsets[name]; t != nil && (t.id == id || t.id == [16]byte{}) {
			keys = g.settledKeys(keys, name, t)
		}
	}
	return s.deleteOffsets(tx, keys)
}

// deleteOffsets writes tombstones, in as many batches as it takes.
func (s *machine) deleteOffsets(tx *coord.Tx, keys []offsetKey) error {
	records := make([]coord.Record, 0, len(keys))
	for _, k := range keys {
		records = append(records, offsetTombstone(k))
	}
	for batch := range coord.Batches(records) {
		if err := tx.Append(batch...); err != nil {
			return err
		}
	}
	return nil
}

// offsetKeys are those of all offsets of the group, pending ones included.
func (g *group) offsetKeys() []offsetKey {
	var keys []offsetKey
	for name, t := range g.offsets {
		for p := range t.parts {
			keys = append(keys, offsetKey{g.id, name, p})
		}
	}
	for _, topics := range g.pending {
		for name, t := range topics {
			for p := range t.parts {
				keys = append(keys, offsetKey{g.id, name, p})
			}
		}
	}
	return keys
}

// settledKeys appends the keys of the group's offsets in a topic that is gone. Where a transaction
// commits, the tombstone waits for its end: it would drop what is pending too, which may be of the
// next topic of that name.
func (g *group) settledKeys(keys []offsetKey, topic string, t *topicOffsets) []offsetKey {
	for p := range t.parts {
		if !g.unstable(topic, p) {
			keys = append(keys, offsetKey{g.id, topic, p})
		}
	}
	return keys
}

// replayOffset applies an offset record. A commit for a topic id other than the
// one known so far is the first for a re-created topic: the old offsets are void.
// The strings of k are not kept.
func (s *machine) replayOffset(k offsetKey, id [16]byte, c committed) {
	g := s.groups[k.group]
	if g == nil {
		g = s.ensure(strings.Clone(k.group))
	}
	if g.offsets == nil {
		g.offsets = map[string]*topicOffsets{}
	}
	put(g.offsets, k, id, c)
}

// put sets one offset among those by topic.
func put(topics map[string]*topicOffsets, k offsetKey, id [16]byte, c committed) {
	t := topics[k.topic]
	if t == nil {
		t = &topicOffsets{parts: map[int32]committed{}}
		topics[strings.Clone(k.topic)] = t
	}
	if id != t.id && id != [16]byte{} {
		if t.id != [16]byte{} {
			clear(t.parts)
		}
		t.id = id
	}
	t.parts[k.partition] = c
}

// replayOffsetTombstone forgets an offset, and what open transactions commit in its place.
func (s *machine) replayOffsetTombstone(k offsetKey) {
	g := s.groups[k.group]
	if g == nil {
		return
	}
	remove(g.offsets, k)
	for producer, topics := range g.pending {
		if remove(topics, k); len(topics) == 0 {
			delete(g.pending, producer)
			delete(s.open[producer].groups, g.id)
		}
	}
	s.dropIfVoid(g)
}

// remove drops one offset from those by topic.
func remove(topics map[string]*topicOffsets, k offsetKey) {
	t := topics[k.topic]
	if t == nil {
		return
	}
	if delete(t.parts, k.partition); len(t.parts) == 0 {
		delete(topics, k.topic)
	}
}

// expiryOf returns when a commit is to be forgotten regardless of its group:
// retention is what OffsetCommit up to version 4 may ask for, negative when it
// does not.
func expiryOf(now time.Time, retentionMillis int64) int64 {
	if retentionMillis < 0 {
		return -1
	}
	ms := now.UnixMilli()
	if retentionMillis > math.MaxInt64-ms {
		return math.MaxInt64
	}
	return ms + retentionMillis
}
