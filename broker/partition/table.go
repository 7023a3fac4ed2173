package partition

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/delay"
	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/tier"
)

// Errors of a look-up.
var (
	// ErrNotHere means this broker does not hold the partition, or not yet or no longer.
	ErrNotHere = errors.New("partition is not on this broker")
	// ErrOffline means the partition's storage failed; the log says why.
	ErrOffline = errors.New("partition is offline after a storage failure")
)

// Config is what a Table works with. All fields are needed.
type Config struct {
	NodeID     int32
	Store      cluster.Store
	Logs       *log.Set
	Dispatcher *delay.Dispatcher
	// Tier is nil if tiering is switched off for the broker.
	Tier    *tier.Tier
	FS      vfs.FS
	DataDir string
	Now     func() time.Time
	Logger  *slog.Logger

	// Opened is called, without locks, for every partition that came to be here, before anybody can
	// find it. Closed is called when it has gone again. TopicDeleted is called once all partitions
	// of a deleted topic have gone.
	Opened       func(*Partition)
	Closed       func(*Partition)
	TopicDeleted func(ctx context.Context, d *cluster.Deletion) error
}

// Table is all partitions of this broker. It follows the cluster's metadata: what is assigned here is opened or
// created, what is deleted is removed. It is safe for concurrent use.
type Table struct {
	cfg Config

	mu          sync.RWMutex
	partitions  map[key]*Partition // guarded by mu
	failed      map[key]error      // guarded by mu: could not be opened
	applied     *cluster.Image     // guarded by mu: the image that the table has followed to
	changed     chan struct{}      // guarded by mu: closed and replaced when applied moves
	unloaded    []*Partition       // guarded by mu: their schedules are to be loaded
	failedLoads []*Partition       // guarded by mu: … to be tried again later
	opened      []*Partition       // guarded by mu: opened by the follow under way, their schedules are to be loaded
	created     []*Partition       // guarded by mu: created by the follow under way, with schedules; nobody finds them yet
	unload      chan struct{}      // 1-buffered: unloaded has grown

	// reopens counts how often in a row partitions could not be opened for want of room.
	reopens setbacks

	// room is full while delayed records take more memory than they may although they are being spilled.
	room rooms
	// crowded is for how long it was full, in nanoseconds; crowdNews is for the log line about it.
	crowded   atomic.Int64
	crowdNews rate.Sometimes
	// relief is 1-buffered: pending records take more memory than they may.
	relief chan struct{}
}

type key struct {
	topic  cluster.TopicID
	number int32
}

// NewTable makes an empty table.
func NewTable(cfg Config) *Table {
	return &Table{
		cfg:        cfg,
		partitions: make(map[key]*Partition),
		failed:     make(map[key]error),
		changed:    make(chan struct{}),
		unload:     make(chan struct{}, 1),
		relief:     make(chan struct{}, 1),
		crowdNews:  rate.Sometimes{First: 1, Interval: time.Minute},
	}
}

// Get finds a partition. The error is ErrNotHere or ErrOffline.
func (t *Table) Get(topic cluster.TopicID, number int32) (*Partition, error) {
	k := key{topic, number}
	t.mu.RLock()
	p, failed := t.partitions[k], t.failed[k]
	t.mu.RUnlock()
	switch {
	case failed != nil:
		return nil, fmt.Errorf("%w: %w", ErrOffline, failed)
	case p == nil:
		return nil, ErrNotHere
	}
	return p, nil
}

// All calls yield for every partition, in no order.
func (t *Table) All(yield func(*Partition) bool) {
	t.mu.RLock()
	all := make([]*Partition, 0, len(t.partitions))
	for _, p := range t.partitions {
		all = append(all, p)
	}
	t.mu.RUnlock()
	for _, p := range all {
		if !yield(p) {
			return
		}
	}
}

