package group

import (
	"maps"
	"slices"
	"time"

	"github.com/morrowmq/morrow/broker/coord"
)

// groupsPerExpiry bounds what one step of an expiry pass looks at, so that the
// shard answers calls in between.
const groupsPerExpiry = 200

// expireOffsets is one step of a pass over all groups that forgets offsets
// nobody needs and groups that are left with nothing (KIP-211).
func (s *machine) expireOffsets(tx *coord.Tx) {
	if s.sweep == nil {
		s.sweep = slices.Sorted(maps.Keys(s.groups))
	}
	n := min(groupsPerExpiry, len(s.sweep))
	for _, id := range s.sweep[:n] {
		if g := s.groups[id]; g != nil {
			s.expireGroup(tx, g)
		}
	}
	s.sweep = s.sweep[n:]
	wait := time.Duration(0)
	if len(s.sweep) == 0 {
		s.sweep, wait = nil, s.cfg().OffsetsRetentionCheckInterval
	}
	s.setTimer(tx, timerKey{kind: timerExpiry}, wait)
}

// expireGroup forgets what has expired in one group. What cannot be written now
// is tried again in the next pass.
func (s *machine) expireGroup(tx *coord.Tx, g *group) {
	keys := s.expiredOffsets(g, tx.Now())
	if err := s.deleteOffsets(tx, keys); err != nil {
		s.log.Warn("expired offsets not removed", "group", g.id, "offsets", len(keys), "err", err)
		return
	}
	if len(keys) > 0 {
		s.log.Info("offsets expired", "group", g.id, "offsets", len(keys))
		s.metrics.expired.Add(float64(len(keys)))
	}
	if s.groups[g.id] == nil || len(g.offsets) > 0 || len(g.pending) > 0 || !g.empty() || g.joining() || g.share != nil {
		return // what a share group knows of records stays until it is deleted
	}
	if err := tx.Append(g.tombstones()...); err != nil {
		s.log.Warn("expired group not removed", "group", g.id, "err", err)
		return
	}
	s.dropIfVoid(g)
}

// joining reports whether somebody was given a member id and has yet to use it.
func (g *group) joining() bool { return g.classic != nil && len(g.classic.pendingJoin) > 0 }

// tombstones remove the group, but not its offsets.
func (g *group) tombstones() []coord.Record {
	switch {
	case g.classic != nil:
		return []coord.Record{classicTombstone(g.id)}
	case g.assigned() != nil:
		return g.assigned().tombstones()
	}
	return nil
}

func (s *machine) expiredOffsets(g *group, now time.Time) []offsetKey {
	var keys []offsetKey
	base, mayExpire := g.expiryBase()
	for name, t := range g.offsets {
		if !s.alive(name, t) {
			keys = g.settledKeys(keys, name, t)
			continue
		}
		if !mayExpire || s.subscribed(g, name) {
			continue
		}
		for p, c := range t.parts {
			if s.expired(c, base, now) && !g.unstable(name, p) {
				keys = append(keys, offsetKey{g.id, name, p})
			}
		}
	}
	return keys
}

// expiryBase returns from when on the retention of the group's offsets counts:
// from when it became empty, or, for 0, from each commit. It reports false when
// none may expire, because members use them or may.
func (g *group) expiryBase() (ms int64, ok bool) {
	c := g.classic
	switch {
	case c == nil || c.protoType == "":
		return 0, true
	case c.state == stateEmpty:
		return max(c.sinceMs, 0), true
	case c.state == stateStable && c.topicsKnown:
		return 0, true
	}
	return 0, false
}

func (s *machine) expired(c committed, baseMs int64, now time.Time) bool {
	if c.expireMs >= 0 {
		return now.UnixMilli() >= c.expireMs
	}
	if baseMs == 0 {
		baseMs = c.commitMs
	}
	return now.UnixMilli()-baseMs >= s.cfg().OffsetsRetention.Milliseconds()
}

// subscribed reports whether members of the group use the topic.
func (s *machine) subscribed(g *group, topic string) bool {
	switch {
	case g.classic != nil:
		return g.classic.subscribed(topic)
	case g.consumer != nil:
		return g.consumer.subscribed(s, topic)
	}
	return false
}
