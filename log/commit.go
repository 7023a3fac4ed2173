package log

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/log/segment"
)

// Appends become durable in one of two ways. The segments of a log can be synced: good for large
// appends and for few logs. Or the bytes of small appends of many logs go into one frame of the
// commit journal (journal.go): one write and one sync for all. Either way, whatever is appended
// during a sync shares the next one.
//
// An append may be staged for the journal only if everything before it in its log is durable or
// staged too; otherwise the frame would acknowledge a hole. So a log is in one of two modes at a
// time: staged, or direct.
//
// Invariant: a log's bytes in [Log.durableEnd, Log.end) are all in the stage or the frame being
// written, or the log is queued or being synced.
const (
	// syncWorkers is how many segments are synced at once. More do not make a disk faster.
	syncWorkers = 8
	// smallAppend is up to how many bytes an append is staged.
	smallAppend = 32 << 10
	// stageBytes is how large a frame may grow; what comes on top is synced directly.
	stageBytes = 4 << 20
	// aloneBytes is how large the appends of a single log in a frame may be for the frame to be
	// better than a sync of its segment.
	aloneBytes = 64 << 10
)

// committer makes appends durable.
type committer struct {
	set     *Set
	journal *journal // nil if there is none

	mu     sync.Mutex // guards what follows, and Log.commit
	queue  []*Log     // logs to be synced directly
	queued sync.Cond  // the queue is not empty, or closed is set
	stage  *stage     // frame being collected
	spare  *stage     // the other one, while it is not being written
	staged sync.Cond  // the stage is not empty, or closed is set
	direct bool       // nothing is staged any more: there is no journal, or it has failed
	closed bool
}

// commitState is what the committer knows of a log. Guarded by committer.mu.
type commitState struct {
	queued  bool // in the queue
	syncing bool // being synced directly
	again   bool // appended to meanwhile

	lineage  uint64 // what the following are true of
	durable  int64  // offset below which everything is durable
	direct   int64  // end of the last append that was not staged
	segments int64  // offset below which the segments themselves are durable
	slot     int    // of the log in committer.stage.logs, if it is there
}

func (c *committer) init(s *Set, j *journal) {
	c.set, c.journal, c.direct = s, j, j == nil
	c.queued.L, c.staged.L = &c.mu, &c.mu
	c.stage, c.spare = newStage(), newStage()
}

// opened sets out from a log whose bytes up to end are durable in its segments.
func (c *committer) opened(l *Log, lineage uint64, end int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := &l.commit
	st.lineage, st.durable, st.direct, st.segments = lineage, end, end, end
}

// reachedLocked notes that a log is durable up to some end, in its segments or only in the journal.
func (c *committer) reachedLocked(e staged, segments bool) {
	st := &e.log.commit
	if st.lineage != e.lineage {
		return
	}
	st.durable = max(st.durable, e.end)
	if segments {
		st.segments = max(st.segments, e.end)
	}
}

// add notes that batches, bytes long, were written to a log at pos of its active segment, and that it ends at
// end now. Called under appendMu.
func (c *committer) add(l *Log, lineage uint64, s *segment.Segment, pos, bytes int64, batches []record.Batch, end int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := &l.commit
	if c.direct || bytes > smallAppend || len(c.stage.buf) > stageBytes || st.durable < st.direct || l.config.Load().loose() {
		st.direct = end
		c.enqueueLocked(l)
		return
	}
	if len(c.stage.logs) == 0 {
		c.staged.Signal()
	}
	if e := (staged{log: l, lineage: lineage, end: end}); c.stage.has(st.slot, e) {
		c.stage.logs[st.slot] = e
	} else {
		st.slot = len(c.stage.logs)
		c.stage.logs = append(c.stage.logs, e)
	}
	c.stage.add(l, lineage, s.Base(), pos, batches)
}

// enqueue has a log synced directly, or looked at if it is loose.
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
		c.queued.Signal()
	}
}

// run makes appends durable until ctx ends.
func (c *committer) run(ctx context.Context) {
	stop := context.AfterFunc(ctx, c.stop)
	defer stop()
	var loops sync.WaitGroup
	for range syncWorkers {
		loops.Go(c.syncQueued)
	}
	if c.journal != nil {
		loops.Go(c.writeFrames)
		loops.Go(c.trimJournal)
		loops.Go(func() {
			if err := c.journal.prepareWanted(); err != nil {
				c.set.logger.Warn("commit journal cannot be made, segments are synced instead", "err", err)
			}
		})
	}
	loops.Wait()
}

func (c *committer) stop() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.queued.Broadcast()
	c.staged.Broadcast()
	if c.journal != nil {
		c.journal.stop()
	}
}

// syncQueued syncs logs one after the other.
func (c *committer) syncQueued() {
	for {
		c.mu.Lock()
		for len(c.queue) == 0 && !c.closed {
			c.queued.Wait()
		}
		if c.closed {
			c.mu.Unlock()
			return
		}
		l := c.popLocked()
		c.mu.Unlock()
		c.sync(l)
	}
}

