// Package share is the records of share groups (KIP-932): which member of a group
// has acquired which records of a partition, how often each was delivered, and what
// is finished. Who is a member, and who reads which partition, is for broker/group.
//
// A share-partition, a partition as one group sees it, belongs to the shard its key
// hashes to, and a shard to the partition of __share_group_state that is its
// journal. The share-partitions of a shard are one pure state machine, run by
// [coord.Shard]; everything in this package but [Coordinator] is that machine.
// FORMAT.md describes its records.
//
// The package does not read logs: its callers say which offsets hold visible
// batches, and hand what they found to [Coordinator.Acquire]. Nor does it know
// Kafka's error codes.
//
// Goroutines: those of the shards and one that has records written to dead-letter
// topics, owned by [Coordinator.Run]. Locks: those of [coord.Table], and one for
// who wants to be woken, which is held for a moment and calls nothing.
package share

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/morrowmq/morrow/broker/coord"
)

// Errors of a [Coordinator], besides those of acknowledgements.
var (
	// ErrUnknown means that the share-partition has not begun: see [Coordinator.Open].
	ErrUnknown = errors.New("share-partition has not begun")
	// ErrLoading means that the state is being read from the journal.
	ErrLoading = coord.ErrLoading
	// ErrNotLeader means that the share-partition is not coordinated here.
	ErrNotLeader = coord.ErrNotLeader
	// ErrCommitTimeout means that a change was not durable in time. It may yet be.
	ErrCommitTimeout = coord.ErrCommitTimeout
)

// Options are what a Coordinator is made of. All but Now are needed.
type Options struct {
	// Config is the configuration of a group as it is now.
	Config func(group string) Config
	// CommitTimeout bounds every wait for the journal.
	CommitTimeout func() time.Duration
	// Shards is the number of partitions of the journal topic, which must never change.
	Shards int32
	// Letters writes to the dead-letter topics.
	Letters Letters
	Logger  *slog.Logger
	// Now is the wall clock; nil means time.Now.
	Now func() time.Time
}

// Coordinator keeps the share-partitions of this broker. Its methods are safe for
// concurrent use. Those that take a context wait until what they did, and what they
// tell, is committed, and give up when it ends; then it may have been done or not.
type Coordinator struct {
	opts  Options
	table *coord.Table[*machine]
	dying chan struct{} // 1-buffered: there may be something to bury

	mu      sync.Mutex // guards what follows
	waiters map[Key]map[chan<- struct{}]bool
	stuck   map[Key]error // why records cannot be written to a dead-letter topic
}

// New returns a coordinator that leads no shard.
func New(o Options) *Coordinator {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Coordinator{
		opts:    o,
		table:   coord.NewTable[*machine](o.Shards),
		dying:   make(chan struct{}, 1),
		waiters: map[Key]map[chan<- struct{}]bool{},
		stuck:   map[Key]error{},
	}
}

// Elect starts leading a shard with the given journal, of which trim removes what
// lies below an offset. The shard is loaded in the background, and answers
// ErrLoading until that is done.
func (c *Coordinator) Elect(shard int32, j coord.Journal, trim func(below int64) error) {
	log := c.opts.Logger.With("share_shard", shard)
	c.table.Elect(shard, coord.NewShard(coord.Config[*machine]{
		Journal:       j,
		New:           func() *machine { return newMachine(c.opts.Config, log, c.wake, func() { c.loaded(shard) }, c.bury) },
		Logger:        log,
		Now:           c.opts.Now,
		Trim:          trim,
		CommitTimeout: c.opts.CommitTimeout,
	}))
}

// Resign stops leading a shard.
func (c *Coordinator) Resign(shard int32) { c.table.Resign(shard) }

// Run runs the elected shards, and writes to the dead-letter topics, until ctx ends.
// It is called once.
func (c *Coordinator) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.table.Run(ctx) })
	g.Go(func() error { return c.runBurials(ctx) })
	return g.Wait()
}

// FindShard returns the number of the shard of a share-partition.
func (c *Coordinator) FindShard(k Key) int32 {
	h := fnv.New32a()
	h.Write(binary.BigEndian.AppendUint32(append([]byte(k.Group), k.Topic[:]...), uint32(k.Partition)))
	return int32(h.Sum32() % uint32(c.opts.Shards))
}

func (c *Coordinator) shard(k Key) *coord.Shard[*machine] { return c.table.Shard(c.FindShard(k)) }

