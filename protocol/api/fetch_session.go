package api

import (
	"container/list"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Fetch sessions (KIP-227): a consumer names its partitions once; later requests and answers carry
// only what changed. When all slots are taken, a session that was idle for sessionEviction makes
// room for another; a client that gets none, or whose session is gone, goes on without or starts a
// new one by itself. Unlike Kafka's, a session in use never gives way to one with more partitions,
// and all sessions together keep at most maxKeptParts.

const (
	// sessionEviction is how long a session must be idle before another may take its slot.
	sessionEviction = 2 * time.Minute
	// maxKeptParts bounds the partitions of all sessions: a client may name any that do not exist.
	maxKeptParts = 1_000_000
	sessionless  = int32(0)  // session id
	initialEpoch = int32(0)  // asks for a session
	finalEpoch   = int32(-1) // closes one, or wants none
)

// fetchKey names a partition.
type fetchKey struct {
	topicKey
	partition int32
}

// fetchWant is what a client asks of one partition.
type fetchWant struct {
	offset           int64
	maxBytes         int32
	leaderEpoch      int32
	lastFetchedEpoch int32
}

// fetchSessions is the broker's sessions. Safe for concurrent use.
type fetchSessions struct {
	slots func() int
	now   func() time.Time
	parts atomic.Int64 // of all sessions

	mu   sync.Mutex
	byID map[int32]*fetchSession // guarded by mu
	used *list.List              // of *fetchSession, least recently used first; guarded by mu
}

// fetchSession is one session. Requests of a session come one after the other; what clients that do
// otherwise get is decided by the epoch.
type fetchSession struct {
	id      int32
	usesIDs bool

	lastUsed time.Time     // guarded by fetchSessions.mu
	lru      *list.Element // of fetchSessions.used; guarded by fetchSessions.mu

	mu      sync.Mutex
	total   *atomic.Int64              // fetchSessions.parts while the session is kept; guarded by mu
	epoch   int32                      // the one the next request must carry; guarded by mu
	order   *list.List                 // of *keptPart; those that had records go to the back, so that none starves; guarded by mu
	byKey   map[fetchKey]*list.Element // of order; guarded by mu
	scratch []fetchPart                // of the last request, for the next; guarded by mu
}

// keptPart is what a session remembers of a partition. Guarded by fetchSession.mu.
type keptPart struct {
	key  fetchKey
	want fetchWant
	at   *list.Element
	// What was last told; -1 before the first answer and after an error.
	highWatermark, lastStable, logStart int64
}

// fetchTurn is one request: begin, what its partitions are, finish once they have been read, and end.
type fetchTurn struct {
	sessions *fetchSessions
	session  *fetchSession // nil: none, or not yet
	create   bool          // the client wants a session
	usesIDs  bool
	epoch    int32 // of the session during the request

	// id is the session id of the answer, known after finish.
	id int32
	// parts are what is to be read, after finish what is to be told.
	parts []fetchPart
}

func newFetchSessions(slots func() int, now func() time.Time) *fetchSessions {
	return &fetchSessions{slots: slots, now: now, byID: make(map[int32]*fetchSession), used: list.New()}
}

// begin finds the session of a request and applies its changes. The error is one of the whole answer.
func (c *fetchSessions) begin(req *kmsg.FetchRequest) (*fetchTurn, error) {
	t := &fetchTurn{sessions: c, usesIDs: req.Version >= 13}
	if req.Version < 7 || req.SessionEpoch == finalEpoch || req.SessionEpoch == initialEpoch {
		if req.Version >= 7 && req.SessionID != sessionless {
			c.close(req.SessionID)
		}
		t.create = req.Version >= 7 && req.SessionEpoch == initialEpoch
		t.parts = t.asked(req)
		return t, nil
	}
	s := c.touch(req.SessionID)
	if s == nil {
		return nil, kerr.FetchSessionIDNotFound
	}
	empty, err := s.begin(t, req)
	if err == nil && c.parts.Load() > maxKeptParts {
		c.close(s.id)
		return nil, kerr.FetchSessionIDNotFound // it begins again, without a session
	}
	if empty {
		c.close(s.id)
	}
	return t, err
}

// asked lists the partitions a request names.
func (t *fetchTurn) asked(req *kmsg.FetchRequest) []fetchPart {
	n := 0
	for i := range req.Topics {
		n += len(req.Topics[i].Partitions)
	}
	parts := make([]fetchPart, 0, n)
	for i := range req.Topics {
		topic := &req.Topics[i]
		for j := range topic.Partitions {
			p := &topic.Partitions[j]
			parts = append(parts, fetchPart{
				key:  t.key(topic.Topic, topic.TopicID, p.Partition),
				want: fetchWant{p.FetchOffset, p.PartitionMaxBytes, p.CurrentLeaderEpoch, p.LastFetchedEpoch},
			})
		}
	}
	return parts
}

func (t *fetchTurn) key(name string, id [16]byte, partition int32) fetchKey {
	if t.usesIDs {
		return fetchKey{topicKey{id: id}, partition}
	}
	return fetchKey{topicKey{name: name}, partition}
}

// begin makes t the session's next request. A session without partitions is of no use; the request
// then has none.
func (s *fetchSession) begin(t *fetchTurn, req *kmsg.FetchRequest) (empty bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.epoch != req.SessionEpoch {
		return false, kerr.InvalidFetchSessionEpoch
	}
	if s.usesIDs != t.usesIDs {
		return false, kerr.FetchSessionTopicIDError
	}
	for _, fp := range t.asked(req) {
		s.keepLocked(fp.key, fp.want)
	}
	for i := range req.ForgottenTopics {
		topic := &req.ForgottenTopics[i]
		for _, p := range topic.Partitions {
			s.forgetLocked(t.key(topic.Topic, topic.TopicID, p))
		}
	}
	if s.order.Len() == 0 {
		return true, nil
	}
	s.epoch = nextEpoch(s.epoch)
	t.session, t.id, t.epoch = s, s.id, s.epoch
	t.parts = slices.Grow(s.scratch[:0], s.order.Len())
	s.scratch = nil
	for e := s.order.Front(); e != nil; e = e.Next() {
		k := e.Value.(*keptPart)
		t.parts = append(t.parts, fetchPart{key: k.key, want: k.want, kept: k})
	}
	return false, nil
}

func nextEpoch(e int32) int32 {
	if e == math.MaxInt32 {
		return 1
	}
	return e + 1
}

func (s *fetchSession) keepLocked(key fetchKey, want fetchWant) *keptPart {
	if e := s.byKey[key]; e != nil {
		k := e.Value.(*keptPart)
		k.want = want
		return k
	}
	k := &keptPart{key: key, want: want, highWatermark: -1, lastStable: -1, logStart: -1}
	k.at = s.order.PushBack(k)
	s.byKey[key] = k.at
	s.total.Add(1)
	return k
}

func (s *fetchSession) forgetLocked(key fetchKey) {
	if e := s.byKey[key]; e != nil {
		s.order.Remove(e)
		delete(s.byKey, key)
		s.total.Add(-1)
	}
}

// finish notes what is told and leaves in t.parts only that: everything in a full answer, what is new in an
// incremental one. It fails if another request of the session came meanwhile.
func (t *fetchTurn) finish() error {
	if t.create {
		t.id = t.sessions.keep(t)
	}
	s := t.session
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.epoch != t.epoch {
		return kerr.InvalidFetchSessionEpoch
	}
	t.parts = slices.DeleteFunc(t.parts, func(fp fetchPart) bool {
		if fp.read != nil && fp.read.Size > 0 {
			s.order.MoveToBack(fp.kept.at)
		}
		news := fp.kept.told(&fp)
		if !news {
			fp.release()
		}
		return !news
	})
	return nil
}

// end gives back what the next request of the session can use.
func (t *fetchTurn) end() {
	if s := t.session; s != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		clear(t.parts)
		s.scratch = t.parts
	}
}

