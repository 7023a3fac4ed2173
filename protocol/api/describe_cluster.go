package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/protocol"
)

// DescribeCluster, key 60, versions 0-2 (KIP-700, KIP-919, KIP-1073). Controllers have no listeners
// of their own, and no broker is ever fenced.

const (
	brokerEndpoint     = int8(1)
	controllerEndpoint = int8(2)
)

func (a *API) describeCluster(_ context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.DescribeClusterRequest)
	return func(context.Context) (protocol.Answer, error) {
		resp := req.ResponseKind().(*kmsg.DescribeClusterResponse)
		if err := checkEndpointType(req); err != nil {
			resp.ErrorCode, resp.ErrorMessage = refusal(err)
			return protocol.Answer{Message: resp}, nil
		}
		img := a.store.Image()
		resp.ClusterID, resp.ControllerID = img.ClusterID(), a.nodeID
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

func checkEndpointType(req *kmsg.DescribeClusterRequest) error {
	switch {
	case req.Version == 0, req.EndpointType == brokerEndpoint:
		return nil
	case req.EndpointType == controllerEndpoint:
		return coded(kerr.MismatchedEndpointType, "this is an endpoint of a broker, expected endpoint type %d", brokerEndpoint)
	}
	return coded(kerr.UnsupportedEndpointType, "there is no endpoint type %d, expected %d", req.EndpointType, brokerEndpoint)
}
