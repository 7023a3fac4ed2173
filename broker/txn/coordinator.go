// Package txn is the transaction coordinator: which producer a transactional id
// belongs to, which partitions its transaction holds, and how it ends (KIP-98,
// KIP-360, KIP-890).
//
// A transactional id belongs to the shard it hashes to, and a shard to the
// partition of __transaction_state that is its journal. The transactions of a
// shard are one pure state machine, run by [coord.Shard]. FORMAT.md describes its
// records, which are Kafka's.
//
// The life of a transaction:
//
//	Empty ── partition added ──► Ongoing ── EndTxn ──► PrepareCommit ── markers written ──► CompleteCommit
//	                                └── EndTxn, timeout, new instance ──► PrepareAbort ──► CompleteAbort
//
// It is decided once the record of a Prepare state is committed; then [Coordinator.Run]
// writes a marker into every partition, as often as it takes, and only then is the
// transaction complete. Nothing else of it happens outside the machine.
//
// Who may do what is not decided here: callers check rights before they call.
//
// Goroutines: those of the shards and of the marker writers, owned by
// [Coordinator.Run]. Locks: those of [coord.Table] and [queue].
package txn

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/morrowmq/morrow/broker/coord"
)

// Config holds the limits of transactions. It is read anew for every decision.
// The comments give Kafka's names.
type Config struct {
	MaxTimeout      time.Duration // transaction.max.timeout.ms
	AbortInterval   time.Duration // transaction.abort.timed.out.transaction.cleanup.interval.ms
	IDExpiration    time.Duration // transactional.id.expiration.ms
	ExpireInterval  time.Duration // transaction.remove.expired.transaction.cleanup.interval.ms
	VerifyPartition bool          // transaction.partition.verification.enable
}

// DefaultConfig returns Kafka's defaults.
func DefaultConfig() Config {
	return Config{
		MaxTimeout:      15 * time.Minute,
		AbortInterval:   10 * time.Second,
		IDExpiration:    7 * 24 * time.Hour,
		ExpireInterval:  time.Hour,
		VerifyPartition: true,
	}
}

// Partition is a partition that a transaction holds. The id tells a topic from
// another that has the name later.
type Partition struct {
	Topic   string
	TopicID [16]byte
	Number  int32
}

// Marker ends a producer's transaction in one partition.
type Marker struct {
	ProducerID       int64
	Epoch            int16
	CoordinatorEpoch int32
	Commit           bool
	// NewEpoch says that Epoch is newer than that of the transaction (KIP-890): a marker that comes
	// late is not taken for the end of the next one.
	NewEpoch bool
}

// Cluster is what the coordinator knows and changes outside its journal. Its
// methods are safe for concurrent use.
type Cluster interface {
	// Partitions returns the number of partitions and the id of a topic.
	Partitions(name string) (n int32, id [16]byte, ok bool)

	// Writable reports whether a transaction may hold partitions of a topic. It may not hold those that
	// the broker keeps something of its own in, but for the offsets of groups: its marker would be
	// found among that.
	Writable(name string) bool

	// OffsetsPartition returns the partition that keeps the offsets of a group.
	OffsetsPartition(group string) (Partition, error)

	// ReserveProducerIDs reserves n producer ids durably and returns the first.
	ReserveProducerIDs(ctx context.Context, n int64) (first int64, err error)

	// WriteMarker writes a marker into a partition that exists, and returns when
	// it is committed. A marker may be written more than once. An error that wraps
	// [ErrFenced] says that it never will be; any other is taken for one that may be
	// gone when it is tried again.
	WriteMarker(ctx context.Context, p Partition, m Marker) error
}

// ErrFenced says that a marker is not written because its producer is in a newer
// epoch in that partition, or its coordinator was replaced: the transaction is over there.
var ErrFenced = errors.New("the marker is of an epoch that was superseded")

// Coordinator answers the transaction requests of this broker. Its methods are
// safe for concurrent use and wait for what they wrote to be committed. Strings
// of a request are kept.
type Coordinator struct {
	cfg     func() Config
	cluster Cluster
	log     *slog.Logger
	now     func() time.Time
	ids     producerIDs
	metrics *metrics

	unexplained rate.Sometimes // log lines about errors that have no code of their own

	shards  *coord.Table[*machine]
	decided *queue
}

// commitTimeout bounds how long an answer waits for the journal.
const commitTimeout = 5 * time.Second

// New returns a coordinator that leads no shard. shards is the number of
// partitions of the journal topic, which must never change. now is the wall
// clock; nil means time.Now.
func New(cfg func() Config, cluster Cluster, shards int32, log *slog.Logger, reg prometheus.Registerer, now func() time.Time) *Coordinator {
	if now == nil {
		now = time.Now
	}
	c := &Coordinator{
		cfg:     cfg,
		cluster: cluster,
		log:     log,
		now:     now,
		ids:     producerIDs{reserve: cluster.ReserveProducerIDs},
		shards:  coord.NewTable[*machine](shards),
		decided: newQueue(),

		unexplained: rate.Sometimes{First: 10, Interval: time.Second},
	}
	c.metrics = newMetrics(c, reg)
	return c
}

// Elect starts leading a shard with the given journal: it is loaded in the
// background, and answers COORDINATOR_LOAD_IN_PROGRESS until that is done. A term
// that was still running is ended first. The epoch is that of the term: markers of
// an earlier one are refused once one of this term is written.
func (c *Coordinator) Elect(shard, epoch int32, j coord.Journal) {
	log := c.log.With("shard", shard)
	c.shards.Elect(shard, coord.NewShard(coord.Config[*machine]{
		Journal: j,
		New: func() *machine {
			decided := func(id string) { c.decided.put(job{shard, id}, c.now()) }
			return newMachine(c.cfg, epoch, log, c.metrics, decided)
		},
		Logger:        log,
		Now:           c.now,
		CommitTimeout: func() time.Duration { return commitTimeout },
	}))
}

// Resign stops leading a shard: what waits there fails with NOT_COORDINATOR, as
// does every later request.
func (c *Coordinator) Resign(shard int32) { c.shards.Resign(shard) }

// FindShard returns the shard that coordinates a transactional id: see [coord.Table.Find].
func (c *Coordinator) FindShard(transactionalID string) int32 { return c.shards.Find(transactionalID) }

// Run runs the elected shards and writes markers until ctx ends, and returns when
// all of that has stopped. It is called once.
func (c *Coordinator) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.shards.Run(ctx) })
	g.Go(func() error { return c.writeMarkers(ctx) })
	return g.Wait()
}
