package cluster

import (
	"bytes"
	"cmp"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/morrowmq/morrow/cluster/config"
)

// Topic is one topic. It is immutable once it is part of an image.
type Topic struct {
	Name       string
	ID         TopicID
	Partitions []Partition   // by partition index
	Config     config.Values // overrides only
	Internal   bool          // belongs to the broker; consumers' patterns skip it

	// ScheduleOf is the topic whose schedule this one is; zero for others.
	// Schedule is the other direction. The two are created, grown and deleted
	// together and have the same replicas, leaders and epochs.
	ScheduleOf TopicID
	Schedule   TopicID

	resolved *config.TopicConfig
}

// Resolved returns the configuration in force on this broker, parsed.
func (t *Topic) Resolved() *config.TopicConfig { return t.resolved }

// IsSchedule reports whether the topic holds the schedule of another.
func (t *Topic) IsSchedule() bool { return !t.ScheduleOf.IsZero() }

// Partition is the assignment and leadership of one partition.
type Partition struct {
	Replicas []int32 // broker ids, the preferred leader first
	ISR      []int32 // replicas in sync; never empty
	Leader   int32   // broker id, or NoLeader

	// LeaderEpoch grows with every change of the leader, PartitionEpoch with
	// every change of anything here.
	LeaderEpoch    int32
	PartitionEpoch int32
}

// NoLeader stands for the leader of a partition that has none.
const NoLeader int32 = -1

// Broker is a registered broker.
type Broker struct {
	ID        int32
	Endpoints []Endpoint // one per advertised listener
	Rack      string     // empty: none
}

// Endpoint is an address clients connect to.
type Endpoint struct {
	Listener string // its name, "PLAINTEXT" or as configured
	Security string // "PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"
	Host     string
	Port     int32
}

// Deletion is a deleted topic of which something is still to be cleaned.
type Deletion struct {
	ID         TopicID
	Name       string
	Partitions int32
	Deleted    int64     // epoch milliseconds
	Left       []Cleanup // not yet confirmed; never empty
}

// Image is the metadata of the cluster at one moment, as one broker sees it.
// It is immutable and safe for concurrent use, and so is all it returns:
// callers must not modify slices and maps they get from it.
type Image struct {
	version   int64
	clusterID string
	node      int32         // the broker whose view this is
	static    config.Values // its configuration read at start

	names     shards[string, *Topic]
	ids       shards[TopicID, *Topic]
	collision shards[string, string] // collisionKey to name, of topics clients made
	deletions shards[TopicID, *Deletion]

	brokers map[int32]Broker
	cluster config.Values           // dynamic default of all brokers
	broker  map[int32]config.Values // dynamic, per broker
	groups  map[string]config.Values

	resolved      *config.Resolved    // broker configs in force on node
	plain         *config.TopicConfig // of topics without overrides
	plainSchedule *config.TopicConfig // of their schedule topics
	plainGroup    *config.Resolved    // of groups without overrides
	resolvedGroup map[string]*config.Resolved

	sortedOnce sync.Once
	sorted     []*Topic
}

// NewImage returns the metadata of an empty cluster as seen by broker node,
// whose file, environment and flags say static.
func NewImage(clusterID string, node int32, static config.Values) *Image {
	img := &Image{
		clusterID: clusterID,
		node:      node,
		static:    maps.Clone(static),
		brokers:   map[int32]Broker{},
		broker:    map[int32]config.Values{},
		groups:    map[string]config.Values{},
	}
	img.resolveBroker()
	return img
}

func (img *Image) resolveBroker() {
	img.resolved = config.ResolveBroker(img.Layers(img.node))
	plain := config.ResolveTopic(img.Layers(img.node), nil)
	img.plain = &plain
	img.plainSchedule = img.resolveTopic(config.ScheduleValues(img.plain))
	img.plainGroup = config.ResolveGroup(img.Layers(img.node), nil)
	img.resolvedGroup = make(map[string]*config.Resolved, len(img.groups))
	img.resolveGroups(maps.Keys(img.groups))
}

// resolveGroups works out the configs of these groups, which share groups ask for with every request.
func (img *Image) resolveGroups(groups iter.Seq[string]) {
	layers := img.Layers(img.node)
	for group := range groups {
		if values, ok := img.groups[group]; ok {
			img.resolvedGroup[group] = config.ResolveGroup(layers, values)
		} else {
			delete(img.resolvedGroup, group)
		}
	}
}

// Version counts the changes since the cluster was created.
func (img *Image) Version() int64 { return img.version }

// ClusterID returns the id of the cluster, which never changes.
func (img *Image) ClusterID() string { return img.clusterID }

