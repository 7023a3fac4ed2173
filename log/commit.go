package log

import (
	"context"
	"sync"
	"time"

	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/log/segment"
)

// syncWorkers is how many segments are synced at once. More do not make a disk faster.
const syncWorkers = 8

// committer makes appends durable. Appends of any number of goroutines to a log share a sync: while one
// is under way, the log is marked, and synced once more afterwards.
type committer struct {
	set *Set

	mu     sync.Mutex // guards what follows, and Log.commit
	queue  []*Log     // logs to be synced
	wake   sync.Cond  // the queue is not empty, or closed is set
	closed bool
}

// commitState is what the committer knows of a log. Guarded by committer.mu.
type commitState struct {
	queued  bool // in the queue
	syncing bool // a worker has it
	again   bool // appended to meanwhile
}

func (c *committer) init(s *Set) {
	c.set = s
	c.wake.L = &c.mu
}

// add notes that batches were written to a log, at pos of segment s, and that the log ends at end now.
func (c *committer) add(l *Log, s *segment.Segment, pos int64, batches []record.Batch, end int64) {
	c.mu.Lock()
	c.enqueueLocked(l)
	c.mu.Unlock()
}

// enqueue has a log looked at.
func (c *committer) enqueue(l *Log) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.enqueueLocked(l)
}

func (c *committer) enqueueLocked(l *Log) {
	switch st := &l.commit; {
	case st.syncing:
		st.again = true
	case !st.queued:
		st.queued = true
		c.queue = append(c.queue, l)
		c.wake.Signal()
	}
}

// run syncs logs until ctx ends.
func (c *committer) run(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() {
		c.mu.Lock()
		c.closed = true
		c.mu.Unlock()
		c.wake.Broadcast()
	})
	defer stop()
	var workers sync.WaitGroup
	for range syncWorkers {
		workers.Go(func() {
			for {
				c.mu.Lock()
				for len(c.queue) == 0 && !c.closed {
					c.wake.Wait()
				}
				if c.closed {
					c.mu.Unlock()
					return
				}
				l := c.popLocked()
				c.mu.Unlock()
				c.sync(l)
			}
		})
	}
	workers.Wait()
}

// drain syncs until nothing is queued.
func (c *committer) drain() {
	for {
		c.mu.Lock()
		if len(c.queue) == 0 {
			c.mu.Unlock()
			return
		}
		l := c.popLocked()
		c.mu.Unlock()
		c.sync(l)
	}
}

func (c *committer) popLocked() *Log {
	l := c.queue[0]
	c.queue = c.queue[1:]
	l.commit.queued, l.commit.syncing = false, true
	return l
}

// sync makes a log durable and publishes that.
func (c *committer) sync(l *Log) {
	if end, loose := l.looseEnd(c.set.now()); loose {
		l.publish(end, false)
	} else if end, err := l.syncSegments(); err == nil {
		l.publish(end, true)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	l.commit.syncing = false
	if l.commit.again {
		l.commit.again = false
		c.enqueueLocked(l)
	}
}

// looseEnd is the log end, if that may be acknowledged without being durable.
func (l *Log) looseEnd(now time.Time) (end int64, loose bool) {
	cfg := l.config.Load()
	if !cfg.loose() {
		return 0, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.end, l.end-l.durableEnd < cfg.FlushMessages && now.UnixMilli()-l.flushedAt < cfg.FlushMs
}

// syncSegments syncs every segment that has bytes that are not durable, oldest first, and returns the offset below
// which everything is durable then. A failure takes the log offline.
func (l *Log) syncSegments() (end int64, err error) {
	if err := l.Failure(); err != nil {
		return 0, err
	}
	l.mu.Lock()
	end = l.end
	segments := l.segments
	l.mu.Unlock()
	first := len(segments)
	for first > 0 && segments[first-1].Dirty() {
		first--
	}
	for _, s := range segments[first:] {
		started := time.Now()
		if err := s.Sync(); err != nil {
			return 0, l.fail(err)
		}
		l.set.metrics.segmentSync.Observe(time.Since(started).Seconds())
	}
	return end, nil
}

// publish moves the synced end, and tells the owner. durable says whether that is the truth or, in a loose log, a claim.
func (l *Log) publish(end int64, durable bool) {
	l.mu.Lock()
	if durable {
		l.durableEnd = max(l.durableEnd, end)
		l.flushedAt = l.set.now().UnixMilli()
	}
	moved := end > l.syncedEnd
	l.syncedEnd = max(l.syncedEnd, end)
	l.factsDirty = true
	l.mu.Unlock()
	if moved && l.synced != nil {
		l.synced(end)
	}
}
