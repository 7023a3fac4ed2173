package api

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

// badReplicaRequests ask for replicas, leaders and levels that are not to be had.
func badReplicaRequests() []bad {
	electing := func(topic string, number int32) func(*side) kmsg.Request {
		req := kmsg.NewPtrElectLeadersRequest()
		req.Topics = []kmsg.ElectLeadersRequestTopic{{Topic: topic, Partitions: []int32{number}}}
		return same(req)
	}
	moving := func(topic string, number int32, replicas []int32) func(*side) kmsg.Request {
		return same(reassignRequest(topic, number, replicas))
	}
	leveling := func(feature string, level int16) func(*side) kmsg.Request {
		req := kmsg.NewPtrUpdateFeaturesRequest()
		u := kmsg.NewUpdateFeaturesRequestFeatureUpdate()
		u.Feature, u.MaxVersionLevel = feature, level
		req.FeatureUpdates = append(req.FeatureUpdates, u)
		return same(req)
	}
	return []bad{
		{"elect where there is a leader", 2, electing("orders", 0)},
		{"elect in no topic", 2, electing("nowhere", 0)},
		{"elect in no partition", 2, electing("orders", 9)},
		{"move to an unknown broker", 1, moving("orders", 0, []int32{77})},
		{"move to nowhere", 1, moving("orders", 0, []int32{})},
		{"move no topic", 1, moving("nowhere", 0, []int32{1})},
		{"move no partition", 1, moving("orders", 9, []int32{1})},
		{"cancel no move", 1, moving("orders", 0, nil)},
		{"list moves", 0, same(kmsg.NewPtrListPartitionReassignmentsRequest())},
		{"raise an unknown feature", 1, leveling("nothing.version", 1)},
		{"raise a feature too far", 1, leveling("group.version", 99)},
	}
}

// badGroupRequests come from members that groups do not have, or too late.
func badGroupRequests() []bad {
	joining := func(change func(*kmsg.JoinGroupRequest)) func(*side) kmsg.Request {
		req := kmsg.NewPtrJoinGroupRequest()
		req.Group, req.ProtocolType, req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = "bad", "consumer", 30_000, 1000
		protocol := kmsg.NewJoinGroupRequestProtocol()
		protocol.Name = "range"
		req.Protocols = append(req.Protocols, protocol)
		change(req)
		return same(req)
	}
	syncing := func(group string) func(*side) kmsg.Request {
		req := kmsg.NewPtrSyncGroupRequest()
		req.Group, req.MemberID, req.Generation = group, "nobody", 1
		return same(req)
	}
	beating := func(group string) func(*side) kmsg.Request {
		req := kmsg.NewPtrHeartbeatRequest()
		req.Group, req.MemberID, req.Generation = group, "nobody", 1
		return same(req)
	}
	leaving := func(group string) func(*side) kmsg.Request {
		req := kmsg.NewPtrLeaveGroupRequest()
		member := kmsg.NewLeaveGroupRequestMember()
		req.Group, member.MemberID = group, "nobody"
		req.Members = append(req.Members, member)
		return same(req)
	}
	committing := func(group, member, topic string, number, generation int32) func(*side) kmsg.Request {
		req := kmsg.NewPtrOffsetCommitRequest()
		rt, rp := kmsg.NewOffsetCommitRequestTopic(), kmsg.NewOffsetCommitRequestTopicPartition()
		req.Group, req.MemberID, req.Generation = group, member, generation
		rt.Topic, rp.Partition = topic, number
		rt.Partitions = append(rt.Partitions, rp)
		req.Topics = append(req.Topics, rt)
		return same(req)
	}
	describing := func(group string) func(*side) kmsg.Request {
		req := kmsg.NewPtrDescribeGroupsRequest()
		req.Groups = []string{group}
		return same(req)
	}
	deleting := func(group string) func(*side) kmsg.Request {
		req := kmsg.NewPtrDeleteGroupsRequest()
		req.Groups = []string{group}
		return same(req)
	}
	consuming := func(change func(*kmsg.ConsumerGroupHeartbeatRequest)) func(*side) kmsg.Request {
		req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
		req.Group, req.MemberID, req.RebalanceTimeoutMillis = "new", "AAAAAAAAAAAAAAAAAAAAAA", 1000
		req.SubscribedTopicNames, req.Topics = []string{"orders"}, []kmsg.ConsumerGroupHeartbeatRequestTopic{}
		change(req)
		return same(req)
	}
	forgetting := func(group string) func(*side) kmsg.Request {
		req := kmsg.NewPtrOffsetDeleteRequest()
		req.Group = group
		req.Topics = []kmsg.OffsetDeleteRequestTopic{{Topic: "orders", Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 0}}}}
		return same(req)
	}
	return []bad{
		{"join no group", 7, joining(func(r *kmsg.JoinGroupRequest) { r.Group = "" })},
		{"join with a short session", 7, joining(func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = 1 })},
		{"join with a long session", 7, joining(func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = 1 << 30 })},
		{"join as an unknown member", 7, joining(func(r *kmsg.JoinGroupRequest) { r.MemberID = "nobody" })},
		{"join without protocols", 7, joining(func(r *kmsg.JoinGroupRequest) { r.Protocols = nil })},
		{"join without a member id", 7, joining(func(*kmsg.JoinGroupRequest) {})},
		{"sync no group", 4, syncing("nowhere")},
		{"sync as an unknown member", 4, syncing("bad")},
		{"beat in no group", 4, beating("nowhere")},
		{"beat in an empty group id", 4, beating("")},
		{"beat as an unknown member", 4, beating("bad")},
		{"leave no group", 4, leaving("nowhere")},
		{"leave as an unknown member", 4, leaving("bad")},
		{"commit without a member", 7, committing("committed", "", "orders", 0, -1)},
		{"commit to no topic", 7, committing("committed", "", "nowhere", 0, -1)},
		{"commit to no partition", 7, committing("committed", "", "orders", 9, -1)},
		{"commit as an unknown member", 7, committing("committed", "nobody", "orders", 0, 1)},
		{"commit with a generation only", 7, committing("nothing", "", "orders", 0, 3)},
		{"describe no group in version 5", 5, describing("nowhere")},
		{"describe no group in version 6", 6, describing("nowhere")},
		{"delete no group", 2, deleting("nowhere")},
		{"delete an empty group id", 2, deleting("")},
		{"delete a committed group", 2, deleting("committed")},
		{"forget offsets of no group", 0, forgetting("nowhere")},
		{"beat as a member that has not joined", 1, consuming(func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberEpoch = 5 })},
		{"join 848 without topics", 1, consuming(func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.SubscribedTopicNames = nil })},
		{"join 848 without timeout", 1, consuming(func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.RebalanceTimeoutMillis = -1 })},
		{"join 848 with an unknown assignor", 1, consuming(func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.ServerAssignor = kmsg.StringPtr("lucky") })},
		{"join 848 with a bad expression", 1, consuming(func(r *kmsg.ConsumerGroupHeartbeatRequest) {
			r.SubscribedTopicNames, r.SubscribedTopicRegex = nil, kmsg.StringPtr("(")
		})},
		{"join 848 without a group", 1, consuming(func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.Group = "" })},
		{"join 848 with partitions", 1, consuming(func(r *kmsg.ConsumerGroupHeartbeatRequest) {
			r.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{{TopicID: [16]byte{9}, Partitions: []int32{0}}}
		})},
		{"leave 848 unknown", 1, consuming(func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberEpoch = -1 })},
	}
}

