package main

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func clusterRequests(s *side) {
	s.versions(kmsg.DescribeCluster, func(v int16) {
		for _, kind := range []int8{0, 1, 2, 3} {
			req := kmsg.NewPtrDescribeClusterRequest()
			req.EndpointType, req.IncludeClusterAuthorizedOperations = kind, kind == 1
			s.ask(fmt.Sprintf("endpoints of kind %d", kind), v, req)
		}
		req := kmsg.NewPtrDescribeClusterRequest()
		req.EndpointType, req.IncludeFencedBrokers = 1, true
		s.ask("fenced brokers", v, req)
	})
	s.versions(kmsg.ListConfigResources, func(v int16) {
		if v == 0 {
			s.ask("config resources", v, kmsg.NewPtrListConfigResourcesRequest())
		}
		for _, kind := range []int8{0, 3, 4, 8, 16, 99} {
			req := kmsg.NewPtrListConfigResourcesRequest()
			req.ResourceTypes = []int8{kind}
			s.ask(fmt.Sprintf("config resources of kind %d", kind), v, req)
		}
	})
	update := func(name string, level int16, kind int8) *kmsg.UpdateFeaturesRequest {
		req := kmsg.NewPtrUpdateFeaturesRequest()
		req.TimeoutMillis, req.ValidateOnly = 5000, true
		u := kmsg.NewUpdateFeaturesRequestFeatureUpdate()
		u.Feature, u.MaxVersionLevel, u.UpgradeType, u.AllowDowngrade = name, level, kind, kind != 1
		req.FeatureUpdates = append(req.FeatureUpdates, u)
		return req
	}
	s.versions(kmsg.UpdateFeatures, func(v int16) {
		s.ask("no features", v, kmsg.NewPtrUpdateFeaturesRequest())
		s.ask("an unknown feature", v, update("no.such", 1, 1))
		s.ask("too high", v, update("transaction.version", 99, 1))
		s.ask("below 0", v, update("transaction.version", -1, 1))
		s.ask("an empty name", v, update("", 1, 1))
		s.ask("as it is", v, update("transaction.version", 2, 1))
		s.ask("an unknown kind of upgrade", v, update("transaction.version", 2, 9))
	})
}

func replicas(s *side) {
	s.topic("replicas", 2)
	elect := func(kind int8, topic string, partitions ...int32) *kmsg.ElectLeadersRequest {
		req := kmsg.NewPtrElectLeadersRequest()
		req.TimeoutMillis, req.ElectionType = 5000, kind
		t := kmsg.NewElectLeadersRequestTopic()
		t.Topic, t.Partitions = topic, partitions
		req.Topics = append(req.Topics, t)
		return req
	}
	s.versions(kmsg.ElectLeaders, func(v int16) {
		s.ask("where there is a leader", v, elect(0, "replicas", 0, 1))
		s.ask("no topic", v, elect(0, "nowhere-replicas", 0))
		s.ask("no partition", v, elect(0, "replicas", 9))
		s.ask("unclean", v, elect(1, "replicas", 0))
		s.ask("another kind", v, elect(7, "replicas", 0))
		s.ask("a partition twice", v, elect(0, "replicas", 0, 0))
		s.ask("no partitions", v, elect(0, "replicas"))
		empty := elect(0, "replicas")
		empty.Topics = []kmsg.ElectLeadersRequestTopic{}
		s.ask("no topics", v, empty)
	})
	move := func(topic string, partition int32, brokers []int32) *kmsg.AlterPartitionAssignmentsRequest {
		req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
		req.TimeoutMillis, req.AllowReplicationFactorChange = 5000, true
		t, p := kmsg.NewAlterPartitionAssignmentsRequestTopic(), kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
		p.Partition, p.Replicas = partition, brokers
		t.Topic = topic
		t.Partitions = append(t.Partitions, p)
		req.Topics = append(req.Topics, t)
		return req
	}
	s.versions(kmsg.AlterPartitionAssignments, func(v int16) {
		s.ask("move nothing", v, kmsg.NewPtrAlterPartitionAssignmentsRequest())
		s.ask("move to where it is", v, move("replicas", 0, []int32{1}))
		s.ask("move to an unknown broker", v, move("replicas", 0, []int32{9}))
		s.ask("move twice to a broker", v, move("replicas", 0, []int32{1, 1}))
		s.ask("move nowhere", v, move("replicas", 0, []int32{}))
		s.ask("cancel no move", v, move("replicas", 0, nil))
		s.ask("move no topic", v, move("nowhere-replicas", 0, []int32{1}))
		s.ask("move no partition", v, move("replicas", 9, []int32{1}))
		more := move("replicas", 0, []int32{1, 2})
		more.AllowReplicationFactorChange = false
		s.ask("move to more", v, more)
	})
	s.versions(kmsg.ListPartitionReassignments, func(v int16) {
		req := kmsg.NewPtrListPartitionReassignmentsRequest()
		s.ask("moves", v, req)
		t := kmsg.NewListPartitionReassignmentsRequestTopic()
		t.Topic, t.Partitions = "nowhere-replicas", []int32{1}
		req.Topics = append(req.Topics, t)
		s.ask("moves of no topic", v, req)
	})
}

func logDirs(s *side) {
	s.topic("dirs", 2)
	want[*kmsg.ProduceResponse](s, 9, s.produce("dirs", 0, batch("a", "b")))
	describe := func(topic string, partitions ...int32) *kmsg.DescribeLogDirsRequest {
		req := kmsg.NewPtrDescribeLogDirsRequest()
		t := kmsg.NewDescribeLogDirsRequestTopic()
		t.Topic, t.Partitions = topic, partitions
		req.Topics = append(req.Topics, t)
		return req
	}
	s.versions(kmsg.DescribeLogDirs, func(v int16) {
		s.ask("a topic", v, describe("dirs", 0, 1))
		s.ask("no topic", v, describe("nowhere-dirs", 0))
		s.ask("no partition", v, describe("dirs", 9))
		s.ask("no partitions", v, describe("dirs"))
		req := describe("dirs", 0)
		req.Topics = []kmsg.DescribeLogDirsRequestTopic{}
		s.ask("no topics", v, req)
	})
	move := func(dir, topic string, partitions ...int32) *kmsg.AlterReplicaLogDirsRequest {
		req := kmsg.NewPtrAlterReplicaLogDirsRequest()
		d, t := kmsg.NewAlterReplicaLogDirsRequestDir(), kmsg.NewAlterReplicaLogDirsRequestDirTopic()
		t.Topic, t.Partitions = topic, partitions
		d.Dir = dir
		d.Topics = append(d.Topics, t)
		req.Dirs = append(req.Dirs, d)
		return req
	}
	s.versions(kmsg.AlterReplicaLogDirs, func(v int16) {
		s.ask("move nothing", v, kmsg.NewPtrAlterReplicaLogDirsRequest())
		s.ask("move to no directory", v, move("/nowhere", "dirs", 0))
		s.ask("move to a relative directory", v, move("nowhere", "dirs", 0))
		s.ask("move no topic", v, move("/nowhere", "nowhere-dirs", 0))
		s.ask("move no partition", v, move("/nowhere", "dirs", 9))
	})
}
