package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

func newConfig() *cobra.Command {
	var c client
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Show and change the configs of topics and brokers at run time",
		Example: `  morrow config get topic orders
  morrow config set topic orders retention.ms=3600000
  morrow config unset topic orders retention.ms
  morrow config set broker log.retention.ms=86400000`,
	}
	c.addTo(cmd)
	cmd.AddCommand(newConfigGet(&c), newConfigSet(&c), newConfigUnset(&c))
	return cmd
}

type configRow struct {
	Key    string  `json:"key"`
	Value  *string `json:"value"`
	Source string  `json:"source"`
}

func newConfigGet(c *client) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:       "get topic NAME | broker [ID]",
		Short:     "Show configs with their sources",
		Args:      cobra.RangeArgs(1, 2),
		ValidArgs: []string{"topic", "broker"},
		RunE: c.withAdmin(func(ctx context.Context, cmd *cobra.Command, adm *kadm.Client, args []string) error {
			t, err := parseTarget(args)
			if err != nil {
				return err
			}
			rcs, err := t.describe(ctx, adm)
			if err != nil {
				return err
			}
			rows := []configRow{}
			for _, rc := range rcs {
				if rc.Err != nil {
					return fmt.Errorf("%s: %w", rc.Name, withMessage(rc.Err, rc.ErrMessage))
				}
				for _, cfg := range rc.Configs {
					if all || cfg.Source.String() != "DEFAULT_CONFIG" {
						rows = append(rows, configRow{cfg.Key, cfg.Value, cfg.Source.String()})
					}
				}
			}
			return printAs(cmd.OutOrStdout(), c.output, rows, func(w io.Writer) {
				fmt.Fprintln(w, "KEY\tVALUE\tSOURCE")
				for _, r := range rows {
					fmt.Fprintf(w, "%s\t%s\t%s\n", r.Key, shown(r.Value), r.Source)
				}
			})
		}),
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "include configs that have their default")
	return cmd
}

func shown(v *string) string {
	if v == nil {
		return "-"
	}
	return *v
}

func newConfigSet(c *client) *cobra.Command {
	return &cobra.Command{
		Use:   "set topic NAME KEY=VALUE... | broker [ID] KEY=VALUE...",
		Short: "Change configs; nothing is changed if any value is refused",
		Args:  cobra.MinimumNArgs(2),
		RunE: c.withAdmin(func(ctx context.Context, cmd *cobra.Command, adm *kadm.Client, args []string) error {
			t, rest, err := splitTarget(args)
			if err != nil {
				return err
			}
			set, err := configArgs(rest)
			if err != nil {
				return err
			}
			var alters []kadm.AlterConfig
			for _, k := range sortedKeys(set) {
				alters = append(alters, kadm.AlterConfig{Op: kadm.SetConfig, Name: k, Value: set[k]})
			}
			return c.alter(ctx, cmd, adm, t, "set", alters)
		}),
	}
}

func newConfigUnset(c *client) *cobra.Command {
	return &cobra.Command{
		Use:   "unset topic NAME KEY... | broker [ID] KEY...",
		Short: "Go back to the default of configs",
		Args:  cobra.MinimumNArgs(2),
		RunE: c.withAdmin(func(ctx context.Context, cmd *cobra.Command, adm *kadm.Client, args []string) error {
			t, keys, err := splitTarget(args)
			if err != nil {
				return err
			}
			var alters []kadm.AlterConfig
			for _, k := range keys {
				alters = append(alters, kadm.AlterConfig{Op: kadm.DeleteConfig, Name: k})
			}
			return c.alter(ctx, cmd, adm, t, "unset", alters)
		}),
	}
}

func (c *client) alter(ctx context.Context, cmd *cobra.Command, adm *kadm.Client, t configTarget, done string, alters []kadm.AlterConfig) error {
	altered, err := t.alter(ctx, adm, alters)
	if err != nil {
		return err
	}
	return c.report(cmd, done, len(altered), func(yield func(string, error)) {
		for _, a := range altered {
			yield(t.String(), withMessage(a.Err, a.ErrMessage))
		}
	})
}

// configTarget is whose configs: a topic's, one broker's, or (id "") the default of all brokers.
type configTarget struct {
	kind, name string
}

func (t configTarget) String() string {
	if t.name == "" {
		return t.kind + " (all)"
	}
	return t.kind + " " + t.name
}

func parseTarget(args []string) (configTarget, error) {
	t, rest, err := splitTarget(args)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("unexpected argument %q", rest[0])
	}
	return t, err
}

func splitTarget(args []string) (t configTarget, rest []string, err error) {
	switch {
	case args[0] == "topic" && len(args) > 1:
		return configTarget{"topic", args[1]}, args[2:], nil
	case args[0] == "topic":
		return t, nil, fmt.Errorf("which topic? say: topic NAME")
	case args[0] == "broker":
		if len(args) > 1 {
			if _, err := strconv.ParseInt(args[1], 10, 32); err == nil {
				return configTarget{"broker", args[1]}, args[2:], nil
			}
		}
		return configTarget{"broker", ""}, args[1:], nil
	}
	return t, nil, fmt.Errorf("invalid target %q: must be topic or broker", args[0])
}

func (t configTarget) broker() []int32 {
	if t.name == "" {
		return nil
	}
	id, _ := strconv.ParseInt(t.name, 10, 32) // checked by splitTarget
	return []int32{int32(id)}
}

func (t configTarget) describe(ctx context.Context, adm *kadm.Client) (kadm.ResourceConfigs, error) {
	if t.kind == "topic" {
		return adm.DescribeTopicConfigs(ctx, t.name)
	}
	ids := t.broker()
	if ids == nil {
		brokers, err := adm.ListBrokers(ctx)
		if err != nil {
			return nil, err
		}
		ids = brokers.NodeIDs()[:1]
	}
	return adm.DescribeBrokerConfigs(ctx, ids...)
}

func (t configTarget) alter(ctx context.Context, adm *kadm.Client, alters []kadm.AlterConfig) (kadm.AlterConfigsResponses, error) {
	if t.kind == "topic" {
		return adm.AlterTopicConfigs(ctx, alters, t.name)
	}
	return adm.AlterBrokerConfigs(ctx, alters, t.broker()...)
}

// parseTime reads an RFC 3339 time or epoch milliseconds.
func parseTime(s string) (ms int64, err error) {
	if ms, err := strconv.ParseInt(s, 10, 64); err == nil {
		return ms, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return 0, err
	}
	return t.UnixMilli(), nil
}
