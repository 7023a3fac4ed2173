package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/protocol"
)

// ListConfigResources, key 74, versions 0-1 (KIP-1142). Version 0 asks for client metrics, of which
// there are none.

func (a *API) listConfigResources(_ context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.ListConfigResourcesRequest)
	return func(context.Context) (protocol.Answer, error) {
		resp := req.ResponseKind().(*kmsg.ListConfigResourcesResponse)
		kinds := req.ResourceTypes
		switch {
		case req.Version == 0:
			kinds = []int8{clientMetricsResource}
		case len(kinds) == 0:
			kinds = configResources
		}
		img := a.store.Image()
		listed := make(map[int8]bool)
		for _, kind := range kinds {
			if listed[kind] {
				continue
			}
			listed[kind] = true
			names, ok := configResourceNames(img, kind)
			if !ok {
				resp.ErrorCode, resp.ConfigResources = kerr.UnsupportedVersion.Code, nil
				break
			}
			for _, name := range names {
				res := kmsg.NewListConfigResourcesResponseConfigResource()
				res.Name, res.Type = name, kind
				resp.ConfigResources = append(resp.ConfigResources, res)
			}
		}
		return protocol.Answer{Message: resp}, nil
	}
}

const clientMetricsResource = int8(kmsg.ConfigResourceTypeClientMetrics)

var configResources = []int8{
	int8(kmsg.ConfigResourceTypeTopic), int8(kmsg.ConfigResourceTypeBroker), int8(kmsg.ConfigResourceTypeBrokerLogger),
	clientMetricsResource, int8(kmsg.ConfigResourceTypeGroupConfig),
}

// configResourceNames lists the resources of one kind; ok is false if there is no such kind.
func configResourceNames(img *cluster.Image, kind int8) (names []string, ok bool) {
	switch kind {
	case int8(kmsg.ConfigResourceTypeTopic):
		for _, t := range img.Topics() {
			names = append(names, t.Name)
		}
	case int8(kmsg.ConfigResourceTypeBroker), int8(kmsg.ConfigResourceTypeBrokerLogger):
		for _, b := range img.Brokers() {
			names = append(names, decimal(b.ID))
		}
	case int8(kmsg.ConfigResourceTypeGroupConfig):
		names = img.ConfiguredGroups()
	case clientMetricsResource:
	default:
		return nil, false
	}
	return names, true
}
