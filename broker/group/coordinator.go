// Package group is the group coordinator: groups of the classic protocol
// (JoinGroup, SyncGroup, Heartbeat, LeaveGroup), consumer groups of KIP-848, and
// the offsets both commit.
//
// A group belongs to the shard its id hashes to, and a shard to the partition of
// __consumer_offsets that is its journal. The groups of a shard are one pure
// state machine, run by [coord.Shard]; everything in this package but
// [Coordinator] is that machine. FORMAT.md describes its records, which are
// Kafka's.
//
// Who may do what is not decided here: callers check rights before they call.
// Which topics exist is: a commit names topics, and offsets die with them.
//
// Goroutines: those of the shards, owned by [Coordinator.Run]. Locks: one in the
// Coordinator, for the table of shards, and one per shard.
package group

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"sync"
	"time"
	"unicode/utf16"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/morrowmq/morrow/broker/coord"
)

// Coordinator answers the group requests of this broker. Its methods are safe
// for concurrent use and, unless they say otherwise, never return nil. JoinGroup
// and SyncGroup may wait for other members; all methods wait for what they wrote
// to be committed, and give up when ctx ends. Strings of a request are kept, its
// byte slices are not.
type Coordinator struct {
	cfg     func() Config
	topics  Topics
	log     *slog.Logger
	now     func() time.Time
	newID   func() string
	metrics *metrics

	mu     sync.Mutex    // guards what follows
	shards []*election   // the latest term of each shard; nil: there was none
	starts []*election   // elected, waiting for Run
	wake   chan struct{} // 1-buffered: starts has grown
}

type machineShard = coord.Shard[*machine]

// election is one term of leading a shard.
type election struct {
	shard  *machineShard
	ctx    context.Context // ends with the term
	resign context.CancelFunc
	former *election     // has to end first: what it appends last must be loaded
	ended  chan struct{} // closed when nothing of the term is left
}

func (e *election) run() error {
	defer close(e.ended)
	if e.former != nil {
		<-e.former.ended
		e.former = nil
	}
	return e.shard.Run(e.ctx)
}

// New returns a coordinator that leads no shard. shards is the number of
// partitions of the journal topic, which must never change. now is the wall
// clock; nil means time.Now.
func New(cfg func() Config, topics Topics, shards int32, log *slog.Logger, reg prometheus.Registerer, now func() time.Time) *Coordinator {
	if now == nil {
		now = time.Now
	}
	c := &Coordinator{
		cfg:    cfg,
		topics: topics,
		log:    log,
		now:    now,
		newID:  uuid.NewString,
		shards: make([]*election, shards),
		wake:   make(chan struct{}, 1),
	}
	c.metrics = newMetrics(c, reg)
	return c
}

// Elect starts leading a shard with the given journal: it is loaded in the
// background, and answers COORDINATOR_LOAD_IN_PROGRESS until that is done. A term
// that was still running is ended first.
func (c *Coordinator) Elect(shard int32, j coord.Journal) {
	ctx, cancel := context.WithCancel(context.Background())
	log := c.log.With("shard", shard)
	e := &election{ctx: ctx, resign: cancel, ended: make(chan struct{})}
	e.shard = coord.NewShard(coord.Config[*machine]{
		Journal:       j,
		New:           func() *machine { return newMachine(c.cfg, c.topics, log, c.newID, c.metrics) },
		Logger:        log,
		Now:           c.now,
		CommitTimeout: func() time.Duration { return c.cfg().OffsetCommitTimeout },
	})
	c.mu.Lock()
	if e.former = c.shards[shard]; e.former != nil {
		e.former.resign()
	}
	c.shards[shard] = e
	c.starts = append(c.starts, e)
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Resign stops leading a shard: what waits there fails with NOT_COORDINATOR, as
// does every later request.
func (c *Coordinator) Resign(shard int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.shards[shard]; e != nil {
		e.resign()
	}
}

// Run runs the elected shards until ctx ends, and returns when all have stopped.
// It is called once.
func (c *Coordinator) Run(ctx context.Context) error {
	var g errgroup.Group
	for {
		for _, e := range c.takeStarts() {
			g.Go(func() error {
				defer context.AfterFunc(ctx, e.resign)()
				return e.run()
			})
		}
		select {
		case <-c.wake:
		case <-ctx.Done():
			return g.Wait()
		}
	}
}

func (c *Coordinator) takeStarts() []*election {
	c.mu.Lock()
	defer c.mu.Unlock()
	starts := c.starts
	c.starts = nil
	return starts
}

// FindShard returns the shard that coordinates a group, as every Kafka tool
// computes it: the absolute value of Java's hash of the id, with 0 for the one
// integer that has none, modulo the number of shards.
func (c *Coordinator) FindShard(groupID string) int32 {
	var h int32
	for _, unit := range utf16.Encode([]rune(groupID)) {
		h = 31*h + int32(unit)
	}
	switch {
	case h == math.MinInt32:
		h = 0
	case h < 0:
		h = -h
	}
	return h % int32(len(c.shards))
}

func (c *Coordinator) shardOf(groupID string) *machineShard {
	return c.shard(c.FindShard(groupID))
}

// shard returns a shard that is led here, or nil.
func (c *Coordinator) shard(i int32) *machineShard {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.shards[i]; e != nil && e.ctx.Err() == nil {
		return e.shard
	}
	return nil
}

// ledShards returns every shard that is led here.
func (c *Coordinator) ledShards() []*machineShard {
	c.mu.Lock()
	defer c.mu.Unlock()
	var led []*machineShard
	for _, e := range c.shards {
		if e != nil && e.ctx.Err() == nil {
			led = append(led, e.shard)
		}
	}
	return led
}

// park runs a command that answers now or later.
func park[R any](ctx context.Context, shard *machineShard, command func(*machine, *coord.Tx, *coord.Reply[R])) (R, error) {
	if shard == nil {
		var zero R
		return zero, coord.ErrNotLeader
	}
	return coord.Call(ctx, shard, command)
}

// call runs a command that answers at once.
func call[R any](ctx context.Context, shard *machineShard, command func(*machine, *coord.Tx) (R, error)) (R, error) {
	type answer struct {
		value R
		err   error
	}
	a, err := park(ctx, shard, func(m *machine, tx *coord.Tx, reply *coord.Reply[answer]) {
		v, err := command(m, tx)
		reply.Send(tx, answer{v, err})
	})
	return a.value, errors.Join(err, a.err)
}

// TopicDeleted removes every offset committed for a deleted topic, durably. Only
// shards that are led here are touched; an error means that some offsets may be
// left. They are harmless: they carry the topic's id, so a new topic of that name
// does not meet them, and the next pass over expired offsets removes them.
func (c *Coordinator) TopicDeleted(ctx context.Context, id [16]byte, name string) error {
	var errs []error
	for _, shard := range c.ledShards() {
		_, err := call(ctx, shard, func(m *machine, tx *coord.Tx) (struct{}, error) {
			return struct{}{}, m.deleteTopicOffsets(tx, id, name)
		})
		if !errors.Is(err, coord.ErrNotLeader) { // else it was given up meanwhile
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