// badTransactionRequests come from producers that have no transaction, or another's.
func badTransactionRequests() []bad {
	adding := func(id string, producer int64, topic string) func(*side) kmsg.Request {
		req := kmsg.NewPtrAddPartitionsToTxnRequest()
		req.TransactionalID, req.ProducerID = id, producer
		req.Topics = []kmsg.AddPartitionsToTxnRequestTopic{{Topic: topic, Partitions: []int32{0}}}
		return same(req)
	}
	ending := func(id string, producer int64) func(*side) kmsg.Request {
		req := kmsg.NewPtrEndTxnRequest()
		req.TransactionalID, req.ProducerID = id, producer
		return same(req)
	}
	addingOffsets := func(id string) func(*side) kmsg.Request {
		req := kmsg.NewPtrAddOffsetsToTxnRequest()
		req.TransactionalID, req.ProducerID, req.Group = id, 4711, "g"
		return same(req)
	}
	initializingFor := func(millis int32) func(*side) kmsg.Request {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.TransactionTimeoutMillis = kmsg.StringPtr("long"), -1, -1, millis
		return same(req)
	}
	describing := kmsg.NewPtrDescribeTransactionsRequest()
	describing.TransactionalIDs = []string{"nothing"}
	return []bad{
		{"add to no transaction", 3, adding("nothing", 4711, "orders")},
		{"add without an id", 3, adding("", 4711, "orders")},
		{"add another's partitions", 3, adding("t", 4711, "orders")},
		{"end no transaction", 3, ending("nothing", 4711)},
		{"end another's transaction", 3, ending("t", 4711)},
		{"add offsets to no transaction", 3, addingOffsets("nothing")},
		{"init for too long", 4, initializingFor(1 << 30)},
		{"init for no time", 4, initializingFor(0)},
		{"describe no transaction", 0, same(describing)},
	}
}
