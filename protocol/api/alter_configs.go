package api

import (
	"context"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/cluster/config"
	"github.com/morrowmq/morrow/protocol"
)

// AlterConfigs, key 33, versions 0-2 (deprecated in Kafka, still called by AKHQ and librdkafka):
// replaces all that is set on a resource.
//
// IncrementalAlterConfigs, key 44, versions 0-1 (KIP-339): changes it step by step.
//
// A change holds when the answer leaves. Each resource is changed as a whole or not at all, and may
// be named once. Topics, the default of all brokers (a broker without a name), this broker and
// groups have configs. A bad value of a broker config is INVALID_CONFIG like any other; Kafka
// answers INVALID_REQUEST and calls that a mistake (KAFKA-13609). The broker's own topics keep the
// configs that what is kept there depends on (cleanup.policy, retention); Kafka has them altered,
// and loses it.

func (a *API) alterConfigs(_ context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.AlterConfigsRequest)
	return func(ctx context.Context) (protocol.Answer, error) {
		changes := make([]configChange, len(req.Resources))
		for i := range req.Resources {
			want := &req.Resources[i]
			changes[i].resource = configResource{want.ResourceType, want.ResourceName}
			changes[i].edit, changes[i].err = replacement(want.Configs)
		}
		a.alter(ctx, r, changes, req.ValidateOnly)
		resp := req.ResponseKind().(*kmsg.AlterConfigsResponse)
		for _, c := range changes {
			rr := kmsg.NewAlterConfigsResponseResource()
			rr.ResourceType, rr.ResourceName = c.resource.kind, c.resource.name
			rr.ErrorCode, rr.ErrorMessage = refusal(c.err)
			resp.Resources = append(resp.Resources, rr)
		}
		return protocol.Answer{Message: resp}, nil
	}
}

func (a *API) incrementalAlterConfigs(_ context.Context, r *protocol.Request) protocol.Reply {
	req := r.Message.(*kmsg.IncrementalAlterConfigsRequest)
	return func(ctx context.Context) (protocol.Answer, error) {
		changes := make([]configChange, len(req.Resources))
		for i := range req.Resources {
			want := &req.Resources[i]
			changes[i].resource = configResource{want.ResourceType, want.ResourceName}
			changes[i].edit, changes[i].err = steps(want.Configs)
		}
		a.alter(ctx, r, changes, req.ValidateOnly)
		resp := req.ResponseKind().(*kmsg.IncrementalAlterConfigsResponse)
		for _, c := range changes {
			rr := kmsg.NewIncrementalAlterConfigsResponseResource()
			rr.ResourceType, rr.ResourceName = c.resource.kind, c.resource.name
			rr.ErrorCode, rr.ErrorMessage = refusal(c.err)
			resp.Resources = append(resp.Resources, rr)
		}
		return protocol.Answer{Message: resp}, nil
	}
}

// configResource is what configs belong to.
type configResource struct {
	kind kmsg.ConfigResourceType
	name string
}

// replacement is the edit an AlterConfigs request asks for.
func replacement(configs []kmsg.AlterConfigsRequestResourceConfig) (cluster.ConfigEdit, error) {
	edit := cluster.ConfigEdit{Replace: make(config.Values, len(configs))}
	var null []string
	for _, c := range configs {
		if c.Value == nil {
			null = append(null, c.Name)
			continue
		}
		edit.Replace[c.Name] = *c.Value
	}
	if err := checkValues(null); err != nil {
		return edit, err
	}
	if len(edit.Replace) < len(configs) {
		return edit, coded(kerr.InvalidRequest, "a config is named more than once")
	}
	return edit, nil
}

// steps are the edit an IncrementalAlterConfigs request asks for.
func steps(configs []kmsg.IncrementalAlterConfigsRequestResourceConfig) (cluster.ConfigEdit, error) {
	edit := cluster.ConfigEdit{Ops: make([]cluster.ConfigOp, len(configs))}
	var null []string
	for i, c := range configs {
		op := &edit.Ops[i]
		op.Kind, op.Name = cluster.OpKind(c.Op), c.Name
		if c.Value != nil {
			op.Value = *c.Value
		} else if op.Kind != cluster.OpDelete {
			null = append(null, c.Name)
		}
	}
	return edit, checkValues(null)
}

// checkValues refuses configs whose value is null.
func checkValues(null []string) error {
	if len(null) == 0 {
		return nil
	}
	return coded(kerr.InvalidRequest, "configs without a value: %s", strings.Join(null, ", "))
}

// configChange is the change of one resource, and what became of it.
type configChange struct {
	resource configResource
	edit     cluster.ConfigEdit
	err      error
}

// alter makes the changes of a request, each by itself, but for those that are in error already.
func (a *API) alter(ctx context.Context, r *protocol.Request, changes []configChange, validateOnly bool) {
	named := make(map[configResource]int, len(changes))
	for i := range changes {
		named[changes[i].resource]++
	}
	var altered changed
	for i := range changes {
		c := &changes[i]
		switch {
		case c.err != nil:
		case named[c.resource] > 1:
			c.err = coded(kerr.InvalidRequest, "the request names the resource more than once")
		default:
			c.err = a.alterOne(ctx, c, validateOnly)
		}
		altered.note(c.String(), c.err)
	}
	if len(altered) > 0 && !validateOnly {
		a.logger.Info("configs altered", altered.by(r)...)
	}
}

func (a *API) alterOne(ctx context.Context, c *configChange, validateOnly bool) error {
	cmd, err := a.configCommand(c.resource, c.edit, validateOnly)
	if err != nil {
		return err
	}
	_, err = a.apply(ctx, cmd)
	return err
}

func (a *API) configCommand(r configResource, edit cluster.ConfigEdit, validateOnly bool) (cluster.Command, error) {
	switch r.kind {
	case kmsg.ConfigResourceTypeTopic:
		return cluster.SetTopicConfig{Topic: r.name, Edit: edit, ValidateOnly: validateOnly}, cluster.ValidateTopicName(r.name)
	case kmsg.ConfigResourceTypeBroker:
		cmd := cluster.SetBrokerConfig{Broker: cluster.AllBrokers, Edit: edit, ValidateOnly: validateOnly}
		if r.name == "" {
			return cmd, nil
		}
		cmd.Broker = a.nodeID
		return cmd, a.checkBrokerName(r.name)
	case kmsg.ConfigResourceTypeGroupConfig:
		return cluster.SetGroupConfig{Group: r.name, Edit: edit, ValidateOnly: validateOnly}, checkNamed("group", r.name)
	case kmsg.ConfigResourceTypeBrokerLogger:
		return nil, coded(kerr.InvalidRequest, "loggers have no levels of their own: set the broker config log.level in file, environment or flags")
	case kmsg.ConfigResourceTypeClientMetrics:
		return nil, coded(kerr.InvalidRequest, "this broker collects no metrics from clients")
	}
	return nil, coded(kerr.InvalidRequest, "there are no configs of resource type %d", int8(r.kind))
}
