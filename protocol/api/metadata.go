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
// Without a list of topics all are described; an empty list means all in version 0 and none from
// version 1 on. An unknown topic is created at once when the client allows it (before version 4 it
// always does) and auto.create.topics.enable is on; unlike Kafka's, the answer already names its
// leader. Brokers are listed with the endpoints of the listener the client came through.

func (a *API) metadata(_ context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.MetadataRequest)
	return func(ctx context.Context) (protocol.Answer, error) {
		resp := req.ResponseKind().(*kmsg.MetadataResponse)
		switch {
		case req.Topics == nil, req.Version == 0 && len(req.Topics) == 0:
			for _, t := range a.store.Image().Topics() {
				resp.Topics = append(resp.Topics, a.metadataTopic(req, t))
			}
		case namesUnknownFields(req):
			for i := range req.Topics {
				rt := kmsg.NewMetadataResponseTopic()
				rt.Topic, rt.ErrorCode = kmsg.StringPtr(deref(req.Topics[i].Topic)), kerr.InvalidRequest.Code
				resp.Topics = append(resp.Topics, rt)
			}
		default:
			resp.Topics = a.metadataOf(ctx, req)
		}
		img := a.store.Image()
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

// namesUnknownFields reports whether a request uses topic ids, or leaves out names, in versions
// that had both fields but not their meaning yet.
func namesUnknownFields(req *kmsg.MetadataRequest) bool {
	for i := range req.Topics {
		t := &req.Topics[i]
		if req.Version < 12 && (t.Topic == nil || t.TopicID != [16]byte{}) {
			return true
		}
	}
	return false
}

// metadataOf answers the topics a request lists, each once. If any is listed by id, names do not count.
func (a *API) metadataOf(ctx context.Context, req *kmsg.MetadataRequest) []kmsg.MetadataResponseTopic {
	byID := false
	for i := range req.Topics {
		byID = byID || req.Topics[i].TopicID != [16]byte{}
	}
	topics := make([]kmsg.MetadataResponseTopic, 0, len(req.Topics))
	answered := make(map[topicKey]bool, len(req.Topics))
	for i := range req.Topics {
		k := topicKey{name: deref(req.Topics[i].Topic)}
		if byID {
			k = topicKey{id: req.Topics[i].TopicID}
		}
		if answered[k] || byID && k.id.IsZero() {
			continue
		}
		answered[k] = true
		t, err := a.findOrCreate(ctx, req, k, byID)
		if err != nil {
			rt := kmsg.NewMetadataResponseTopic()
			rt.ErrorCode, rt.TopicID = code(err), k.id
			if !byID {
				rt.Topic, rt.IsInternal = &k.name, cluster.IsReserved(k.name)
			}
			topics = append(topics, rt)
			continue
		}
		topics = append(topics, a.metadataTopic(req, t))
	}
	return topics
}

// findOrCreate finds a topic, creating it if it is missing and that is allowed.
func (a *API) findOrCreate(ctx context.Context, req *kmsg.MetadataRequest, k topicKey, byID bool) (*cluster.Topic, error) {
	img := a.store.Image()
	t, err := find(img, k, byID)
	if err == nil || byID {
		return t, err
	}
	if err := cluster.ValidateTopicName(k.name); err != nil {
		return nil, err
	}
	if req.Version >= 4 && !req.AllowAutoTopicCreation || !img.BrokerConfig().Bool("auto.create.topics.enable") {
		return nil, err
	}
	if err := a.createDefault(ctx, k.name); err != nil {
		return nil, err
	}
	return find(a.store.Image(), k, false)
}

func (a *API) metadataTopic(req *kmsg.MetadataRequest, t *cluster.Topic) kmsg.MetadataResponseTopic {
	rt := kmsg.NewMetadataResponseTopic()
	rt.Topic, rt.TopicID, rt.IsInternal = kmsg.StringPtr(t.Name), t.ID, t.Internal
	if req.IncludeTopicAuthorizedOperations {
		rt.AuthorizedOperations = topicOperations
	}
	rt.Partitions = make([]kmsg.MetadataResponseTopicPartition, len(t.Partitions))
	for i := range t.Partitions {
		p, rp := &t.Partitions[i], &rt.Partitions[i]
		rp.Default()
		rp.Partition, rp.Leader, rp.LeaderEpoch = int32(i), p.Leader, p.LeaderEpoch
		rp.Replicas, rp.ISR = p.Replicas, p.ISR
		if a.offline(t.ID, int32(i)) {
			rp.ErrorCode, rp.Leader = kerr.LeaderNotAvailable.Code, cluster.NoLeader
			rp.OfflineReplicas = []int32{a.nodeID}
		}
	}
	return rt
}

// Operations a client may do, as bits numbered like Kafka's AclOperation (KIP-430).
// Without an authorizer, everything the resource knows.
const (
	topicOperations   = int32(1<<3 | 1<<4 | 1<<5 | 1<<6 | 1<<7 | 1<<8 | 1<<10 | 1<<11)
	clusterOperations = int32(1<<5 | 1<<7 | 1<<8 | 1<<9 | 1<<10 | 1<<11 | 1<<12)
)

// optional is nil for an empty string, and deref the other way round.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// endpoint is where clients of a listener reach a broker.
func endpoint(b cluster.Broker, listener string) (host string, port int32, ok bool) {
	for _, e := range b.Endpoints {
		if e.Listener == listener {
			return e.Host, e.Port, true
		}
	}
	return "", 0, false
}
