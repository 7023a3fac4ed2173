package api

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"

	"github.com/morrowmq/morrow/broker/share"
	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/protocol"
)

// DescribeShareGroupOffsets, key 90, versions 0-1 (KIP-932, KIP-1226).
//
// A share-partition that has not begun has the start offset and lag -1. The lag counts what is not
// finished, up to the end that consumers see. All partitions of a group are answered once, however
// often they are asked for.

func (a *API) describeShareGroupOffsets(_ context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.DescribeShareGroupOffsetsRequest)
	return func(ctx context.Context) (protocol.Answer, error) {
		resp := req.ResponseKind().(*kmsg.DescribeShareGroupOffsetsResponse)
		d := shareOffsets{api: a, img: a.store.Image(), begun: map[string]map[share.Key]share.Status{}, all: map[string]bool{}}
		for i := range req.Groups {
			want := &req.Groups[i]
			if want.Topics == nil && d.all[want.GroupID] {
				continue
			}
			resp.Groups = append(resp.Groups, d.group(ctx, want))
		}
		return protocol.Answer{Message: resp}, nil
	}
}

// shareOffsets is a DescribeShareGroupOffsets request being answered.
type shareOffsets struct {
	api   *API
	img   *cluster.Image
	begun map[string]map[share.Key]share.Status // by group: what a group has begun is looked at once
	all   map[string]bool                       // groups of which everything is described
}

// group describes the partitions asked for, or all that have begun.
func (d *shareOffsets) group(ctx context.Context, want *kmsg.DescribeShareGroupOffsetsRequestGroup) kmsg.DescribeShareGroupOffsetsResponseGroup {
	rg := kmsg.NewDescribeShareGroupOffsetsResponseGroup()
	rg.GroupID = want.GroupID
	if err := d.api.groups.IsShareGroup(ctx, want.GroupID); err != nil {
		rg.ErrorCode, rg.ErrorMessage = refusal(err)
		return rg
	}
	begun := d.statuses(want.GroupID)
	topics := want.Topics
	if topics == nil {
		topics = begunTopics(d.img, begun)
		d.all[want.GroupID] = true
	}
	for i := range topics {
		rg.Topics = append(rg.Topics, d.topic(want.GroupID, &topics[i]))
	}
	return rg
}

// statuses returns the share-partitions a group has begun.
func (d *shareOffsets) statuses(group string) map[share.Key]share.Status {
	if begun, ok := d.begun[group]; ok {
		return begun
	}
	begun := make(map[share.Key]share.Status)
	for _, s := range d.api.shares.Statuses(group) {
		begun[s.Key] = s
	}
	d.begun[group] = begun
	return begun
}

func (d *shareOffsets) topic(group string, want *kmsg.DescribeShareGroupOffsetsRequestGroupTopic) kmsg.DescribeShareGroupOffsetsResponseGroupTopic {
	rt := kmsg.NewDescribeShareGroupOffsetsResponseGroupTopic()
	rt.Topic = want.Topic
	topic, exists := d.img.Topic(want.Topic)
	if exists {
		rt.TopicID = topic.ID
	}
	for _, n := range want.Partitions {
		rp := kmsg.NewDescribeShareGroupOffsetsResponseGroupTopicPartition()
		rp.Partition, rp.StartOffset, rp.Lag = n, -1, -1
		p, err := d.api.partitionNamed(want.Topic, n)
		s, begun := d.statuses(group)[share.Key{Group: group, Topic: rt.TopicID, Partition: n}]
		switch {
		case err != nil:
			rp.ErrorCode, rp.ErrorMessage = refusal(err)
		case begun:
			rp.StartOffset, rp.Lag = s.Start, max(p.Log().Offsets().VisibleEnd-s.Start-s.Finished, 0)
		}
		if exists && int(n) < len(topic.Partitions) && n >= 0 {
			rp.LeaderEpoch = topic.Partitions[n].LeaderEpoch
		}
		rt.Partitions = append(rt.Partitions, rp)
	}
	return rt
}

// begunTopics lists the share-partitions that have begun as a request would name them.
func begunTopics(img *cluster.Image, begun map[share.Key]share.Status) []kmsg.DescribeShareGroupOffsetsRequestGroupTopic {
	byName := make(map[string][]int32)
	for k := range begun {
		if t, ok := img.TopicByID(k.Topic); ok {
			byName[t.Name] = append(byName[t.Name], k.Partition)
		}
	}
	var topics []kmsg.DescribeShareGroupOffsetsRequestGroupTopic
	for name, partitions := range byName {
		t := kmsg.NewDescribeShareGroupOffsetsRequestGroupTopic()
		slices.Sort(partitions)
		t.Topic, t.Partitions = name, partitions
		topics = append(topics, t)
	}
	slices.SortFunc(topics, func(a, b kmsg.DescribeShareGroupOffsetsRequestGroupTopic) int { return cmp.Compare(a.Topic, b.Topic) })
	return topics
}

// AlterShareGroupOffsets, key 91, version 0 (KIP-932).
//
// Only for groups without members; a group that does not exist is created. What was known of the
// partition's records, deliveries included, is forgotten. A partition may be named once. Partitions
// are waited for together.

func (a *API) alterShareGroupOffsets(_ context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.AlterShareGroupOffsetsRequest)
	return func(ctx context.Context) (protocol.Answer, error) {
		resp := req.ResponseKind().(*kmsg.AlterShareGroupOffsetsResponse)
		if err := a.mayResetShares(ctx, req.GroupID); err != nil {
			resp.ErrorCode, resp.ErrorMessage = refusal(err)
			return protocol.Answer{Message: resp}, nil
		}
		a.resetShares(ctx, req, resp)
		return protocol.Answer{Message: resp}, nil
	}
}

