package main

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func findingCoordinators(s *side) {
	find := func(kind int8, keys ...string) *kmsg.FindCoordinatorRequest {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.CoordinatorType, req.CoordinatorKeys = kind, keys
		if len(keys) > 0 {
			req.CoordinatorKey = keys[0]
		}
		return req
	}
	s.versions(kmsg.FindCoordinator, func(v int16) {
		for _, kind := range []int8{0, 1, 2, 3, -1} {
			s.ask(fmt.Sprintf("kind %d", kind), v, find(kind, "k"))
			s.ask(fmt.Sprintf("kind %d with an empty key", kind), v, find(kind, ""))
		}
		s.ask("a share key", v, find(2, "g:AAAAAAAAAAAAAAAAAAAAAQ:0"))
		s.ask("a share key without a partition", v, find(2, "g:AAAAAAAAAAAAAAAAAAAAAQ"))
		s.ask("a share key with a bad partition", v, find(2, "g:AAAAAAAAAAAAAAAAAAAAAQ:x"))
		if v >= 4 {
			s.ask("no keys", v, find(0))
			s.ask("two", v, find(0, "a", "b"))
			s.ask("one twice", v, find(0, "a", "a"))
		}
	})
}

func join(group, member string, protocols ...string) *kmsg.JoinGroupRequest {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Group, req.MemberID, req.SessionTimeoutMillis, req.RebalanceTimeoutMillis, req.ProtocolType = group, member, 30_000, 500, "consumer"
	for _, name := range protocols {
		p := kmsg.NewJoinGroupRequestProtocol()
		p.Name = name
		req.Protocols = append(req.Protocols, p)
	}
	return req
}

func syncGroup(group, member string, generation int32, assigned bool) *kmsg.SyncGroupRequest {
	req := kmsg.NewPtrSyncGroupRequest()
	req.Group, req.MemberID, req.Generation = group, member, generation
	if assigned {
		a := kmsg.NewSyncGroupRequestGroupAssignment()
		a.MemberID, a.MemberAssignment = member, []byte("all")
		req.GroupAssignment = append(req.GroupAssignment, a)
	}
	return req
}

func heartbeat(group, member string, generation int32) *kmsg.HeartbeatRequest {
	req := kmsg.NewPtrHeartbeatRequest()
	req.Group, req.MemberID, req.Generation = group, member, generation
	return req
}

func leave(group, member string, instance *string) *kmsg.LeaveGroupRequest {
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group, req.MemberID = group, member
	m := kmsg.NewLeaveGroupRequestMember()
	m.MemberID, m.InstanceID = member, instance
	req.Members = append(req.Members, m)
	return req
}

