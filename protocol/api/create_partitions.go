package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/protocol"
)

// CreatePartitions, key 37, versions 0-3. Schedule topics grow with their topics.

func (a *API) createPartitions(_ context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.CreatePartitionsRequest)
	return func(ctx context.Context) (protocol.Answer, error) {
		cmd := cluster.CreatePartitions{ValidateOnly: req.ValidateOnly}
		errs := make([]error, len(req.Topics))
		for i := range req.Topics {
			t := &req.Topics[i]
			g := cluster.Growth{Name: t.Topic, Count: t.Count}
			for _, p := range t.Assignment {
				g.Assignment = append(g.Assignment, p.Replicas)
			}
			cmd.Topics = append(cmd.Topics, g)
		}
		repeated(errs, func(i int) string { return req.Topics[i].Topic })
		_, err := a.apply(ctx, cmd)
		resp := req.ResponseKind().(*kmsg.CreatePartitionsResponse)
		for i := range req.Topics {
			rt := kmsg.NewCreatePartitionsResponseTopic()
			rt.Topic = req.Topics[i].Topic
			if errs[i] == nil {
				errs[i] = cluster.ItemError(err, i)
			}
			if errs[i] != nil {
				rt.ErrorCode, rt.ErrorMessage = code(errs[i]), kmsg.StringPtr(message(errs[i]))
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return protocol.Answer{Message: resp}, nil
	}
}
