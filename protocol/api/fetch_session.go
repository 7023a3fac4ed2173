package api

import (
	"container/list"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Fetch sessions (KIP-227): a consumer names its partitions once; later requests and
// answers carry only what changed. A session is dropped when its slot is wanted and it was idle for
// sessionEviction; a client whose session is gone starts a new one by itself.

const (
	// sessionEviction is how long a session must be idle before another may take its slot.
	sessionEviction = 2 * time.Minute
	sessionless     = int32(0)
	initialEpoch    = int32(0)
	finalEpoch      = int32(-1)
)

// fetchKey names a partition in a session: by id from version 13 on, by name before.
type fetchKey struct {
	id        [16]byte
	name      string
	partition int32
}

// fetchWant is what a client asks of one partition.
type fetchWant struct {
	offset           int64
	maxBytes         int32
	leaderEpoch      int32
	lastFetchedEpoch int32
}

// fetchSession is one session. Requests of a session come one after the other; the
// lock is for clients that do otherwise.
type fetchSession struct {
	id          int32
	usesIDs     bool
	incremental bool // the request being answered gets changes only

	mu    sync.Mutex
	epoch int32                      // the epoch the next request must carry
	order *list.List                 // of *sessionPart; those that had records go to the back, so that none starves
	byKey map[fetchKey]*list.Element // of order

	lastUsed time.Time     // guarded by fetchSessions.mu
	lru      *list.Element // guarded by fetchSessions.mu
}

// sessionPart is what a session remembers of a partition.
type sessionPart struct {
	key  fetchKey
	want fetchWant
	// What was last told; -1 before the first answer.
	highWatermark, lastStable, logStart int64
}

// fetchSessions is the broker's sessions. Safe for concurrent use.
type fetchSessions struct {
	slots func() int
	now   func() time.Time

	mu   sync.Mutex
	byID map[int32]*fetchSession
	used *list.List // least recently used first
}

func newFetchSessions(slots func() int, now func() time.Time) *fetchSessions {
	return &fetchSessions{slots: slots, now: now, byID: make(map[int32]*fetchSession), used: list.New()}
}

// begin finds or makes the session of a request and applies its changes. A request without
// a session gets one that is forgotten after the answer.
func (c *fetchSessions) begin(req *kmsg.FetchRequest) (*fetchSession, error) {
	usesIDs := req.Version >= 13
	if req.Version < 7 || req.SessionEpoch == finalEpoch || req.SessionEpoch == initialEpoch {
		if req.Version >= 7 && req.SessionID != sessionless {
			c.end(req.SessionID)
		}
		s := newFetchSession(usesIDs)
		s.apply(req)
		if req.Version >= 7 && req.SessionEpoch == initialEpoch && s.order.Len() > 0 {
			c.keep(s)
		}
		return s, nil
	}
	s := c.touch(req.SessionID)
	if s == nil {
		return nil, kerr.FetchSessionIDNotFound
	}
	if s.usesIDs != usesIDs {
		return nil, kerr.FetchSessionTopicIDError
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.epoch != req.SessionEpoch {
		return nil, kerr.InvalidFetchSessionEpoch
	}
	s.epoch = nextEpoch(s.epoch)
	s.incremental = true
	s.applyLocked(req)
	return s, nil
}

func nextEpoch(e int32) int32 {
	if e == 1<<31-1 {
		return 1
	}
	return e + 1
}

// keep gives a session an id, if there is a free slot or one whose session has been idle for long.
func (c *fetchSessions) keep(s *fetchSession) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	for len(c.byID) >= max(c.slots(), 0) {
		oldest := c.used.Front()
		if oldest == nil || now.Sub(oldest.Value.(*fetchSession).lastUsed) < sessionEviction {
			return
		}
		c.removeLocked(oldest.Value.(*fetchSession))
	}
	for s.id == sessionless || c.byID[s.id] != nil {
		s.id = 1 + rand.Int32N(1<<31-1)
	}
	s.epoch = 1
	s.lastUsed = now
	c.byID[s.id] = s
	s.lru = c.used.PushBack(s)
}

func (c *fetchSessions) touch(id int32) *fetchSession {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.byID[id]
	if s != nil {
		s.lastUsed = c.now()
		c.used.MoveToBack(s.lru)
	}
	return s
}

func (c *fetchSessions) end(id int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.byID[id]; s != nil {
		c.removeLocked(s)
	}
}

func (c *fetchSessions) removeLocked(s *fetchSession) {
	delete(c.byID, s.id)
	c.used.Remove(s.lru)
}

// len is the number of sessions kept.
func (c *fetchSessions) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.byID)
}

