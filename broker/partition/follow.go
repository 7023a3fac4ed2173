package partition

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log"
)

// watch follows the metadata until ctx ends, and removes what is deleted.
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
			t.reopen(ctx)
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
	t.publish(ctx)
	t.reconfigure(old, img)
	t.mu.Lock()
	t.applied = img
	close(t.changed)
	t.changed = make(chan struct{})
	t.mu.Unlock()
}

// publish has the schedules loaded of partitions that were opened: now that those are there too
// which hold their runs.
func (t *Table) publish(ctx context.Context) {
	t.publishCreated(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.unloaded, t.opened = append(t.unloaded, t.opened...), nil
	wake(t.unload)
}

// maxReopenWait is how long, at most, after failures it is tried again to open partitions.
const maxReopenWait = 30 * time.Second

// wantsRoom reports whether a partition could not be opened only because the disk was full. What the
// commit journal has of it and could not put in its place needs a restart.
func (t *Table) wantsRoom(k key, err error) bool {
	id := log.ID{Topic: k.topic, Partition: k.number}
	return vfs.IsFull(err) && t.cfg.Logs.Get(id) == nil && t.cfg.Logs.Restored(id) == nil
}

// reopen tries again to open, or to create, the partitions for which the disk had no room: nothing
// of them is damaged. Only the watch loop calls it.
func (t *Table) reopen(ctx context.Context) {
	now := t.cfg.Now()
	if t.reopens.wait(now) {
		return
	}
	t.mu.RLock()
	img := t.applied
	var again []key
	for k, err := range t.failed {
		if t.wantsRoom(k, err) {
			again = append(again, k)
		}
	}
	t.mu.RUnlock()
	if len(again) == 0 {
		return
	}
	for _, k := range again {
		if topic, ok := img.TopicByID(k.topic); ok {
			t.open(k, t.settings(topic), topic.Partitions[k.number].LeaderEpoch)
		}
	}
	t.publish(ctx)
	t.mu.RLock()
	failing := slices.ContainsFunc(again, func(k key) bool { return t.failed[k] != nil })
	t.mu.RUnlock()
	if failing {
		t.reopens.failed(now, time.Second, maxReopenWait)
	} else {
		t.reopens.over()
	}
}

// reconfigure hands new settings to topics that did not change themselves but whose defaults did.
func (t *Table) reconfigure(old, img *cluster.Image) {
	if old == nil || old.BrokerConfig() == img.BrokerConfig() {
		return
	}
	for p := range t.All {
		if topic, ok := img.TopicByID(p.Topic().ID); ok {
			p.setTopic(t.settings(topic))
		}
	}
}

// settings works out what partitions need to know of a topic.
func (t *Table) settings(topic *cluster.Topic) *Topic {
	return newTopic(topic, t.cfg.Store.Image().BrokerConfig().Int("producer.id.expiration.ms"))
}

func (t *Table) put(g *errgroup.Group, topic *cluster.Topic) {
	settings := t.settings(topic)
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
	p, err := openPartition(t.cfg, k, settings, epoch, &t.room, find)
	t.mu.RLock()
	failed := t.failed[k]
	t.mu.RUnlock()
	if err != nil {
		t.sayUnopened(k, settings.Name, err, failed)
		t.mu.Lock()
		t.failed[k] = err
		t.mu.Unlock()
		return
	}
	if failed != nil {
		t.cfg.Logger.Info("partition is opened: the disk has room for it", "topic", settings.Name, "partition", k.number)
	}
	t.cfg.Opened(p)
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.failed, k)
	switch {
	case p.delays() && p.created:
		t.created = append(t.created, p)
		return
	case p.delays():
		t.opened = append(t.opened, p)
	}
	t.partitions[k] = p
}

// sayUnopened says why a partition cannot be opened, and not again while the disk is full.
func (t *Table) sayUnopened(k key, topic string, err, last error) {
	switch {
	case !t.wantsRoom(k, err):
		t.cfg.Logger.Error("partition cannot be opened and stays offline", "topic", topic, "partition", k.number, "err", err)
	case last == nil:
		t.cfg.Logger.Warn("partition is offline until the disk has room for it", "topic", topic, "partition", k.number, "err", err)
	}
}

// publishCreated lets partitions be found that have just been created. Their schedules are empty
// like their logs: they are loaded here, so that the first delayed record is not refused.
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

// drop takes a deleted topic's partitions out of the table. Their data goes in clean, which is
// repeated until it works.
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
	var g sync.WaitGroup
	for _, p := range gone { // all at once: each waits a moment for the store
		g.Go(func() {
			if err := p.close(ctx); err != nil {
				t.cfg.Logger.Warn("partition did not stop cleanly", "partition", p.String(), "err", err)
			}
		})
	}
	g.Wait()
	for _, p := range gone {
		t.cfg.Closed(p)
	}
}

// clean removes what deleted topics left behind, and says so to the metadata. A crash in between
// only repeats it.
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
