package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

func newTopic() *cobra.Command {
	var c client
	cmd := &cobra.Command{Use: "topic", Aliases: []string{"topics"}, Short: "List, describe, create, grow and delete topics"}
	c.addTo(cmd)
	cmd.AddCommand(newTopicList(&c), newTopicDescribe(&c), newTopicCreate(&c), newTopicGrow(&c), newTopicDelete(&c), newTopicTrim(&c))
	return cmd
}

// topicRow is a topic in listings.
type topicRow struct {
	Name       string `json:"name"`
	ID         string `json:"id"`
	Partitions int    `json:"partitions"`
	Internal   bool   `json:"internal,omitempty"`
}

func newTopicList(c *client) *cobra.Command {
	var internal bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List topics",
		Args:  cobra.NoArgs,
		RunE: c.withAdmin(func(ctx context.Context, cmd *cobra.Command, adm *kadm.Client, _ []string) error {
			list := adm.ListTopics
			if internal {
				list = adm.ListTopicsWithInternal
			}
			topics, err := list(ctx)
			if err != nil {
				return err
			}
			rows := []topicRow{}
			for _, t := range topics.Sorted() {
				rows = append(rows, topicRow{t.Topic, t.ID.String(), len(t.Partitions), t.IsInternal})
			}
			return printAs(cmd.OutOrStdout(), c.output, rows, func(w io.Writer) {
				fmt.Fprintln(w, "NAME\tPARTITIONS\tID")
				for _, r := range rows {
					fmt.Fprintf(w, "%s\t%d\t%s\n", r.Name, r.Partitions, r.ID)
				}
			})
		}),
	}
	cmd.Flags().BoolVar(&internal, "internal", false, "include internal topics")
	return cmd
}

// partitionRow is a partition of a described topic.
type partitionRow struct {
	Partition int32   `json:"partition"`
	Leader    int32   `json:"leader"`
	Replicas  []int32 `json:"replicas"`
	ISR       []int32 `json:"isr"`
	Start     int64   `json:"start"`
	End       int64   `json:"end"`
	Bytes     int64   `json:"bytes"`
	Error     string  `json:"error,omitempty"`
}

// topicDescription is a topic with its partitions and overridden configs.
type topicDescription struct {
	topicRow
	Configs       map[string]string `json:"configs"`
	PartitionRows []partitionRow    `json:"partition_details"`
}

func newTopicDescribe(c *client) *cobra.Command {
	return &cobra.Command{
		Use:   "describe TOPIC...",
		Short: "Show partitions, offsets, sizes and changed configs of topics",
		Args:  cobra.MinimumNArgs(1),
		RunE: c.withAdmin(func(ctx context.Context, cmd *cobra.Command, adm *kadm.Client, args []string) error {
			var out []topicDescription
			topics, err := adm.ListTopicsWithInternal(ctx, args...)
			if err != nil {
				return err
			}
			for _, name := range args {
				if err := topics[name].Err; err != nil {
					return fmt.Errorf("topic %s: %w", name, err)
				}
			}
			starts, err := adm.ListStartOffsets(ctx, args...)
			if err != nil {
				return err
			}
			ends, err := adm.ListEndOffsets(ctx, args...)
			if err != nil {
				return err
			}
			dirs, err := adm.DescribeAllLogDirs(ctx, topics.TopicsSet())
			if err != nil {
				return err
			}
			configs, err := adm.DescribeTopicConfigs(ctx, args...)
			if err != nil {
				return err
			}
			for _, t := range topics.Sorted() {
				d := topicDescription{topicRow: topicRow{t.Topic, t.ID.String(), len(t.Partitions), t.IsInternal}, Configs: map[string]string{}}
				if rc, err := configs.On(t.Topic, nil); err == nil {
					for _, cfg := range rc.Configs {
						if cfg.Source.String() == "DYNAMIC_TOPIC_CONFIG" {
							d.Configs[cfg.Key] = cfg.MaybeValue()
						}
					}
				}
				for _, p := range t.Partitions.Sorted() {
					d.PartitionRows = append(d.PartitionRows, describePartition(p, starts, ends, dirs))
				}
				out = append(out, d)
			}
			return printAs(cmd.OutOrStdout(), c.output, out, func(w io.Writer) { printTopics(w, out) })
		}),
	}
}

