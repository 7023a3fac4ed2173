package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/protocol"
)

// ListPartitionReassignments, key 46, version 0 (KIP-455). There are none, see
// AlterPartitionReassignments; consoles ask all the same.

func (a *API) listPartitionReassignments(_ context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.ListPartitionReassignmentsRequest)
	return func(context.Context) (protocol.Answer, error) {
		return protocol.Answer{Message: req.ResponseKind()}, nil
	}
}
