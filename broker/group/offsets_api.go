package group

import (
	"context"
	"errors"
	"math"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/broker/coord"
)

// OffsetCommit serves key 8, versions 2 to 10. The positions that name existing
// partitions and fit are stored together or not at all.
func (c *Coordinator) OffsetCommit(ctx context.Context, req *kmsg.OffsetCommitRequest) *kmsg.OffsetCommitResponse {
	resp := req.ResponseKind().(*kmsg.OffsetCommitResponse)
	retention := int64(-1)
	if req.Version <= 4 {
		retention = req.RetentionTimeMillis
	}
	commit := c.newCommit(retention)
	resp.Topics = make([]kmsg.OffsetCommitResponseTopic, len(req.Topics))
	for i := range req.Topics {
		t, rt := &req.Topics[i], &resp.Topics[i]
		*rt = kmsg.NewOffsetCommitResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		rt.Partitions = make([]kmsg.OffsetCommitResponseTopicPartition, len(t.Partitions))
		topic := c.resolve(req.Version >= 10, t.Topic, t.TopicID)
		for j := range t.Partitions {
			p, rp := &t.Partitions[j], &rt.Partitions[j]
			rp.Partition = p.Partition
			commit.add(topic, p.Partition, p.Offset, p.LeaderEpoch, p.Metadata, &rp.ErrorCode)
		}
	}
	who := commitClaim{req.Group, req.MemberID, req.InstanceID, req.Generation, req.Version}
	_, err := coord.Do(ctx, c.shards.Of(req.Group), func(m *machine, tx *coord.Tx) (struct{}, error) {
		return struct{}{}, m.commitOffsets(tx, who, commit.positions)
	})
	commit.end(err)
	return resp
}

// commit is a request to store positions, while it is looked through.
type commit struct {
	maxMetadata     int
	nowMs, expireMs int64
	positions       []position // that can be stored
	codes           []*int16   // of the answer, parallel to positions
}

// newCommit begins a request whose positions are kept for so long, or, if that is
// negative, as long as others.
func (c *Coordinator) newCommit(retentionMillis int64) *commit {
	now := c.now()
	return &commit{maxMetadata: c.cfg().OffsetMetadataMaxBytes, nowMs: now.UnixMilli(), expireMs: expiryOf(now, retentionMillis)}
}

// add adds a position, or sets the code by which it is refused.
func (c *commit) add(t topic, partition int32, offset int64, leaderEpoch int32, metadata *string, code *int16) {
	text := stringOf(metadata)
	switch {
	case t.err != nil:
		*code = t.err.Code
	case partition < 0 || partition >= t.partitions:
		*code = kerr.UnknownTopicOrPartition.Code
	case len(text) > c.maxMetadata:
		*code = kerr.OffsetMetadataTooLarge.Code
	default:
		c.codes = append(c.codes, code)
		c.positions = append(c.positions, position{t.name, t.id, partition, committed{
			offset: offset, leaderEpoch: leaderEpoch, metadata: text, commitMs: c.nowMs, expireMs: c.expireMs,
		}})
	}
}

// end says what became of the positions.
func (c *commit) end(err error) {
	for _, code := range c.codes {
		*code = commitCode(err)
	}
}

func commitCode(err error) int16 {
	if errors.Is(err, coord.ErrTooLarge) {
		return kerr.InvalidCommitOffsetSize.Code
	}
	return codeOf(err)
}

// topic is a topic that a request names, by name or by id.
type topic struct {
	name       string
	id         [16]byte
	partitions int32
	err        *kerr.Error // nil, or why there is no such topic
}

// resolve looks up a topic by id or by name.
func (c *Coordinator) resolve(byID bool, name string, id [16]byte) topic {
	unknown := kerr.UnknownTopicOrPartition
	if byID {
		unknown = kerr.UnknownTopicID
		name, _ = c.topics.NameOf(id)
	}
	n, known, ok := c.topics.Partitions(name)
	if !ok || byID && known != id {
		return topic{id: id, err: unknown}
	}
	return topic{name: name, id: known, partitions: n}
}