// told notes what a partition's answer says and reports whether it is news.
func (k *keptPart) told(fp *fetchPart) bool {
	if fp.read == nil {
		// An error is repeated until it is gone, and the offsets are told again after it.
		k.highWatermark, k.lastStable, k.logStart = -1, -1, -1
		return true
	}
	r := fp.read
	news := r.Size > 0 || r.Diverged() ||
		r.HighWatermark != k.highWatermark || r.LastStable != k.lastStable || r.LogStart != k.logStart
	k.highWatermark, k.lastStable, k.logStart = r.HighWatermark, r.LastStable, r.LogStart
	return news
}

// keep makes a session of a full request and returns its id, sessionless if there is no slot for it.
func (c *fetchSessions) keep(t *fetchTurn) int32 {
	slots, now := c.slots(), c.now()
	if !c.room(slots, len(t.parts), now) {
		return sessionless
	}
	s := &fetchSession{usesIDs: t.usesIDs, total: new(atomic.Int64), epoch: initialEpoch + 1, order: list.New(), byKey: make(map[fetchKey]*list.Element, len(t.parts))}
	for i := range t.parts {
		fp := &t.parts[i]
		s.keepLocked(fp.key, fp.want).told(fp)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.roomLocked(slots, len(s.byKey), now) {
		return sessionless
	}
	s.total = &c.parts
	c.parts.Add(int64(len(s.byKey)))
	for s.id == sessionless || c.byID[s.id] != nil {
		s.id = 1 + rand.Int32N(math.MaxInt32)
	}
	s.lastUsed = now
	s.lru = c.used.PushBack(s)
	c.byID[s.id] = s
	return s.id
}

func (c *fetchSessions) room(slots, parts int, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.roomLocked(slots, parts, now)
}

// roomLocked reports whether there is a free slot and room for so many partitions, if need be those
// of sessions that were idle for long.
func (c *fetchSessions) roomLocked(slots, parts int, now time.Time) bool {
	for len(c.byID) >= slots || c.parts.Load()+int64(parts) > maxKeptParts {
		oldest := c.used.Front()
		if oldest == nil || now.Sub(oldest.Value.(*fetchSession).lastUsed) <= sessionEviction {
			return false
		}
		c.removeLocked(oldest.Value.(*fetchSession))
	}
	return true
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

func (c *fetchSessions) close(id int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.byID[id]; s != nil {
		c.removeLocked(s)
	}
}

func (c *fetchSessions) removeLocked(s *fetchSession) {
	delete(c.byID, s.id)
	c.used.Remove(s.lru)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total.Add(-int64(len(s.byKey)))
	s.total = new(atomic.Int64) // what a request under way adds dies with the session
}

// len is the number of sessions kept.
func (c *fetchSessions) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.byID)
}
