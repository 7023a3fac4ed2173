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
// The first question for a coordinator creates the topic it keeps its state in and, unlike in
// Kafka, is answered at once. The coordinator of a share-partition (type 2, since version 6) is
// asked for by group:topic-id:partition.

const (
	noCoordinator          = int8(-1)
	groupCoordinator       = int8(0)
	transactionCoordinator = int8(1)
	shareCoordinator       = int8(2)
)

func (a *API) findCoordinator(_ context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.FindCoordinatorRequest)
	return func(ctx context.Context) (protocol.Answer, error) {
		resp := req.ResponseKind().(*kmsg.FindCoordinatorResponse)
		kind := req.CoordinatorType
		if kind == shareCoordinator && req.Version < 6 {
			kind = noCoordinator
		}
		if req.Version < 4 {
			c := a.coordinator(ctx, kind, req.CoordinatorKey, r.Conn.Listener)
			resp.ErrorCode, resp.ErrorMessage, resp.NodeID, resp.Host, resp.Port = c.ErrorCode, c.ErrorMessage, c.NodeID, c.Host, c.Port
			return protocol.Answer{Message: resp}, nil
		}
		for _, key := range req.CoordinatorKeys {
			resp.Coordinators = append(resp.Coordinators, a.coordinator(ctx, kind, key, r.Conn.Listener))
		}
		return protocol.Answer{Message: resp}, nil
	}
}

func (a *API) coordinator(ctx context.Context, kind int8, key, listener string) kmsg.FindCoordinatorResponseCoordinator {
	c := kmsg.NewFindCoordinatorResponseCoordinator()
	c.Key, c.NodeID, c.Port = key, -1, -1
	host, port, id, err := a.locateCoordinator(ctx, kind, key, listener)
	if err != nil {
		c.ErrorCode, c.ErrorMessage = refusal(err)
		return c
	}
	c.NodeID, c.Host, c.Port = id, host, port
	return c
}

func (a *API) locateCoordinator(ctx context.Context, kind int8, key, listener string) (host string, port, id int32, err error) {
	var p *cluster.Partition
	switch kind {
	case groupCoordinator:
		p, err = a.statePartition(ctx, cluster.OffsetsTopic, a.groups.FindShard(key))
	case shareCoordinator:
		p, err = a.shareStatePartition(ctx, key)
	case transactionCoordinator:
		p, err = a.statePartition(ctx, cluster.TransactionsTopic, a.transactions.FindShard(key))
	default:
		err = coded(kerr.InvalidRequest, "there are no coordinators of this type, expected 0 (group), 1 (transaction) or, since version 6, 2 (share group)")
	}
	if err != nil {
		return "", -1, -1, err
	}
	if b, ok := a.store.Image().Broker(p.Leader); ok {
		if host, port, ok := endpoint(b, listener); ok {
			return host, port, b.ID, nil
		}
	}
	return "", -1, -1, kerr.CoordinatorNotAvailable
}

// statePartition is a partition of the internal topic that a coordinator keeps its state in.
func (a *API) statePartition(ctx context.Context, topic string, n int32) (*cluster.Partition, error) {
	t, ok := a.store.Image().Topic(topic)
	if !ok {
		if err := a.createDefault(ctx, topic); err != nil {
			return nil, err
		}
		if t, ok = a.store.Image().Topic(topic); !ok {
			return nil, kerr.CoordinatorNotAvailable
		}
	}
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
			"compression.type": "producer",
			"segment.bytes":    c.String("offsets.topic.segment.bytes"),
		},
	}
}

// transactionsTopic is __transaction_state as Kafka makes it.
func (a *API) transactionsTopic() cluster.NewTopic {
	c := a.store.Image().BrokerConfig()
	return cluster.NewTopic{
		Name:              cluster.TransactionsTopic,
		Partitions:        int32(c.Int("transaction.state.log.num.partitions")),
		ReplicationFactor: min(int32(c.Int("transaction.state.log.replication.factor")), int32(len(a.store.Image().Brokers()))),
		Internal:          true,
		Config: config.Values{
			"compression.type":    "uncompressed",
			"segment.bytes":       c.String("transaction.state.log.segment.bytes"),
			"min.insync.replicas": c.String("transaction.state.log.min.isr"),
		},
	}
}
