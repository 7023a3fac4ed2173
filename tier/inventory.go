package tier

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/morrowmq/morrow/tier/bucket"
)

// RemoteTopic is what a bucket knows of a topic.
type RemoteTopic struct {
	Cluster string
	ID      TopicID
	// Name, Config, Count (of partitions; 0: not known) and Schedule are those of the manifest that
	// was committed last.
	Name       string
	Config     map[string]string
	Count      int32
	Schedule   TopicID
	Committed  int64 // when that was, ms since the epoch; 0 if there is no manifest
	Deleted    bool
	Partitions []*Manifest // in no order; those that ever had a leader with tiering
	// Damaged are the manifests that cannot be read: they are corrupt, or of a version that is not known.
	Damaged []DamagedManifest
}

// DamagedManifest is a manifest that cannot be read, and why.
type DamagedManifest struct {
	Partition int32
	Key       string
	Err       error // names the key
}

// inventoryReads is how many manifests are read at the same time.
const inventoryReads = 16

// Inventory lists the topics below a cluster id, or of all clusters in the bucket if it is empty.
// It reads every manifest, and needs no broker.
func Inventory(ctx context.Context, b bucket.Bucket, cluster string) ([]RemoteTopic, error) {
	var i inventory
	prefix := ""
	if cluster != "" {
		prefix = cluster + "/"
	}
	if err := b.List(ctx, prefix, func(o bucket.Object) error { i.see(o.Key); return nil }); err != nil {
		return nil, err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(inventoryReads)
	for n := range i.found {
		g.Go(func() error { return i.found[n].read(ctx, b) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for n := range i.found {
		i.found[n].add()
	}
	topics := make([]RemoteTopic, len(i.topics))
	for n, t := range i.topics {
		topics[n] = *t
	}
	return topics, nil
}

// inventory is what has been listed.
type inventory struct {
	topics []*RemoteTopic
	found  []foundManifest
}

// foundManifest is a manifest of a topic, and what came of reading it: neither if it is gone again.
type foundManifest struct {
	topic     *RemoteTopic
	partition int32
	manifest  *Manifest
	err       error
}

// see notes a key. Those of a topic follow each other.
func (i *inventory) see(key string) {
	parts := strings.Split(key, "/")
	if len(parts) < 3 {
		return
	}
	id, err := ParseTopicID(parts[1])
	if err != nil {
		return // somebody else's object
	}
	if n := len(i.topics); n == 0 || i.topics[n-1].ID != id || i.topics[n-1].Cluster != parts[0] {
		i.topics = append(i.topics, &RemoteTopic{Cluster: parts[0], ID: id})
	}
	t := i.topics[len(i.topics)-1]
	switch {
	case len(parts) == 3 && parts[2] == tombstoneName:
		t.Deleted = true
	case len(parts) == 4 && parts[3] == manifestName:
		if n, err := strconv.ParseInt(parts[2], 10, 32); err == nil {
			i.found = append(i.found, foundManifest{topic: t, partition: int32(n)})
		}
	}
}

// read reads the manifest. The error is the bucket's.
func (f *foundManifest) read(ctx context.Context, b bucket.Bucket) error {
	m, _, err := readManifest(ctx, b, partitionDir(f.topic.Cluster, f.topic.ID, f.partition))
	switch {
	case errors.Is(err, ErrCorrupt), errors.Is(err, ErrVersion):
		f.err = err
	case err == nil:
		f.manifest = m
	case !errors.Is(err, bucket.ErrNotFound):
		return err
	}
	return nil
}

// add makes the manifest part of what is known of its topic.
func (f *foundManifest) add() {
	t, m := f.topic, f.manifest
	if f.err != nil {
		key := partitionDir(t.Cluster, t.ID, f.partition) + manifestName
		t.Damaged = append(t.Damaged, DamagedManifest{Partition: f.partition, Key: key, Err: f.err})
	}
	if m == nil {
		return
	}
	if m.Time >= t.Committed {
		t.Name, t.Config, t.Count, t.Schedule, t.Committed = m.Name, m.Config, m.Partitions, m.Schedule, m.Time
	}
	t.Partitions = append(t.Partitions, m)
}

// ReadManifest reads the manifest of one partition.
func ReadManifest(ctx context.Context, b bucket.Bucket, cluster string, topic TopicID, partition int32) (*Manifest, error) {
	m, _, err := readManifest(ctx, b, partitionDir(cluster, topic, partition))
	return m, err
}