// writeFrames writes one frame after the other.
func (c *committer) writeFrames() {
	for {
		c.mu.Lock()
		for len(c.stage.logs) == 0 && !c.closed {
			c.staged.Wait()
		}
		if c.closed {
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		c.writeFrame()
	}
}

// drain does what the loops do, until nothing is left. The loops must not be running.
func (c *committer) drain() {
	c.writeFrame()
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
	c.queue[0] = nil
	c.queue = c.queue[1:]
	l.commit.queued, l.commit.syncing = false, true
	return l
}

// sync makes a log durable in its segments and publishes that; a loose log perhaps publishes only.
func (c *committer) sync(l *Log) {
	if end, lineage, loose := l.looseEnd(c.set.now()); loose {
		l.publish(staged{end: end, lineage: lineage}, false)
	} else if s, err := l.syncSegments(); err == nil {
		l.publish(s, true)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	l.commit.syncing = false
	if l.commit.again {
		l.commit.again = false
		c.enqueueLocked(l)
	}
}

// writeFrame makes what is staged durable: in a frame, or log by log if that is better.
func (c *committer) writeFrame() {
	c.mu.Lock()
	s := c.stage
	if len(s.logs) == 0 {
		c.mu.Unlock()
		return
	}
	c.stage, c.spare = c.spare, nil
	c.mu.Unlock()
	if len(s.logs) == 1 && len(s.buf) > aloneBytes {
		c.redirect(s)
	} else if err := c.journal.write(s); err == nil {
		c.mu.Lock()
		for _, e := range s.logs {
			c.reachedLocked(e, false)
		}
		c.mu.Unlock()
		for _, e := range s.logs {
			e.log.publish(e, true)
		}
	} else if errors.Is(err, errJournalBusy) {
		c.redirect(s)
	} else {
		c.journalFailed(s, err)
	}
	s.reset()
	c.mu.Lock()
	c.spare = s
	c.mu.Unlock()
}

// redirect has the logs of a frame synced directly.
func (c *committer) redirect(s *stage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range s.logs {
		if st := &e.log.commit; st.lineage == e.lineage {
			st.direct = max(st.direct, e.end)
			c.enqueueLocked(e.log)
		}
	}
}

// journalFailed takes every log offline that has something in the journal and, perhaps, nowhere
// else: what is on the disk after a failed sync is unknown, for earlier frames of the file too.
func (c *committer) journalFailed(s *stage, err error) {
	users := append(c.journal.fail(), s.logs...)
	c.mu.Lock()
	c.direct = true
	users = slices.DeleteFunc(users, c.coveredLocked)
	c.mu.Unlock()
	for _, e := range users {
		_ = e.log.fail(err)
	}
}

// coveredLocked reports whether the journal is not needed for what it has of a log.
func (c *committer) coveredLocked(e staged) bool {
	st := &e.log.commit
	return st.segments >= e.end || st.lineage != e.lineage || e.log.gone.Load()
}

// trimJournal frees journal files by syncing the segments they have entries of. It goes slowly, one by
// one, in order not to be in the way of commits.
func (c *committer) trimJournal() {
	for f := c.journal.awaitFull(); f != nil; f = c.journal.awaitFull() {
		c.trimFile(f)
	}
}

func (c *committer) trimFile(f *journalFile) {
	needed := false
	for _, e := range c.journal.entries(f) {
		started := time.Now()
		if !c.trim(e) {
			needed = true
		}
		c.journal.pause(time.Since(started))
	}
	c.journal.release(f, needed)
}

// trim makes sure that the journal is not needed for a log any more. It fails if the log is offline.
func (c *committer) trim(e staged) bool {
	c.mu.Lock()
	covered := c.coveredLocked(e)
	c.mu.Unlock()
	if covered {
		return true
	}
	return e.log.flush() == nil || e.log.gone.Load()
}

// Flush makes the log durable up to an offset at or below the high watermark: of a log that
// acknowledges before ([Config.FlushMessages]) that is more than what Wait waits for. A failure
// takes the log offline.
func (l *Log) Flush(end int64) error {
	l.mu.Lock()
	durable := l.durableEnd >= end
	l.mu.Unlock()
	if durable {
		return nil
	}
	return l.flush()
}

// flush makes everything in the segments durable.
func (l *Log) flush() error {
	s, err := l.syncSegments()
	if err == nil {
		l.publish(s, true)
	}
	return err
}

// looseEnd is the log end, if that may be acknowledged without being durable.
func (l *Log) looseEnd(now time.Time) (end int64, lineage uint64, loose bool) {
	cfg := l.config.Load()
	if !cfg.loose() {
		return 0, 0, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.end, l.lineage, l.end-l.durableEnd < cfg.FlushMessages && now.UnixMilli()-l.flushedAt < cfg.FlushMs
}

// syncSegments syncs every segment that has bytes that are not durable, oldest first, and returns
// up to where the log is durable in its segments now. A failure takes the log offline.
func (l *Log) syncSegments() (staged, error) {
	if err := l.Failure(); err != nil {
		return staged{}, err
	}
	l.mu.Lock()
	upTo := staged{log: l, end: l.end, lineage: l.lineage}
	dirty := slices.Clone(l.dirty)
	l.mu.Unlock()
	for _, s := range dirty {
		started := time.Now()
		if err := s.Sync(); err != nil {
			return staged{}, l.fail(err)
		}
		l.set.metrics.segmentSync.Observe(time.Since(started).Seconds())
	}
	l.mu.Lock()
	l.dirty = slices.DeleteFunc(l.dirty, func(s *segment.Segment) bool { return !s.Dirty() })
	l.mu.Unlock()
	c := &l.set.commits
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reachedLocked(upTo, true)
	return upTo, nil
}

// publish moves the synced end, and tells the owner. durable says whether that is the truth or, of a loose
// log, a claim. What was synced before bytes were taken back says nothing about those that came in their place.
func (l *Log) publish(s staged, durable bool) {
	l.mu.Lock()
	if s.lineage != l.lineage {
		l.mu.Unlock()
		return
	}
	if durable {
		l.durableEnd = max(l.durableEnd, s.end)
		l.flushedAt = l.set.now().UnixMilli()
	}
	moved := s.end > l.syncedEnd
	l.syncedEnd = max(l.syncedEnd, s.end)
	l.factsDirty = true
	l.mu.Unlock()
	if moved && l.synced != nil {
		l.synced(s.end)
	}
}