// resetShares does what a request asks for, every partition by itself, and says what became of it.
func (a *API) resetShares(ctx context.Context, req *kmsg.AlterShareGroupOffsetsRequest, resp *kmsg.AlterShareGroupOffsetsResponse) {
	named := make(map[namedPartition]int)
	for i := range req.Topics {
		for _, want := range req.Topics[i].Partitions {
			named[namedPartition{req.Topics[i].Topic, want.Partition}]++
		}
	}
	img := a.store.Image()
	resp.Topics = make([]kmsg.AlterShareGroupOffsetsResponseTopic, len(req.Topics))
	var g errgroup.Group
	g.SetLimit(sharesAtOnce)
	for i := range req.Topics {
		t, rt := &req.Topics[i], &resp.Topics[i]
		*rt = kmsg.NewAlterShareGroupOffsetsResponseTopic()
		rt.Topic = t.Topic
		if topic, ok := img.Topic(t.Topic); ok {
			rt.TopicID = topic.ID
		}
		rt.Partitions = make([]kmsg.AlterShareGroupOffsetsResponseTopicPartition, len(t.Partitions))
		for j, want := range t.Partitions {
			g.Go(func() error {
				err := errRepeatedPartition
				if named[namedPartition{t.Topic, want.Partition}] == 1 {
					err = a.resetShare(ctx, req.GroupID, t.Topic, want)
				}
				rp := &rt.Partitions[j]
				*rp = kmsg.NewAlterShareGroupOffsetsResponseTopicPartition()
				rp.Partition = want.Partition
				if err != nil {
					rp.ErrorCode, rp.ErrorMessage = a.explain(err, "alter share group offsets", t.Topic, want.Partition), kmsg.StringPtr(message(err))
				}
				return nil
			})
		}
	}
	_ = g.Wait() // errors are kept per partition
}

var errRepeatedPartition = coded(kerr.InvalidRequest, "the request names the partition more than once")

func (a *API) mayResetShares(ctx context.Context, group string) error {
	if group == "" {
		return kerr.InvalidGroupID
	}
	if err := a.groups.IdleShareGroup(ctx, group, true); err != nil {
		return err
	}
	return a.ensureShareState(ctx)
}

func (a *API) resetShare(ctx context.Context, group, topic string, want kmsg.AlterShareGroupOffsetsRequestTopicPartition) error {
	p, err := a.partitionNamed(topic, want.Partition)
	switch {
	case err != nil:
		return err
	case want.StartOffset < 0:
		return coded(kerr.InvalidRequest, "start offset %d is negative", want.StartOffset)
	}
	return a.shares.Reset(ctx, share.Key{Group: group, Topic: p.Topic().ID, Partition: want.Partition}, want.StartOffset)
}

// DeleteShareGroupOffsets, key 92, version 0 (KIP-932).
//
// Only for groups without members, which begin anew with these topics where share.auto.offset.reset says.

func (a *API) deleteShareGroupOffsets(_ context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.DeleteShareGroupOffsetsRequest)
	return func(ctx context.Context) (protocol.Answer, error) {
		resp := req.ResponseKind().(*kmsg.DeleteShareGroupOffsetsResponse)
		if err := a.groups.IdleShareGroup(ctx, req.GroupID, false); err != nil {
			resp.ErrorCode, resp.ErrorMessage = refusal(err)
			return protocol.Answer{Message: resp}, nil
		}
		for _, t := range req.Topics {
			rt := kmsg.NewDeleteShareGroupOffsetsResponseTopic()
			rt.Topic = t.Topic
			topic, err := find(a.store.Image(), topicKey{name: t.Topic}, false)
			if err == nil {
				rt.TopicID = topic.ID
				err = a.shares.DeleteTopic(ctx, req.GroupID, topic.ID)
			}
			if err != nil {
				rt.ErrorCode, rt.ErrorMessage = a.explain(err, "delete share group offsets", t.Topic, -1), kmsg.StringPtr(message(err))
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return protocol.Answer{Message: resp}, nil
	}
}

// deleteGroups is DeleteGroups, key 42, for share groups too: what they know of records goes first,
// so that a crash in between, or a failure, leaves a group that can be deleted again, not records
// that a later group of that name would find.
func (a *API) deleteGroups(ctx context.Context, req *kmsg.DeleteGroupsRequest) *kmsg.DeleteGroupsResponse {
	emptied := *req
	emptied.Groups = make([]string, 0, len(req.Groups))
	kept := make([]error, len(req.Groups))
	for i, group := range req.Groups {
		if kept[i] = a.deleteShares(ctx, group); kept[i] == nil {
			emptied.Groups = append(emptied.Groups, group)
		}
	}
	resp := a.groups.DeleteGroups(ctx, &emptied)
	for i, err := range kept {
		if err != nil {
			rg := kmsg.NewDeleteGroupsResponseGroup()
			rg.Group = req.Groups[i]
			rg.ErrorCode, rg.ErrorMessage = refusal(err)
			resp.Groups = slices.Insert(resp.Groups, i, rg)
		}
	}
	return resp
}

// deleteShares forgets what a share group knows of records. An error means that the group may not
// be deleted, or not now; one that is no share group knows nothing.
func (a *API) deleteShares(ctx context.Context, group string) error {
	err := a.groups.IdleShareGroup(ctx, group, false)
	switch {
	case errors.Is(err, kerr.GroupIDNotFound):
		return nil
	case err != nil:
		return err
	}
	if err = a.shares.DeleteGroup(ctx, group); err != nil {
		a.logger.Warn("share group not deleted: its state is still there", "group", group, "err", err)
	}
	return err
}
