package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/protocol"
)

// Metadata, key 3, versions 0-13.
//
// An unknown topic is created at once when the client allows it (before version 4 it always does) and
// auto.create.topics.enable is on; unlike Kafka's, the answer already names its leader. Brokers
// are listed with the endpoints of the listener the client came through.

func (a *API) metadata(_ context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.MetadataRequest)
	return func(ctx context.Context) (protocol.Answer, error) {
		resp := req.ResponseKind().(*kmsg.MetadataResponse)
		img := a.store.Image()
		all := req.Topics == nil || req.Version == 0 && len(req.Topics) == 0
		if all {
			for _, t := range img.Topics() {
				resp.Topics = append(resp.Topics, a.metadataTopic(req, t))
			}
		}
		for i := range req.Topics {
			resp.Topics = append(resp.Topics, a.findTopic(ctx, req, &req.Topics[i]))
		}
		for _, b := range img.Brokers() {
			if host, port, ok := endpoint(b, r.Conn.Listener); ok {
				mb := kmsg.NewMetadataResponseBroker()
				mb.NodeID, mb.Host, mb.Port, mb.Rack = b.ID, host, port, optional(b.Rack)
				resp.Brokers = append(resp.Brokers, mb)
			}
		}
		resp.ClusterID = kmsg.StringPtr(img.ClusterID())
		resp.ControllerID = a.nodeID
		if req.IncludeClusterAuthorizedOperations {
			resp.AuthorizedOperations = clusterOperations
		}
		return protocol.Answer{Message: resp}, nil
	}
}

// findTopic answers one topic asked for by name or id, creating it if that is allowed.
func (a *API) findTopic(ctx context.Context, req *kmsg.MetadataRequest, want *kmsg.MetadataRequestTopic) kmsg.MetadataResponseTopic {
	t, err := func() (*cluster.Topic, error) {
		img := a.store.Image()
		if want.Topic == nil {
			if t, ok := img.TopicByID(want.TopicID); ok {
				return t, nil
			}
			return nil, kerr.UnknownTopicID
		}
		if t, ok := img.Topic(*want.Topic); ok {
			return t, nil
		}
		if err := cluster.ValidateTopicName(*want.Topic); err != nil {
			return nil, err
		}
		if (req.Version < 4 || req.AllowAutoTopicCreation) && img.BrokerConfig().Bool("auto.create.topics.enable") {
			if err := a.createDefault(ctx, *want.Topic); err != nil {
				return nil, err
			}
			if t, ok := a.store.Image().Topic(*want.Topic); ok {
				return t, nil
			}
		}
		return nil, kerr.UnknownTopicOrPartition
	}()
	if err != nil {
		rt := kmsg.NewMetadataResponseTopic()
		rt.Topic, rt.TopicID, rt.ErrorCode = want.Topic, want.TopicID, code(err)
		return rt
	}
	return a.metadataTopic(req, t)
}

func (a *API) metadataTopic(req *kmsg.MetadataRequest, t *cluster.Topic) kmsg.MetadataResponseTopic {
	rt := kmsg.NewMetadataResponseTopic()
	rt.Topic, rt.TopicID, rt.IsInternal = kmsg.StringPtr(t.Name), t.ID, t.Internal
	if req.IncludeTopicAuthorizedOperations {
		rt.AuthorizedOperations = topicOperations
	}
	for i := range t.Partitions {
		p := &t.Partitions[i]
		rp := kmsg.NewMetadataResponseTopicPartition()
		rp.Partition, rp.Leader, rp.LeaderEpoch = int32(i), p.Leader, p.LeaderEpoch
		rp.Replicas, rp.ISR = p.Replicas, p.ISR
		if a.offline(t.ID, int32(i)) {
			rp.OfflineReplicas = []int32{a.nodeID}
			if req.Version >= 2 {
				rp.ErrorCode, rp.Leader = kerr.LeaderNotAvailable.Code, -1
			}
		}
		rt.Partitions = append(rt.Partitions, rp)
	}
	return rt
}

// Operations a client may do, as bits numbered like Kafka's AclOperation (KIP-430).
// Without an authorizer, everything the resource knows.
const (
	topicOperations   = int32(1<<3 | 1<<4 | 1<<5 | 1<<6 | 1<<7 | 1<<8 | 1<<10 | 1<<11)
	clusterOperations = int32(1<<5 | 1<<7 | 1<<8 | 1<<9 | 1<<10 | 1<<11 | 1<<12)
)

// optional is nil for an empty string.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