func describePartition(p kadm.PartitionDetail, starts, ends kadm.ListedOffsets, dirs kadm.DescribedAllLogDirs) partitionRow {
	r := partitionRow{Partition: p.Partition, Leader: p.Leader, Replicas: p.Replicas, ISR: p.ISR, Start: -1, End: -1}
	if o, ok := starts.Lookup(p.Topic, p.Partition); ok {
		r.Start = o.Offset
	}
	if o, ok := ends.Lookup(p.Topic, p.Partition); ok {
		r.End = o.Offset
	}
	dirs.Each(func(d kadm.DescribedLogDir) {
		if in, ok := d.Topics.Lookup(p.Topic, p.Partition); ok {
			r.Bytes = max(r.Bytes, in.Size)
		}
	})
	if p.Err != nil {
		r.Error = p.Err.Error()
	}
	return r
}

func printTopics(w io.Writer, topics []topicDescription) {
	for i, t := range topics {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "topic:\t%s\nid:\t%s\n", t.Name, t.ID)
		for _, k := range sortedKeys(t.Configs) {
			fmt.Fprintf(w, "config:\t%s=%s\n", k, t.Configs[k])
		}
		fmt.Fprintln(w, "\nPARTITION\tLEADER\tREPLICAS\tISR\tSTART\tEND\tBYTES\tERROR")
		for _, p := range t.PartitionRows {
			fmt.Fprintf(w, "%d\t%d\t%s\t%s\t%d\t%d\t%d\t%s\n", p.Partition, p.Leader, ints(p.Replicas), ints(p.ISR), p.Start, p.End, p.Bytes, p.Error)
		}
	}
}

func newTopicCreate(c *client) *cobra.Command {
	var partitions int32
	var replicas int16
	var configs []string
	cmd := &cobra.Command{
		Use:     "create TOPIC...",
		Short:   "Create topics",
		Example: "  morrow topic create orders -p 8 --set retention.ms=86400000 --set remote.storage.enable=true",
		Args:    cobra.MinimumNArgs(1),
		RunE: c.withAdmin(func(ctx context.Context, cmd *cobra.Command, adm *kadm.Client, args []string) error {
			set, err := configArgs(configs)
			if err != nil {
				return err
			}
			created, err := adm.CreateTopics(ctx, partitions, replicas, set, args...)
			if err != nil {
				return err
			}
			return c.report(cmd, "created", len(created), func(yield func(name string, err error)) {
				for _, t := range created.Sorted() {
					yield(t.Topic, withMessage(t.Err, t.ErrMessage))
				}
			})
		}),
	}
	cmd.Flags().Int32VarP(&partitions, "partitions", "p", -1, "number of partitions; -1 is the broker's default")
	cmd.Flags().Int16VarP(&replicas, "replicas", "r", -1, "replication factor; -1 is the broker's default")
	cmd.Flags().StringArrayVar(&configs, "set", nil, "config as key=value, may be repeated")
	return cmd
}

func newTopicGrow(c *client) *cobra.Command {
	var to int
	cmd := &cobra.Command{
		Use:   "grow TOPIC... --to N",
		Short: "Raise the number of partitions",
		Args:  cobra.MinimumNArgs(1),
		RunE: c.withAdmin(func(ctx context.Context, cmd *cobra.Command, adm *kadm.Client, args []string) error {
			grown, err := adm.UpdatePartitions(ctx, to, args...)
			if err != nil {
				return err
			}
			return c.report(cmd, "grown", len(grown), func(yield func(string, error)) {
				for _, t := range grown.Sorted() {
					yield(t.Topic, withMessage(t.Err, t.ErrMessage))
				}
			})
		}),
	}
	cmd.Flags().IntVar(&to, "to", 0, "new number of partitions")
	_ = cmd.MarkFlagRequired("to")
	return cmd
}

