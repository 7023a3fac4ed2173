// Package tier keeps closed log segments in an object store: it uploads them, proves that they
// arrived, reads them back, and removes them when retention says so. No local byte may be deleted
// before [Partition.Confirmed] has passed it.
//
// One [Tier] per broker holds what partitions share: the [bucket.Bucket], the workers, the limits. One
// [Partition] per partition holds a [Manifest], the list of remote segments, and takes segments
// through a state machine whose every state is recorded before its effect. What the tier knows of
// the local log is the small interface [Source].
//
// Goroutines: [Tier.Run] owns the workers; a partition is worked on by one of them at a time. Reads
// and queries run on the caller's goroutine against an immutable snapshot of the manifest.
// DESIGN.md tells the whole, FORMAT.md the bytes.
package tier

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"github.com/morrowmq/morrow/internal/pace"
	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/tier/bucket"
	"github.com/morrowmq/morrow/tier/chunk"
	"github.com/morrowmq/morrow/tier/flight"
)

// Options are the parts and limits of a Tier. Zero limits mean the defaults.
type Options struct {
	Bucket  bucket.Bucket
	Cluster string // cluster id, the first part of every key
	Name    string // of this broker, for people: who owns the bucket
	// Instance tells this installation from a copy of it; the brokers of one cluster share it.
	// Empty: one is made and kept in Dir.
	Instance string
	FS       vfs.FS
	Dir      string // for the upload states and the chunk cache
	Logger   *slog.Logger
	// Registerer gets the metrics; nil: none.
	Registerer prometheus.Registerer
	Now        func() time.Time // wall clock; nil: time.Now

	Uploads      int           // segments read or sent at the same time; default 4. Twice as many partitions are worked on
	PrepareTTL   time.Duration // after this an upload is begun anew under another key; default 6 h
	DecodedBytes int64         // memory for indexes and manifest pages; default 32 MiB
	Fetches      int           // blocks fetched at the same time; default 32
	CacheMemory  int64         // memory for blocks that were fetched; default 64 MiB. What is being fetched comes on top, 1 MiB per Fetches
	CacheBytes   int64         // disk for blocks that were used again; default 1 GiB
	CacheReserve int64         // free space that the cache leaves alone; default 1 GiB

	SweepEvery time.Duration // between looks for orphans; default 6 h
	SweepGrace time.Duration // how old an orphan must be; default 24 h
	ScrubEvery time.Duration // between looks for damage; default 7 days
	ScrubRate  int64         // bytes per second that the scrubber reads to compute checksums anew; 0: it only asks the store

	// Bytes per second to and from the bucket; 0: no limit. (Kafka:
	// remote.log.manager.{copy,fetch}.max.bytes.per.second)
	CopyRate, FetchRate int64

	// Spread is the time over which uploads are spread while logs are written to, so that producers
	// go first. 0: they do not.
	Spread time.Duration
	// Appended tells how many bytes have been appended to the broker's logs so far; nil: producers
	// do not go first.
	Appended func() int64
}

// The defaults of Options.
const (
	defaultUploads      = 4
	defaultPrepareTTL   = 6 * time.Hour
	defaultDecodedBytes = 32 << 20
	defaultFetches      = 32
	defaultCacheMemory  = 64 << 20
	defaultCacheBytes   = 1 << 30
	defaultCacheReserve = 1 << 30
	defaultSweepEvery   = 6 * time.Hour
	defaultSweepGrace   = 24 * time.Hour
	defaultScrubEvery   = 7 * 24 * time.Hour
)

func (o Options) withDefaults() Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Uploads = orDefault(o.Uploads, defaultUploads)
	o.PrepareTTL = orDefault(o.PrepareTTL, defaultPrepareTTL)
	o.DecodedBytes = orDefault(o.DecodedBytes, defaultDecodedBytes)
	o.Fetches = orDefault(o.Fetches, defaultFetches)
	o.CacheMemory = orDefault(o.CacheMemory, defaultCacheMemory)
	o.CacheBytes = orDefault(o.CacheBytes, defaultCacheBytes)
	o.CacheReserve = orDefault(o.CacheReserve, defaultCacheReserve)
	o.SweepEvery = orDefault(o.SweepEvery, defaultSweepEvery)
	o.SweepGrace = orDefault(o.SweepGrace, defaultSweepGrace)
	o.ScrubEvery = orDefault(o.ScrubEvery, defaultScrubEvery)
	return o
}