// Node returns the id of the broker whose view this is.
func (img *Image) Node() int32 { return img.node }

// Topic returns the topic of that name.
func (img *Image) Topic(name string) (*Topic, bool) { return img.names.get(name) }

// TopicByID returns the topic of that id.
func (img *Image) TopicByID(id TopicID) (*Topic, bool) { return img.ids.get(id) }

// Topics returns all topics, internal ones included, by name.
func (img *Image) Topics() []*Topic {
	img.sortedOnce.Do(func() {
		img.sorted = make([]*Topic, 0, img.ids.len())
		img.ids.all(func(_ TopicID, t *Topic) bool {
			img.sorted = append(img.sorted, t)
			return true
		})
		slices.SortFunc(img.sorted, func(a, b *Topic) int { return strings.Compare(a.Name, b.Name) })
	})
	return img.sorted
}

// TopicCount returns the number of topics, internal ones included.
func (img *Image) TopicCount() int { return img.ids.len() }

// TopicConfig returns the configuration in force for the topic of that name, or
// nil if there is none.
func (img *Image) TopicConfig(name string) *config.TopicConfig {
	t, ok := img.Topic(name)
	if !ok {
		return nil
	}
	return t.resolved
}

// Overrides returns what is set on the topic itself: for a schedule topic what
// follows from the topic it belongs to.
func (img *Image) Overrides(t *Topic) config.Values {
	if owner, ok := img.TopicByID(t.ScheduleOf); ok && t.IsSchedule() {
		return config.ScheduleValues(owner.resolved)
	}
	return t.Config
}

// Broker returns a registered broker.
func (img *Image) Broker(id int32) (Broker, bool) {
	b, ok := img.brokers[id]
	return b, ok
}

// Brokers returns all registered brokers by id. The caller owns the slice.
func (img *Image) Brokers() []Broker {
	return slices.SortedFunc(maps.Values(img.brokers), func(a, b Broker) int { return cmp.Compare(a.ID, b.ID) })
}

// BrokerConfig returns the broker configuration in force on this broker.
func (img *Image) BrokerConfig() *config.Resolved { return img.resolved }

// Layers returns where the configs of a broker come from. The static layer is
// known for this broker only and empty for others.
func (img *Image) Layers(broker int32) config.Layers {
	l := config.Layers{Cluster: img.cluster, Broker: img.broker[broker]}
	if broker == img.node {
		l.Static = img.static
	}
	return l
}

// ClusterOverrides returns the dynamic broker configs that hold for all brokers.
func (img *Image) ClusterOverrides() config.Values { return img.cluster }

// GroupOverrides returns what is set on a consumer group; nil if nothing is.
func (img *Image) GroupOverrides(group string) config.Values { return img.groups[group] }

// GroupConfig returns the configuration in force for a consumer group, whether
// or not it exists.
func (img *Image) GroupConfig(group string) *config.Resolved {
	if r := img.resolvedGroup[group]; r != nil {
		return r
	}
	return img.plainGroup
}

// ConfiguredGroups returns the groups with overrides, sorted. The caller owns
// the slice.
func (img *Image) ConfiguredGroups() []string {
	return slices.Sorted(maps.Keys(img.groups))
}

// Deletions returns the deleted topics that are not wholly cleaned, oldest
// first. The caller owns the slice.
func (img *Image) Deletions() []*Deletion {
	out := make([]*Deletion, 0, img.deletions.len())
	img.deletions.all(func(_ TopicID, d *Deletion) bool {
		out = append(out, d)
		return true
	})
	slices.SortFunc(out, func(a, b *Deletion) int {
		return cmp.Or(cmp.Compare(a.Deleted, b.Deleted), strings.Compare(a.Name, b.Name), bytes.Compare(a.ID[:], b.ID[:]))
	})
	return out
}

// Deletion returns what is left of a deleted topic.
func (img *Image) Deletion(id TopicID) (*Deletion, bool) { return img.deletions.get(id) }

// Since calls put for every topic that was created or changed after old was
// current and drop for every one that is gone, each once, in no order. It costs
// what changed, not what exists. A nil old stands for an empty image.
func (img *Image) Since(old *Image, put func(*Topic), drop func(TopicID)) {
	if old == nil {
		old = &Image{}
	}
	img.ids.diff(&old.ids, func(id TopicID, _, inNew bool) {
		if !inNew {
			drop(id)
			return
		}
		now, _ := img.ids.get(id)
		if was, ok := old.ids.get(id); !ok || was != now {
			put(now)
		}
	})
}