// classicGroups joins, syncs, beats and leaves, in all versions of each and out of turn.
func classicGroups(s *side) {
	s.versions(kmsg.JoinGroup, func(v int16) {
		group := fmt.Sprintf("join-%d", v)
		s.ask("join an empty group", v, join("", "", "range"))
		s.ask("join as no member", v, join(group, "someone", "range"))
		s.ask("join without protocols", v, join(group, ""))
		bad := join(group, "", "range")
		bad.ProtocolType = ""
		s.ask("join without protocol type", v, bad)
		bad = join(group, "", "range")
		bad.SessionTimeoutMillis = 1
		s.ask("join with a short session", v, bad)
		bad.SessionTimeoutMillis = 1 << 30
		s.ask("join with a long session", v, bad)
		static := join(group+"-static", "", "range")
		static.InstanceID = ptr("")
		if v >= 5 {
			s.ask("join with an empty instance", v, static)
			static.InstanceID = ptr("a b")
			s.ask("join with a bad instance", v, static)
			static.InstanceID = ptr("i")
			static.Group += "-2"
			s.ask("join as an instance", v, static)
			s.ask("join as an instance again", v, static)
			static.MemberID = "someone"
			s.ask("join as an instance of another member", v, static)
			s.ask("leave as no instance", s.latest(kmsg.LeaveGroup), leave(group+"-static-2", "", ptr("j")))
			s.ask("leave as an instance of another member", s.latest(kmsg.LeaveGroup), leave(group+"-static-2", "someone", ptr("i")))
			s.ask("leave as an instance", s.latest(kmsg.LeaveGroup), leave(group+"-static-2", "", ptr("i")))
		}
		member := s.joined("join", v, group)
		if member == "" {
			return
		}
		s.ask("sync", min(v, s.latest(kmsg.SyncGroup)), syncGroup(group, member, 1, true))
		other := join(group, "", "range")
		other.ProtocolType = "connect"
		s.ask("join with another protocol type", v, other)
		s.ask("join with another protocol", v, join(group, member, "other"))
		s.ask("leave", 2, leave(group, member, nil))
	})
	groups := s.latest(kmsg.JoinGroup)
	member := s.joined("join", groups, "classic")
	s.versions(kmsg.SyncGroup, func(v int16) {
		s.ask("sync no group", v, syncGroup("nowhere", "m", 1, false))
		s.ask("sync an empty group", v, syncGroup("", "m", 1, false))
		s.ask("sync as no member", v, syncGroup("classic", "m", 1, false))
		s.ask("sync as an empty member", v, syncGroup("classic", "", 1, false))
		s.ask("sync a generation to come", v, syncGroup("classic", member, 9, false))
		s.ask("sync no generation", v, syncGroup("classic", member, -1, false))
		if v >= 5 {
			bad := syncGroup("classic", member, 1, false)
			bad.ProtocolType, bad.Protocol = ptr("connect"), ptr("range")
			s.ask("sync another protocol type", v, bad)
			bad = syncGroup("classic", member, 1, false)
			bad.ProtocolType, bad.Protocol = ptr("consumer"), ptr("other")
			s.ask("sync another protocol", v, bad)
		}
		if v >= 3 {
			bad := syncGroup("classic", member, 1, false)
			bad.InstanceID = ptr("i")
			s.ask("sync as no instance", v, bad)
		}
		s.ask("sync as the leader", v, syncGroup("classic", member, 1, true))
		s.ask("sync again", v, syncGroup("classic", member, 1, false))
	})
	s.versions(kmsg.Heartbeat, func(v int16) {
		s.ask("beat", v, heartbeat("classic", member, 1))
		s.ask("beat in no group", v, heartbeat("nowhere", "m", 1))
		s.ask("beat in an empty group", v, heartbeat("", "m", 1))
		s.ask("beat as no member", v, heartbeat("classic", "m", 1))
		s.ask("beat as an empty member", v, heartbeat("classic", "", 1))
		s.ask("beat in a generation to come", v, heartbeat("classic", member, 9))
		if v >= 3 {
			bad := heartbeat("classic", member, 1)
			bad.InstanceID = ptr("i")
			s.ask("beat as no instance", v, bad)
		}
	})
	s.versions(kmsg.DescribeGroups, func(v int16) {
		describe := func(what string, groups ...string) {
			req := kmsg.NewPtrDescribeGroupsRequest()
			req.Groups, req.IncludeAuthorizedOperations = groups, true
			s.ask(what, v, req)
		}
		describe("describe", "classic")
		describe("describe no group", "nowhere")
		describe("describe an empty group", "")
		describe("describe nothing")
		describe("describe twice", "classic", "classic")
	})
	s.versions(kmsg.LeaveGroup, func(v int16) {
		s.ask("leave no group", v, leave("nowhere", "m", nil))
		s.ask("leave an empty group", v, leave("", "m", nil))
		s.ask("leave as no member", v, leave("classic", "m", nil))
		s.ask("leave as an empty member", v, leave("classic", "", nil))
		if v >= 3 {
			empty := leave("classic", "", nil)
			empty.Members = nil
			s.ask("leave as nobody", v, empty)
			two := leave("classic", "m", nil)
			two.Members = append(two.Members, leave("classic", "n", ptr("i")).Members[0])
			s.ask("leave as two", v, two)
		}
		name := fmt.Sprintf("leave-%d", v)
		s.ask("leave and go", v, leave(name, s.joined("join to leave", groups, name), nil))
	})
	s.ask("leave in the end", 2, leave("classic", member, nil))
}

