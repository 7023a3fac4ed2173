package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/protocol"
)

// ElectLeaders, key 43, versions 0-2 (KIP-183, KIP-460).
//
// A partition has one replica, so it is led by the preferred one or cannot be led: nothing is ever
// elected. As in Kafka, a request for all partitions is not told of those that need no election.

const (
	electPreferred = int8(0)
	electUnclean   = int8(1)
)

func (a *API) electLeaders(_ context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.ElectLeadersRequest)
	return func(context.Context) (protocol.Answer, error) {
		resp := req.ResponseKind().(*kmsg.ElectLeadersResponse)
		if req.ElectionType != electPreferred && req.ElectionType != electUnclean {
			resp.ErrorCode = kerr.InvalidRequest.Code
			return protocol.Answer{Message: resp}, nil
		}
		img := a.store.Image()
		if req.Topics == nil {
			resp.Topics = electAll(img, req.ElectionType)
		}
		for i := range req.Topics {
			want := &req.Topics[i]
			rt := kmsg.NewElectLeadersResponseTopic()
			rt.Topic = want.Topic
			for _, number := range want.Partitions {
				rt.Partitions = append(rt.Partitions, elected(number, electionError(img, req.ElectionType, want.Topic, number)))
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return protocol.Answer{Message: resp}, nil
	}
}

// electAll lists the partitions whose leader is not the one an election would want.
func electAll(img *cluster.Image, kind int8) []kmsg.ElectLeadersResponseTopic {
	topics := []kmsg.ElectLeadersResponseTopic{}
	for _, t := range img.Topics() {
		rt := kmsg.NewElectLeadersResponseTopic()
		rt.Topic = t.Name
		for _, number := range allPartitions(t) {
			if err := electionError(img, kind, t.Name, number); err != kerr.ElectionNotNeeded {
				rt.Partitions = append(rt.Partitions, elected(number, err))
			}
		}
		if len(rt.Partitions) > 0 {
			topics = append(topics, rt)
		}
	}
	return topics
}

// electionError says why there is no election.
func electionError(img *cluster.Image, kind int8, topic string, number int32) *kerr.Error {
	p := placement(img, topic, number)
	switch {
	case p == nil:
		return kerr.UnknownTopicOrPartition
	case p.Leader >= 0 && (kind == electUnclean || p.Leader == p.Replicas[0]):
		return kerr.ElectionNotNeeded
	case kind == electUnclean:
		return kerr.EligibleLeadersNotAvailable
	}
	return kerr.PreferredLeaderNotAvailable
}

func elected(number int32, err *kerr.Error) kmsg.ElectLeadersResponseTopicPartition {
	rp := kmsg.NewElectLeadersResponseTopicPartition()
	rp.Partition, rp.ErrorCode = number, err.Code
	if err != kerr.ElectionNotNeeded {
		rp.ErrorMessage = &err.Description
	}
	return rp
}
