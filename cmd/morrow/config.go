package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func newConfig() *cobra.Command {
	var c client
	cmd := newFamily("config", "Show, explain and change the configs of topics, groups and brokers",
		newConfigGet(&c), newConfigSet(&c), newConfigUnset(&c), newConfigDocs(&c))
	cmd.Aliases = []string{"configs"}
	cmd.Long = `Show, explain and change the configs of topics, consumer groups and brokers while they run.

Whose configs is said by "topic NAME", "group NAME", "broker ID" for one broker, or "broker"
for what all brokers share.`
	cmd.Example = `  morrow config get topic orders
  morrow config set topic orders retention.ms=3600000
  morrow config unset topic orders retention.ms
  morrow config set broker log.retention.ms=86400000
  morrow config docs retention.ms`
	c.addTo(cmd)
	return cmd
}

// configRow is one config of a topic, group or broker.
type configRow struct {
	Key      string  `json:"key"`
	Value    *string `json:"value"` // null if it is unset, or secret
	Source   string  `json:"source"`
	ReadOnly bool    `json:"read_only"`
}

func newConfigGet(c *client) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:     "get {topic NAME | group NAME | broker [ID]} [KEY...]",
		Aliases: []string{"describe"},
		Short:   "Show configs with their sources",
		Long: `Show configs with their sources: all that differ from the default, or the given ones.
Without an ID, "broker" is the broker that answers.

With -o json: an array of {key, value, source, read_only}. Sources are Kafka's:
DYNAMIC_TOPIC_CONFIG, GROUP_CONFIG, DYNAMIC_BROKER_CONFIG, DYNAMIC_DEFAULT_BROKER_CONFIG,
STATIC_BROKER_CONFIG (file, environment and flags) and DEFAULT_CONFIG.`,
		Example: `  morrow config get topic orders
  morrow config get topic orders retention.ms segment.bytes
  morrow config get group billing --all
  morrow config get broker 1 --all -o json`,
		Args:                  wantArgs(1, -1),
		DisableFlagsInUseLine: true,
		RunE: c.run(func(ctx context.Context, cmd *cobra.Command, cl *cluster, args []string) error {
			t, keys, err := parseTarget(cmd, args)
			if err != nil {
				return err
			}
			if t, err = t.located(ctx, cl); err != nil {
				return err
			}
			rows, err := t.describe(ctx, cl)
			if err != nil {
				return err
			}
			if err := t.check(rows, keys); err != nil {
				return err
			}
			rows = slices.DeleteFunc(rows, func(r configRow) bool {
				if len(keys) > 0 {
					return !slices.Contains(keys, r.Key)
				}
				return !all && r.Source == kmsg.ConfigSourceDefaultConfig.String()
			})
			return printAs(cmd.OutOrStdout(), c.output, rows, func(w io.Writer) { printConfigs(w, t, rows) })
		}),
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "include configs that have their default")
	cmd.ValidArgsFunction = c.completeTarget(func(s *configScope) cobra.CompletionFunc { return completeKey(s) })
	return cmd
}

func printConfigs(w io.Writer, t configTarget, rows []configRow) {
	if len(rows) == 0 {
		fmt.Fprintf(w, "%s has the default of every config (--all shows them)\n", t)
		return
	}
	row(w, "CONFIG", "VALUE", "SOURCE")
	for _, r := range rows {
		value := ""
		if r.Value != nil {
			value = cmp.Or(*r.Value, `""`)
		}
		row(w, r.Key, value, r.Source)
	}
}

