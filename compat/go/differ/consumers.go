package main

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// consumerGroups beats in groups of KIP-848, with epochs that are right and wrong.
func consumerGroups(s *side) {
	s.topic("consumed", 2)
	s.versions(kmsg.ConsumerGroupHeartbeat, func(v int16) {
		group := fmt.Sprintf("consumer-%d", v)
		beat := func(what, group, member string, epoch int32, more ...func(*kmsg.ConsumerGroupHeartbeatRequest)) *kmsg.ConsumerGroupHeartbeatResponse {
			req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
			req.Group, req.MemberID, req.MemberEpoch, req.RebalanceTimeoutMillis = group, member, epoch, -1
			for _, m := range more {
				m(req)
			}
			resp, _ := s.ask(what, v, req).(*kmsg.ConsumerGroupHeartbeatResponse)
			return resp
		}
		full := func(r *kmsg.ConsumerGroupHeartbeatRequest) {
			r.RebalanceTimeoutMillis, r.SubscribedTopicNames, r.Topics = 10_000, []string{"consumed"}, []kmsg.ConsumerGroupHeartbeatRequestTopic{}
		}
		const member = "AAAAAAAAAAAAAAAAAAAAAQ"
		beat("join an empty group", "", member, 0, full)
		beat("join without member", group+"-named", "", 0, full)
		beat("join without topics", group, member, 0, full, func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.SubscribedTopicNames = nil })
		beat("join without owned topics", group, member, 0, full, func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.Topics = nil })
		beat("join with owned topics", group, member, 0, full, func(r *kmsg.ConsumerGroupHeartbeatRequest) {
			t := kmsg.NewConsumerGroupHeartbeatRequestTopic()
			t.TopicID, t.Partitions = s.ids["consumed"], []int32{0}
			r.Topics = append(r.Topics, t)
		})
		beat("join without timeout", group, member, 0, full, func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.RebalanceTimeoutMillis = -1 })
		beat("join with an unknown assignor", group, member, 0, full, func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.ServerAssignor = ptr("rubbish") })
		beat("join with an empty instance", group, member, 0, full, func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.InstanceID = ptr("") })
		beat("join with an empty rack", group, member, 0, full, func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.RackID = ptr("") })
		beat("beat in no group", group, member, 1)
		beat("leave no group", group, member, -1)
		beat("leave no group as an instance", group, member, -2, func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.InstanceID = ptr("i") })
		beat("an epoch below all", group, member, -3)
		if v >= 1 {
			beat("join with a bad expression", group, member, 0, full, func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.SubscribedTopicRegex = ptr("(") })
		}
		first := beat("join", group, member, 0, full)
		if first == nil || first.MemberID == nil {
			return
		}
		id := *first.MemberID
		beat("join again", group, id, 0, full)
		beat("beat", group, id, first.MemberEpoch)
		beat("beat in an epoch to come", group, id, first.MemberEpoch+5)
		beat("beat as no member", group, "BBBBBBBBBBBBBBBBBBBBBQ", 1)
		beat("beat as an instance", group, id, first.MemberEpoch, func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.InstanceID = ptr("i") })
		beat("leave as an instance", group, id, -2)
		beat("beat with an unknown assignor", group, id, first.MemberEpoch, func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.ServerAssignor = ptr("rubbish") })
		beat("beat with the assignor", group, id, first.MemberEpoch, func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.ServerAssignor = ptr("range") })
		s.versions(kmsg.ConsumerGroupDescribe, func(dv int16) {
			req := kmsg.NewPtrConsumerGroupDescribeRequest()
			req.Groups, req.IncludeAuthorizedOperations = []string{group}, true
			s.ask("describe", dv, req)
		})
		s.versions(kmsg.DescribeGroups, func(dv int16) {
			req := kmsg.NewPtrDescribeGroupsRequest()
			req.Groups = []string{group}
			s.ask("describe as a classic group", dv, req)
		})
		s.ask("join as a classic member", 5, join(group, "", "range"))
		s.ask("beat as a classic member", 4, heartbeat(group, id, 1))
		s.ask("sync as a classic member", 5, syncGroup(group, id, 1, false))
		s.ask("leave as no classic member", 5, leave(group, "m", nil))
		s.ask("leave as a classic member", 5, leave(group, "m", ptr("i")))
		s.versions(kmsg.OffsetCommit, func(cv int16) {
			s.ask("commit", cv, s.commit(group, id, first.MemberEpoch, "consumed", 0, 5))
			s.ask("commit in an epoch to come", cv, s.commit(group, id, first.MemberEpoch+5, "consumed", 0, 5))
			s.ask("commit as no member", cv, s.commit(group, "m", 1, "consumed", 0, 5))
			s.ask("commit from outside", cv, s.commit(group, "", -1, "consumed", 0, 5))
		})
		s.versionsFrom(kmsg.OffsetFetch, 9, func(fv int16) {
			for _, epoch := range []int32{first.MemberEpoch, first.MemberEpoch + 5} {
				req := s.fetchOffsets(group, "consumed", 0)
				req.Groups[0].MemberID, req.Groups[0].MemberEpoch = &id, epoch
				s.ask(fmt.Sprintf("fetch offsets in epoch %+d", epoch-first.MemberEpoch), fv, req)
			}
			req := s.fetchOffsets(group, "consumed", 0)
			req.Groups[0].MemberID, req.Groups[0].MemberEpoch = ptr("m"), 1
			s.ask("fetch offsets as no member", fv, req)
		})
		remove := kmsg.NewPtrDeleteGroupsRequest()
		remove.Groups = []string{group}
		s.ask("delete", 2, remove)
		beat("leave", group, id, -1)
		beat("beat after leaving", group, id, first.MemberEpoch)
		s.ask("delete when empty", 2, remove)
	})
	classic := s.joined("join a classic group", 5, "classic-consumer")
	s.ask("sync a classic group", 5, syncGroup("classic-consumer", classic, 1, true))
	req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	req.Group, req.MemberID, req.RebalanceTimeoutMillis = "classic-consumer", "AAAAAAAAAAAAAAAAAAAAAQ", 10_000
	req.SubscribedTopicNames, req.Topics = []string{"consumed"}, []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	s.ask("join a classic group with rubbish", s.latest(kmsg.ConsumerGroupHeartbeat), req)
}

