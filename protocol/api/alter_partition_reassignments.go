package api

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/protocol"
)

// AlterPartitionReassignments, key 45, versions 0-1 (KIP-455).
//
// Partitions do not move: a replica list is accepted if it is the one the partition has, as Kafka
// accepts it, and there is never a reassignment to cancel.

func (a *API) alterPartitionReassignments(_ context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.AlterPartitionAssignmentsRequest)
	return func(context.Context) (protocol.Answer, error) {
		img := a.store.Image()
		resp := req.ResponseKind().(*kmsg.AlterPartitionAssignmentsResponse)
		resp.AllowReplicationFactorChange = req.AllowReplicationFactorChange
		for i := range req.Topics {
			t := &req.Topics[i]
			rt := kmsg.NewAlterPartitionAssignmentsResponseTopic()
			rt.Topic = t.Topic
			for j := range t.Partitions {
				rp := kmsg.NewAlterPartitionAssignmentsResponseTopicPartition()
				rp.Partition = t.Partitions[j].Partition
				rp.ErrorCode, rp.ErrorMessage = refusal(checkReassignment(img, t.Topic, &t.Partitions[j], req.AllowReplicationFactorChange))
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return protocol.Answer{Message: resp}, nil
	}
}

func checkReassignment(img *cluster.Image, topic string, want *kmsg.AlterPartitionAssignmentsRequestTopicPartition, resize bool) error {
	p := placement(img, topic, want.Partition)
	switch {
	case p == nil:
		return kerr.UnknownTopicOrPartition
	case want.Replicas == nil:
		return kerr.NoReassignmentInProgress
	case len(want.Replicas) == 0:
		return coded(kerr.InvalidReplicaAssignment, "the list of replicas is empty")
	}
	for i, id := range want.Replicas {
		if slices.Contains(want.Replicas[:i], id) {
			return coded(kerr.InvalidReplicaAssignment, "broker %d is listed more than once", id)
		}
		if _, ok := img.Broker(id); !ok {
			return coded(kerr.InvalidReplicaAssignment, "broker %d is not in the cluster", id)
		}
	}
	switch {
	case slices.Equal(want.Replicas, p.Replicas):
		return nil
	case !resize && len(want.Replicas) != len(p.Replicas):
		return coded(kerr.InvalidReplicationFactor, "the number of replicas would change from %d to %d", len(p.Replicas), len(want.Replicas))
	}
	return coded(kerr.InvalidReplicaAssignment, "partitions cannot be moved, this one stays on %v", p.Replicas)
}
