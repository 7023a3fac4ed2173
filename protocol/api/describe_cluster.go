package api

import (
	"context"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/protocol"
)

// DescribeCluster, key 60, versions 0-2 (KIP-700). Controllers (endpoint type 2) have no listeners of their own.

func (a *API) describeCluster(_ context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.DescribeClusterRequest)
	return func(context.Context) (protocol.Answer, error) {
		img := a.store.Image()
		resp := req.ResponseKind().(*kmsg.DescribeClusterResponse)
		resp.ClusterID, resp.ControllerID, resp.EndpointType = img.ClusterID(), a.nodeID, 1
		if req.Version >= 1 && req.EndpointType != 1 {
			resp.ErrorCode = kerr.MismatchedEndpointType.Code
			resp.ErrorMessage = kmsg.StringPtr("this endpoint is a broker's; expected endpoint type 1")
			if req.EndpointType != 2 {
				resp.ErrorCode = kerr.UnsupportedEndpointType.Code
			}
			return protocol.Answer{Message: resp}, nil
		}
		for _, b := range img.Brokers() {
			if host, port, ok := endpoint(b, r.Conn.Listener); ok {
				rb := kmsg.NewDescribeClusterResponseBroker()
				rb.NodeID, rb.Host, rb.Port, rb.Rack = b.ID, host, port, optional(b.Rack)
				resp.Brokers = append(resp.Brokers, rb)
			}
		}
		if req.IncludeClusterAuthorizedOperations {
			resp.ClusterAuthorizedOperations = clusterOperations
		}
		return protocol.Answer{Message: resp}, nil
	}
}

func decimal(n int32) string { return strconv.Itoa(int(n)) }
