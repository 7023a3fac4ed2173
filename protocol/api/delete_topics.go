package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/protocol"
)

// DeleteTopics, key 20, versions 1-6.
//
// With the topic goes all it owned: log, schedule, remote objects, committed offsets, metrics. What
// takes long is remembered durably and done in the background; a new topic of the same name meets
// nothing of it. Unlike in Kafka, internal topics cannot be deleted.

func (a *API) deleteTopics(_ context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.DeleteTopicsRequest)
	return func(ctx context.Context) (protocol.Answer, error) {
		ctx, cancel := within(ctx, req.TimeoutMillis)
		defer cancel()
		d := a.deletion(req)
		if len(d.cmd.IDs) > 0 {
			_, err := a.apply(ctx, d.cmd)
			var deleted changed
			for j, rt := range d.asked {
				refused := cluster.ItemError(err, j)
				deleted.note(*rt.Topic, refused)
				rt.ErrorCode, rt.ErrorMessage = refusal(refused)
			}
			if len(deleted) > 0 {
				a.logger.Info("topics deleted", deleted.by(r)...)
			}
		}
		resp := req.ResponseKind().(*kmsg.DeleteTopicsResponse)
		resp.Topics = d.topics
		return protocol.Answer{Message: resp}, nil
	}
}

// deletion is a DeleteTopics request made out: what to answer, and what to delete.
type deletion struct {
	topics []kmsg.DeleteTopicsResponseTopic
	cmd    cluster.DeleteTopics
	asked  []*kmsg.DeleteTopicsResponseTopic // parallel to cmd.IDs
}

// deletion finds the topics of a request, each of which is named once, by name or by id.
func (a *API) deletion(req *kmsg.DeleteTopicsRequest) *deletion {
	wanted := req.Topics
	for _, name := range req.TopicNames {
		wanted = append(wanted, kmsg.DeleteTopicsRequestTopic{Topic: kmsg.StringPtr(name)})
	}
	img := a.store.Image()
	found := make([]*cluster.Topic, len(wanted))
	count := make(map[cluster.TopicID]int, len(wanted))
	d := &deletion{topics: make([]kmsg.DeleteTopicsResponseTopic, len(wanted))}
	for i := range wanted {
		rt := &d.topics[i]
		rt.Default()
		rt.Topic, rt.TopicID = wanted[i].Topic, wanted[i].TopicID
		t, err := wantedTopic(img, &wanted[i])
		if err == nil && !img.BrokerConfig().Bool("delete.topic.enable") {
			err = deletionDisabled(req.Version)
		}
		if err != nil {
			rt.ErrorCode, rt.ErrorMessage = refusal(err)
			continue
		}
		found[i] = t
		count[t.ID]++
	}
	for i, t := range found {
		switch {
		case t == nil:
		case count[t.ID] > 1:
			d.topics[i].ErrorCode, d.topics[i].ErrorMessage = refusal(errRepeatedTopic)
		default:
			d.topics[i].Topic, d.topics[i].TopicID = kmsg.StringPtr(t.Name), t.ID
			d.cmd.IDs = append(d.cmd.IDs, t.ID)
			d.asked = append(d.asked, &d.topics[i])
		}
	}
	return d
}

// deletionDisabled is the refusal of a broker with delete.topic.enable=false, for which the first
// versions had no code of its own.
func deletionDisabled(version int16) error {
	if version < 3 {
		return coded(kerr.InvalidRequest, "topics cannot be deleted: delete.topic.enable is false")
	}
	return coded(kerr.TopicDeletionDisabled, "topics cannot be deleted: delete.topic.enable is false")
}

func wantedTopic(img *cluster.Image, want *kmsg.DeleteTopicsRequestTopic) (*cluster.Topic, error) {
	id := cluster.TopicID(want.TopicID)
	switch {
	case want.Topic == nil && id.IsZero():
		return nil, coded(kerr.InvalidRequest, "neither the topic's name nor its id is given")
	case want.Topic != nil && !id.IsZero():
		return nil, coded(kerr.InvalidRequest, "both the topic's name and its id are given, expected one of them")
	case want.Topic != nil:
		return find(img, topicKey{name: *want.Topic}, false)
	}
	return find(img, topicKey{id: id}, true)
}