func orDefault[T int | int64 | time.Duration](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}

// ErrClosed says that the Tier has been closed.
var ErrClosed = errors.New("tier is closed")

// Tier is the broker's connection to one bucket.
type Tier struct {
	bucket  bucket.Bucket
	cluster string
	alone   bool // no other broker leads partitions of the cluster
	name    string
	// installation is who owns the cluster id in the bucket.
	installation *Installation
	fs           vfs.FS
	dir          string
	logger       *slog.Logger
	registerer   prometheus.Registerer
	now          func() time.Time
	workers      int
	uploads      *semaphore.Weighted
	fetches      *semaphore.Weighted
	copyLimit    *rate.Limiter
	fetchLimit   *rate.Limiter
	courtesy     *courtesy
	prepareTTL   time.Duration
	sweepEvery   time.Duration
	sweepGrace   time.Duration
	scrubEvery   time.Duration
	scrubRate    int64
	queue        *queue
	life         *flight.Lifetime
	decoded      *decoded
	manifests    *flight.Group[string, *Manifest]
	chunks       *chunk.Cache
	placed       *placed       // nil: what is read goes through chunks
	deletion     chan struct{} // 1-buffered: a topic is to be deleted
	deletions    *deletions
	admitted     atomic.Pointer[admission]
	begun        chan struct{} // closed by the first admission
	begin        func()        // closes begun

	outage outage

	sweptOrphans, sweptBytes atomic.Int64
	swept                    atomic.Pointer[sweptAt] // the last sweep of Run; nil: none yet
	chores                   *chores
	suspects                 *suspects

	groups   groupsCopy
	groupsAt atomic.Int64 // ms since the epoch; 0: not yet
	// groupsTried is when it was first tried to replace the copy, ms since the epoch; 0: not yet.
	groupsTried atomic.Int64

	mu         sync.Mutex
	partitions map[partitionKey]*Partition // guarded by mu
	ending     map[TopicID][]*Partition    // of topics to be deleted, that may still be at work; guarded by mu
}

type partitionKey struct {
	topic     TopicID
	partition int32
}

// Open prepares a Tier. It asks the bucket nothing and starts nothing.
func Open(o Options) (*Tier, error) {
	o = o.withDefaults()
	t := &Tier{
		bucket: bucket.Patient(o.Bucket), cluster: o.Cluster, alone: o.Instance == "", name: o.Name, fs: o.FS, dir: o.Dir, logger: o.Logger, now: o.Now,
		workers: 2 * o.Uploads, prepareTTL: o.PrepareTTL,
		sweepEvery: o.SweepEvery, sweepGrace: o.SweepGrace, scrubEvery: o.ScrubEvery, scrubRate: o.ScrubRate,
		uploads: semaphore.NewWeighted(int64(o.Uploads)), fetches: semaphore.NewWeighted(int64(o.Fetches)),
		copyLimit: pace.NewLimiter(o.CopyRate), fetchLimit: pace.NewLimiter(o.FetchRate),
		queue: newQueue(), suspects: newSuspects(), life: flight.NewLifetime(ErrClosed), deletion: make(chan struct{}, 1), partitions: map[partitionKey]*Partition{}, ending: map[TopicID][]*Partition{},
	}
	t.courtesy = newCourtesy(o.Spread, o.Appended, t.waitingBytes)
	t.admitted.Store(&admission{err: ErrNotAdmitted})
	t.begun = make(chan struct{})
	t.begin = sync.OnceFunc(func() { close(t.begun) })
	t.manifests = flight.NewGroup[string, *Manifest](t.life)
	var err error
	if t.decoded, err = newDecoded(t.life, o.DecodedBytes); err != nil {
		return nil, fmt.Errorf("open tier: %w", err)
	}
	if err := t.fs.MkdirAll(t.deletionsDir()); err != nil {
		return nil, fmt.Errorf("open tier: %w", err)
	}
	if t.deletions, err = loadDeletions(t.fs, t.deletionsDir()); err != nil {
		return nil, fmt.Errorf("open tier: %w", err)
	}
	if t.installation = (&Installation{ID: o.Instance}); t.alone {
		if t.installation, err = LoadInstallation(t.fs, t.dir); err != nil {
			return nil, fmt.Errorf("open tier: %w", err)
		}
	}
	if t.chores, err = openChores(t.fs, vfs.Join(t.dir, "chores"), t.now()); err != nil {
		return nil, fmt.Errorf("open tier: %w", err)
	}
	if t.chunks, err = chunk.Open(t.fs, vfs.Join(t.dir, "cache"), o.CacheMemory, o.CacheBytes, o.CacheReserve, t.life); err != nil {
		return nil, fmt.Errorf("open tier: %w", err)
	}
	if b, ok := o.Bucket.(bucket.InPlace); ok && b.Beside(t.dir) {
		t.placed = newPlaced(b, t.life)
	}
	t.registerer = o.Registerer
	if o.Registerer != nil {
		if err := o.Registerer.Register(collector{t}); err != nil {
			return nil, fmt.Errorf("open tier: %w", err)
		}
	}
	return t, nil
}

