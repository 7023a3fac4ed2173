package group

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/morrowmq/morrow/broker/coord"
)

// machine is the state of one shard: every group whose id hashes to it, their
// committed offsets, and their deadlines. It implements [coord.State]: it has no
// goroutine, lock or clock, and changes what must survive only in Replay.
//
// What Replay does not rebuild, and a restart therefore forgets: members of a
// classic group that is between two generations, calls that wait, deadlines,
// verifications under way.
type machine struct {
	cfg     func() Config
	topics  Topics
	log     *slog.Logger
	newID   func() string // a fresh UUID
	metrics *metrics

	groups    map[string]*group
	open      map[int64]*openTransaction // by producer
	verifying map[int64][]*verification  // by producer, one for each epoch that is claimed
	seq       int64                      // of the last commit replayed
	timers    coord.Timers[timerKey]
	matchers  map[string]*matcher // by expression
	sweep     []string            // groups the running expiry pass has yet to look at
}

// group is one group id. At most one of classic, consumer and share is set; none
// means a simple group, which has offsets and nothing else: its clients commit
// without being members.
type group struct {
	id       string
	classic  *classicGroup
	consumer *consumerGroup
	share    *consumerGroup
	offsets  map[string]*topicOffsets           // by topic name; none is empty
	pending  map[int64]map[string]*topicOffsets // committed in open transactions, by producer and topic name
}

func (g *group) empty() bool {
	switch {
	case g.classic != nil:
		return g.classic.state == stateEmpty
	case g.assigned() != nil:
		return g.assigned().empty()
	}
	return true
}

// timerKey names a deadline.
type timerKey struct {
	kind   timerKind
	group  string
	member string // "" for deadlines of the whole group
}

type timerKind uint8

const (
	timerExpiry     timerKind = iota // next pass over expired offsets
	timerSession                     // classic member, also one that has yet to join
	timerJoin                        // classic group: end of the join phase
	timerSync                        // classic group: end of the sync phase
	timerHeartbeat                   // consumer or share group member: session
	timerRevoke                      // consumer group member: give up revoked partitions
	timerMemberJoin                  // classic member of a consumer group: rejoin
	timerMemberSync                  // classic member of a consumer group: sync
)

func newMachine(cfg func() Config, topics Topics, log *slog.Logger, newID func() string, m *metrics) *machine {
	return &machine{cfg: cfg, topics: topics, log: log, newID: newID, metrics: m, groups: map[string]*group{}, open: map[int64]*openTransaction{}, verifying: map[int64][]*verification{}, matchers: map[string]*matcher{}}
}

// Loaded sets the deadlines of everybody who survived, as if they had just been
// heard of.
func (s *machine) Loaded(tx *coord.Tx) {
	for _, g := range s.groups {
		switch {
		case g.classic != nil:
			s.resumeClassic(tx, g.classic)
		case g.assigned() != nil:
			s.resumeConsumer(tx, g.assigned())
		}
	}
	s.timers.Set(timerKey{kind: timerExpiry}, tx.Now().Add(s.cfg().OffsetsRetentionCheckInterval))
}

// Unloaded fails every waiting call.
func (s *machine) Unloaded(err error) {
	for _, g := range s.groups {
		if g.classic != nil {
			g.classic.failWaiting(err)
		}
	}
}

// Deadline implements [coord.State].
func (s *machine) Deadline() time.Time { return s.timers.Next() }

// Expire implements [coord.State].
func (s *machine) Expire(tx *coord.Tx) {
	key, ok := s.timers.Pop(tx.Now())
	if !ok {
		return
	}
	if key.kind == timerExpiry {
		s.expireOffsets(tx)
		return
	}
	g := s.groups[key.group]
	switch {
	case g == nil:
	case g.classic != nil:
		s.expireClassic(tx, g.classic, key)
	case g.assigned() != nil:
		s.expireConsumer(tx, g.assigned(), key)
	}
}

// Replay implements [coord.State].
func (s *machine) Replay(r coord.Record) error {
	if err := s.replay(r); err != nil {
		return fmt.Errorf("group record with key %x: %w", r.Key, err)
	}
	return nil
}

// ensure returns the group with that id, making a simple one when there is none.
func (s *machine) ensure(id string) *group {
	g := s.groups[id]
	if g == nil {
		g = &group{id: id}
		s.groups[id] = g
	}
	return g
}

// dropIfVoid forgets a group of which nothing is left.
func (s *machine) dropIfVoid(g *group) {
	if g.classic == nil && g.assigned() == nil && len(g.offsets) == 0 && len(g.pending) == 0 {
		delete(s.groups, g.id)
	}
}

func (s *machine) setTimer(tx *coord.Tx, key timerKey, after time.Duration) {
	s.timers.Set(key, tx.Now().Add(after))
}

func millis(ms int32) time.Duration { return time.Duration(ms) * time.Millisecond }

// String names what a deadline is for.
func (k timerKind) String() string {
	return [...]string{
		"expiry", "session", "join", "sync", "heartbeat", "revocation", "rejoin", "sync",
	}[k]
}
