package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/cluster/config"
)

// configScope is a kind of thing that has configs.
type configScope struct {
	name     string
	resource kmsg.ConfigResourceType
	defs     func() []config.Def
	list     func(context.Context, *cluster) ([]string, error) // what there is of that kind
}

var (
	topicScope  = &configScope{"topic", kmsg.ConfigResourceTypeTopic, config.Topic, topicNames}
	groupScope  = &configScope{"group", kmsg.ConfigResourceTypeGroupConfig, config.Group, groupNames}
	brokerScope = &configScope{"broker", kmsg.ConfigResourceTypeBroker, config.Broker, brokerNames}

	configScopes = []*configScope{topicScope, groupScope, brokerScope}
)

func brokerNames(ctx context.Context, cl *cluster) ([]string, error) {
	brokers, err := cl.ListBrokers(ctx)
	var names []string
	for _, id := range brokers.NodeIDs() {
		names = append(names, strconv.Itoa(int(id)))
	}
	return names, err
}

// configTarget is whose configs: a topic's, a group's, one broker's, or (name "") those that all brokers share.
type configTarget struct {
	kind *configScope
	name string
}

func (t configTarget) String() string {
	if t.name == "" {
		return "all " + t.kind.name + "s"
	}
	return t.kind.name + " " + t.name
}

// parseTarget takes the target off the arguments. Keys of configs have letters, ids of brokers have none.
func parseTarget(cmd *cobra.Command, args []string) (t configTarget, rest []string, err error) {
	for _, s := range configScopes {
		if s.name == args[0] {
			t.kind = s
		}
	}
	switch {
	case t.kind == nil:
		return t, nil, fmt.Errorf("invalid target %q: must be topic, group or broker", args[0])
	case t.kind == brokerScope:
		if len(args) > 1 {
			if _, err := strconv.ParseInt(args[1], 10, 32); err == nil {
				t.name = args[1]
				return t, args[2:], nil
			}
		}
		return t, args[1:], nil
	case len(args) < 2:
		return t, nil, usageError(cmd, "name of the "+t.kind.name+" missing")
	}
	t.name = args[1]
	return t, args[2:], nil
}

func (t configTarget) describe(ctx context.Context, cl *cluster) ([]configRow, error) {
	req := kmsg.NewPtrDescribeConfigsRequest()
	r := kmsg.NewDescribeConfigsRequestResource()
	r.ResourceType, r.ResourceName = t.kind.resource, t.name
	req.Resources = append(req.Resources, r)
	resp, err := req.RequestWith(ctx, cl.kgo)
	if err != nil {
		return nil, err
	}
	rows := []configRow{}
	for _, r := range resp.Resources {
		if err := refused(t, r.ErrorCode, r.ErrorMessage); err != nil {
			return nil, err
		}
		for _, c := range r.Configs {
			rows = append(rows, configRow{c.Name, c.Value, c.Source.String(), c.ReadOnly})
		}
	}
	slices.SortFunc(rows, func(a, b configRow) int { return strings.Compare(a.Key, b.Key) })
	return rows, nil
}

// configChange is a config to set or, without a value, to unset.
type configChange struct {
	op    kmsg.IncrementalAlterConfigOp
	key   string
	value *string
}

func (t configTarget) alter(ctx context.Context, cl *cluster, changes []configChange) error {
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = t.kind.resource, t.name
	for _, ch := range changes {
		c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		c.Op, c.Name, c.Value = ch.op, ch.key, ch.value
		r.Configs = append(r.Configs, c)
	}
	req.Resources = append(req.Resources, r)
	resp, err := req.RequestWith(ctx, cl.kgo)
	if err != nil {
		return err
	}
	for _, r := range resp.Resources {
		if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
			return explained(err, unptr(r.ErrorMessage))
		}
	}
	return nil
}

// refused is the error that a broker answered for a target, nil if there is none.
func refused(t configTarget, code int16, message *string) error {
	err := kerr.ErrorForCode(code)
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", t, explained(err, unptr(message)))
}

func unptr(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// completeTarget completes the words that say whose configs, and what follows them with next.
func (c *client) completeTarget(next func(*configScope) cobra.CompletionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return []string{"topic", "group", "broker"}, cobra.ShellCompDirectiveNoFileComp
		}
		t, rest, err := parseTarget(cmd, append(slices.Clone(args), prefix))
		switch {
		case err != nil:
			return nil, cobra.ShellCompDirectiveNoFileComp
		case len(args) == 1 && t.kind != brokerScope:
			return c.complete(1, 1, t.kind.list)(cmd, args, prefix)
		case len(args) == 1:
			ids, _ := c.complete(1, 1, t.kind.list)(cmd, args, prefix)
			keys, directive := next(t.kind)(cmd, nil, prefix)
			return append(ids, keys...), directive
		}
		return next(t.kind)(cmd, rest[:max(0, len(rest)-1)], prefix)
	}
}

// completeKey completes names of configs, with what they mean.
func completeKey(s *configScope) cobra.CompletionFunc { return completeConfig(s, "") }

// completeAssignment completes key=value up to the value.
func completeAssignment(s *configScope) cobra.CompletionFunc { return completeConfig(s, "=") }

func completeConfig(s *configScope, suffix string) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		directive := cobra.ShellCompDirectiveNoFileComp
		if suffix != "" {
			directive |= cobra.ShellCompDirectiveNoSpace
		}
		var found []string
		for _, d := range s.defs() {
			given := slices.ContainsFunc(args, func(a string) bool { return a == d.Name || strings.HasPrefix(a, d.Name+"=") })
			if strings.HasPrefix(d.Name, prefix) && !given && !d.Internal {
				sentence, _, _ := strings.Cut(d.Doc, ". ")
				found = append(found, cobra.CompletionWithDesc(d.Name+suffix, strings.TrimSuffix(sentence, ".")))
			}
		}
		return found, directive
	}
}
