package api

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func reassignRequest(topic string, number int32, replicas []int32) *kmsg.AlterPartitionAssignmentsRequest {
	req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	rt, rp := kmsg.NewAlterPartitionAssignmentsRequestTopic(), kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
	rt.Topic, rp.Partition, rp.Replicas = topic, number, replicas
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	return req
}

func TestReplicasStayWhereTheyAre(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1)
	w.elsewhere("moved") // registers another broker
	c := w.connect()
	for _, test := range []struct {
		name     string
		topic    string
		number   int32
		replicas []int32
		fixed    bool // the number of replicas must not change
		want     *kerr.Error
	}{
		{"where it is", "orders", 0, []int32{node}, false, nil},
		{"cancelled", "orders", 0, nil, false, kerr.NoReassignmentInProgress},
		{"nowhere", "orders", 0, []int32{}, false, kerr.InvalidReplicaAssignment},
		{"to another", "orders", 0, []int32{other}, false, kerr.InvalidReplicaAssignment},
		{"twice to one", "orders", 0, []int32{node, node}, false, kerr.InvalidReplicaAssignment},
		{"to an unknown", "orders", 0, []int32{77}, false, kerr.InvalidReplicaAssignment},
		{"to more", "orders", 0, []int32{node, other}, true, kerr.InvalidReplicationFactor},
		{"no partition", "orders", 1, []int32{node}, false, kerr.UnknownTopicOrPartition},
		{"no topic", "nowhere", 0, []int32{node}, false, kerr.UnknownTopicOrPartition},
	} {
		for v := int16(0); v <= 1; v++ {
			req := reassignRequest(test.topic, test.number, test.replicas)
			req.AllowReplicationFactorChange = !test.fixed
			want := test.want
			if v == 0 && want == kerr.InvalidReplicationFactor {
				want = kerr.InvalidReplicaAssignment // it cannot be asked for
			}
			resp := ask[*kmsg.AlterPartitionAssignmentsResponse](c, v, req)
			rp := resp.Topics[0].Partitions[0]
			wantCode(t, test.name, rp.ErrorCode, want)
			if (deref(rp.ErrorMessage) == "") != (want == nil) || rp.Partition != test.number || resp.ErrorCode != 0 {
				t.Errorf("%s, version %d: %+v", test.name, v, resp)
			}
		}
	}
	list := kmsg.NewPtrListPartitionReassignmentsRequest()
	if resp := ask[*kmsg.ListPartitionReassignmentsResponse](c, 0, list); resp.ErrorCode != 0 || len(resp.Topics) != 0 {
		t.Errorf("reassignments: %+v", resp)
	}
}

func TestNoElectionIsNeeded(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 2)
	c := w.connect()
	for v := int16(0); v <= 2; v++ {
		all := ask[*kmsg.ElectLeadersResponse](c, v, kmsg.NewPtrElectLeadersRequest())
		if all.ErrorCode != 0 || len(all.Topics) != 0 {
			t.Errorf("version %d, all: %+v", v, all)
		}
		for kind := electPreferred; kind <= electUnclean; kind++ {
			req := kmsg.NewPtrElectLeadersRequest()
			req.ElectionType = kind
			req.Topics = []kmsg.ElectLeadersRequestTopic{{Topic: "orders", Partitions: []int32{1, 2}}, {Topic: "nowhere", Partitions: []int32{0}}}
			resp := ask[*kmsg.ElectLeadersResponse](c, v, req)
			wantCode(t, "of a led partition", resp.Topics[0].Partitions[0].ErrorCode, kerr.ElectionNotNeeded)
			wantCode(t, "of no partition", resp.Topics[0].Partitions[1].ErrorCode, kerr.UnknownTopicOrPartition)
			wantCode(t, "of no topic", resp.Topics[1].Partitions[0].ErrorCode, kerr.UnknownTopicOrPartition)
		}
	}
	req := kmsg.NewPtrElectLeadersRequest()
	req.ElectionType = 2
	wantCode(t, "of another type", ask[*kmsg.ElectLeadersResponse](c, 1, req).ErrorCode, kerr.InvalidRequest)
}

func TestReplicasStayInTheirDirectory(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1)
	c := w.connect()
	for v := int16(1); v <= 2; v++ {
		req := kmsg.NewPtrAlterReplicaLogDirsRequest()
		for _, dir := range []string{"/data", "/elsewhere"} {
			rd := kmsg.NewAlterReplicaLogDirsRequestDir()
			rd.Dir = dir
			rd.Topics = []kmsg.AlterReplicaLogDirsRequestDirTopic{{Topic: "orders", Partitions: []int32{0, 1}}}
			req.Dirs = append(req.Dirs, rd)
		}
		resp := ask[*kmsg.AlterReplicaLogDirsResponse](c, v, req)
		if len(resp.Topics) != 1 {
			t.Fatalf("version %d: %+v", v, resp)
		}
		for i, want := range []*kerr.Error{nil, kerr.UnknownTopicOrPartition, kerr.LogDirNotFound, kerr.LogDirNotFound} {
			wantCode(t, "move", resp.Topics[0].Partitions[i].ErrorCode, want)
		}
	}
}

func TestLevelsOfFeaturesAreFixed(t *testing.T) {
	c := newWorld(t).connect()
	for _, test := range []struct {
		feature string
		level   int16
		want    *kerr.Error
	}{
		{"group.version", 1, nil},
		{"group.version", 0, kerr.InvalidUpdateVersion},
		{"group.version", 2, kerr.InvalidUpdateVersion},
		{"nothing.version", 1, kerr.InvalidUpdateVersion},
	} {
		for v := int16(0); v <= 2; v++ {
			req := kmsg.NewPtrUpdateFeaturesRequest()
			u := kmsg.NewUpdateFeaturesRequestFeatureUpdate()
			u.Feature, u.MaxVersionLevel, u.AllowDowngrade, u.UpgradeType = test.feature, test.level, true, 3
			req.FeatureUpdates = append(req.FeatureUpdates, u)
			resp := ask[*kmsg.UpdateFeaturesResponse](c, v, req)
			wantCode(t, test.feature, resp.ErrorCode, test.want)
			if listed := len(resp.Results); (listed == 1) != (v < 2 && test.want == nil) {
				t.Errorf("%s to level %d, version %d: %d results", test.feature, test.level, v, listed)
			}
		}
	}
}
