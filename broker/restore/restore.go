// Package restore makes the data directory of a broker from what the tier has of its topics: after
// the loss of a disk, or for a copy of a cluster. It is not for running brokers; it writes what one
// reads at its next start.
//
// What was confirmed comes back: records with their offsets, timestamps and headers, hidden ones
// too, configs, topic ids, producer state, aborted transactions, leader epochs, schedules. No byte
// of data is copied: it stays in the bucket and is read from there. Every partition goes on in a
// new leader epoch at an offset that was never given out, with a recorded gap before it.
//
// What consumer groups had committed comes back from the copy that their broker kept in the bucket,
// as far as it is about topics that do.
//
// Order: a marker says that the directory is not to be used yet; the cluster id is claimed in the
// bucket, and then the copy of the groups; for each partition the manifest is claimed and then an
// empty log is made that begins behind it; then the groups; the metadata comes last, and then the
// marker goes. A restore that was interrupted is run again and goes on where it was.
package restore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/cluster/config"
	"github.com/morrowmq/morrow/cluster/local"
	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket"
)

// DefaultGap is how many offsets are left free above the last one known to have been given out.
// What the lost broker appended after its last commit in the bucket must fit into it.
const DefaultGap = 1_000_000_000

// producerGap is the same for producer ids.
const producerGap = 1_000_000

// nextProducerID is above every id that was given out. Of some nothing is left in the bucket: those
// of producers that have been idle for a day, say, or whose records have expired. The clock is above
// them: a broker that has counted on from it, after a restore, has given out fewer than one a
// millisecond since.
func (r *restorer) nextProducerID() int64 {
	return max(r.producerID+1+producerGap, r.cfg.Now().UnixMilli())
}

// parallel is how many partitions are restored at the same time: they wait for the bucket.
const parallel = 16

// Config says where to restore from and to.
type Config struct {
	FS     vfs.FS
	Dir    string // data directory: empty, or one in which the same restore was interrupted
	Node   int32  // id of the broker that will use it
	Name   string // of this process, for people: who owns the bucket
	Bucket bucket.Bucket
	// TakeOver goes on although another broker has shown signs of life lately.
	TakeOver bool
	// AcceptLoss gives up the last segments of a partition if they are missing or damaged.
	AcceptLoss bool
	Gap        int64 // 0: DefaultGap
	Now        func() time.Time
	// Progress is told of every partition that is done. It may be nil.
	Progress func(Partition)
}

// Partition is a partition that came back.
type Partition struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	// Start is the log start for clients. Records from there to End came back; the next one gets offset Next.
	Start    int64 `json:"start"`
	End      int64 `json:"end"`
	Next     int64 `json:"next"`
	Segments int   `json:"segments"`
	Bytes    int64 `json:"bytes"`
	// GivenUp is how many segments at its end, or at that of its schedule, could not be read.
	GivenUp int `json:"given_up"`
	// Aborted is how many transactions were open when the last confirmed segment ended. They were aborted.
	Aborted int `json:"aborted"`
}

// restorer is one run.
type restorer struct {
	cfg  Config
	plan Plan
	logs *log.Set

	mu         sync.Mutex // guards what follows
	done       []Partition
	ranges     map[partitionKey]visibleRange
	producerID int64 // the largest that was met
	groups     Groups
}

// Restored is what came back.
type Restored struct {
	Partitions []Partition
	Groups     Groups
}

// Run carries out a plan. It returns a *tier.OwnedError if another broker uses the bucket.
func Run(ctx context.Context, cfg Config, plan Plan) (Restored, error) {
	if cfg.Gap == 0 {
		cfg.Gap = DefaultGap
	}
	if err := cfg.FS.MkdirAll(cfg.Dir); err != nil {
		return Restored{}, fmt.Errorf("data directory: %w", err)
	}
	lock, err := cfg.FS.Lock(vfs.Join(cfg.Dir, lockName))
	if errors.Is(err, vfs.ErrLocked) {
		return Restored{}, fmt.Errorf("data directory %s is in use by a broker", cfg.Dir)
	}
	if err != nil {
		return Restored{}, fmt.Errorf("data directory: %w", err)
	}
	r := &restorer{cfg: cfg, plan: plan, producerID: -1, ranges: map[partitionKey]visibleRange{}}
	err = errors.Join(r.run(ctx), lock.Close())
	return Restored{r.done, r.groups}, err
}

