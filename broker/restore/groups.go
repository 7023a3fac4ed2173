package restore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/morrowmq/morrow/broker/coord"
	"github.com/morrowmq/morrow/broker/group"
	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/cluster/config"
	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket"
)

// Groups is what came back of what groups had committed.
type Groups struct {
	Groups  int `json:"groups"`
	Offsets int `json:"offsets"`
	// Moved are those that lay outside of what came back of their partition: now they are at its start or end.
	Moved int `json:"moved"`
	// CopiedMs is when the copy was made: what was committed later is lost. 0: there was no copy.
	CopiedMs int64 `json:"copied_ms"`
	// Error says why a copy that is there could not be used.
	Error string `json:"error,omitempty"`
}

// partitionKey names a partition by the id of its topic.
type partitionKey struct {
	topic  tier.TopicID
	number int32
}

// visibleRange is where a consumer can be in a partition that came back.
type visibleRange struct{ start, end int64 }

// findGroups looks for the copy of what groups have committed: the newest, if several brokers have
// left one. A damaged one keeps nobody from the records.
func (p *Plan) findGroups(ctx context.Context, b bucket.Bucket) error {
	all, err := tier.ReadGroupOffsets(ctx, b, p.Cluster)
	if errors.Is(err, tier.ErrCorrupt) || errors.Is(err, tier.ErrVersion) {
		p.GroupsErr = err
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for what groups have committed: %w", err)
	}
	for _, g := range all {
		if p.Groups == nil || g.Time > p.Groups.Time {
			p.Groups = g
		}
	}
	return nil
}

// claimGroups makes the copy that of this restore, and looks at it again: a broker that was taken
// for dead may have replaced it since, and does so no more.
func (r *restorer) claimGroups(ctx context.Context, instance string) error {
	if err := tier.ClaimGroupOffsets(ctx, r.cfg.Bucket, r.plan.Cluster, instance, r.cfg.Node); err != nil {
		return fmt.Errorf("what groups have committed: %w", err)
	}
	r.plan.Groups, r.plan.GroupsErr = nil, nil
	return r.plan.findGroups(ctx, r.cfg.Bucket)
}

// GroupsCopied describes the copy of what groups have committed.
func (p *Plan) GroupsCopied() (out Groups) {
	if p.GroupsErr != nil {
		out.Error = p.GroupsErr.Error()
	}
	if p.Groups == nil {
		return out
	}
	groups := map[string]bool{}
	for _, o := range p.Groups.Offsets {
		groups[o.Group] = true
	}
	out.Groups, out.Offsets, out.CopiedMs = len(groups), len(p.Groups.Offsets), p.Groups.Time
	return out
}

// groupsTopic is the topic that groups are kept in, with the id it had; nil if there is no copy.
func (r *restorer) groupsTopic() *cluster.Topic {
	g := r.plan.Groups
	if g == nil || g.Shards <= 0 {
		return nil
	}
	t := &cluster.Topic{Name: cluster.OffsetsTopic, ID: cluster.TopicID(g.Journal), Internal: true, Config: config.Values(g.Config)}
	for range g.Shards {
		only := []int32{r.cfg.Node}
		t.Partitions = append(t.Partitions, cluster.Partition{Replicas: only, ISR: only, Leader: r.cfg.Node})
	}
	return t
}

// restoreGroups writes the logs of the topic that groups are kept in. Doing it again, after an
// interruption, changes nothing: the last record of a key counts.
func (r *restorer) restoreGroups() error {
	if r.plan.GroupsErr != nil {
		r.groups.Error = r.plan.GroupsErr.Error()
	}
	t := r.groupsTopic()
	if t == nil {
		return nil
	}
	shards := r.groupRecords(r.plan.Groups)
	for n := range t.Partitions {
		if err := r.writeShard(log.ID{Topic: t.ID, Partition: int32(n)}, shards[int32(n)]); err != nil {
			return fmt.Errorf("restore %s-%d: %w", t.Name, n, err)
		}
	}
	return nil
}

// groupRecords are the records of the groups, by shard: of partitions that came back, within the
// range that did.
func (r *restorer) groupRecords(g *tier.GroupOffsets) map[int32][]coord.Record {
	shards, groups := map[int32][]coord.Record{}, map[string]bool{}
	for _, o := range g.Offsets {
		v, ok := r.ranges[partitionKey{o.Topic, o.Partition}]
		if !ok {
			continue
		}
		position := group.Position{
			CommittedOffset: group.CommittedOffset{Group: o.Group, Topic: o.TopicName, TopicID: o.Topic, Partition: o.Partition, Offset: o.Offset},
			LeaderEpoch:     o.LeaderEpoch, Metadata: o.Metadata, Expires: o.Expires,
			Committed: r.cfg.Now().UnixMilli(), // the group may have been active since: then they did not expire
		}
		if within := max(v.start, min(o.Offset, v.end)); within != o.Offset {
			position.Offset, position.LeaderEpoch = within, -1
			r.groups.Moved++
		}
		r.groups.Offsets++
		groups[o.Group] = true
		shard := coord.ShardOf(o.Group, g.Shards)
		shards[shard] = append(shards[shard], position.Record())
	}
	r.groups.Groups, r.groups.CopiedMs = len(groups), g.Time
	return shards
}

// writeShard makes the log of a shard, or goes on with one that an earlier run has made.
func (r *restorer) writeShard(id log.ID, records []coord.Record) error {
	o := log.Options{Name: id.String(), Config: log.DefaultConfig()}
	l, err := r.logs.OpenLog(id, o)
	if errors.Is(err, log.ErrNotExist) {
		l, err = r.logs.Create(id, o)
	}
	if err != nil {
		return err
	}
	for rs := range coord.Batches(records) {
		b, err := batchOf(rs, r.cfg.Now())
		if err != nil {
			return err
		}
		g := log.Group{Pieces: []record.Batch{b}, ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1, LastSequence: -1, Span: int32(len(rs)), Reserved: true}
		if _, err := l.Append(0, r.cfg.Now(), g); err != nil {
			return err
		}
	}
	return nil
}

func batchOf(rs []coord.Record, now time.Time) (record.Batch, error) {
	var b record.Builder
	b.Reset(0, now.UnixMilli())
	for i, r := range rs {
		b.Add(int32(i), now.UnixMilli(), r.Key, r.Value)
	}
	return b.Finish()
}