// Next finds what a member of a group could acquire now: records from an offset on,
// up to another one, which is math.MaxInt64 if it is the end of the log. Nothing
// stands for it yet; ok is false while there is nothing. An error is ErrUnknown,
// ErrLoading or ErrNotLeader.
func (c *Coordinator) Next(k Key) (from, until int64, ok bool, err error) {
	shard := c.shard(k)
	if shard == nil {
		return 0, 0, false, ErrNotLeader
	}
	loaded := shard.View(func(m *machine) {
		p, perr := m.part(k)
		if err = perr; err == nil {
			from, until, ok = p.next(m.cfg(k.Group), c.opts.Now().UnixMilli())
		}
	})
	if !loaded {
		err = ErrLoading
	}
	return from, until, ok, err
}

// Open begins a share-partition at an offset. One that has begun stays as it is.
func (c *Coordinator) Open(ctx context.Context, k Key, start int64) error {
	return c.do(ctx, k, func(m *machine, tx *coord.Tx) error { return m.open(tx, k, start) })
}

// Acquire gives a member what is available of what was found in the log: it holds
// it until it acknowledges it, or the lock ends. What others got meanwhile is left
// out.
func (c *Coordinator) Acquire(ctx context.Context, k Key, f Find) ([]Acquired, error) {
	return coord.Do(ctx, c.shard(k), func(m *machine, tx *coord.Tx) ([]Acquired, error) { return m.acquire(tx, k, f) })
}

// Acknowledge says what has become of records a member holds: all of it counts, or,
// with an error, nothing. renew says that AckRenew is among the ways.
func (c *Coordinator) Acknowledge(ctx context.Context, k Key, member string, acks []Ack, renew bool) error {
	last := AckReject
	if renew {
		last = AckRenew
	}
	if err := checkAcks(acks, last); err != nil {
		return err
	}
	return c.do(ctx, k, func(m *machine, tx *coord.Tx) error { return m.acknowledge(tx, k, member, acks) })
}

// Leave gives back at once what a member holds of a share-partition.
func (c *Coordinator) Leave(ctx context.Context, k Key, member string) error {
	return c.do(ctx, k, func(m *machine, tx *coord.Tx) error { return m.leave(tx, k, member) })
}

// Reset begins a share-partition anew at an offset: what was known of its records
// is forgotten.
func (c *Coordinator) Reset(ctx context.Context, k Key, start int64) error {
	return c.do(ctx, k, func(m *machine, tx *coord.Tx) error { return m.reset(tx, k, start) })
}

// DeleteGroup forgets everything of a group.
func (c *Coordinator) DeleteGroup(ctx context.Context, group string) error {
	return c.remove(ctx, func(k Key) bool { return k.Group == group })
}

// DeleteTopic forgets what a group knows of a topic.
func (c *Coordinator) DeleteTopic(ctx context.Context, group string, topic [16]byte) error {
	return c.remove(ctx, func(k Key) bool { return k.Group == group && k.Topic == topic })
}

// TopicDeleted forgets what all groups know of a topic.
func (c *Coordinator) TopicDeleted(ctx context.Context, topic [16]byte) error {
	return c.remove(ctx, func(k Key) bool { return k.Topic == topic })
}

// remove ends share-partitions of the shards that are led here.
func (c *Coordinator) remove(ctx context.Context, which func(Key) bool) error {
	var errs []error
	for _, shard := range c.table.Led() {
		_, err := coord.Do(ctx, shard, func(m *machine, tx *coord.Tx) (struct{}, error) {
			return struct{}{}, m.remove(tx, which)
		})
		if !errors.Is(err, coord.ErrNotLeader) { // else it was given up meanwhile
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (c *Coordinator) do(ctx context.Context, k Key, command func(*machine, *coord.Tx) error) error {
	_, err := coord.Do(ctx, c.shard(k), func(m *machine, tx *coord.Tx) (struct{}, error) {
		return struct{}{}, command(m, tx)
	})
	return err
}

// Subscribe has wake, which should be 1-buffered, receive whenever there may be
// more to acquire of a share-partition, other than by an append to its log.
func (c *Coordinator) Subscribe(k Key, wake chan<- struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiters[k] == nil {
		c.waiters[k] = map[chan<- struct{}]bool{}
	}
	c.waiters[k][wake] = true
}

// Unsubscribe ends it.
func (c *Coordinator) Unsubscribe(k Key, wake chan<- struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiters[k], wake)
	if len(c.waiters[k]) == 0 {
		delete(c.waiters, k)
	}
}

func (c *Coordinator) wake(k Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for w := range c.waiters[k] {
		select {
		case w <- struct{}{}:
		default:
		}
	}
}

// loaded wakes everybody who waits for something of a shard: it answers from now on.
func (c *Coordinator) loaded(shard int32) {
	c.mu.Lock()
	var keys []Key
	for k := range c.waiters {
		if c.FindShard(k) == shard {
			keys = append(keys, k)
		}
	}
	c.mu.Unlock()
	for _, k := range keys {
		c.wake(k)
	}
}

func (c *Coordinator) bury() {
	select {
	case c.dying <- struct{}{}:
	default:
	}
}
