package api

import (
	"container/list"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/protocol"
)

// Share sessions (KIP-932): what a member of a share group reads, and the epoch that its next
// request must carry, of whichever of ShareFetch and ShareAcknowledge it is. A session lives as
// long as the connection that fetches for it; with it go the records that the member holds. All
// sessions together keep at most maxKeptParts partitions: one that wants more ends.

const (
	shareInitialEpoch = int32(0)  // begins a session
	shareFinalEpoch   = int32(-1) // ends it
)

// shareMember names a session: a member has one.
type shareMember struct{ group, member string }

// shareSessions is the broker's sessions. Safe for concurrent use.
type shareSessions struct {
	slots func() int
	gone  func(*shareSession) // called when a session ends with its connection
	parts atomic.Int64        // of all sessions
	most  int64               // maxKeptParts

	mu   sync.Mutex
	byID map[shareMember]*shareSession // guarded by mu
}

// shareSession is one session. Its requests come one after the other; what clients that do
// otherwise get is decided by the epoch.
type shareSession struct {
	shareMember

	conn   *protocol.Conn // guarded by shareSessions.mu, as is cancel
	cancel func()         // takes back that the end of conn ends the session

	mu    sync.Mutex
	total *atomic.Int64              // shareSessions.parts while the session is kept; guarded by mu
	epoch int32                      // of the next request; guarded by mu
	order *list.List                 // of fetchKey; those that had records go to the back; guarded by mu
	byKey map[fetchKey]*list.Element // of order; guarded by mu
}

func newShareSessions(slots func() int, gone func(*shareSession)) *shareSessions {
	return &shareSessions{slots: slots, gone: gone, most: maxKeptParts, byID: make(map[shareMember]*shareSession)}
}

func (c *shareSessions) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.byID)
}

// create begins a session, in the place of one the member may have.
func (c *shareSessions) create(m shareMember, conn *protocol.Conn) (*shareSession, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.byID[m]
	if old == nil && len(c.byID) >= c.slots() {
		return nil, kerr.ShareSessionLimitReached
	}
	if old != nil {
		c.removeLocked(old)
	}
	s := &shareSession{shareMember: m, total: &c.parts, epoch: shareInitialEpoch, order: list.New(), byKey: make(map[fetchKey]*list.Element)}
	c.byID[m] = s
	c.bindLocked(s, conn)
	return s, nil
}

// bindLocked has the session end with a connection.
func (c *shareSessions) bindLocked(s *shareSession, conn *protocol.Conn) {
	s.conn = conn
	s.cancel = conn.OnClose(func() {
		if c.removeWith(s, conn) {
			c.gone(s)
		}
	})
}

// find returns a member's session. A request that fetches binds it to its connection.
func (c *shareSessions) find(m shareMember, fetching *protocol.Conn) (*shareSession, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.byID[m]
	if s == nil {
		return nil, kerr.ShareSessionNotFound
	}
	if fetching != nil && s.conn != fetching {
		s.cancel()
		c.bindLocked(s, fetching)
	}
	return s, nil
}

// remove ends a session, unless it was over already.
func (c *shareSessions) remove(s *shareSession) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.removeLocked(s)
}

// removeWith ends a session whose connection has gone, unless another connection has begun to fetch
// for it meanwhile.
func (c *shareSessions) removeWith(s *shareSession, conn *protocol.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return s.conn == conn && c.removeLocked(s)
}

func (c *shareSessions) removeLocked(s *shareSession) bool {
	if c.byID[s.shareMember] != s {
		return false
	}
	s.cancel()
	delete(c.byID, s.shareMember)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total.Add(-int64(len(s.byKey)))
	s.total = new(atomic.Int64) // what a request under way adds dies with the session
	return true
}

// turn takes a request's epoch, after which only the next one is right.
func (s *shareSession) turn(epoch int32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if epoch == shareFinalEpoch {
		return nil
	}
	if epoch != s.epoch {
		return kerr.InvalidShareSessionEpoch
	}
	if s.epoch++; s.epoch < 0 {
		s.epoch = 1
	}
	return nil
}

// update applies what a fetch says about the partitions of a session, and fails if there are too many of them.
func (c *shareSessions) update(s *shareSession, req *kmsg.ShareFetchRequest) error {
	s.update(req)
	if c.parts.Load() > c.most {
		return coded(kerr.ShareSessionLimitReached, "the share sessions of this broker have more than %d partitions", c.most)
	}
	return nil
}

func (s *shareSession) update(req *kmsg.ShareFetchRequest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range req.Topics {
		t := &req.Topics[i]
		for j := range t.Partitions {
			k := shareKeyOf(t.TopicID, t.Partitions[j].Partition)
			if s.byKey[k] == nil {
				s.byKey[k] = s.order.PushBack(k)
				s.total.Add(1)
			}
		}
	}
	for i := range req.ForgottenTopicsData {
		t := &req.ForgottenTopicsData[i]
		for _, p := range t.Partitions {
			if e := s.byKey[shareKeyOf(t.TopicID, p)]; e != nil {
				s.order.Remove(e)
				delete(s.byKey, shareKeyOf(t.TopicID, p))
				s.total.Add(-1)
			}
		}
	}
}

// keys lists the partitions of the session, those first that have waited longest for records.
func (s *shareSession) keys() []fetchKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := make([]fetchKey, 0, s.order.Len())
	for e := s.order.Front(); e != nil; e = e.Next() {
		keys = append(keys, e.Value.(fetchKey))
	}
	return keys
}

// served puts a partition behind those that have had no records since.
func (s *shareSession) served(k fetchKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.byKey[k]; e != nil {
		s.order.MoveToBack(e)
	}
}

func shareKeyOf(topic [16]byte, partition int32) fetchKey {
	return fetchKey{topicKey{id: topic}, partition}
}
