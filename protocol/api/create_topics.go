package api

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/cluster/config"
	"github.com/morrowmq/morrow/protocol"
)

// CreateTopics, key 19, versions 2-7.
//
// When the answer arrives the topic can be produced to. Its schedule topic is made in the same transaction.

func (a *API) createTopics(_ context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.CreateTopicsRequest)
	return func(ctx context.Context) (protocol.Answer, error) {
		resp := req.ResponseKind().(*kmsg.CreateTopicsResponse)
		cmd := cluster.CreateTopics{ValidateOnly: req.ValidateOnly}
		var asked []int // index in the request of each topic of cmd
		errs := make([]error, len(req.Topics))
		for i := range req.Topics {
			t, err := newTopic(&req.Topics[i])
			if errs[i] = err; err == nil {
				cmd.Topics = append(cmd.Topics, t)
				asked = append(asked, i)
			}
		}
		repeated(errs, func(i int) string { return req.Topics[i].Topic })
		img, err := a.apply(ctx, cmd)
		for j, i := range asked {
			if errs[i] == nil {
				errs[i] = cluster.ItemError(err, j)
			}
		}
		for i := range req.Topics {
			resp.Topics = append(resp.Topics, createdTopic(img, req.Topics[i].Topic, errs[i]))
		}
		return protocol.Answer{Message: resp}, nil
	}
}

// repeated refuses every topic that a request names more than once, as Kafka does.
func repeated(errs []error, name func(int) string) {
	seen := make(map[string]int, len(errs))
	for i := range errs {
		seen[name(i)]++
	}
	for i := range errs {
		if seen[name(i)] > 1 {
			errs[i] = coded(kerr.InvalidRequest, "topic %s is named more than once in the request", name(i))
		}
	}
}

func newTopic(t *kmsg.CreateTopicsRequestTopic) (cluster.NewTopic, error) {
	n := cluster.NewTopic{
		Name:              t.Topic,
		Partitions:        t.NumPartitions,
		ReplicationFactor: int32(t.ReplicationFactor),
		Config:            config.Values{},
	}
	for _, c := range t.Configs {
		if c.Value == nil {
			return n, coded(kerr.InvalidConfig, "config %s has no value", c.Name)
		}
		n.Config[c.Name] = *c.Value
	}
	if len(t.ReplicaAssignment) > 0 {
		n.Assignment = make(map[int32][]int32, len(t.ReplicaAssignment))
		for _, p := range t.ReplicaAssignment {
			n.Assignment[p.Partition] = p.Replicas
		}
	}
	return n, nil
}

func createdTopic(img *cluster.Image, name string, err error) kmsg.CreateTopicsResponseTopic {
	rt := kmsg.NewCreateTopicsResponseTopic()
	rt.Topic = name
	if err != nil {
		rt.ErrorCode, rt.ErrorMessage = code(err), kmsg.StringPtr(message(err))
		rt.NumPartitions, rt.ReplicationFactor = -1, -1
		return rt
	}
	t, ok := img.Topic(name)
	if !ok {
		return rt
	}
	rt.TopicID = t.ID
	rt.NumPartitions = int32(len(t.Partitions))
	rt.ReplicationFactor = int16(len(t.Partitions[0].Replicas))
	for _, e := range config.DescribeTopic(img.Layers(img.Node()), t.Config) {
		c := kmsg.NewCreateTopicsResponseTopicConfig()
		c.Name, c.Value, c.ReadOnly, c.Source, c.IsSensitive = e.Name, e.Value, e.ReadOnly, int8(e.Source), e.Sensitive
		rt.Configs = append(rt.Configs, c)
	}
	return rt
}

// createDefault creates a topic that somebody named in passing. That another client was first is no error.
func (a *API) createDefault(ctx context.Context, name string) error {
	t := cluster.NewTopic{Name: name, Partitions: -1, ReplicationFactor: -1}
	if name == cluster.OffsetsTopic {
		t = a.offsetsTopic()
	}
	_, err := a.apply(ctx, cluster.CreateTopics{Topics: []cluster.NewTopic{t}})
	if errors.Is(err, cluster.TopicExists) {
		return nil
	}
	return cluster.ItemError(err, 0)
}
