package tier

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
	"time"
)

// RemoteTopic is what a bucket knows of a topic.
type RemoteTopic struct {
	ID         TopicID
	Name       string
	Config     map[string]string
	Deleted    bool
	Partitions []*Manifest // by number; those that ever had a leader with tiering
}

// Inventory lists the topics below a cluster id. It reads every manifest, and needs no broker.
func Inventory(ctx context.Context, b Bucket, cluster string) ([]RemoteTopic, error) {
	var topics []RemoteTopic
	root := cluster + "/"
	err := b.List(ctx, root, func(o Object) error {
		parts := strings.Split(strings.TrimPrefix(o.Key, root), "/")
		id, err := ParseTopicID(parts[0])
		if err != nil || len(parts) < 2 {
			return nil
		}
		if n := len(topics); n == 0 || topics[n-1].ID != id {
			topics = append(topics, RemoteTopic{ID: id})
		}
		t := &topics[len(topics)-1]
		switch {
		case parts[1] == tombstoneName:
			t.Deleted = true
		case len(parts) == 3 && parts[2] == manifestName:
			return t.add(ctx, b, cluster, parts[1])
		}
		return nil
	})
	return topics, err
}

func (t *RemoteTopic) add(ctx context.Context, b Bucket, cluster, number string) error {
	n, err := strconv.ParseInt(number, 10, 32)
	if err != nil {
		return nil
	}
	m, _, err := readManifest(ctx, b, partitionDir(cluster, t.ID, int32(n)))
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	t.Name, t.Config = m.Name, m.Config
	t.Partitions = append(t.Partitions, m)
	return nil
}

// ReadManifest reads the manifest of one partition.
func ReadManifest(ctx context.Context, b Bucket, cluster string, topic TopicID, partition int32) (*Manifest, error) {
	m, _, err := readManifest(ctx, b, partitionDir(cluster, topic, partition))
	return m, err
}

// Restored is how a partition begins again when its local log was lost.
type Restored struct {
	Manifest *Manifest
	// The log is created empty with this first offset. It is above every offset that was ever given out: the manifest's end, the
	// last log end it recorded, and what the caller knows, plus a gap.
	Next int64
	// Epoch is the leader epoch to begin with; the manifest is claimed for it, so an old leader that is still running can commit nothing more.
	Epoch int32
	// Snapshot is the producer state at the end of the last remote segment; nil if there is none.
	Snapshot []byte
}

// Restore prepares a partition whose local log was lost to go on from what is in the bucket. atLeast is the lowest next offset that
// the caller allows (tickets and folded offsets found in the schedule). The offsets between the manifest's end and Next are
// recorded as dropped. The caller owns the cluster id (ClaimOwner) and nobody leads the partition.
func Restore(ctx context.Context, b Bucket, cluster string, topic TopicID, partition int32, atLeast, gap int64) (Restored, error) {
	c := catalog{bucket: b, dir: partitionDir(cluster, topic, partition)}
	m, err := c.load(ctx)
	if err != nil {
		return Restored{}, err
	}
	if m == nil {
		return Restored{}, fmt.Errorf("%s: %w", c.key(), ErrNotFound)
	}
	r := Restored{Next: max(m.End, m.LogEnd, atLeast, 0) + gap, Epoch: m.Epoch + 1}
	if r.Snapshot, err = lastSnapshot(ctx, &c, m); err != nil {
		return Restored{}, err
	}
	next := m.clone()
	next.Epoch, next.LogEnd, next.Time = r.Epoch, r.Next, time.Now().UnixMilli()
	if m.End == NoOffset {
		next.Start, next.End = r.Next, r.Next
	} else if err := next.append(dropEntry(m.End, r.Next), nil); err != nil {
		return Restored{}, err
	}
	if err := c.commit(ctx, next); err != nil {
		return Restored{}, err
	}
	r.Manifest = next
	return r, nil
}

// lastSnapshot reads the producer state that was stored with the last segment.
func lastSnapshot(ctx context.Context, c *catalog, m *Manifest) ([]byte, error) {
	last, err := lastSegment(ctx, c, m)
	if err != nil || last == nil {
		return nil, err
	}
	ix, err := readIndex(ctx, c.bucket, c.dir, last)
	if err != nil || ix.SnapshotSize == 0 {
		return nil, err
	}
	key := last.id().key(c.dir, segmentSuffix)
	data, err := readRange(ctx, c.bucket, key, last.DataSize, ix.SnapshotSize)
	if err != nil {
		return nil, err
	}
	if got := crc32.Checksum(data, castagnoli); got != ix.SnapshotCRC {
		return nil, fmt.Errorf("%s: producer snapshot: %w: crc %08x instead of %08x", key, ErrCorrupt, got, ix.SnapshotCRC)
	}
	return data, nil
}

// lastSegment returns the last entry that has an object.
func lastSegment(ctx context.Context, c *catalog, m *Manifest) (*Entry, error) {
	for i := len(m.Tail) - 1; i >= 0; i-- {
		if !m.Tail[i].isDrop() {
			return &m.Tail[i], nil
		}
	}
	for i := len(m.Pages) - 1; i >= 0; i-- {
		p := &m.Pages[i]
		if p.Segments == 0 {
			continue
		}
		entries, err := readPage(ctx, c.bucket, c.dir, p.id(), p.Size, p.Sum)
		if err != nil {
			return nil, err
		}
		for k := len(entries) - 1; k >= 0; k-- {
			if !entries[k].isDrop() {
				return &entries[k], nil
			}
		}
	}
	return nil, nil
}

// EpochStarts returns the leader epochs of the remote range, for the restored log's own history.
func (m *Manifest) EpochStarts() []EpochStart { return append([]EpochStart(nil), m.Epochs...) }
