package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/cluster/config"
	"github.com/morrowmq/morrow/protocol"
)

// FindCoordinator, key 10, versions 0-6.
//
// Groups (type 0) only; transactions and share groups have no coordinator here. The first question creates __consumer_offsets.

const groupCoordinator = int8(0)

func (a *API) findCoordinator(_ context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.FindCoordinatorRequest)
	return func(ctx context.Context) (protocol.Answer, error) {
		keys := req.CoordinatorKeys
		if req.Version < 4 {
			keys = []string{req.CoordinatorKey}
		}
		resp := req.ResponseKind().(*kmsg.FindCoordinatorResponse)
		for _, key := range keys {
			c := a.coordinator(ctx, req.CoordinatorType, key, r.Conn.Listener)
			if req.Version < 4 {
				resp.ErrorCode, resp.ErrorMessage, resp.NodeID, resp.Host, resp.Port = c.ErrorCode, c.ErrorMessage, c.NodeID, c.Host, c.Port
				break
			}
			resp.Coordinators = append(resp.Coordinators, c)
		}
		return protocol.Answer{Message: resp}, nil
	}
}

func (a *API) coordinator(ctx context.Context, kind int8, key, listener string) kmsg.FindCoordinatorResponseCoordinator {
	c := kmsg.NewFindCoordinatorResponseCoordinator()
	c.Key, c.NodeID, c.Port = key, -1, -1
	err := func() error {
		if kind != groupCoordinator {
			return coded(kerr.InvalidRequest, "coordinators of type %d are not served; expected 0 (group)", kind)
		}
		p, err := a.offsetsPartition(ctx, key)
		if err != nil {
			return err
		}
		b, ok := a.store.Image().Broker(p.Leader)
		if !ok {
			return kerr.CoordinatorNotAvailable
		}
		host, port, ok := endpoint(b, listener)
		if !ok {
			return kerr.CoordinatorNotAvailable
		}
		c.NodeID, c.Host, c.Port = b.ID, host, port
		return nil
	}()
	if err != nil {
		c.ErrorCode, c.ErrorMessage = code(err), kmsg.StringPtr(message(err))
	}
	return c
}

// offsetsPartition is the partition of __consumer_offsets that keeps a group.
func (a *API) offsetsPartition(ctx context.Context, groupID string) (*cluster.Partition, error) {
	t, ok := a.store.Image().Topic(cluster.OffsetsTopic)
	if !ok {
		if err := a.createDefault(ctx, cluster.OffsetsTopic); err != nil {
			return nil, err
		}
		if t, ok = a.store.Image().Topic(cluster.OffsetsTopic); !ok {
			return nil, kerr.CoordinatorNotAvailable
		}
	}
	n := a.groups.FindShard(groupID)
	if int(n) >= len(t.Partitions) {
		return nil, kerr.CoordinatorNotAvailable
	}
	return &t.Partitions[n], nil
}

// offsetsTopic is __consumer_offsets as Kafka makes it: compacted, in small segments, so that it loads fast.
func (a *API) offsetsTopic() cluster.NewTopic {
	c := a.store.Image().BrokerConfig()
	return cluster.NewTopic{
		Name:              cluster.OffsetsTopic,
		Partitions:        int32(c.Int("offsets.topic.num.partitions")),
		ReplicationFactor: min(int32(c.Int("offsets.topic.replication.factor")), int32(len(a.store.Image().Brokers()))),
		Internal:          true,
		Config: config.Values{
			"cleanup.policy":   "compact",
			"compression.type": "producer",
			"segment.bytes":    c.String("offsets.topic.segment.bytes"),
		},
	}
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
