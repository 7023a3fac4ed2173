package api

import (
	"context"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/cluster/config"
	"github.com/morrowmq/morrow/protocol"
)

// AlterConfigs, key 33, versions 0-2 (deprecated in Kafka, still called by AKHQ and librdkafka): replaces all that is set on a resource.
//
// IncrementalAlterConfigs, key 44, versions 0-1 (KIP-339): changes it step by step.
//
// A change holds when the answer leaves. Each resource is changed as a whole or not at all.

func (a *API) alterConfigs(_ context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.AlterConfigsRequest)
	return func(ctx context.Context) (protocol.Answer, error) {
		resp := req.ResponseKind().(*kmsg.AlterConfigsResponse)
		for i := range req.Resources {
			want := &req.Resources[i]
			edit := cluster.ConfigEdit{Replace: config.Values{}}
			var err error
			for _, c := range want.Configs {
				if c.Value == nil {
					err = coded(kerr.InvalidConfig, "config %s has no value", c.Name)
					break
				}
				edit.Replace[c.Name] = *c.Value
			}
			if err == nil {
				err = a.alter(ctx, want.ResourceType, want.ResourceName, edit, req.ValidateOnly)
			}
			rr := kmsg.NewAlterConfigsResponseResource()
			rr.ResourceType, rr.ResourceName = want.ResourceType, want.ResourceName
			if err != nil {
				rr.ErrorCode, rr.ErrorMessage = code(err), kmsg.StringPtr(message(err))
			}
			resp.Resources = append(resp.Resources, rr)
		}
		return protocol.Answer{Message: resp}, nil
	}
}

func (a *API) incrementalAlterConfigs(_ context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.IncrementalAlterConfigsRequest)
	return func(ctx context.Context) (protocol.Answer, error) {
		resp := req.ResponseKind().(*kmsg.IncrementalAlterConfigsResponse)
		for i := range req.Resources {
			want := &req.Resources[i]
			edit, err := configOps(want.Configs)
			if err == nil {
				err = a.alter(ctx, want.ResourceType, want.ResourceName, edit, req.ValidateOnly)
			}
			rr := kmsg.NewIncrementalAlterConfigsResponseResource()
			rr.ResourceType, rr.ResourceName = want.ResourceType, want.ResourceName
			if err != nil {
				rr.ErrorCode, rr.ErrorMessage = code(err), kmsg.StringPtr(message(err))
			}
			resp.Resources = append(resp.Resources, rr)
		}
		return protocol.Answer{Message: resp}, nil
	}
}

func configOps(configs []kmsg.IncrementalAlterConfigsRequestResourceConfig) (cluster.ConfigEdit, error) {
	edit := cluster.ConfigEdit{Ops: []cluster.ConfigOp{}}
	seen := make(map[string]bool, len(configs))
	for _, c := range configs {
		if seen[c.Name] {
			return edit, coded(kerr.InvalidRequest, "config %s is named more than once", c.Name)
		}
		seen[c.Name] = true
		op := cluster.ConfigOp{Kind: cluster.OpKind(c.Op), Name: c.Name}
		if c.Value != nil {
			op.Value = *c.Value
		} else if op.Kind != cluster.OpDelete {
			return edit, coded(kerr.InvalidConfig, "config %s has no value", c.Name)
		}
		edit.Ops = append(edit.Ops, op)
	}
	return edit, nil
}

// alter changes what is set on one resource.
func (a *API) alter(ctx context.Context, kind kmsg.ConfigResourceType, name string, edit cluster.ConfigEdit, validateOnly bool) error {
	var cmd cluster.Command
	switch kind {
	case kmsg.ConfigResourceTypeTopic:
		cmd = cluster.SetTopicConfig{Topic: name, Edit: edit, ValidateOnly: validateOnly}
	case kmsg.ConfigResourceTypeBroker:
		id := cluster.AllBrokers
		if name != "" {
			n, err := strconv.ParseInt(name, 10, 32)
			if err != nil {
				return coded(kerr.InvalidRequest, "broker id %q is not a number", name)
			}
			id = int32(n)
		}
		cmd = cluster.SetBrokerConfig{Broker: id, Edit: edit, ValidateOnly: validateOnly}
	case kmsg.ConfigResourceTypeGroupConfig:
		cmd = cluster.SetGroupConfig{Group: name, Edit: edit, ValidateOnly: validateOnly}
	default:
		return coded(kerr.InvalidRequest, "configs of resource type %d cannot be altered here", int8(kind))
	}
	_, err := a.apply(ctx, cmd)
	return err
}