// Offline lists the partitions that failed, with the reason: could not be opened, or failed since.
func (t *Table) Offline() map[string]error {
	offline := make(map[string]error)
	t.mu.RLock()
	for k, err := range t.failed {
		name := k.topic.String()
		if topic, ok := t.applied.TopicByID(k.topic); ok {
			name = topic.Name
		}
		offline[fmt.Sprintf("%s-%d", name, k.number)] = err
	}
	t.mu.RUnlock()
	for p := range t.All {
		if err := p.log.Failure(); err != nil {
			offline[p.String()] = err
		}
	}
	return offline
}

// Usage is the space of the file system that holds the logs.
func (t *Table) Usage() (vfs.Usage, error) { return t.cfg.FS.Usage(t.cfg.DataDir) }

// WaitVersion blocks until the table has followed the metadata to a version.
func (t *Table) WaitVersion(ctx context.Context, version int64) error {
	for {
		t.mu.RLock()
		done := t.applied != nil && t.applied.Version() >= version
		changed := t.changed
		t.mu.RUnlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Open follows the metadata for the first time: it opens every partition assigned here. A partition that
// cannot be opened is listed by Offline and logged; the others go on.
func (t *Table) Open(ctx context.Context) {
	t.follow(ctx)
}

// Run follows the metadata, removes what is deleted, applies retention and compacts, until ctx ends.
func (t *Table) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return t.watch(ctx) })
	g.Go(func() error { return t.retain(ctx) })
	g.Go(func() error { return t.tend(ctx) })
	g.Go(func() error { return t.tidy(ctx) })
	g.Go(func() error { return t.crowd(ctx) })
	g.Go(func() error { return t.compact(ctx) })
	for range loaders {
		g.Go(func() error { return t.load(ctx) })
	}
	return g.Wait()
}

// loaders is how many schedules are read from their logs at the same time.
const loaders = 2

// loadRetry is how long a schedule that cannot be loaded waits for its next try, the first time;
// maxLoadRetry, after many: each may read all of a log.
const (
	loadRetry    = 5 * time.Second
	maxLoadRetry = 30 * time.Second
)

// load brings schedules up to their logs, as partitions are opened.
func (t *Table) load(ctx context.Context) error {
	for {
		p := t.nextUnloaded()
		if p == nil {
			select {
			case <-ctx.Done():
				return nil
			case <-t.unload:
			case <-time.After(loadRetry):
				t.retryLoads()
			}
			continue
		}
		err := p.load(ctx)
		switch {
		case p.dropped(): // perhaps after clean has looked for what is left
			if err := t.cfg.FS.RemoveAll(p.scratch); err != nil {
				t.cfg.Logger.Warn("temporary files of a deleted topic are left", "partition", p.String(), "err", err)
			}
		case err != nil && ctx.Err() == nil:
			t.failLoad(p, err)
		case err == nil && p.unloadable.Swap(nil) != nil:
			t.cfg.Logger.Info("delayed records could be read from the log again", "partition", p.String())
		}
	}
}

// failLoad has a schedule that could not be loaded tried again later, and says why, unless it has.
func (t *Table) failLoad(p *Partition, err error) {
	if last := p.unloadable.Swap(&err); last == nil || (*last).Error() != err.Error() {
		t.cfg.Logger.Error("delayed records cannot be read from the log; none of the partition is delivered until they can", "partition", p.String(), "err", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	p.loads.failed(p.now(), loadRetry, maxLoadRetry)
	t.failedLoads = append(t.failedLoads, p)
}

// retryLoads gives the schedules that could not be loaded another try, if it is time.
func (t *Table) retryLoads() {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.cfg.Now()
	t.failedLoads = slices.DeleteFunc(t.failedLoads, func(p *Partition) bool {
		due := !p.loads.wait(now)
		if due {
			t.unloaded = append(t.unloaded, p)
		}
		return due
	})
}

func (t *Table) nextUnloaded() *Partition {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.unloaded) == 0 {
		return nil
	}
	p := t.unloaded[0]
	t.unloaded = t.unloaded[1:]
	if len(t.unloaded) > 0 {
		wake(t.unload)
	}
	return p
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