// joined joins a group as its only member, which it returns.
func (s *side) joined(what string, v int16, group string) string {
	return s.joinedBy(what, v, join(group, "", "range", "roundrobin"))
}

// joinedBy is joined for a request that is to be made with the id that is given out.
func (s *side) joinedBy(what string, v int16, req *kmsg.JoinGroupRequest) string {
	resp, _ := s.ask(what, v, req).(*kmsg.JoinGroupResponse)
	if resp != nil && resp.MemberID != "" && resp.ErrorCode != 0 { // MEMBER_ID_REQUIRED
		req.MemberID = resp.MemberID
		resp, _ = s.ask(what+" with the id", v, req).(*kmsg.JoinGroupResponse)
	}
	if resp == nil {
		return ""
	}
	return resp.MemberID
}

func (s *side) commit(group, member string, generation int32, topic string, partition int32, offset int64) *kmsg.OffsetCommitRequest {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.MemberID, req.Generation, req.RetentionTimeMillis = group, member, generation, -1
	t, p := kmsg.NewOffsetCommitRequestTopic(), kmsg.NewOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset, p.Metadata = partition, offset, ptr("meta")
	t.Topic, t.TopicID = topic, s.idOf(topic)
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

func (s *side) fetchOffsets(group, topic string, partitions ...int32) *kmsg.OffsetFetchRequest {
	req := kmsg.NewPtrOffsetFetchRequest()
	old := kmsg.NewOffsetFetchRequestTopic()
	old.Topic, old.Partitions = topic, partitions
	req.Group, req.Topics = group, append(req.Topics, old)
	g, t := kmsg.NewOffsetFetchRequestGroup(), kmsg.NewOffsetFetchRequestGroupTopic()
	t.Topic, t.TopicID, t.Partitions = topic, s.idOf(topic), partitions
	g.Group, g.MemberEpoch = group, -1
	g.Topics = append(g.Topics, t)
	req.Groups = append(req.Groups, g)
	return req
}

func committing(s *side) {
	s.topic("offsets", 3)
	s.versions(kmsg.OffsetCommit, func(v int16) {
		group := fmt.Sprintf("commit-%d", v)
		s.ask("commit", v, s.commit(group, "", -1, "offsets", 0, 5))
		s.ask("commit -1", v, s.commit(group, "", -1, "offsets", 1, -1))
		s.ask("commit below", v, s.commit(group, "", -1, "offsets", 1, -7))
		s.ask("commit for an empty group", v, s.commit("", "", -1, "offsets", 0, 5))
		s.ask("commit as no member", v, s.commit(group, "m", 1, "offsets", 0, 5))
		s.ask("commit as no member of no group", v, s.commit(group+"-not", "m", 1, "offsets", 0, 5))
		s.ask("commit in a generation without member", v, s.commit(group, "", 1, "offsets", 0, 5))
		s.ask("commit as a member without generation", v, s.commit(group, "m", -1, "offsets", 0, 5))
		s.ask("commit for no topic", v, s.commit(group, "", -1, "nowhere-offsets", 0, 5))
		s.ask("commit for the zero id", v, s.commit(group, "", -1, "(zero)", 0, 5))
		s.ask("commit for no partition", v, s.commit(group, "", -1, "offsets", 9, 5))
		s.ask("commit for a negative partition", v, s.commit(group, "", -1, "offsets", -1, 5))
		large := s.commit(group, "", -1, "offsets", 2, 5)
		large.Topics[0].Partitions[0].Metadata = ptr(string(make([]byte, 5000)))
		s.ask("commit too much metadata", v, large)
		none := s.commit(group, "", -1, "offsets", 2, 5)
		none.Topics[0].Partitions[0].Metadata = nil
		s.ask("commit without metadata", v, none)
		empty := s.commit(group, "", -1, "offsets", 2, 5)
		empty.Topics = nil
		s.ask("commit nothing", v, empty)
		if v >= 7 {
			static := s.commit(group, "", -1, "offsets", 0, 5)
			static.InstanceID = ptr("i")
			s.ask("commit as no instance", v, static)
		}
		twice := s.commit(group, "", -1, "offsets", 0, 6)
		twice.Topics[0].Partitions = append(twice.Topics[0].Partitions, twice.Topics[0].Partitions[0])
		s.ask("commit twice", v, twice)
		s.ask("what is committed", s.latest(kmsg.OffsetFetch), s.fetchOffsets(group, "offsets", 0, 1, 2))
	})
	s.topic("offsets-2", 1)
	s.ask("commit in two topics", 9, s.commit("fetched", "", -1, "offsets", 0, 5))
	s.ask("commit in two topics", 9, s.commit("fetched", "", -1, "offsets-2", 0, 6))
	s.versions(kmsg.OffsetFetch, func(v int16) {
		s.ask("fetch", v, s.fetchOffsets("fetched", "offsets", 0, 1))
		s.ask("fetch of no group", v, s.fetchOffsets("nowhere", "offsets", 0))
		s.ask("fetch of an empty group", v, s.fetchOffsets("", "offsets", 0))
		s.ask("fetch of no topic", v, s.fetchOffsets("fetched", "nowhere-offsets", 0))
		s.ask("fetch of the zero id", v, s.fetchOffsets("fetched", "(zero)", 0))
		s.ask("fetch of no partition", v, s.fetchOffsets("fetched", "offsets", 9))
		s.ask("fetch of a negative partition", v, s.fetchOffsets("fetched", "offsets", -1))
		s.ask("fetch of no partitions", v, s.fetchOffsets("fetched", "offsets"))
		s.ask("fetch twice", v, s.fetchOffsets("fetched", "offsets", 0, 0))
		all := s.fetchOffsets("fetched", "offsets")
		all.Topics, all.Groups[0].Topics = nil, nil
		s.ask("fetch all", v, all)
		none := s.fetchOffsets("nowhere", "offsets")
		none.Topics, none.Groups[0].Topics = nil, nil
		s.ask("fetch all of no group", v, none)
		nothing := s.fetchOffsets("fetched", "offsets")
		nothing.Topics, nothing.Groups[0].Topics = []kmsg.OffsetFetchRequestTopic{}, []kmsg.OffsetFetchRequestGroupTopic{}
		s.ask("fetch nothing", v, nothing)
		if v >= 8 {
			s.ask("fetch of no groups", v, kmsg.NewPtrOffsetFetchRequest())
			two := s.fetchOffsets("fetched", "offsets", 0)
			two.Groups = append(two.Groups, s.fetchOffsets("nowhere", "offsets", 0).Groups[0], two.Groups[0])
			s.ask("fetch of groups", v, two)
		}
		if v >= 9 {
			member := s.fetchOffsets("fetched", "offsets", 0)
			member.Groups[0].MemberID, member.Groups[0].MemberEpoch = ptr("m"), 3
			s.ask("fetch as no member", v, member)
			member = s.fetchOffsets("nowhere", "offsets", 0)
			member.Groups[0].MemberID, member.Groups[0].MemberEpoch = ptr("m"), 3
			s.ask("fetch as no member of no group", v, member)
		}
		if v >= 7 {
			stable := s.fetchOffsets("fetched", "offsets", 0)
			stable.RequireStable = true
			s.ask("fetch what is stable", v, stable)
		}
	})
}

func groupAdmin(s *side) {
	s.topic("admin", 2)
	for _, group := range []string{"admin-a", "admin-b"} {
		s.ask("commit", 9, s.commit(group, "", -1, "admin", 0, 5))
	}
	patient := join("admin-joined", "", "range", "roundrobin")
	patient.RebalanceTimeoutMillis = 60_000 // it never syncs, and is to stay
	s.joinedBy("join", 5, patient)
	s.versions(kmsg.ListGroups, func(v int16) {
		list := func(what string, states, types []string) {
			req := kmsg.NewPtrListGroupsRequest()
			req.StatesFilter, req.TypesFilter = states, types
			resp, err := s.quietly(v, req)
			if err != nil {
				s.note(what, v, outcome(err))
				return
			}
			s.note(what, v, flatten(onlyAdmin(resp.(*kmsg.ListGroupsResponse)), false, s.known)...)
		}
		list("list", nil, nil)
		if v >= 4 {
			list("list empty ones", []string{"Empty"}, nil)
			list("list in lower case", []string{"empty"}, nil)
			list("list in no state", []string{"rubbish"}, nil)
			list("list in two states", []string{"Empty", "CompletingRebalance"}, nil)
		}
		if v >= 5 {
			list("list classic ones", nil, []string{"classic"})
			list("list classic ones in capitals", nil, []string{"CLASSIC"})
			list("list consumer ones", nil, []string{"consumer"})
			list("list share ones", nil, []string{"share"})
			list("list unknown ones", nil, []string{"rubbish"})
			list("list simple ones", nil, []string{"simple"})
		}
	})
	s.versions(kmsg.OffsetDelete, func(v int16) {
		remove := func(what, group, topic string, partitions ...int32) {
			req := kmsg.NewPtrOffsetDeleteRequest()
			req.Group = group
			t := kmsg.NewOffsetDeleteRequestTopic()
			t.Topic = topic
			for _, n := range partitions {
				p := kmsg.NewOffsetDeleteRequestTopicPartition()
				p.Partition = n
				t.Partitions = append(t.Partitions, p)
			}
			req.Topics = append(req.Topics, t)
			s.ask(what, v, req)
		}
		remove("delete offsets of no group", "nowhere", "admin", 0)
		remove("delete offsets of an empty group", "", "admin", 0)
		remove("delete offsets of no topic", "admin-a", "nowhere-admin", 0)
		remove("delete offsets of no partition", "admin-a", "admin", 9)
		remove("delete offsets that are not", "admin-a", "admin", 1)
		remove("delete offsets of no partitions", "admin-a", "admin")
		remove("delete offsets of one that is joined", "admin-joined", "admin", 0)
		remove("delete offsets", "admin-a", "admin", 0)
	})
	s.versions(kmsg.DeleteGroups, func(v int16) {
		remove := func(what string, groups ...string) {
			req := kmsg.NewPtrDeleteGroupsRequest()
			req.Groups = groups
			s.ask(what, v, req)
		}
		name := fmt.Sprintf("admin-delete-%d", v)
		want[*kmsg.OffsetCommitResponse](s, 9, s.commit(name, "", -1, "admin", 0, 5))
		remove("delete nothing")
		remove("delete no group", "nowhere")
		remove("delete an empty name", "")
		remove("delete one that is joined", "admin-joined")
		remove("delete twice", name, name)
		remove("delete again", name)
	})
	s.versions(kmsg.ConsumerGroupDescribe, func(v int16) {
		describe := func(what string, groups ...string) {
			req := kmsg.NewPtrConsumerGroupDescribeRequest()
			req.Groups = groups
			s.ask(what, v, req)
		}
		describe("describe nothing")
		describe("describe no group", "nowhere")
		describe("describe a classic group", "admin-joined")
		describe("describe an empty name", "")
		describe("describe twice", "nowhere", "nowhere")
	})
}

// onlyAdmin leaves the groups that other scripts made out.
func onlyAdmin(resp *kmsg.ListGroupsResponse) *kmsg.ListGroupsResponse {
	var groups []kmsg.ListGroupsResponseGroup
	for _, g := range resp.Groups {
		if len(g.Group) > 6 && g.Group[:6] == "admin-" {
			groups = append(groups, g)
		}
	}
	resp.Groups = groups
	return resp
}
