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
// With the topic goes all it owned: log, schedule, remote objects, committed offsets, metrics. What takes long is remembered
// durably and done in the background; a new topic of the same name meets nothing of it.

func (a *API) deleteTopics(_ context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.DeleteTopicsRequest)
	return func(ctx context.Context) (protocol.Answer, error) {
		wanted := req.Topics
		if req.Version < 6 {
			for _, name := range req.TopicNames {
				wanted = append(wanted, kmsg.DeleteTopicsRequestTopic{Topic: kmsg.StringPtr(name)})
			}
		}
		resp := req.ResponseKind().(*kmsg.DeleteTopicsResponse)
		resp.Topics = make([]kmsg.DeleteTopicsResponseTopic, len(wanted))
		img := a.store.Image()
		var cmd cluster.DeleteTopics
		var asked []*kmsg.DeleteTopicsResponseTopic
		for i := range wanted {
			rt := &resp.Topics[i]
			rt.Default()
			rt.Topic, rt.TopicID = wanted[i].Topic, wanted[i].TopicID
			t, err := wantedTopic(img, &wanted[i])
			if err != nil {
				rt.ErrorCode, rt.ErrorMessage = code(err), kmsg.StringPtr(message(err))
				continue
			}
			rt.Topic, rt.TopicID = kmsg.StringPtr(t.Name), t.ID
			cmd.IDs = append(cmd.IDs, t.ID)
			asked = append(asked, rt)
		}
		if len(asked) > 0 {
			_, err := a.apply(ctx, cmd)
			for j, rt := range asked {
				if e := cluster.ItemError(err, j); e != nil {
					rt.ErrorCode, rt.ErrorMessage = code(e), kmsg.StringPtr(message(e))
				}
			}
		}
		return protocol.Answer{Message: resp}, nil
	}
}

func wantedTopic(img *cluster.Image, want *kmsg.DeleteTopicsRequestTopic) (*cluster.Topic, error) {
	if want.Topic != nil {
		if t, ok := img.Topic(*want.Topic); ok {
			return t, nil
		}
		return nil, kerr.UnknownTopicOrPartition
	}
	if t, ok := img.TopicByID(want.TopicID); ok {
		return t, nil
	}
	return nil, kerr.UnknownTopicID
}
