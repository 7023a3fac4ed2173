package partition

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

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

	// Opened is called, without locks, for every partition that came to be here, before anybody can find it.
	// Closed is called when it has gone again. TopicDeleted is called once all partitions of a deleted topic have gone.
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

	// room is full while the near indexes take more memory than they may although they are being spilled.
	room room
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

// loadRetry is how long a schedule that cannot be loaded waits for its next try.
const loadRetry = 5 * time.Second

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
		if err := p.load(ctx); err != nil && ctx.Err() == nil && !p.dropped() {
			t.cfg.Logger.Error("delayed records cannot be read from the log; none of the partition is delivered until they can", "partition", p.String(), "err", err)
			t.mu.Lock()
			t.failedLoads = append(t.failedLoads, p)
			t.mu.Unlock()
		}
	}
}

// retryLoads gives the schedules that could not be loaded another try.
func (t *Table) retryLoads() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.unloaded = append(t.unloaded, t.failedLoads...)
	t.failedLoads = nil
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

func (t *Table) watch(ctx context.Context) error {
	changed, cancel := t.cfg.Store.Watch()
	defer cancel()
	retry := time.NewTicker(time.Second)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
			t.follow(ctx)
			t.clean(ctx)
		case <-retry.C:
			t.clean(ctx)
		}
	}
}

// follow brings the table to the latest image. Only Open, and then the watch loop, call it.
func (t *Table) follow(ctx context.Context) {
	img := t.cfg.Store.Image()
	t.mu.RLock()
	old := t.applied
	t.mu.RUnlock()
	if old != nil && old.Version() >= img.Version() {
		return
	}
	var g errgroup.Group
	g.SetLimit(8) // opening waits for the disk
	img.Since(old,
		func(topic *cluster.Topic) { t.put(&g, topic) },
		func(id cluster.TopicID) { t.drop(ctx, id) },
	)
	_ = g.Wait() // failures are kept per partition
	t.publishCreated(ctx)
	t.reconfigure(old, img)
	t.mu.Lock()
	t.applied = img
	// Schedules are loaded once the partitions that hold their runs are there too.
	t.unloaded, t.opened = append(t.unloaded, t.opened...), nil
	wake(t.unload)
	close(t.changed)
	t.changed = make(chan struct{})
	t.mu.Unlock()
}

// reconfigure hands new settings to topics that did not change themselves but whose defaults did.
func (t *Table) reconfigure(old, img *cluster.Image) {
	if old == nil || old.BrokerConfig() == img.BrokerConfig() {
		return
	}
	for p := range t.All {
		topic, ok := img.TopicByID(p.Topic().ID)
		if !ok {
			continue
		}
		if settings, err := t.settings(topic); err == nil {
			p.setTopic(settings)
		}
	}
}

// settings works out what partitions need to know of a topic. Configs are validated before they are stored, so an
// error means they come from another version; the topic then keeps what it had.
func (t *Table) settings(topic *cluster.Topic) (*Topic, error) {
	s, err := newTopic(topic, t.cfg.Store.Image().BrokerConfig().Int("producer.id.expiration.ms"))
	if err != nil {
		t.cfg.Logger.Error("topic has configs that cannot be used", "topic", topic.Name, "err", err)
	}
	return s, err
}

func (t *Table) put(g *errgroup.Group, topic *cluster.Topic) {
	settings, err := t.settings(topic)
	for n := range topic.Partitions {
		p := &topic.Partitions[n]
		if !hosts(p, t.cfg.NodeID) {
			continue
		}
		k := key{topic.ID, int32(n)}
		t.mu.RLock()
		have, failed := t.partitions[k], t.failed[k]
		t.mu.RUnlock()
		switch {
		case err != nil && have == nil:
			t.mu.Lock()
			t.failed[k] = err
			t.mu.Unlock()
		case err != nil:
			have.setEpoch(p.LeaderEpoch)
		case have != nil:
			have.setTopic(settings)
			have.setEpoch(p.LeaderEpoch)
		case failed == nil:
			g.Go(func() error {
				t.open(k, settings, p.LeaderEpoch)
				return nil
			})
		}
	}
}

func hosts(p *cluster.Partition, node int32) bool {
	for _, r := range p.Replicas {
		if r == node {
			return true
		}
	}
	return false
}

func (t *Table) open(k key, settings *Topic, epoch int32) {
	find := func(topic cluster.TopicID) *Partition {
		p, err := t.Get(topic, k.number)
		if err != nil {
			return nil
		}
		return p
	}
	p, err := openPartition(t.cfg, k, settings, epoch, find)
	if err != nil {
		t.cfg.Logger.Error("partition cannot be opened and stays offline", "topic", settings.Name, "partition", k.number, "err", err)
		t.mu.Lock()
		t.failed[k] = err
		t.mu.Unlock()
		return
	}
	p.room = &t.room
	t.cfg.Opened(p)
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case p.delays() && p.created:
		t.created = append(t.created, p)
		return
	case p.delays():
		t.opened = append(t.opened, p)
	}
	t.partitions[k] = p
}

// publishCreated lets partitions be found that have just been created. Their schedules are empty like their logs: they are loaded here, so
// that the first delayed record is not refused.
func (t *Table) publishCreated(ctx context.Context) {
	t.mu.Lock()
	created := t.created
	t.created = nil
	t.mu.Unlock()
	for _, p := range created {
		err := p.load(ctx)
		t.mu.Lock()
		if err != nil { // it is tried again, and logged, as for any other
			t.opened = append(t.opened, p)
		}
		t.partitions[key{p.Topic().ID, p.number}] = p
		t.mu.Unlock()
	}
}

// drop takes a deleted topic's partitions out of the table. Their data goes in clean, which is repeated until it works.
func (t *Table) drop(ctx context.Context, id cluster.TopicID) {
	var gone []*Partition
	t.mu.Lock()
	for k, p := range t.partitions {
		if k.topic == id {
			gone = append(gone, p)
			delete(t.partitions, k)
		}
	}
	for k := range t.failed {
		if k.topic == id {
			delete(t.failed, k)
		}
	}
	t.mu.Unlock()
	for _, p := range gone {
		if err := p.close(ctx); err != nil {
			t.cfg.Logger.Warn("partition did not stop cleanly", "partition", p.String(), "err", err)
		}
		t.cfg.Closed(p)
	}
}

// clean removes what deleted topics left behind, and says so to the metadata. A crash in between only repeats it.
func (t *Table) clean(ctx context.Context) {
	for _, d := range t.cfg.Store.Image().Deletions() {
		if err := t.cleanTopic(ctx, d); err != nil && ctx.Err() == nil {
			t.cfg.Logger.Warn("deleted topic is not wholly gone yet, will try again", "topic", d.Name, "id", d.ID, "err", err)
		}
	}
}

func (t *Table) cleanTopic(ctx context.Context, d *cluster.Deletion) error {
	for n := range d.Partitions {
		id := log.ID{Topic: d.ID, Partition: n}
		if err := errors.Join(t.cfg.Logs.Remove(id), t.cfg.FS.RemoveAll(scratchDir(t.cfg, id))); err != nil {
			return err
		}
	}
	return t.cfg.TopicDeleted(ctx, d)
}
