// Package partition is one replica of a partition on this broker: its log, its schedule of delayed
// records, and its part in the tier, held together so that each sees the same order. A [Table]
// holds all of them and follows the cluster's metadata.
//
// Locks: Partition.mu is the append section. A batch that concerns the schedule goes through it while it is
// appended to the log (written, not synced) and applied to the schedule, so that both see one order; plain
// produces do not. Nothing waits for a sync, a store or a client in it.
package partition

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/delay"
	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/tier"
)

// Partition is one replica. It is safe for concurrent use.
type Partition struct {
	number     int32
	log        *log.Log
	now        func() time.Time
	logger     *slog.Logger
	dispatcher *delay.Dispatcher
	tier       *tier.Tier // nil if tiering is switched off
	created    bool       // the log was made when the partition was opened

	topic  atomic.Pointer[Topic]
	epoch  atomic.Int32 // leader epoch
	remote atomic.Pointer[tier.Partition]
	// activeBase is what the tier was last told of: beyond it no segment was closed.
	activeBase atomic.Int64

	// find finds the partition with the same number of another topic, nil if it is not there; fs
	// and scratch are for the keeper's temporary files.
	find    func(topic cluster.TopicID) *Partition
	room    *rooms // of the table
	fs      vfs.FS
	scratch string
	// schedule and keeper are set before loaded is, under mu, once they have heard of everything in
	// the log. Topics that never delay have neither.
	schedule *delay.Schedule
	keeper   *delay.Keeper // used by who has the turn
	loaded   atomic.Bool
	// unloadable is why the schedule could not be loaded, nil if it could or was not tried; loads
	// counts how often in a row that has failed, under Table.mu.
	unloadable atomic.Pointer[error]
	loads      setbacks
	// held bounds the gate while the keeper reads the log below it; math.MaxInt64 otherwise.
	held atomic.Int64
	turn *turn
	// How often in a row looking after the schedule, merging and deleting its runs, and moving what
	// is pending out of memory have failed.
	untended, untidy, unrelieved setbacks
	spills                       setbacks // of both, for whoever has the turn: they wait for it

	cleaner compaction
	// evicting is held from when the tier is asked what is confirmed until what is has been
	// removed, so that the tier can take its word back.
	evicting sync.Mutex

	// mu is the append section of whatever concerns the schedule. It guards the following.
	mu     section
	line   *delay.Line
	closed bool
}

// openPartition opens a partition's log, or makes it if the partition is new here.
func openPartition(cfg Config, k key, topic *Topic, epoch int32, room *rooms, find func(cluster.TopicID) *Partition) (*Partition, error) {
	p := &Partition{number: k.number, now: cfg.Now, logger: cfg.Logger, dispatcher: cfg.Dispatcher, tier: cfg.Tier, fs: cfg.FS, find: find, room: room, turn: newTurn()}
	p.scratch = scratchDir(cfg, log.ID{Topic: k.topic, Partition: k.number})
	p.topic.Store(topic)
	p.epoch.Store(epoch)
	p.held.Store(math.MaxInt64)
	id := log.ID{Topic: k.topic, Partition: k.number}
	options := log.Options{Name: p.String(), Config: topic.logConfig(), Synced: p.synced}
	var err error
	if p.log, err = cfg.Logs.OpenLog(id, options); errors.Is(err, log.ErrNotExist) {
		p.created = true
		p.log, err = cfg.Logs.Create(id, options)
	}
	if err != nil {
		return nil, err
	}
	p.log.AdvanceHighWatermark(p.log.Offsets().SyncedEnd)
	return p, p.openRemote()
}

// scratchDir is where the keeper of a partition puts temporary files.
func scratchDir(cfg Config, id log.ID) string { return vfs.Join(cfg.DataDir, "scratch", id.String()) }

// synced is told by the log that everything below end is on stable storage. With one replica, that
// is committed.
func (p *Partition) synced(end int64) {
	p.log.AdvanceHighWatermark(end)
	if p.loaded.Load() {
		p.schedule.AdvanceHighWatermark(end)
	}
	p.tellClosed()
}

// tellClosed tells the tier if a segment was closed since it was last told.
func (p *Partition) tellClosed() {
	if r := p.remote.Load(); r != nil {
		if base := p.log.ActiveBase(); p.activeBase.Swap(base) != base {
			r.Notify()
		}
	}
}

// setTopic takes over changed settings.
func (p *Partition) setTopic(t *Topic) {
	p.topic.Store(t)
	p.log.SetConfig(t.logConfig())
	if err := p.openRemote(); err != nil {
		p.logger.Error("partition cannot be tiered", "partition", p.String(), "err", err)
	}
	if r := p.remote.Load(); r != nil {
		r.Notify()
	}
}

func (p *Partition) setEpoch(epoch int32) { p.epoch.Store(epoch) }

// close ends deliveries and uploads. What is stored stays.
func (p *Partition) close(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	line := p.line
	p.mu.Unlock()
	if line != nil {
		line.Detach()
	}
	if r := p.remote.Load(); r != nil {
		return r.Stop(ctx)
	}
	return nil
}

// dropped reports whether the partition was closed, because its topic is gone.
func (p *Partition) dropped() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

// delays reports whether the partition has, or will have, a schedule.
func (p *Partition) delays() bool { return p.Topic().Rules != nil }

// scheduleLog is the partition that holds the runs of this one, and owner the one whose runs this
// one holds; nil if there is none.
func (p *Partition) scheduleLog() *Partition { return p.find(p.Topic().ScheduleID) }
func (p *Partition) owner() *Partition       { return p.find(p.Topic().ScheduleOf) }

// Topic is what the partition knows of its topic at the moment.
func (p *Partition) Topic() *Topic { return p.topic.Load() }

// LeaderEpoch is the epoch in which this broker leads the partition.
func (p *Partition) LeaderEpoch() int32 { return p.epoch.Load() }

// Number is the partition's index in its topic.
func (p *Partition) Number() int32 { return p.number }

// Log is the partition's log.
func (p *Partition) Log() *log.Log { return p.log }

// String names the partition for logs and errors: "orders-3".
func (p *Partition) String() string { return fmt.Sprintf("%s-%d", p.Topic().Name, p.number) }
