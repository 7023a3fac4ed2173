package restore

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/coord"
	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket/buckettest"
)

var offsetsTopic = cluster.TopicID{5, 15: 5}

// committedByGroups is what the lost broker's groups had committed: within what comes back, beyond
// it, before it, and for a topic that does not.
func committedByGroups() *tier.GroupOffsets {
	at := func(group string, topic cluster.TopicID, partition int32, offset int64) tier.GroupOffset {
		return tier.GroupOffset{
			Group: group, TopicName: "orders", Topic: tier.TopicID(topic), Partition: partition, Offset: offset, LeaderEpoch: 7, Metadata: "m", Committed: 1000, Expires: -1,
		}
	}
	return &tier.GroupOffsets{
		Time: now.UnixMilli(), Node: 9, Journal: tier.TopicID(offsetsTopic), Shards: 3, Config: map[string]string{"cleanup.policy": "compact"},
		Offsets: []tier.GroupOffset{at("within", orders.id, 0, 3), at("beyond", orders.id, 0, 900), at("within", orders.id, 2, 7), at("within", cluster.TopicID{6}, 0, 1)},
	}
}

// restoredGroups fails unless the groups are at offsets that exist, and these expire no sooner than
// if they had been committed at the restore: those of a group that was active did not expire at all.
func restoredGroups(t testing.TB, dir string, image *cluster.Image) {
	t.Helper()
	topic, ok := image.Topic(cluster.OffsetsTopic)
	if !ok || topic.ID != offsetsTopic || !topic.Internal || len(topic.Partitions) != 3 || topic.Config["cleanup.policy"] != "compact" || topic.Partitions[0].Leader != 4 {
		t.Fatalf("%+v", topic)
	}
	logs, err := log.Open(log.SetConfig{FS: vfs.OS{}, Dir: filepath.Join(dir, "logs"), Now: func() time.Time { return now }, JournalMaxBytes: -1})
	check(t, err)
	defer func() { check(t, logs.Close()) }()
	committed := map[string]string{}
	for n := range int32(3) {
		l, err := logs.OpenLog(log.ID{Topic: offsetsTopic, Partition: n}, log.Options{Config: log.DefaultConfig()})
		check(t, err)
		check(t, l.Scan(0, l.Offsets().SyncedEnd, func(b record.Batch) error {
			records, err := b.Decode()
			for _, r := range records {
				var key kmsg.OffsetCommitKey
				var value kmsg.OffsetCommitValue
				check(t, key.ReadFrom(r.Key))
				check(t, value.ReadFrom(r.Value))
				if coord.ShardOf(key.Group, 3) != n || value.TopicID != orders.id || value.Metadata != "m" || value.CommitTimestamp != now.UnixMilli() {
					t.Errorf("%+v, %+v in shard %d", key, value, n)
				}
				committed[fmt.Sprintf("%s %s-%d", key.Group, key.Topic, key.Partition)] = fmt.Sprintf("%d epoch %d", value.Offset, value.LeaderEpoch)
			}
			return err
		}))
	}
	want := map[string]string{"within orders-0": "3 epoch 7", "beyond orders-0": "4 epoch -1", "within orders-2": "1000 epoch -1"}
	if !maps.Equal(committed, want) {
		t.Errorf("committed: %v, want %v", committed, want)
	}
}

func TestGroupsComeBack(t *testing.T) {
	b, dir := ordersLost(t), t.TempDir()
	plan, err := MakePlan(t.Context(), b, "", nil)
	check(t, err)
	equal(t, plan.GroupsCopied(), Groups{Groups: 2, Offsets: 4, CopiedMs: now.UnixMilli()})
	restored, err := Run(t.Context(), configured(t, b, dir), plan)
	check(t, err)
	equal(t, restored.Groups, Groups{Groups: 2, Offsets: 3, Moved: 2, CopiedMs: now.UnixMilli()})
}

// A copy that is damaged, or not there, keeps nobody from the records.
func TestRecordsComeBackWithoutGroups(t *testing.T) {
	for _, c := range []struct {
		name string
		harm func(b *buckettest.Bucket, key string)
		err  string
	}{
		{"no copy", func(b *buckettest.Bucket, key string) { b.Take(key) }, ""},
		{"a damaged copy", func(b *buckettest.Bucket, key string) { b.Damage(key) }, "c1/groups/9: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, dir := ordersLost(t), t.TempDir()
			keys := b.Keys("c1/groups/")
			if !slices.Equal(keys, []string{"c1/groups/9"}) {
				t.Fatal(keys)
			}
			c.harm(b, keys[0])
			plan, err := MakePlan(t.Context(), b, "", nil)
			check(t, err)
			restored, err := Run(t.Context(), configured(t, b, dir), plan)
			check(t, err)
			if g := restored.Groups; len(restored.Partitions) != 3 || g.Offsets != 0 || g.CopiedMs != 0 || !strings.HasPrefix(g.Error, c.err) || (g.Error == "") != (c.err == "") {
				t.Errorf("%+v", restored)
			}
		})
	}
}

// A broker that lives on commits until it is taken over: all of that comes back. Then it replaces
// nothing any more.
func TestGroupsOfABrokerThatIsTakenOver(t *testing.T) {
	b, dir := buckettest.New(), t.TempDir()
	w := newLost(t, b, "c1")
	defer w.stop()
	w.tiered(orders, 0, build(0, 77, 0, "a", "b"))
	check(t, w.tier.PutGroupOffsets(t.Context(), committedByGroups()))
	plan, err := MakePlan(t.Context(), b, "", nil)
	check(t, err)
	later := committedByGroups()
	later.Time++
	later.Offsets = later.Offsets[:1]
	check(t, w.tier.PutGroupOffsets(t.Context(), later))
	restored, err := Run(t.Context(), configured(t, b, dir), plan)
	check(t, err)
	equal(t, restored.Groups, Groups{Groups: 1, Offsets: 1, Moved: 1, CopiedMs: later.Time})
	var owned *tier.OwnedError
	if err := w.tier.PutGroupOffsets(t.Context(), committedByGroups()); !errors.As(err, &owned) {
		t.Errorf("replaced by a broker that was taken over: %v", err)
	}
}
