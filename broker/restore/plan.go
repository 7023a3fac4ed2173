package restore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket"
)

// Plan is what is to be restored.
type Plan struct {
	Cluster string
	Topics  []Topic
	// Skipped are topics in the bucket that are left where they are.
	Skipped []Skipped
	// Groups is the copy of what groups have committed, nil if there is none. GroupsErr: it is
	// damaged, and groups begin anew.
	Groups    *tier.GroupOffsets
	GroupsErr error
}

// Topic is a topic to be restored.
type Topic struct {
	tier.RemoteTopic
	// schedule is what is in the bucket of its schedule topic; nil if nothing is.
	schedule *tier.RemoteTopic
}

// damage says which manifests of the topic and its schedule cannot be read; nil if all can.
func (t *Topic) damage() error {
	damaged := t.Damaged
	if t.schedule != nil {
		damaged = append(damaged[:len(damaged):len(damaged)], t.schedule.Damaged...)
	}
	var errs []error
	for _, d := range damaged {
		errs = append(errs, d.Err)
	}
	return errors.Join(errs...)
}

// Skipped is a topic that is not restored, and why.
type Skipped struct {
	Name string `json:"name"`
	ID   string `json:"id"`
	Why  string `json:"why"`
}

// MakePlan looks through a bucket for topics. clusterID may be empty if the bucket holds one
// cluster only. wanted are names or ids of topics; none means all.
func MakePlan(ctx context.Context, b bucket.Bucket, clusterID string, wanted []string) (Plan, error) {
	found, err := tier.Inventory(ctx, b, clusterID)
	if err != nil {
		return Plan{}, fmt.Errorf("look through %s: %w", b, err)
	}
	if clusterID, err = onlyCluster(b, clusterID, found); err != nil {
		return Plan{}, err
	}
	p := Plan{Cluster: clusterID}
	if err := p.findGroups(ctx, b); err != nil {
		return Plan{}, err
	}
	schedules, nameless := map[tier.TopicID]*tier.RemoteTopic{}, map[tier.TopicID]*tier.RemoteTopic{}
	var topics []Topic
	for i := range found {
		t := &found[i]
		switch {
		case t.Deleted:
		case len(t.Partitions) == 0 && len(t.Damaged) > 0: // perhaps a schedule
			schedules[t.ID], nameless[t.ID] = t, t
		case len(t.Partitions) == 0:
			p.skip(t, "it has no manifest")
		case cluster.IsReserved(t.Name):
			schedules[t.ID] = t
		default:
			topics = append(topics, Topic{RemoteTopic: *t})
		}
	}
	for i := range topics {
		topics[i].Count = topics[i].partitions()
		topics[i].schedule = schedules[topics[i].Schedule]
		delete(nameless, topics[i].Schedule)
	}
	for _, t := range nameless {
		topics = append(topics, Topic{RemoteTopic: *t})
	}
	return p, p.choose(topics, wanted)
}

// onlyCluster is the cluster that topics were found of, which must be one.
func onlyCluster(b bucket.Bucket, clusterID string, found []tier.RemoteTopic) (string, error) {
	var ids []string
	for _, t := range found {
		if !slices.Contains(ids, t.Cluster) {
			ids = append(ids, t.Cluster)
		}
	}
	switch {
	case len(ids) == 0 && clusterID != "":
		return "", fmt.Errorf("%s holds nothing of a cluster %s", b, clusterID)
	case len(ids) == 0:
		return "", fmt.Errorf("%s holds no topics", b)
	case len(ids) > 1:
		return "", fmt.Errorf("%s holds topics of several clusters; name the one to restore: %s", b, strings.Join(ids, ", "))
	}
	return ids[0], nil
}

func (p *Plan) skip(t *tier.RemoteTopic, why string) {
	p.Skipped = append(p.Skipped, Skipped{Name: t.Name, ID: t.ID.Kafka(), Why: why})
}

// choose takes the wanted topics into the plan. Of several with one name it is the one that was
// committed last, unless another is named by its id. One with a damaged manifest comes back whole
// or not at all; whether the others do without it, people decide.
func (p *Plan) choose(topics []Topic, wanted []string) error {
	slices.SortFunc(topics, func(x, y Topic) int {
		return cmp.Or(strings.Compare(x.Name, y.Name), -cmp.Compare(x.Committed, y.Committed))
	})
	byID := func(t *Topic) bool { return slices.Contains(wanted, t.ID.Kafka()) }
	named := map[string]bool{} // names that an id has decided
	for i := range topics {
		if byID(&topics[i]) {
			named[topics[i].Name] = true
		}
	}
	taken := map[string]bool{}
	var damaged []error
	for i := range topics {
		t := &topics[i]
		switch {
		case !byID(t) && len(wanted) > 0 && !slices.Contains(wanted, t.Name):
			continue // not asked for
		case !byID(t) && named[t.Name], taken[t.Name]:
			p.skip(&t.RemoteTopic, "another topic of this name is restored; to have this one, give its id")
			continue
		}
		taken[t.Name] = true
		if err := t.damage(); err != nil {
			damaged = append(damaged, fmt.Errorf("topic %s cannot be restored: %w", cmp.Or(t.Name, t.ID.Kafka()), err))
		}
		p.Topics = append(p.Topics, *t)
	}
	if len(damaged) > 0 && len(wanted) == 0 {
		damaged = append(damaged, errors.New("name the others to restore them without it"))
	}
	return errors.Join(append(damaged, p.missing(topics, wanted))...)
}

// missing is the error for what was wanted and is not there.
func (p *Plan) missing(topics []Topic, wanted []string) error {
	var errs []error
	for _, w := range wanted {
		if cluster.IsReserved(w) {
			errs = append(errs, fmt.Errorf("topic %q is the broker's own: what the bucket has of it comes back with the topics it is about", w))
		} else if !slices.ContainsFunc(topics, func(t Topic) bool { return t.Name == w || t.ID.Kafka() == w }) {
			errs = append(errs, fmt.Errorf("the bucket holds no topic %q of cluster %s; topics that are not tiered, as compacted ones, are not in it", w, p.Cluster))
		}
	}
	return errors.Join(errs...)
}

// ids are the ids of the topics, sorted.
func (p *Plan) ids() []string {
	var ids []string
	for i := range p.Topics {
		ids = append(ids, p.Topics[i].ID.Kafka())
	}
	slices.Sort(ids)
	return ids
}

// partitions is how many partitions the topic had.
func (t *Topic) partitions() int32 {
	n := t.Count
	for _, m := range t.Partitions {
		n = max(n, m.PartitionID.Partition+1)
	}
	return n
}

// manifest is that of a partition of a topic, nil if there is none.
func manifest(t *tier.RemoteTopic, partition int32) *tier.Manifest {
	if t == nil {
		return nil
	}
	for _, m := range t.Partitions {
		if m.PartitionID.Partition == partition {
			return m
		}
	}
	return nil
}

// epochGap is what is left free between the epochs of the lost broker, which counted them up at
// every start, and those of the restored one.
const epochGap = 1000

// epoch is a leader epoch that was never used for the topic or its schedule, which share it.
func (t *Topic) epoch() int32 {
	last := int32(0)
	for _, m := range t.Partitions {
		last = max(last, m.Epoch)
	}
	if t.schedule != nil {
		for _, m := range t.schedule.Partitions {
			last = max(last, m.Epoch)
		}
	}
	return last + epochGap
}