func newTopicDelete(c *client) *cobra.Command {
	return &cobra.Command{
		Use:   "delete TOPIC...",
		Short: "Delete topics with everything they own: log, schedule, remote objects, offsets",
		Args:  cobra.MinimumNArgs(1),
		RunE: c.withAdmin(func(ctx context.Context, cmd *cobra.Command, adm *kadm.Client, args []string) error {
			deleted, err := adm.DeleteTopics(ctx, args...)
			if err != nil {
				return err
			}
			return c.report(cmd, "deleted", len(deleted), func(yield func(string, error)) {
				for _, t := range deleted.Sorted() {
					yield(t.Topic, withMessage(t.Err, t.ErrMessage))
				}
			})
		}),
	}
}

func newTopicTrim(c *client) *cobra.Command {
	var partition int32
	var offset int64
	cmd := &cobra.Command{
		Use:   "trim TOPIC --partition P --before OFFSET",
		Short: "Delete the records below an offset (DeleteRecords); -1 deletes all. Pending delayed records stay",
		Args:  cobra.ExactArgs(1),
		RunE: c.withAdmin(func(ctx context.Context, cmd *cobra.Command, adm *kadm.Client, args []string) error {
			var os kadm.Offsets
			os.Add(kadm.Offset{Topic: args[0], Partition: partition, At: offset})
			trimmed, err := adm.DeleteRecords(ctx, os)
			if err != nil {
				return err
			}
			return c.report(cmd, "trimmed", 1, func(yield func(string, error)) {
				for _, t := range trimmed.Sorted() {
					yield(fmt.Sprintf("%s-%d to offset %d", t.Topic, t.Partition, t.LowWatermark), t.Err)
				}
			})
		}),
	}
	cmd.Flags().Int32Var(&partition, "partition", 0, "partition")
	cmd.Flags().Int64Var(&offset, "before", 0, "first offset to keep; -1 keeps nothing")
	_ = cmd.MarkFlagRequired("before")
	return cmd
}

// withAdmin runs a command with an admin client and the client's timeout.
func (c *client) withAdmin(run func(context.Context, *cobra.Command, *kadm.Client, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		adm, err := c.admin()
		if err != nil {
			return err
		}
		defer adm.Close()
		ctx, cancel := context.WithTimeout(cmd.Context(), c.timeout)
		defer cancel()
		if err := run(ctx, cmd, adm, args); err != nil {
			if ctx.Err() != nil && cmd.Context().Err() == nil {
				return fmt.Errorf("no answer from %s within %s: %w", strings.Join(c.bootstrap, ","), c.timeout, err)
			}
			return err
		}
		return nil
	}
}

// outcome is what became of one of several things a command was asked to change.
type outcome struct {
	Name   string `json:"name"`
	Result string `json:"result"`
	Error  string `json:"error,omitempty"`
}

// report prints one line per thing changed and fails if any could not be.
func (c *client) report(cmd *cobra.Command, done string, n int, each func(yield func(name string, err error))) error {
	rows := make([]outcome, 0, n)
	failed := false
	each(func(name string, err error) {
		r := outcome{Name: name, Result: done}
		if err != nil {
			r.Result, r.Error = "failed", err.Error()
			failed = true
		}
		rows = append(rows, r)
	})
	err := printAs(cmd.OutOrStdout(), c.output, rows, func(w io.Writer) {
		for _, r := range rows {
			if r.Error != "" {
				fmt.Fprintf(cmd.ErrOrStderr(), "morrow: %s: %s\n", r.Name, r.Error)
				continue
			}
			fmt.Fprintf(w, "%s %s\n", r.Result, r.Name)
		}
	})
	if err == nil && failed {
		err = errReported
	}
	return err
}

// withMessage adds the broker's own words to an error code.
func withMessage(err error, message string) error {
	if err == nil || message == "" {
		return err
	}
	return fmt.Errorf("%w (%s)", err, message)
}

func ints(ns []int32) string {
	parts := make([]string, len(ns))
	for i, n := range ns {
		parts[i] = fmt.Sprint(n)
	}
	return strings.Join(parts, ",")
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
