package api

import (
	"context"
	"errors"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/cluster/config"
	"github.com/morrowmq/morrow/protocol"
)

// CreateTopics, key 19, versions 2-7.
//
// When the answer arrives the topic can be produced to. Its schedule topic is made in the same
// transaction. As in Kafka, the topics answered come in the order of the request, those named more
// than once last and once each, and validate_only answers with the id and configs the topic would
// have. More than 10,000 partitions in all are refused.

func (a *API) createTopics(_ context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.CreateTopicsRequest)
	return func(ctx context.Context) (protocol.Answer, error) {
		ctx, cancel := within(ctx, req.TimeoutMillis)
		defer cancel()
		resp := req.ResponseKind().(*kmsg.CreateTopicsResponse)
		wanted, repeated := once(req.Topics, func(t *kmsg.CreateTopicsRequestTopic) string { return t.Topic })
		cmd := cluster.CreateTopics{ValidateOnly: req.ValidateOnly}
		errs := make([]error, len(wanted))
		asked := make([]int, 0, len(wanted)) // index in wanted of each topic of cmd
		for i, t := range wanted {
			n, err := newTopic(t)
			if errs[i] = err; err == nil {
				cmd.Topics = append(cmd.Topics, n)
				asked = append(asked, i)
			}
		}
		img, err := a.store.Image(), manyPartitions(a.partitionsOf(cmd))
		if err == nil {
			img, err = a.apply(ctx, cmd)
		}
		var created changed
		for j, i := range asked {
			errs[i] = cluster.ItemError(err, j)
			created.note(wanted[i].Topic, errs[i])
		}
		if len(created) > 0 && !req.ValidateOnly {
			a.logger.Info("topics created", created.by(r)...)
		}
		for i, t := range wanted {
			resp.Topics = append(resp.Topics, createdTopic(img, t.Topic, errs[i]))
		}
		for _, name := range repeated {
			resp.Topics = append(resp.Topics, createdTopic(img, name, errRepeatedTopic))
		}
		return protocol.Answer{Message: resp}, nil
	}
}

var errRepeatedTopic = coded(kerr.InvalidRequest, "the request names the topic more than once")

// maxRequestPartitions is how many partitions a request may ask for, as in Kafka: each is a
// directory, and others wait meanwhile.
const maxRequestPartitions = 10_000

// manyPartitions refuses a request that would add so many partitions.
func manyPartitions(added int64) error {
	if added > maxRequestPartitions {
		return coded(kerr.PolicyViolation, "%d partitions in one request are too many, expected at most %d: send several", added, maxRequestPartitions)
	}
	return nil
}

// partitionsOf is how many partitions topics are asked to have.
func (a *API) partitionsOf(cmd cluster.CreateTopics) (n int64) {
	for _, t := range cmd.Topics {
		switch {
		case t.Assignment != nil:
			n += int64(len(t.Assignment))
		case t.Partitions > 0:
			n += int64(t.Partitions)
		default:
			n += a.store.Image().BrokerConfig().Int("num.partitions")
		}
	}
	return n
}

// once divides the items of a request into those whose name occurs once, in order, and the names
// that occur more than once.
func once[T any](items []T, name func(*T) string) (single []*T, repeated []string) {
	count := make(map[string]int, len(items))
	for i := range items {
		count[name(&items[i])]++
	}
	for i := range items {
		switch n := name(&items[i]); {
		case count[n] == 1:
			single = append(single, &items[i])
		case count[n] > 1:
			repeated = append(repeated, n)
			count[n] = 0 // it is listed
		}
	}
	return single, repeated
}

func newTopic(t *kmsg.CreateTopicsRequestTopic) (cluster.NewTopic, error) {
	n := cluster.NewTopic{
		Name:              t.Topic,
		Partitions:        t.NumPartitions,
		ReplicationFactor: int32(t.ReplicationFactor),
		Config:            config.Values{},
	}
	var null []string
	for _, c := range t.Configs {
		if c.Value == nil {
			null = append(null, c.Name)
			continue
		}
		n.Config[c.Name] = *c.Value
	}
	if len(null) > 0 {
		return n, coded(kerr.InvalidConfig, "configs without a value: %s", strings.Join(null, ", "))
	}
	if len(t.ReplicaAssignment) > 0 {
		n.Assignment = make(map[int32][]int32, len(t.ReplicaAssignment))
		for _, p := range t.ReplicaAssignment {
			if _, again := n.Assignment[p.Partition]; again {
				return n, coded(kerr.InvalidReplicaAssignment, "the assignment names partition %d more than once", p.Partition)
			}
			n.Assignment[p.Partition] = p.Replicas
		}
	}
	return n, nil
}

func createdTopic(img *cluster.Image, name string, err error) kmsg.CreateTopicsResponseTopic {
	rt := kmsg.NewCreateTopicsResponseTopic()
	rt.Topic = name
	rt.Configs = []kmsg.CreateTopicsResponseTopicConfig{} // Java takes null for a config it may not see
	if err != nil {
		rt.ErrorCode, rt.ErrorMessage = refusal(err)
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
	switch name {
	case cluster.OffsetsTopic:
		t = a.offsetsTopic()
	case cluster.TransactionsTopic:
		t = a.transactionsTopic()
	case cluster.ShareStateTopic:
		t = a.shareStateTopic()
	}
	_, err := a.apply(ctx, cluster.CreateTopics{Topics: []cluster.NewTopic{t}})
	if errors.Is(err, cluster.TopicExists) {
		return nil
	}
	if err == nil {
		a.logger.Info("topic created in passing", "topic", name)
	}
	return cluster.ItemError(err, 0)
}