func (r *restorer) run(ctx context.Context) error {
	if err := begin(r.cfg.FS, r.cfg.Dir, &r.plan); err != nil {
		return err
	}
	installation, err := tier.LoadInstallation(r.cfg.FS, vfs.Join(r.cfg.Dir, remoteName))
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	c := tier.Claimant{Bucket: r.cfg.Bucket, Cluster: r.plan.Cluster, Installation: installation, Name: r.cfg.Name}
	return c.While(ctx, r.cfg.TakeOver, func(ctx context.Context) error {
		if err := r.claimGroups(ctx, installation.ID); err != nil {
			return err
		}
		return r.restore(ctx)
	})
}

// restore does everything while the bucket is ours.
func (r *restorer) restore(ctx context.Context) (err error) {
	r.logs, err = log.Open(log.SetConfig{FS: r.cfg.FS, Dir: vfs.Join(r.cfg.Dir, logsName), Now: r.cfg.Now, JournalMaxBytes: -1})
	if err != nil {
		return err
	}
	err = r.makeLogs(ctx)
	if err == nil {
		err = r.restoreGroups()
	}
	if err := errors.Join(err, r.logs.Close()); err != nil {
		return err
	}
	seed := local.Seed{ClusterID: r.plan.Cluster, NextProducerID: r.nextProducerID()}
	for i := range r.plan.Topics {
		t := &r.plan.Topics[i]
		recall := cluster.Recall{
			Name: t.Name, ID: cluster.TopicID(t.ID), Schedule: cluster.TopicID(t.Schedule), Config: config.Values(t.Config),
			Partitions: t.Count, Broker: r.cfg.Node, LeaderEpoch: t.epoch(),
		}
		seed.Topics = append(seed.Topics, recall.Topics()...)
	}
	if t := r.groupsTopic(); t != nil {
		seed.Topics = append(seed.Topics, t)
	}
	if err := local.Create(r.cfg.Dir, r.cfg.Node, seed); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return end(r.cfg.FS, r.cfg.Dir)
}

// makeLogs makes the logs of all partitions and of their schedules.
func (r *restorer) makeLogs(ctx context.Context) error {
	ids, err := r.logs.IDs()
	if err != nil {
		return err
	}
	made := map[log.ID]bool{} // by an earlier run
	for _, id := range ids {
		made[id] = true
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i := range r.plan.Topics {
		t := &r.plan.Topics[i]
		for n := range t.Count {
			g.Go(func() error {
				if err := r.restorePartition(ctx, t, n, made); err != nil {
					return fmt.Errorf("restore %s-%d: %w", t.Name, n, err)
				}
				return nil
			})
		}
	}
	return g.Wait()
}

// restorePartition makes the log of a partition and the one of its schedule.
func (r *restorer) restorePartition(ctx context.Context, t *Topic, n int32, made map[log.ID]bool) error {
	known, givenUp := int64(0), 0 // every ticket in the schedule is below known
	if m := manifest(t.schedule, n); m != nil {
		known = max(0, m.SourceEnd)
		l := partitionLog{topic: t.schedule, number: n, epoch: t.epoch()}
		p, err := r.makeLog(ctx, l, made)
		if err != nil {
			return fmt.Errorf("schedule: %w", err)
		}
		givenUp = p.GivenUp
	}
	l := partitionLog{topic: &t.RemoteTopic, number: n, epoch: t.epoch(), atLeast: known}
	p, err := r.makeLog(ctx, l, made)
	if err != nil {
		return err
	}
	p.GivenUp += givenUp
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done = append(r.done, p)
	if r.cfg.Progress != nil {
		r.cfg.Progress(p)
	}
	return nil
}

// note takes notice of a producer id.
func (r *restorer) note(id int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.producerID = max(r.producerID, id)
}