func (s *side) shareBeat(what, group, member string, epoch int32, topics ...string) *kmsg.ShareGroupHeartbeatResponse {
	req := kmsg.NewPtrShareGroupHeartbeatRequest()
	req.GroupID, req.MemberID, req.MemberEpoch, req.SubscribedTopicNames = group, member, epoch, topics
	resp, _ := s.ask(what, s.latest(kmsg.ShareGroupHeartbeat), req).(*kmsg.ShareGroupHeartbeatResponse)
	return resp
}

const shareMember = "AAAAAAAAAAAAAAAAAAAAAQ"

func shareGroups(s *side) {
	s.topic("shared", 2)
	s.shareBeat("join an empty group", "", shareMember, 0, "shared")
	s.shareBeat("join without member", "share", "", 0, "shared")
	s.shareBeat("join without topics", "share", shareMember, 0)
	s.shareBeat("beat in no group", "share", shareMember, 1)
	s.shareBeat("leave no group", "share", shareMember, -1)
	s.shareBeat("an epoch below all", "share", shareMember, -2, "shared")
	rack := kmsg.NewPtrShareGroupHeartbeatRequest()
	rack.GroupID, rack.MemberID, rack.SubscribedTopicNames, rack.RackID = "share", shareMember, []string{"shared"}, ptr("")
	s.ask("join with an empty rack", 1, rack)
	s.shareBeat("join", "share", shareMember, 0, "shared")
	s.shareBeat("beat as no member", "share", "BBBBBBBBBBBBBBBBBBBBBQ", 1)
	s.shareBeat("beat in an epoch to come", "share", shareMember, 99)
	s.ask("join as a classic member", 5, join("share", "", "range"))
	s.ask("commit", 9, s.commit("share", "", -1, "shared", 0, 5))
	s.ask("fetch offsets", 9, s.fetchOffsets("share", "shared", 0))
	describe := func(what string, groups ...string) {
		req := kmsg.NewPtrShareGroupDescribeRequest()
		req.GroupIDs, req.IncludeAuthorizedOperations = groups, true
		s.ask(what, 1, req)
	}
	describe("describe nothing")
	describe("describe no group", "nowhere")
	describe("describe an empty name", "")
	s.versions(kmsg.DescribeShareGroupOffsets, func(v int16) {
		offsets := func(what, group, topic string, partitions ...int32) {
			req := kmsg.NewPtrDescribeShareGroupOffsetsRequest()
			g, t := kmsg.NewDescribeShareGroupOffsetsRequestGroup(), kmsg.NewDescribeShareGroupOffsetsRequestGroupTopic()
			t.Topic, t.Partitions = topic, partitions
			g.GroupID, g.Topics = group, append(g.Topics, t)
			req.Groups = append(req.Groups, g)
			s.ask(what, v, req)
		}
		offsets("offsets of no group", "nowhere", "shared", 0)
		offsets("offsets of no topic", "share", "nowhere-shared", 0)
		offsets("offsets of no partitions", "share", "shared")
		s.ask("offsets of nothing", v, kmsg.NewPtrDescribeShareGroupOffsetsRequest())
	})
	s.versions(kmsg.AlterShareGroupOffsets, func(v int16) {
		move := func(what, group, topic string, partition int32, offset int64) {
			req := kmsg.NewPtrAlterShareGroupOffsetsRequest()
			t, p := kmsg.NewAlterShareGroupOffsetsRequestTopic(), kmsg.NewAlterShareGroupOffsetsRequestTopicPartition()
			p.Partition, p.StartOffset = partition, offset
			t.Topic, t.Partitions = topic, append(t.Partitions, p)
			req.GroupID, req.Topics = group, append(req.Topics, t)
			s.ask(what, v, req)
		}
		move("move offsets of no group", "share-nowhere", "nowhere-shared", 0, 0)
		move("move offsets of an empty group", "", "shared", 0, 0)
		move("move offsets of one that is joined", "share", "shared", 0, 0)
		nothing := kmsg.NewPtrAlterShareGroupOffsetsRequest()
		nothing.GroupID = "share"
		s.ask("move nothing", v, nothing)
	})
	s.versions(kmsg.DeleteShareGroupOffsets, func(v int16) {
		remove := func(what, group string, topics ...string) {
			req := kmsg.NewPtrDeleteShareGroupOffsetsRequest()
			req.GroupID = group
			for _, name := range topics {
				t := kmsg.NewDeleteShareGroupOffsetsRequestTopic()
				t.Topic = name
				req.Topics = append(req.Topics, t)
			}
			s.ask(what, v, req)
		}
		remove("delete offsets of no group", "nowhere", "shared")
		remove("delete offsets of an empty group", "", "shared")
		remove("delete offsets of one that is joined", "share", "shared")
		remove("delete no offsets", "share")
	})
	remove := kmsg.NewPtrDeleteGroupsRequest()
	remove.Groups = []string{"share"}
	s.ask("delete", 2, remove)
	s.shareBeat("leave", "share", shareMember, -1)
	s.ask("delete when empty", 2, remove)
}

