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
// Every config is described, defaults included: Connect, Schema Registry and Debezium look for
// theirs and give up when one is missing. A broker's loggers (type 8) and client metrics (type 16)
// are empty lists: the log level is the broker config log.level, and nobody collects metrics from
// clients. What a request names more than once is described once, and no answer holds more than
// maxConfigEntries.

func (a *API) describeConfigs(_ context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.DescribeConfigsRequest)
	return func(context.Context) (protocol.Answer, error) {
		img := a.store.Image()
		resp := req.ResponseKind().(*kmsg.DescribeConfigsResponse)
		described, entries := make(map[configResource]bool), 0
		for i := range req.Resources {
			want := &req.Resources[i]
			res := configResource{want.ResourceType, want.ResourceName}
			if described[res] {
				continue
			}
			described[res] = true
			rr := kmsg.NewDescribeConfigsResponseResource()
			rr.ResourceType, rr.ResourceName = res.kind, res.name
			err := errConfigEntries
			if entries < maxConfigEntries {
				rr.Configs, err = a.describedConfigs(img, req, want)
			}
			rr.ErrorCode, rr.ErrorMessage = refusal(err)
			entries += len(rr.Configs)
			resp.Resources = append(resp.Resources, rr)
		}
		return protocol.Answer{Message: resp}, nil
	}
}

// maxConfigEntries bounds an answer. Every topic of a large cluster has room in it; a million names
// of groups, which need not exist to have configs, do not.
const maxConfigEntries = 500_000

var errConfigEntries = coded(kerr.InvalidRequest, "the request asks for more than %d configs, expected several requests", maxConfigEntries)

// describedConfigs describes those configs of a resource that are wanted.
func (a *API) describedConfigs(img *cluster.Image, req *kmsg.DescribeConfigsRequest, want *kmsg.DescribeConfigsRequestResource) ([]kmsg.DescribeConfigsResponseResourceConfig, error) {
	entries, err := a.configEntries(img, want.ResourceType, want.ResourceName)
	if err != nil {
		return nil, err
	}
	var configs []kmsg.DescribeConfigsResponseResourceConfig
	for _, e := range entries {
		if len(want.ConfigNames) == 0 || slices.Contains(want.ConfigNames, e.Name) {
			configs = append(configs, describedConfig(req, &e))
		}
	}
	return configs, nil
}

// configEntries describes one resource.
func (a *API) configEntries(img *cluster.Image, kind kmsg.ConfigResourceType, name string) ([]config.Entry, error) {
	switch kind {
	case kmsg.ConfigResourceTypeTopic:
		t, ok := img.Topic(name)
		if !ok {
			return nil, unknownTopic(name)
		}
		return config.DescribeTopic(img.Layers(a.nodeID), img.Overrides(t)), nil
	case kmsg.ConfigResourceTypeBroker:
		if name == "" {
			return config.DescribeAllBrokers(img.ClusterOverrides()), nil
		}
		return config.DescribeBroker(img.Layers(a.nodeID)), a.checkBrokerName(name)
	case kmsg.ConfigResourceTypeBrokerLogger:
		return nil, a.checkBrokerName(name)
	case kmsg.ConfigResourceTypeGroupConfig:
		return config.DescribeGroup(img.Layers(a.nodeID), img.GroupOverrides(name)), checkNamed("group", name)
	case kmsg.ConfigResourceTypeClientMetrics:
		return nil, checkNamed("client metrics subscription", name)
	}
	return nil, coded(kerr.InvalidRequest, "there are no configs of resource type %d", int8(kind))
}

// checkBrokerName requires the id of this broker, because another's configs are known to that one only.
func (a *API) checkBrokerName(name string) error {
	id, err := strconv.ParseInt(name, 10, 32)
	switch {
	case err != nil, name != decimal(int32(id)): // "007" would be described beside "7"
		return coded(kerr.InvalidRequest, "broker id %q is not a number, expected %d", name, a.nodeID)
	case int32(id) != a.nodeID:
		return coded(kerr.InvalidRequest, "configs of broker %d were asked of broker %d", id, a.nodeID)
	}
	return nil
}

func decimal(n int32) string { return strconv.Itoa(int(n)) }

func checkNamed(what, name string) error {
	if name == "" {
		return coded(kerr.InvalidRequest, "the name of the %s must not be empty", what)
	}
	return nil
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
