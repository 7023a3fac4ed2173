package tier

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/tier/bucket"
)

// A topic is deleted in steps that anyone can finish: the intention is recorded locally; a
// tombstone in the bucket makes everything of the topic meaningless; manifests go, then the rest.
// The tombstone stays until the sweeper has found nothing below it for a grace period, since a
// request that was under way may still land. A topic of which nothing was ever sent needs none of
// this, nor leaves a tombstone.

// Tombstone marks a deleted topic in the bucket.
type Tombstone struct {
	Name string `json:"name"`
	Time int64  `json:"time"` // ms since the epoch
}

func tombstoneKey(cluster string, topic TopicID) string {
	return topicDir(cluster, topic) + tombstoneName
}

// DeleteTopic sees to it that nothing of a topic stays in the bucket. It returns when that is
// recorded durably; the work is done by Run, now or after any number of restarts, once the bucket
// can be reached. Partitions of the topic that are still open are worked on no more; their owner
// calls Stop nevertheless.
func (t *Tier) DeleteTopic(topic TopicID, name string) error {
	stone := Tombstone{Name: name, Time: t.now().UnixMilli()}
	if err := recordDeletion(t.fs, t.deletionsDir(), topic, stone); err != nil {
		return err
	}
	t.deletions.add(topic, stone)
	for _, p := range t.all() {
		if p.id.Topic == topic {
			t.forget(p)
			t.mu.Lock()
			t.ending[topic] = append(t.ending[topic], p)
			t.mu.Unlock()
		}
	}
	select {
	case t.deletion <- struct{}{}:
	default:
	}
	return nil
}