// Cluster is the cluster id, the first part of every key.
func (t *Tier) Cluster() string { return t.cluster }

// Partition takes charge of one partition: the broker leads it at the given epoch and source is its
// log. Its manifest is read before anything is uploaded, deleted or expired; until then Confirmed
// may be unknown.
func (t *Tier) Partition(id PartitionID, source Source, epoch int32, config func() Config) (*Partition, error) {
	p, err := newPartition(t, id, source, epoch, config)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	key := partitionKey{id.Topic, id.Partition}
	if t.partitions[key] != nil {
		return nil, fmt.Errorf("%s: already open", id)
	}
	t.partitions[key] = p
	p.Notify()
	return p, nil
}

// Knows reports whether this broker has ever looked after a partition here: then something of it may
// lie in the bucket.
func (t *Tier) Knows(id PartitionID) (bool, error) {
	return vfs.Exists(t.fs, statePath(t.dir, id, stateSuffix))
}

func (t *Tier) forget(p *Partition) {
	t.outage.worked(p)
	t.queue.remove(p)
	t.mu.Lock()
	defer t.mu.Unlock()
	if key := (partitionKey{p.id.Topic, p.id.Partition}); t.partitions[key] == p {
		delete(t.partitions, key)
	}
}

// Close ends what reads have begun in the background. Run must have ended, and every Read must have
// been released.
func (t *Tier) Close() error {
	t.life.End()
	if t.registerer != nil {
		t.registerer.Unregister(collector{t})
	}
	return t.chunks.Close()
}

// all returns the open partitions.
func (t *Tier) all() []*Partition {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Collect(maps.Values(t.partitions))
}

// Lookup returns the partition of a topic if it is open here, else nil.
func (t *Tier) Lookup(topic TopicID, partition int32) *Partition {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.partitions[partitionKey{topic, partition}]
}

// Run admits the store and then does the work of all partitions until ctx ends: uploads, retention,
// deletion of topics, and once in a while a look for orphans and for damage.
func (t *Tier) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return t.admit(ctx) })
	g.Go(func() error { return t.deleteTopics(ctx) })
	g.Go(func() error { return t.housekeep(ctx) })
	for range t.workers {
		g.Go(func() error { return t.work(ctx) })
	}
	if err := g.Wait(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func (t *Tier) work(ctx context.Context) error {
	select {
	case <-t.begun:
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		p, err := t.queue.take(ctx, t.now)
		if err != nil {
			return err
		}
		delay := p.work(ctx)
		t.queue.done(p, t.now(), delay, p.Err() != nil)
	}
}

// uploadSlot waits until another segment may be read or sent.
func (t *Tier) uploadSlot(ctx context.Context) (release func(), err error) {
	if err := t.uploads.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	return func() { t.uploads.Release(1) }, nil
}