// OffsetFetch serves key 9, versions 1 to 10. A position that is asked for more than once is
// answered once, where it was asked for first: the answer must not grow beyond its request. Clients
// put together what they find of a group.
func (c *Coordinator) OffsetFetch(ctx context.Context, req *kmsg.OffsetFetchRequest) *kmsg.OffsetFetchResponse {
	resp := req.ResponseKind().(*kmsg.OffsetFetchResponse)
	if req.Version >= 8 {
		answered := make(map[string]places, len(req.Groups))
		for i := range req.Groups {
			g := &req.Groups[i]
			if answered[g.Group] == nil {
				answered[g.Group] = make(places)
			}
			resp.Groups = append(resp.Groups, c.fetchGroup(ctx, g, req.Version, req.RequireStable, answered[g.Group]))
		}
		return resp
	}
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = req.Group
	if req.Topics != nil {
		g.Topics = make([]kmsg.OffsetFetchRequestGroupTopic, 0, len(req.Topics))
	}
	for _, t := range req.Topics {
		gt := kmsg.NewOffsetFetchRequestGroupTopic()
		gt.Topic, gt.Partitions = t.Topic, t.Partitions
		g.Topics = append(g.Topics, gt)
	}
	setSingleGroup(resp, c.fetchGroup(ctx, &g, req.Version, req.RequireStable, make(places)), req.Topics)
	return resp
}

// places of a group: those that a request has had its answer about.
type places map[place]bool

// place is a partition as a request names it.
type place struct {
	topic     string
	id        [16]byte
	partition int32 // everyPartition: all positions of the group
}

const everyPartition = math.MinInt32

// first reports whether a place is asked about for the first time.
func (a places) first(at place) bool {
	if a[at] {
		return false
	}
	a[at] = true
	return true
}