func newFetchSession(usesIDs bool) *fetchSession {
	return &fetchSession{usesIDs: usesIDs, order: list.New(), byKey: make(map[fetchKey]*list.Element)}
}

func (s *fetchSession) apply(req *kmsg.FetchRequest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.applyLocked(req)
}

// applyLocked adds and updates what the request names and removes what it forgets.
func (s *fetchSession) applyLocked(req *kmsg.FetchRequest) {
	for i := range req.ForgottenTopics {
		t := &req.ForgottenTopics[i]
		for _, p := range t.Partitions {
			key := s.key(t.Topic, t.TopicID, p)
			if e := s.byKey[key]; e != nil {
				s.order.Remove(e)
				delete(s.byKey, key)
			}
		}
	}
	for i := range req.Topics {
		t := &req.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			key := s.key(t.Topic, t.TopicID, p.Partition)
			want := fetchWant{p.FetchOffset, p.PartitionMaxBytes, p.CurrentLeaderEpoch, p.LastFetchedEpoch}
			if e := s.byKey[key]; e != nil {
				e.Value.(*sessionPart).want = want
				continue
			}
			s.byKey[key] = s.order.PushBack(&sessionPart{key: key, want: want, highWatermark: -1, lastStable: -1, logStart: -1})
		}
	}
}

func (s *fetchSession) key(name string, id [16]byte, partition int32) fetchKey {
	if s.usesIDs {
		return fetchKey{id: id, partition: partition}
	}
	return fetchKey{name: name, partition: partition}
}

// parts lists the partitions to read, in the session's order.
func (s *fetchSession) parts() []fetchPart {
	s.mu.Lock()
	defer s.mu.Unlock()
	parts := make([]fetchPart, 0, s.order.Len())
	for e := s.order.Front(); e != nil; e = e.Next() {
		sp := e.Value.(*sessionPart)
		parts = append(parts, fetchPart{key: sp.key, want: sp.want})
	}
	return parts
}

// answer picks the partitions that belong in the answer: all of a full request's, the changed ones of an incremental one's.
func (s *fetchSession) answer(parts []fetchPart) []*fetchPart {
	s.mu.Lock()
	defer s.mu.Unlock()
	picked := make([]*fetchPart, 0, len(parts))
	for i := range parts {
		fp := &parts[i]
		e := s.byKey[fp.key]
		if e == nil || e.Value.(*sessionPart).told(fp) || !s.incremental {
			picked = append(picked, fp)
		}
		if e != nil && fp.read != nil && fp.read.Size > 0 {
			s.order.MoveToBack(e)
		}
	}
	return picked
}

// told notes what a partition's answer says and reports whether it is news.
func (sp *sessionPart) told(fp *fetchPart) bool {
	if fp.err != nil || fp.read == nil {
		// Kafka repeats an error until it is gone, and tells the offsets again after it.
		sp.highWatermark, sp.lastStable, sp.logStart = -1, -1, -1
		return true
	}
	r := fp.read
	news := r.Size > 0 || r.Diverged() ||
		r.HighWatermark != sp.highWatermark || r.LastStable != sp.lastStable || r.LogStart != sp.logStart
	sp.highWatermark, sp.lastStable, sp.logStart = r.HighWatermark, r.LastStable, r.LogStart
	return news
}