// RecordDeletion is DeleteTopic while tiering is switched off: whoever opens the Tier of dir again
// does the work. If there never was one, nothing of the topic can be in a bucket, and nothing is recorded.
func RecordDeletion(fsys vfs.FS, dir string, topic TopicID, name string, now time.Time) error {
	_, err := fsys.Stat(deletionsDir(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return recordDeletion(fsys, deletionsDir(dir), topic, Tombstone{Name: name, Time: now.UnixMilli()})
}

func recordDeletion(fsys vfs.FS, dir string, topic TopicID, stone Tombstone) error {
	data, err := json.Marshal(stone)
	if err != nil {
		return err
	}
	if err := vfs.WriteFile(fsys, vfs.Join(dir, topic.String()), data); err != nil {
		return fmt.Errorf("record the deletion of topic %s: %w", stone.Name, err)
	}
	return nil
}

func deletionsDir(dir string) string { return vfs.Join(dir, "deletions") }

func (t *Tier) deletionsDir() string { return deletionsDir(t.dir) }

// deleteTopics carries out recorded deletions until ctx ends.
func (t *Tier) deleteTopics(ctx context.Context) error {
	var said saidError
	for failures := 0; ; {
		err := t.Admitted() // who admits the store says why it does not
		refused := err != nil
		if !refused {
			err = t.deletePending(ctx)
		}
		wait := time.Duration(0)
		if err != nil {
			failures++
			wait = backOff(failures, err)
		} else {
			failures, said = 0, saidError{}
		}
		if err != nil && !refused && ctx.Err() == nil && said.isNews(err, t.now()) {
			t.logger.Warn("tier: a topic's remote data could not be deleted yet, and is tried again", "err", Advice(err))
		}
		if err := t.waitDeletion(ctx, wait); err != nil {
			return err
		}
	}
}

// waitDeletion waits for a new deletion, or if wait is positive for that long.
func (t *Tier) waitDeletion(ctx context.Context, wait time.Duration) error {
	var again <-chan time.Time
	if wait > 0 {
		again = time.After(wait)
	}
	select {
	case <-t.deletion:
	case <-again:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// deletePending carries out the deletions that are recorded.
func (t *Tier) deletePending(ctx context.Context) error {
	var errs []error
	for _, d := range t.deletions.all() {
		err := t.deleteRecorded(ctx, d.Topic)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		t.deletions.tried(d.Topic, err)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (t *Tier) deleteRecorded(ctx context.Context, topic TopicID) error {
	never, err := t.neverSent(ctx, topic)
	if err != nil {
		return err
	}
	record := vfs.Join(t.deletionsDir(), topic.String())
	if !never {
		if err := t.deleteSent(ctx, topic, record); err != nil {
			return err
		}
	}
	if err := t.fs.Remove(record); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return t.fs.SyncDir(t.deletionsDir())
}

// neverSent reports whether nothing of a topic is in the bucket, nor can arrive there. Whoever
// sends something has a file about it before (R2), and the other way round: without a file, and
// with nobody at work who could make one, no request of this broker is under way. Other brokers,
// which may have sent something too, know of that and delete the topic themselves.
func (t *Tier) neverSent(ctx context.Context, topic TopicID) (bool, error) {
	t.mu.Lock()
	ending := t.ending[topic]
	t.mu.Unlock()
	for _, p := range ending {
		if err := p.Stop(ctx); err != nil {
			return false, err
		}
	}
	t.mu.Lock()
	delete(t.ending, topic)
	t.mu.Unlock()
	if states, err := t.states(topic); err != nil || len(states) > 0 {
		return false, err
	}
	found := errors.New("there is something")
	err := t.bucket.List(ctx, topicDir(t.cluster, topic), func(bucket.Object) error { return found })
	if errors.Is(err, found) {
		return false, nil
	}
	return err == nil, err
}

// deleteSent deletes what was sent of a topic, and what is known here of that.
func (t *Tier) deleteSent(ctx context.Context, topic TopicID, record string) error {
	data, err := vfs.ReadFile(t.fs, record)
	if err != nil {
		return err
	}
	_, err = t.bucket.Put(ctx, tombstoneKey(t.cluster, topic), bucket.BytesBody(t.bucket.Checksum(), data), bucket.PutOptions{IfNoneMatch: true})
	if err != nil && !errors.Is(err, bucket.ErrExists) {
		return err
	}
	objects, err := emptyTopic(ctx, t.bucket, t.cluster, topic)
	if err != nil {
		return err
	}
	if err := t.removeStates(topic); err != nil {
		return err
	}
	if objects > 0 {
		t.logger.Info("tier: remote data of a deleted topic is gone", "topic", topic.String(), "objects", objects)
	}
	return nil
}

// emptiedAtOnce is how many keys of a deleted topic are held in memory.
const emptiedAtOnce = 1000

// emptyTopic deletes everything of a topic but its tombstone, manifests first, while it is listed.
// It returns how many objects there were.
func emptyTopic(ctx context.Context, b bucket.Bucket, cluster string, topic TopicID) (int, error) {
	dir := topicDir(cluster, topic)
	n := 0
	for _, manifests := range []bool{true, false} {
		var keys []string
		remove := func() error {
			n += len(keys)
			defer func() { keys = nil }()
			return b.Delete(ctx, keys...)
		}
		err := b.List(ctx, dir, func(o bucket.Object) error {
			if o.Key == dir+tombstoneName || manifests && !strings.HasSuffix(o.Key, "/"+manifestName) {
				return nil
			}
			if keys = append(keys, o.Key); len(keys) == emptiedAtOnce {
				return remove()
			}
			return nil
		})
		if err == nil {
			err = remove()
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// states are the names of the files about uploads of a topic.
func (t *Tier) states(topic TopicID) ([]string, error) {
	names, err := t.fs.List(t.dir)
	return slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, topic.String()+"-") }), err
}

// removeStates removes the upload states of a topic.
func (t *Tier) removeStates(topic TopicID) error {
	names, err := t.states(topic)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := t.fs.Remove(vfs.Join(t.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return t.fs.SyncDir(t.dir)
}