// setSingleGroup shapes an answer as it was before version 8. Versions 0 and 1
// have no error but those of partitions.
func setSingleGroup(resp *kmsg.OffsetFetchResponse, g kmsg.OffsetFetchResponseGroup, asked []kmsg.OffsetFetchRequestTopic) {
	resp.ErrorCode = g.ErrorCode
	for _, t := range g.Topics {
		rt := kmsg.NewOffsetFetchResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewOffsetFetchResponseTopicPartition()
			rp.Partition, rp.Offset, rp.LeaderEpoch, rp.Metadata, rp.ErrorCode = p.Partition, p.Offset, p.LeaderEpoch, p.Metadata, p.ErrorCode
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	if g.ErrorCode == 0 || resp.Version >= 2 {
		return
	}
	for _, t := range asked {
		rt := kmsg.NewOffsetFetchResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewOffsetFetchResponseTopicPartition()
			rp.Partition, rp.Offset, rp.LeaderEpoch, rp.Metadata, rp.ErrorCode = p, -1, -1, new(string), g.ErrorCode
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
}

func (c *Coordinator) fetchGroup(ctx context.Context, req *kmsg.OffsetFetchRequestGroup, version int16, stable bool, answered places) kmsg.OffsetFetchResponseGroup {
	resp, err := coord.Do(ctx, c.shards.Of(req.Group), func(m *machine, _ *coord.Tx) (kmsg.OffsetFetchResponseGroup, error) {
		return m.fetchOffsets(req, version, stable, answered)
	})
	if err != nil {
		resp = kmsg.NewOffsetFetchResponseGroup()
		resp.ErrorCode = codeOf(err)
		if errors.Is(err, coord.ErrCommitTimeout) {
			resp.ErrorCode = kerr.NotCoordinator.Code // the only one old consumers retry
		}
	}
	resp.Group = req.Group
	return resp
}

// fetchOffsets returns the positions a group stored, but for those answered before: those asked for,
// or all. Those that an open transaction is about to replace are refused if they have to be stable.
func (s *machine) fetchOffsets(req *kmsg.OffsetFetchRequestGroup, version int16, stable bool, answered places) (kmsg.OffsetFetchResponseGroup, error) {
	resp := kmsg.NewOffsetFetchResponseGroup()
	g := s.groups[req.Group]
	if g != nil && g.share != nil {
		return resp, kerr.GroupIDNotFound
	}
	if g != nil && g.consumer != nil {
		if err := g.consumer.validateFetch(req.MemberID, req.MemberEpoch); err != nil {
			return resp, err
		}
	}
	byID := version >= 10
	if req.Topics == nil {
		if answered.first(place{partition: everyPartition}) && g != nil {
			resp.Topics = s.fetchAll(g, byID, stable)
		}
		return resp, nil
	}
	for _, t := range req.Topics {
		rt := kmsg.NewOffsetFetchResponseGroupTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		name, known := t.Topic, true
		if byID {
			name, known = s.topics.NameOf(t.TopicID)
		}
		for _, p := range t.Partitions {
			if !answered.first(place{t.Topic, t.TopicID, p}) {
				continue
			}
			rp := g.fetched(name, p, s.offset(g, name, p), stable)
			if !known {
				rp.ErrorCode = kerr.UnknownTopicID.Code
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp, nil
}

func (s *machine) fetchAll(g *group, byID, stable bool) []kmsg.OffsetFetchResponseGroupTopic {
	var topics []kmsg.OffsetFetchResponseGroupTopic
	for _, name := range s.allOffsets(g) {
		rt := kmsg.NewOffsetFetchResponseGroupTopic()
		if rt.Topic = name; byID {
			_, rt.TopicID, _ = s.topics.Partitions(name)
		}
		for _, f := range sortedPartitions(g.offsets[name]) {
			rt.Partitions = append(rt.Partitions, g.fetched(name, f.partition, f.committed, stable))
		}
		topics = append(topics, rt)
	}
	return topics
}

// fetched is one position of a group, which may be nil.
func (g *group) fetched(topic string, partition int32, c committed, stable bool) kmsg.OffsetFetchResponseGroupTopicPartition {
	rp := kmsg.NewOffsetFetchResponseGroupTopicPartition()
	if stable && g.unstable(topic, partition) {
		rp.ErrorCode, c = kerr.UnstableOffsetCommit.Code, noOffset
	}
	rp.Partition, rp.Offset, rp.LeaderEpoch, rp.Metadata = partition, c.offset, c.leaderEpoch, &c.metadata
	return rp
}

// OffsetDelete serves key 47, version 0. To it, a share group does not exist.
func (c *Coordinator) OffsetDelete(ctx context.Context, req *kmsg.OffsetDeleteRequest) *kmsg.OffsetDeleteResponse {
	resp := req.ResponseKind().(*kmsg.OffsetDeleteResponse)
	if req.Group == "" {
		resp.ErrorCode = kerr.InvalidGroupID.Code
		return resp
	}
	topics, err := coord.Do(ctx, c.shards.Of(req.Group), func(m *machine, tx *coord.Tx) ([]kmsg.OffsetDeleteResponseTopic, error) {
		return m.deleteSome(tx, req)
	})
	if err != nil {
		resp.ErrorCode = codeOf(err)
		return resp
	}
	resp.Topics = topics
	return resp
}

// deleteSome removes the offsets a request names, except in topics the group
// is subscribed to.
func (s *machine) deleteSome(tx *coord.Tx, req *kmsg.OffsetDeleteRequest) ([]kmsg.OffsetDeleteResponseTopic, error) {
	g := s.groups[req.Group]
	switch {
	case g == nil || g.share != nil:
		return nil, kerr.GroupIDNotFound
	case g.classic != nil && g.classic.state != stateEmpty && !g.classic.isConsumer():
		return nil, kerr.NonEmptyGroup
	}
	var keys []offsetKey
	var topics []kmsg.OffsetDeleteResponseTopic
	for _, t := range req.Topics {
		rt := kmsg.NewOffsetDeleteResponseTopic()
		rt.Topic = t.Topic
		subscribed := s.subscribed(g, t.Topic)
		for _, p := range t.Partitions {
			rp := kmsg.NewOffsetDeleteResponseTopicPartition()
			rp.Partition = p.Partition
			n, _, exists := s.topics.Partitions(t.Topic)
			switch {
			case !exists || p.Partition < 0 || p.Partition >= n:
				rp.ErrorCode = kerr.UnknownTopicOrPartition.Code
			case subscribed:
				rp.ErrorCode = kerr.GroupSubscribedToTopic.Code
			case g.hasOffset(t.Topic, p.Partition) || g.unstable(t.Topic, p.Partition):
				keys = append(keys, offsetKey{g.id, t.Topic, p.Partition})
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		topics = append(topics, rt)
	}
	return topics, s.deleteOffsets(tx, keys)
}

// hasOffset reports whether the group has committed a position.
func (g *group) hasOffset(topic string, partition int32) bool {
	t := g.offsets[topic]
	if t == nil {
		return false
	}
	_, ok := t.parts[partition]
	return ok
}

func stringOf(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
