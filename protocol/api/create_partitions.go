package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/protocol"
)

// CreatePartitions, key 37, versions 0-3. Schedule topics grow with their topics;
// __consumer_offsets does not grow, because a group's partition depends on their number. More than
// 10,000 partitions in all are refused.

func (a *API) createPartitions(_ context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.CreatePartitionsRequest)
	return func(ctx context.Context) (protocol.Answer, error) {
		ctx, cancel := within(ctx, req.TimeoutMillis)
		defer cancel()
		wanted, repeated := once(req.Topics, func(t *kmsg.CreatePartitionsRequestTopic) string { return t.Topic })
		cmd := cluster.CreatePartitions{ValidateOnly: req.ValidateOnly}
		for _, t := range wanted {
			cmd.Topics = append(cmd.Topics, growth(t))
		}
		err := manyPartitions(a.growthOf(cmd))
		if err == nil {
			_, err = a.apply(ctx, cmd)
		}
		resp := req.ResponseKind().(*kmsg.CreatePartitionsResponse)
		var grown changed
		for i, t := range wanted {
			refused := cluster.ItemError(err, i)
			grown.note(t.Topic, refused)
			resp.Topics = append(resp.Topics, grownTopic(t.Topic, refused))
		}
		if len(grown) > 0 && !req.ValidateOnly {
			a.logger.Info("topics have more partitions", grown.by(r)...)
		}
		for _, name := range repeated {
			resp.Topics = append(resp.Topics, grownTopic(name, errRepeatedTopic))
		}
		return protocol.Answer{Message: resp}, nil
	}
}

// growthOf is how many partitions topics are asked to have more of.
func (a *API) growthOf(cmd cluster.CreatePartitions) (n int64) {
	for _, g := range cmd.Topics {
		if t, ok := a.store.Image().Topic(g.Name); ok {
			n += max(0, int64(g.Count)-int64(len(t.Partitions)))
		}
	}
	return n
}

func growth(t *kmsg.CreatePartitionsRequestTopic) cluster.Growth {
	g := cluster.Growth{Name: t.Topic, Count: t.Count}
	if t.Assignment != nil {
		g.Assignment = make([][]int32, len(t.Assignment))
		for i := range t.Assignment {
			g.Assignment[i] = t.Assignment[i].Replicas
		}
	}
	return g
}

func grownTopic(name string, err error) kmsg.CreatePartitionsResponseTopic {
	rt := kmsg.NewCreatePartitionsResponseTopic()
	rt.Topic = name
	rt.ErrorCode, rt.ErrorMessage = refusal(err)
	return rt
}