// shareFetching fetches and acknowledges as a member of a share group.
func shareFetching(s *side) {
	s.topic("taken", 1)
	s.ask("set where it begins", 1, alter(groupResource, "taking", set("share.auto.offset.reset", "earliest")))
	want[*kmsg.ProduceResponse](s, 9, s.produce("taken", 0, batch("a", "b", "c", "d")))
	s.versions(kmsg.ShareFetch, func(v int16) {
		fetch := func(group, member *string, epoch int32, topic string, partition int32) *kmsg.ShareFetchRequest {
			req := kmsg.NewPtrShareFetchRequest()
			req.GroupID, req.MemberID, req.ShareSessionEpoch = group, member, epoch
			req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.MaxRecords, req.BatchSize = 100, 0, 1<<20, 500, 500
			t, p := kmsg.NewShareFetchRequestTopic(), kmsg.NewShareFetchRequestTopicPartition()
			p.Partition, p.PartitionMaxBytes = partition, 1<<20
			t.TopicID, t.Partitions = s.idOf(topic), append(t.Partitions, p)
			req.Topics = append(req.Topics, t)
			return req
		}
		group, member := ptr("taking"), ptr(shareMember)
		s.ask("fetch without group", v, fetch(nil, member, 0, "taken", 0))
		s.ask("fetch without member", v, fetch(group, nil, 0, "taken", 0))
		s.ask("fetch with a bad member", v, fetch(group, ptr("not an id"), 0, "taken", 0))
		s.ask("fetch in an empty group", v, fetch(ptr(""), member, 0, "taken", 0))
		s.ask("fetch in no session", v, fetch(group, member, 5, "taken", 0))
		s.ask("end no session", v, fetch(group, member, -1, "taken", 0))
		s.ask("an epoch below all", v, fetch(group, member, -2, "taken", 0))
		s.ask("fetch no topic", v, fetch(group, ptr("BBBBBBBBBBBBBBBBBBBBBQ"), 0, "nowhere-taken", 0))
		s.ask("fetch no partition", v, fetch(group, ptr("CCCCCCCCCCCCCCCCCCCCCQ"), 0, "taken", 9))
	})
	s.versions(kmsg.ShareAcknowledge, func(v int16) {
		ack := func(group, member *string, epoch int32, first int64, kinds ...int8) *kmsg.ShareAcknowledgeRequest {
			req := kmsg.NewPtrShareAcknowledgeRequest()
			req.GroupID, req.MemberID, req.ShareSessionEpoch = group, member, epoch
			t, p := kmsg.NewShareAcknowledgeRequestTopic(), kmsg.NewShareAcknowledgeRequestTopicPartition()
			b := kmsg.NewShareAcknowledgeRequestTopicPartitionAcknowledgementBatch()
			b.FirstOffset, b.LastOffset, b.AcknowledgeTypes = first, 0, kinds
			p.AcknowledgementBatches = append(p.AcknowledgementBatches, b)
			t.TopicID, t.Partitions = s.idOf("taken"), append(t.Partitions, p)
			req.Topics = append(req.Topics, t)
			return req
		}
		group, member := ptr("taking"), ptr(shareMember)
		s.ask("acknowledge without group", v, ack(nil, member, 1, 0, 1))
		s.ask("acknowledge without member", v, ack(group, nil, 1, 0, 1))
		s.ask("acknowledge at the start of a session", v, ack(group, member, 0, 0, 1))
		s.ask("acknowledge in no session", v, ack(group, member, 1, 0, 1))
		s.ask("acknowledge a bad range", v, ack(group, member, 1, 5, 1))
		s.ask("acknowledge a bad type", v, ack(group, member, 1, 0, 9))
	})
}
