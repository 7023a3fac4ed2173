package tier

import (
	"context"
	"errors"
	"strconv"
	"strings"

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
}

// Inventory lists the topics below a cluster id, or of all clusters in the bucket if it is empty.
// It reads every manifest, and needs no broker.
func Inventory(ctx context.Context, b bucket.Bucket, cluster string) ([]RemoteTopic, error) {
	var topics []RemoteTopic
	prefix := ""
	if cluster != "" {
		prefix = cluster + "/"
	}
	err := b.List(ctx, prefix, func(o bucket.Object) error {
		parts := strings.Split(o.Key, "/")
		if len(parts) < 3 {
			return nil
		}
		id, err := ParseTopicID(parts[1])
		if err != nil {
			return nil // somebody else's object
		}
		if n := len(topics); n == 0 || topics[n-1].ID != id || topics[n-1].Cluster != parts[0] {
			topics = append(topics, RemoteTopic{Cluster: parts[0], ID: id})
		}
		t := &topics[len(topics)-1]
		switch {
		case len(parts) == 3 && parts[2] == tombstoneName:
			t.Deleted = true
		case len(parts) == 4 && parts[3] == manifestName:
			return t.add(ctx, b, parts[2])
		}
		return nil
	})
	return topics, err
}

func (t *RemoteTopic) add(ctx context.Context, b bucket.Bucket, number string) error {
	n, err := strconv.ParseInt(number, 10, 32)
	if err != nil {
		return nil
	}
	m, _, err := readManifest(ctx, b, partitionDir(t.Cluster, t.ID, int32(n)))
	if errors.Is(err, bucket.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if m.Time >= t.Committed {
		t.Name, t.Config, t.Count, t.Schedule, t.Committed = m.Name, m.Config, m.Partitions, m.Schedule, m.Time
	}
	t.Partitions = append(t.Partitions, m)
	return nil
}

// ReadManifest reads the manifest of one partition.
func ReadManifest(ctx context.Context, b bucket.Bucket, cluster string, topic TopicID, partition int32) (*Manifest, error) {
	m, _, err := readManifest(ctx, b, partitionDir(cluster, topic, partition))
	return m, err
}
