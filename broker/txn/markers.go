package txn

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/morrowmq/morrow/broker/coord"
)

const (
	// maxEnding is how many transactions are completed at the same time.
	maxEnding = 64
	// maxMarkers is how many markers of one transaction are written at the same time.
	maxMarkers = 64
	// A transaction whose markers cannot all be written waits minRetry for the next try, and twice
	// as long after each. maxRetry is the longest that its partitions, once they can be written
	// again, wait for their markers.
	minRetry = 100 * time.Millisecond
	maxRetry = 10 * time.Second
)

// retryAfter is how long to wait after so many tries that failed, at least one.
func retryAfter(failures int) time.Duration {
	return min(minRetry<<min(failures-1, 10), maxRetry)
}

// job is a decided transaction whose markers are to be written.
type job struct {
	shard int32
	id    string
}

// queue is the jobs, by when they are to be done. It holds each at most once, so that it is bounded by the
// transactional ids there are. It is safe for concurrent use.
type queue struct {
	mu   sync.Mutex
	jobs coord.Timers[job] // guarded by mu
	// taken are the jobs that were taken and are not done; true: taken up again meanwhile. One that
	// is done twice at the same time could write a marker of a transaction that is over. Guarded by
	// mu.
	taken map[job]bool
	// failures counts the tries of jobs that failed, of those that are to be tried again. Guarded by mu.
	failures map[job]int
	wake     chan struct{} // 1-buffered: there is a job that is due earlier than others
}

func newQueue() *queue {
	return &queue{taken: map[job]bool{}, failures: map[job]int{}, wake: make(chan struct{}, 1)}
}

// put makes a job due.
func (q *queue) put(j job, at time.Time) {
	q.mu.Lock()
	q.jobs.Set(j, at)
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take removes a job that is due, or returns when the next will be, the zero time if there is none.
func (q *queue) take(now time.Time) (j job, ok bool, next time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		j, ok = q.jobs.Pop(now)
		if !ok {
			return j, false, q.jobs.Next()
		}
		if _, busy := q.taken[j]; !busy {
			q.taken[j] = false
			return j, true, time.Time{}
		}
		q.taken[j] = true
	}
}

// done gives a job back that was taken and is over.
func (q *queue) done(j job, now time.Time) {
	q.mu.Lock()
	again := q.taken[j]
	delete(q.taken, j)
	delete(q.failures, j)
	q.mu.Unlock()
	if again {
		q.put(j, now)
	}
}

// failed gives a job back that was taken and is to be tried again, and returns when.
func (q *queue) failed(j job, now time.Time) time.Duration {
	q.mu.Lock()
	delete(q.taken, j)
	q.failures[j]++
	wait := retryAfter(q.failures[j])
	q.mu.Unlock()
	q.put(j, now.Add(wait))
	return wait
}

// writeMarkers completes decided transactions until ctx ends.
func (c *Coordinator) writeMarkers(ctx context.Context) error {
	var g errgroup.Group
	g.SetLimit(maxEnding)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		j, ok, next := c.decided.take(c.now())
		if ok {
			g.Go(func() error {
				c.finish(ctx, j)
				return nil
			})
			continue
		}
		if !next.IsZero() {
			timer.Reset(max(next.Sub(c.now()), 0))
		}
		select {
		case <-ctx.Done():
		case <-c.decided.wake:
		case <-timer.C:
		}
	}
	return g.Wait()
}

// finish writes the markers of a transaction and completes it. What fails is tried again: every
// step may happen twice.
func (c *Coordinator) finish(ctx context.Context, j job) {
	shard := c.shards.Shard(j.shard)
	type found struct {
		decision
		ok bool
	}
	// The answer leaves when the decision is committed.
	d, err := coord.Do(ctx, shard, func(m *machine, _ *coord.Tx) (found, error) {
		d, ok := m.decision(j.id)
		return found{d, ok}, nil
	})
	if err == nil && d.ok {
		if err := c.writeAll(ctx, d.decision); err != nil {
			// Whatever it is: groups that are loading say the same as a shard of this coordinator that is gone.
			c.tryAgain(ctx, j, err)
			return
		}
		_, err = coord.Do(ctx, shard, func(m *machine, tx *coord.Tx) (struct{}, error) {
			return struct{}{}, m.complete(tx, j.id, d.decision)
		})
	}
	// A state that is gone leaves its transactions to the next, which finds them in the journal.
	if err == nil || errors.Is(err, coord.ErrNotLeader) || errors.Is(err, coord.ErrLoading) {
		c.decided.done(j, c.now())
		return
	}
	c.tryAgain(ctx, j, err)
}

// tryAgain has a transaction completed later, unless ctx has ended.
func (c *Coordinator) tryAgain(ctx context.Context, j job, err error) {
	if ctx.Err() != nil {
		c.decided.done(j, c.now())
		return
	}
	wait := c.decided.failed(j, c.now())
	c.log.Warn("transaction is decided but not complete, will try again", "transactional_id", j.id, "wait", wait, "err", err)
}

// writeAll writes a marker into every partition of a transaction that there still is.
func (c *Coordinator) writeAll(ctx context.Context, d decision) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(maxMarkers)
	for _, p := range d.partitions {
		if n, id, ok := c.cluster.Partitions(p.Topic); !ok || id != p.TopicID || p.Number >= n {
			continue // deleted, and what was written with it
		}
		g.Go(func() error {
			err := c.cluster.WriteMarker(ctx, p, d.marker)
			if errors.Is(err, ErrFenced) {
				c.log.Warn("transaction was ended by others in a partition", "topic", p.Topic, "partition", p.Number, "err", err)
				return nil
			}
			return err
		})
	}
	return g.Wait()
}
