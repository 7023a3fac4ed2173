package api

import (
	"context"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/cluster/config"
	"github.com/morrowmq/morrow/protocol"
)

// DescribeConfigs, key 32, versions 1-4 (KIP-133, KIP-226, KIP-569).
//
// Every config is described, defaults included: Connect, Schema Registry and Debezium look for theirs and give up when
// one is missing. Broker loggers (type 8) are empty: log levels are set with log.level. Client metrics (type 16) do not exist here.

func (a *API) describeConfigs(_ context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.DescribeConfigsRequest)
	return func(context.Context) (protocol.Answer, error) {
		img := a.store.Image()
		resp := req.ResponseKind().(*kmsg.DescribeConfigsResponse)
		for i := range req.Resources {
			want := &req.Resources[i]
			rr := kmsg.NewDescribeConfigsResponseResource()
			rr.ResourceType, rr.ResourceName = want.ResourceType, want.ResourceName
			entries, err := a.configEntries(img, want.ResourceType, want.ResourceName)
			if err != nil {
				rr.ErrorCode, rr.ErrorMessage = code(err), kmsg.StringPtr(message(err))
			}
			for _, e := range entries {
				if want.ConfigNames == nil || slices.Contains(want.ConfigNames, e.Name) {
					rr.Configs = append(rr.Configs, describedConfig(req, &e))
				}
			}
			resp.Resources = append(resp.Resources, rr)
		}
		return protocol.Answer{Message: resp}, nil
	}
}

// configEntries describes one resource.
func (a *API) configEntries(img *cluster.Image, kind kmsg.ConfigResourceType, name string) ([]config.Entry, error) {
	switch kind {
	case kmsg.ConfigResourceTypeTopic:
		if err := cluster.ValidateTopicName(name); err != nil {
			return nil, err
		}
		t, ok := img.Topic(name)
		if !ok {
			return nil, coded(kerr.UnknownTopicOrPartition, "topic %s does not exist", name)
		}
		return config.DescribeTopic(img.Layers(a.nodeID), img.Overrides(t)), nil
	case kmsg.ConfigResourceTypeBroker:
		if name == "" {
			return dynamicDefaults(img), nil
		}
		id, err := a.brokerResource(name)
		if err != nil {
			return nil, err
		}
		return config.DescribeBroker(img.Layers(id)), nil
	case kmsg.ConfigResourceTypeBrokerLogger:
		_, err := a.brokerResource(name)
		return nil, err
	case kmsg.ConfigResourceTypeGroupConfig:
		if name == "" {
			return nil, coded(kerr.InvalidRequest, "the group's name is empty")
		}
		return config.DescribeGroup(img.Layers(a.nodeID), img.GroupOverrides(name)), nil
	}
	return nil, coded(kerr.InvalidRequest, "configs of resource type %d are not kept here", int8(kind))
}

// dynamicDefaults describes the resource without a name: what was altered for all brokers, and nothing else.
func dynamicDefaults(img *cluster.Image) []config.Entry {
	entries := config.DescribeBroker(config.Layers{Cluster: img.ClusterOverrides()})
	return slices.DeleteFunc(entries, func(e config.Entry) bool {
		_, set := img.ClusterOverrides()[e.Name]
		return !set
	})
}

// brokerResource parses a broker's id; only this broker can tell its own configs.
func (a *API) brokerResource(name string) (int32, error) {
	id, err := strconv.ParseInt(name, 10, 32)
	if err != nil {
		return 0, coded(kerr.InvalidRequest, "broker id %q is not a number", name)
	}
	if int32(id) != a.nodeID {
		return 0, coded(kerr.InvalidRequest, "asked broker %d for the configs of broker %d", a.nodeID, id)
	}
	return int32(id), nil
}

func describedConfig(req *kmsg.DescribeConfigsRequest, e *config.Entry) kmsg.DescribeConfigsResponseResourceConfig {
	c := kmsg.NewDescribeConfigsResponseResourceConfig()
	c.Name, c.Value, c.ReadOnly, c.IsSensitive = e.Name, e.Value, e.ReadOnly, e.Sensitive
	c.Source, c.IsDefault = kmsg.ConfigSource(e.Source), e.Source == config.SourceDefault
	c.ConfigType = kmsg.ConfigType(e.Type)
	if req.IncludeDocumentation {
		c.Documentation = kmsg.StringPtr(e.Doc)
	}
	if req.IncludeSynonyms {
		for _, s := range e.Synonyms {
			rs := kmsg.NewDescribeConfigsResponseResourceConfigConfigSynonym()
			rs.Name, rs.Value, rs.Source = s.Name, s.Value, kmsg.ConfigSource(s.Source)
			c.ConfigSynonyms = append(c.ConfigSynonyms, rs)
		}
	}
	return c
}
