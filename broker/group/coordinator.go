// Package group is the group coordinator: groups of the classic protocol
// (JoinGroup, SyncGroup, Heartbeat, LeaveGroup), consumer groups of KIP-848, the
// offsets both commit, and the members of share groups (KIP-932); what those have
// done with their records is for broker/share.
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
// Goroutines: those of the shards, owned by [Coordinator.Run]. Locks: those of [coord.Table].
package group

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

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

	shards *coord.Table[*machine]
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
		shards: coord.NewTable[*machine](shards),
	}
	c.metrics = newMetrics(c, reg)
	return c
}

// Elect starts leading a shard with the given journal: it is loaded in the
// background, and answers COORDINATOR_LOAD_IN_PROGRESS until that is done. A term
// that was still running is ended first.
func (c *Coordinator) Elect(shard int32, j coord.Journal) {
	log := c.log.With("shard", shard)
	c.shards.Elect(shard, coord.NewShard(coord.Config[*machine]{
		Journal:       j,
		New:           func() *machine { return newMachine(c.cfg, c.topics, log, c.newID, c.metrics) },
		Logger:        log,
		Now:           c.now,
		CommitTimeout: func() time.Duration { return c.cfg().OffsetCommitTimeout },
	}))
}

// Resign stops leading a shard: what waits there fails with NOT_COORDINATOR, as
// does every later request.
func (c *Coordinator) Resign(shard int32) { c.shards.Resign(shard) }

// Run runs the elected shards until ctx ends, and returns when all have stopped.
// It is called once.
func (c *Coordinator) Run(ctx context.Context) error { return c.shards.Run(ctx) }

// FindShard returns the shard that coordinates a group: see [coord.Table.Find].
func (c *Coordinator) FindShard(groupID string) int32 { return c.shards.Find(groupID) }

// TopicDeleted removes every offset committed for a deleted topic, durably. Only
// shards that are led here are touched; an error means that some offsets may be
// left. They are harmless: they carry the topic's id, so a new topic of that name
// does not meet them, and the next pass over expired offsets removes them.
func (c *Coordinator) TopicDeleted(ctx context.Context, id [16]byte, name string) error {
	var errs []error
	for _, shard := range c.shards.Led() {
		_, err := coord.Do(ctx, shard, func(m *machine, tx *coord.Tx) (struct{}, error) {
			return struct{}{}, m.deleteTopicOffsets(tx, id, name)
		})
		if !errors.Is(err, coord.ErrNotLeader) { // else it was given up meanwhile
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
