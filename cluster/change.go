package cluster

import (
	"maps"

	"github.com/morrowmq/morrow/cluster/config"
)

// Change is what a command does to the metadata: the new state of each thing it
// touches. Applying it twice is applying it once. A Store writes it as it is
// and publishes Image.With of it.
type Change struct {
	DryRun bool // is not to be written

	Topics  []*Topic  // new, or replaced by id
	Dropped []TopicID // gone

	Deletions []*Deletion // new, or replaced by id
	Cleaned   []TopicID   // deletions that are finished

	Brokers []Broker // new, or replaced by id

	// Whole sets of overrides; an empty set removes the entry.
	ClusterConfig *config.Values
	BrokerConfigs map[int32]config.Values
	GroupConfigs  map[string]config.Values
}

// Empty reports whether nothing changes.
func (c *Change) Empty() bool {
	return len(c.Topics) == 0 && len(c.Dropped) == 0 && len(c.Deletions) == 0 && len(c.Cleaned) == 0 &&
		len(c.Brokers) == 0 && c.ClusterConfig == nil && len(c.BrokerConfigs) == 0 && len(c.GroupConfigs) == 0
}

// With returns the image after the change, one version on. The image takes over
// the maps and slices of the change.
func (img *Image) With(c Change) *Image {
	next := &Image{
		version: img.version + 1, clusterID: img.clusterID, node: img.node, static: img.static,
		names: img.names, ids: img.ids, collision: img.collision, deletions: img.deletions,
		brokers: img.brokers, cluster: img.cluster, broker: img.broker, groups: img.groups,
		resolved: img.resolved, plain: img.plain, plainSchedule: img.plainSchedule,
		plainGroup: img.plainGroup, resolvedGroup: img.resolvedGroup,
	}
	next.putBrokers(c)
	next.putGroups(c)
	reresolve := next.putBrokerConfigs(c)
	next.putTopics(c, reresolve)
	next.putDeletions(c)
	return next
}

// At returns the image with another version: for a Store that opens what it
// has kept.
func (img *Image) At(version int64) *Image {
	next := img.With(Change{})
	next.version = version
	return next
}

func (img *Image) putBrokers(c Change) {
	if len(c.Brokers) == 0 {
		return
	}
	img.brokers = maps.Clone(img.brokers)
	for _, b := range c.Brokers {
		img.brokers[b.ID] = b
	}
}

func (img *Image) putGroups(c Change) {
	if len(c.GroupConfigs) == 0 {
		return
	}
	img.groups, img.resolvedGroup = maps.Clone(img.groups), maps.Clone(img.resolvedGroup)
	putOverrides(img.groups, c.GroupConfigs)
	img.resolveGroups(maps.Keys(c.GroupConfigs))
}

// putBrokerConfigs reports whether the configuration in force on this broker
// may have changed.
func (img *Image) putBrokerConfigs(c Change) bool {
	if c.ClusterConfig == nil && len(c.BrokerConfigs) == 0 {
		return false
	}
	if c.ClusterConfig != nil {
		img.cluster = *c.ClusterConfig
	}
	img.broker = maps.Clone(img.broker)
	putOverrides(img.broker, c.BrokerConfigs)
	img.resolveBroker()
	return true
}

func putOverrides[K comparable](to, changed map[K]config.Values) {
	for k, v := range changed {
		if len(v) == 0 {
			delete(to, k)
		} else {
			to[k] = v
		}
	}
}

// topicEdit changes the three maps of topics together.
type topicEdit struct {
	img       *Image
	names     *shardEdit[string, *Topic]
	ids       *shardEdit[TopicID, *Topic]
	collision *shardEdit[string, string]
}

func (img *Image) putTopics(c Change, reresolve bool) {
	if len(c.Topics) == 0 && len(c.Dropped) == 0 && !reresolve {
		return
	}
	e := topicEdit{img, img.names.edit(), img.ids.edit(), img.collision.edit()}
	for _, id := range c.Dropped {
		e.drop(id)
	}
	for _, t := range c.Topics {
		e.put(t)
	}
	if reresolve {
		img.ids.all(func(id TopicID, _ *Topic) bool {
			e.resolve(id)
			return true
		})
	}
	for _, t := range c.Topics {
		e.resolve(t.ID)
		e.resolve(t.Schedule)
	}
	img.names, img.ids, img.collision = e.names.done(), e.ids.done(), e.collision.done()
}

func (e *topicEdit) put(t *Topic) {
	e.ids.set(t.ID, t)
	e.names.set(t.Name, t)
	if !t.Internal {
		e.collision.set(collisionKey(t.Name), t.Name)
	}
}

func (e *topicEdit) drop(id TopicID) {
	t, ok := e.ids.get(id)
	if !ok {
		return
	}
	e.ids.delete(id)
	e.names.delete(t.Name)
	if !t.Internal {
		e.collision.delete(collisionKey(t.Name))
	}
}

// resolve computes the configuration in force for a topic. That of a schedule
// topic follows from its owner's overrides.
func (e *topicEdit) resolve(id TopicID) {
	t, ok := e.ids.get(id)
	if !ok {
		return
	}
	resolved := *t
	resolved.resolved = e.img.resolveTopic(t.Config)
	if owner, ok := e.ids.get(t.ScheduleOf); ok && t.IsSchedule() {
		resolved.resolved = e.img.resolveSchedule(owner.Config)
	}
	e.put(&resolved)
}

func (img *Image) resolveTopic(overrides config.Values) *config.TopicConfig {
	if len(overrides) == 0 {
		return img.plain
	}
	c := config.ResolveTopic(img.Layers(img.node), overrides)
	return &c
}

func (img *Image) resolveSchedule(owner config.Values) *config.TopicConfig {
	if len(owner) == 0 {
		return img.plainSchedule
	}
	return img.resolveTopic(config.ScheduleValues(img.resolveTopic(owner)))
}

func (img *Image) putDeletions(c Change) {
	if len(c.Deletions) == 0 && len(c.Cleaned) == 0 {
		return
	}
	e := img.deletions.edit()
	for _, d := range c.Deletions {
		e.set(d.ID, d)
	}
	for _, id := range c.Cleaned {
		e.delete(id)
	}
	img.deletions = e.done()
}
