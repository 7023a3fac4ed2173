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
	// tries are those of jobs that failed and are to be tried again. Guarded by mu.
	tries map[job]tries
	wake  chan struct{} // 1-buffered: there is a job that is due earlier than others
}

// tries is what the tries of a job have come to.
type tries struct {
	failures int
	written  written
}

// written is the partitions that have a marker. It is not changed in place.
type written struct {
	marker     Marker
	all        bool // of the transaction, or those
	partitions map[Partition]bool
}

// has reports whether a partition has that marker.
func (w written) has(m Marker, p Partition) bool {
	return w.marker == m && (w.all || w.partitions[p])
}

func newQueue() *queue {
	return &queue{taken: map[job]bool{}, tries: map[job]tries{}, wake: make(chan struct{}, 1)}
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
	delete(q.tries, j)
	q.mu.Unlock()
	if again {
		q.put(j, now)
	}
}

// failed gives a job back that was taken and is to be tried again, and returns when. w is which
// partitions have its marker by now.
func (q *queue) failed(j job, w written, now time.Time) time.Duration {
	q.mu.Lock()
	delete(q.taken, j)
	t := tries{q.tries[j].failures + 1, w}
	q.tries[j] = t
	q.mu.Unlock()
	wait := retryAfter(t.failures)
	q.put(j, now.Add(wait))
	return wait
}

// written returns which partitions have the marker of a job since its earlier tries.
func (q *queue) written(j job) written {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.tries[j].written
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
	have := c.decided.written(j)
	if err == nil && d.ok {
		if have, err = c.writeAll(ctx, d.decision, have); err != nil {
			// Whatever it is: groups that are loading say the same as a shard of this coordinator that is gone.
			c.tryAgain(ctx, j, have, err)
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
	c.tryAgain(ctx, j, have, err)
}

// tryAgain has a transaction completed later, unless ctx has ended.
func (c *Coordinator) tryAgain(ctx context.Context, j job, have written, err error) {
	if ctx.Err() != nil {
		c.decided.done(j, c.now())
		return
	}
	wait := c.decided.failed(j, have, c.now())
	c.log.Warn("transaction is decided but not complete, will try again", "transactional_id", j.id, "wait", wait, "err", err)
}

// writeAll writes a marker into every partition of a transaction that there still is and that does
// not have it: one that cannot be written, for days perhaps, adds nothing to the others. It returns
// which have it now.
func (c *Coordinator) writeAll(ctx context.Context, d decision, had written) (written, error) {
	errs := make([]error, len(d.partitions))
	var g errgroup.Group // without a context of its own: what is on its way to the disk is waited for
	g.SetLimit(maxMarkers)
	for i, p := range d.partitions {
		if now, err := c.partition(p.Topic, p.Number); err != nil || now != p || had.has(d.marker, p) {
			continue // deleted, and what was written with it; or not to be written to; or done
		}
		g.Go(func() error {
			errs[i] = c.cluster.WriteMarker(ctx, p, d.marker)
			if errors.Is(errs[i], ErrFenced) {
				c.log.Warn("transaction was ended by others in a partition", "topic", p.Topic, "partition", p.Number, "err", errs[i])
				errs[i] = nil
			}
			return errs[i]
		})
	}
	err := g.Wait()
	if err == nil {
		return written{marker: d.marker, all: true}, nil
	}
	have := written{marker: d.marker, partitions: make(map[Partition]bool, len(d.partitions))}
	for i, p := range d.partitions {
		if errs[i] == nil {
			have.partitions[p] = true
		}
	}
	return have, err
}
