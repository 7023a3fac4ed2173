package api

import "github.com/morrowmq/morrow/protocol"

// Routes is the table of everything served: what it lists is what ApiVersions advertises. Minimums are as low
// as clients in use need them (see each file). ApiVersions itself (18) is answered by package protocol.
func (a *API) Routes() []protocol.Route {
	g, t := a.groups, a.transactions
	return []protocol.Route{
		{Key: 0, Min: 0, Max: 13, Serve: 3, Start: a.produce},
		{Key: 1, Min: 4, Max: 18, Start: a.fetch},
		{Key: 2, Min: 1, Max: 11, Start: a.listOffsets},
		{Key: 3, Min: 0, Max: 13, Start: a.metadata},
		{Key: 8, Min: 2, Max: 10, Start: from(g.OffsetCommit)},
		{Key: 9, Min: 1, Max: 10, Start: from(g.OffsetFetch)},
		{Key: 10, Min: 0, Max: 6, Start: a.findCoordinator},
		{Key: 11, Min: 0, Max: 9, Start: fromMember(g.JoinGroup)},
		{Key: 12, Min: 0, Max: 4, Start: from(g.Heartbeat)},
		{Key: 13, Min: 0, Max: 5, Start: from(g.LeaveGroup)},
		{Key: 14, Min: 0, Max: 5, Start: from(g.SyncGroup)},
		{Key: 15, Min: 0, Max: 6, Start: from(g.DescribeGroups)},
		{Key: 16, Min: 0, Max: 5, Start: from(g.ListGroups)},
		{Key: 19, Min: 2, Max: 7, Start: a.createTopics},
		{Key: 20, Min: 1, Max: 6, Start: a.deleteTopics},
		{Key: 21, Min: 0, Max: 2, Start: a.deleteRecords},
		{Key: 22, Min: 0, Max: 5, Start: from(t.InitProducerID)},
		{Key: 23, Min: 2, Max: 4, Start: a.offsetForLeaderEpoch},
		{Key: 24, Min: 0, Max: 5, Start: from(t.AddPartitionsToTxn)},
		{Key: 25, Min: 0, Max: 4, Start: from(t.AddOffsetsToTxn)},
		{Key: 26, Min: 0, Max: 5, Start: from(t.EndTxn)},
		{Key: 27, Min: 1, Max: 2, Start: from(t.WriteTxnMarkers)},
		{Key: 28, Min: 0, Max: 5, Start: a.txnOffsetCommit},
		{Key: 32, Min: 1, Max: 4, Start: a.describeConfigs},
		{Key: 33, Min: 0, Max: 2, Start: a.alterConfigs},
		{Key: 34, Min: 1, Max: 2, Start: a.alterReplicaLogDirs},
		{Key: 35, Min: 1, Max: 5, Start: a.describeLogDirs},
		{Key: 37, Min: 0, Max: 3, Start: a.createPartitions},
		{Key: 42, Min: 0, Max: 3, Start: from(g.DeleteGroups)},
		{Key: 43, Min: 0, Max: 2, Start: a.electLeaders},
		{Key: 44, Min: 0, Max: 1, Start: a.incrementalAlterConfigs},
		{Key: 45, Min: 0, Max: 1, Start: a.alterPartitionReassignments},
		{Key: 46, Min: 0, Max: 0, Start: a.listPartitionReassignments},
		{Key: 47, Min: 0, Max: 0, Start: from(g.OffsetDelete)},
		{Key: 57, Min: 0, Max: 2, Start: a.updateFeatures},
		{Key: 60, Min: 0, Max: 2, Start: a.describeCluster},
		{Key: 61, Min: 0, Max: 0, Start: a.describeProducers},
		{Key: 65, Min: 0, Max: 0, Start: from(t.DescribeTransactions)},
		{Key: 66, Min: 0, Max: 2, Start: from(t.ListTransactions)},
		{Key: 68, Min: 0, Max: 1, Start: fromMember(g.ConsumerGroupHeartbeat)},
		{Key: 69, Min: 0, Max: 1, Start: from(g.ConsumerGroupDescribe)},
		{Key: 74, Min: 0, Max: 1, Start: a.listConfigResources},
		{Key: 75, Min: 0, Max: 0, Start: a.describeTopicPartitions},
	}
}