func newConfigSet(c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "set {topic NAME | group NAME | broker [ID]} KEY=VALUE...",
		Short: "Change configs",
		Long: `Change configs, at once and durably. Nothing is changed if any value is refused. Those of a
broker that are read-only are set in its file, environment or flags.

With -o json: an array of {name, result, error}; result is set or failed.`,
		Example: `  morrow config set topic orders retention.ms=3600000 segment.bytes=104857600
  morrow config set group billing consumer.session.timeout.ms=30000
  morrow config set broker log.retention.ms=86400000`,
		Args:                  wantArgs(2, -1),
		DisableFlagsInUseLine: true,
		RunE: c.run(func(ctx context.Context, cmd *cobra.Command, cl *cluster, args []string) error {
			t, pairs, err := parseTarget(cmd, args)
			if err != nil {
				return err
			}
			if len(pairs) == 0 {
				return usageError(cmd, "argument missing")
			}
			set, err := configArgs(pairs)
			if err != nil {
				return err
			}
			changes := make([]configChange, 0, len(set))
			for _, k := range sortedKeys(set) {
				changes = append(changes, configChange{kmsg.IncrementalAlterConfigOpSet, k, set[k]})
			}
			return c.alter(ctx, cmd, cl, t, "set", changes)
		}),
	}
	cmd.ValidArgsFunction = c.completeTarget(completeAssignment)
	return cmd
}

func newConfigUnset(c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "unset {topic NAME | group NAME | broker [ID]} KEY...",
		Short: "Go back to the default of configs",
		Long: `Go back to what holds for configs that are not set.

With -o json: an array of {name, result, error}; result is unset or failed.`,
		Example: `  morrow config unset topic orders retention.ms
  morrow config unset broker log.retention.ms`,
		Args:                  wantArgs(2, -1),
		DisableFlagsInUseLine: true,
		RunE: c.run(func(ctx context.Context, cmd *cobra.Command, cl *cluster, args []string) error {
			t, keys, err := parseTarget(cmd, args)
			if err != nil {
				return err
			}
			if len(keys) == 0 {
				return usageError(cmd, "argument missing")
			}
			changes := make([]configChange, 0, len(keys))
			for _, k := range keys {
				changes = append(changes, configChange{kmsg.IncrementalAlterConfigOpDelete, k, nil})
			}
			return c.alter(ctx, cmd, cl, t, "unset", changes)
		}),
	}
	cmd.ValidArgsFunction = c.completeTarget(completeKey)
	return cmd
}

// alter changes the configs of one target, all or none.
func (c *client) alter(ctx context.Context, cmd *cobra.Command, cl *cluster, t configTarget, what string, changes []configChange) error {
	if t.name != "" {
		var err error
		if t, err = t.located(ctx, cl); err != nil {
			return err
		}
	}
	err := t.alter(ctx, cl, changes)
	var done outcomes
	if err != nil {
		done.add(t.String(), what, err)
		return done.print(cmd, c.output)
	}
	for _, ch := range changes {
		if ch.value != nil {
			done.add(t.String(), fmt.Sprintf("%s %s=%s", what, ch.key, *ch.value), nil)
			continue
		}
		done.add(t.String(), what+" "+ch.key, nil)
	}
	return done.print(cmd, c.output)
}

// check returns an error if one of the keys is no config.
func (t configTarget) check(rows []configRow, keys []string) error {
	var errs []error
	for _, k := range keys {
		if !slices.ContainsFunc(rows, func(r configRow) bool { return r.Key == k }) {
			errs = append(errs, fmt.Errorf("there is no %s config %s", t.kind.name, k))
		}
	}
	return errors.Join(errs...)
}

// located makes sure that there is such a broker, and chooses one if none is named.
func (t configTarget) located(ctx context.Context, cl *cluster) (configTarget, error) {
	if t.kind != brokerScope {
		return t, nil
	}
	brokers, err := cl.ListBrokers(ctx)
	if err != nil {
		return t, err
	}
	ids := brokers.NodeIDs()
	if t.name == "" && len(ids) > 0 {
		t.name = strconv.Itoa(int(ids[0]))
	}
	for _, id := range ids {
		if strconv.Itoa(int(id)) == t.name {
			return t, nil
		}
	}
	return t, fmt.Errorf("there is no broker %s: there is %s", t.name, strings.ReplaceAll(ints(ids), ",", ", "))
}
