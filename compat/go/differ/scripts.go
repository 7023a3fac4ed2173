package main

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// scripts in the order in which they are played.
var scripts = []script{
	{"versions", versions},
	{"frames", frames},
	{"metadata", metadata},
	{"auto-create", autoCreate},
	{"create-topics", creating},
	{"topic-configs", topicConfigs},
	{"create-partitions", growing},
	{"delete-topics", deleting},
	{"delete-records", deletingRecords},
	{"produce", producing},
	{"produce-idempotent", producingIdempotent},
	{"produce-internal", producingInternal},
	{"fetch", fetching},
	{"fetch-sessions", fetchingInSessions},
	{"list-offsets", listing},
	{"leader-epochs", leaderEpochs},
	{"describe-partitions", describingPartitions},
	{"describe-configs", describingConfigs},
	{"alter-configs", alteringConfigs},
	{"broker-configs", brokerConfigs},
	{"group-configs", groupConfigs},
	{"cluster", clusterRequests},
	{"replicas", replicas},
	{"log-dirs", logDirs},
	{"find-coordinator", findingCoordinators},
	{"classic-groups", classicGroups},
	{"offsets", committing},
	{"group-admin", groupAdmin},
	{"consumer-groups", consumerGroups},
	{"share-groups", shareGroups},
	{"share-fetch", shareFetching},
	{"init-producer-id", initializing},
	{"transactions", transactions},
	{"transaction-admin", transactionAdmin},
}

// versions compares what the two serve.
func versions(s *side) {
	for v := int16(0); v <= 5; v++ {
		req := kmsg.NewPtrApiVersionsRequest()
		req.ClientSoftwareName, req.ClientSoftwareVersion = "differ", "1"
		s.ask("ask", v, req)
	}
	for _, name := range []string{"", "a b", "-", "a/b"} {
		req := kmsg.NewPtrApiVersionsRequest()
		req.ClientSoftwareName, req.ClientSoftwareVersion = name, "1"
		s.ask(fmt.Sprintf("ask as %q", name), 3, req)
	}
	for _, cluster := range []*string{nil, ptr("another")} {
		for _, node := range []int32{-1, 99} {
			req := kmsg.NewPtrApiVersionsRequest()
			req.ClientSoftwareName, req.ClientSoftwareVersion = "differ", "1"
			req.ClusterID, req.NodeID = cluster, node
			s.ask(fmt.Sprintf("ask node %d of a cluster (unknown: %t)", node, cluster == nil), 5, req)
		}
	}
}

// frames sends what is no request.
func frames(s *side) {
	send := func(name string, key, version int16, flexible bool, body []byte) {
		if s.conn == nil {
			s.connect()
		}
		answer, err := s.conn.frame(key, version, flexible, body)
		if err != nil {
			s.hangUp()
			s.note(name, version, outcome(err))
			return
		}
		s.note(name, version, fmt.Sprintf("bytes=%x", answer))
	}
	send("an API that is not", 999, 0, false, nil)
	send("a negative API", -1, 0, false, nil)
	send("versions that are too high", 18, 99, true, nil)
	send("versions without a body", 18, 3, true, nil)
	send("a group request that is too old", 11, -1, false, nil)
	for _, key := range []int16{0, 1, 2, 3, 8, 9, 10, 11, 16, 19, 22, 32, 60, 68, 75} {
		r, ok := s.served[key]
		if !ok {
			continue
		}
		name := kmsg.NameForKey(key)
		flexible := flexibleAt(key, r[1])
		send(name+" without a body", key, r[1], flexible, nil)
		send(name+" with a lying length", key, r[1], flexible, []byte{0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff})
		send(name+" of a version that is too high", key, 90, true, nil)
	}
}

func flexibleAt(key, version int16) bool {
	req := kmsg.RequestForKey(key)
	req.SetVersion(version)
	return req.IsFlexible()
}
