package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

func newTopic() *cobra.Command {
	var c client
	cmd := newFamily("topic", "List, describe, create, grow, trim and delete topics",
		newTopicList(&c), newTopicDescribe(&c), newTopicCreate(&c), newTopicGrow(&c), newTopicTrim(&c), newTopicDelete(&c))
	cmd.Aliases = []string{"topics"}
	cmd.Example = `  morrow topic create orders -p 8 --set retention.ms=86400000
  morrow topic list
  morrow topic describe orders`
	c.addTo(cmd)
	return cmd
}

// topicRow is a topic in listings.
type topicRow struct {
	Name       string `json:"name"`
	ID         string `json:"id"`
	Partitions int    `json:"partitions"`
	Replicas   int    `json:"replicas"` // of each partition
	Internal   bool   `json:"internal"`
}

func newTopicRow(t kadm.TopicDetail) topicRow {
	return topicRow{t.Topic, base64.RawURLEncoding.EncodeToString(t.ID[:]), len(t.Partitions), t.Partitions.NumReplicas(), t.IsInternal}
}

func newTopicList(c *client) *cobra.Command {
	var internal bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List topics",
		Long: `List topics.

With -o json: an array of {name, id, partitions, replicas, internal}.`,
		Example: `  morrow topic list
  morrow topic list --internal -o json | jq -r '.[].name'`,
		Aliases: []string{"ls"},
		Args:    wantArgs(0, 0),
		RunE: c.run(func(ctx context.Context, cmd *cobra.Command, cl *cluster, _ []string) error {
			list := cl.ListTopics
			if internal {
				list = cl.ListTopicsWithInternal
			}
			topics, err := list(ctx)
			if err != nil {
				return err
			}
			rows := []topicRow{}
			for _, t := range topics.Sorted() {
				rows = append(rows, newTopicRow(t))
			}
			return printAs(cmd.OutOrStdout(), c.output, rows, func(w io.Writer) {
				row(w, "TOPIC", "PARTITIONS", "REPLICAS", "ID")
				for _, r := range rows {
					row(w, r.Name, r.Partitions, r.Replicas, r.ID)
				}
			})
		}),
	}
	cmd.Flags().BoolVar(&internal, "internal", false, "include internal topics: committed offsets, schedules")
	return cmd
}

func newTopicCreate(c *client) *cobra.Command {
	var partitions int32
	var replicas int16
	var configs []string
	var ifNotExists bool
	cmd := &cobra.Command{
		Use:   "create TOPIC...",
		Short: "Create topics",
		Long: `Create topics. Their configs are those of "morrow config docs"; what is not set follows
the broker.

With -o json: an array of {name, result, error}; result is created, unchanged or failed.`,
		Example: `  morrow topic create orders -p 8 --set retention.ms=86400000 --set remote.storage.enable=true
  morrow topic create --if-not-exists orders payments`,
		Args: wantArgs(1, -1),
		RunE: c.run(func(ctx context.Context, cmd *cobra.Command, cl *cluster, args []string) error {
			set, err := configArgs(configs)
			if err != nil {
				return err
			}
			created, err := cl.CreateTopics(ctx, partitions, replicas, set, args...)
			if err != nil {
				return err
			}
			var done outcomes
			for _, name := range args {
				t := created[name]
				if ifNotExists && errors.Is(t.Err, kerr.TopicAlreadyExists) {
					done.add(name, "unchanged", nil)
					continue
				}
				done.add(name, "created", explained(t.Err, t.ErrMessage))
			}
			return done.print(cmd, c.output)
		}),
	}
	f := cmd.Flags()
	f.Int32VarP(&partitions, "partitions", "p", -1, "`number` of partitions; -1 is the broker's default")
	f.Int16VarP(&replicas, "replicas", "r", -1, "replication `factor`; -1 is the broker's default")
	f.StringArrayVar(&configs, "set", nil, "config as `key=value`, may be repeated")
	f.BoolVar(&ifNotExists, "if-not-exists", false, "leave a topic that exists as it is")
	completeFlags(cmd, map[string]cobra.CompletionFunc{"partitions": cobra.NoFileCompletions, "replicas": cobra.NoFileCompletions, "set": completeAssignment(topicScope)})
	return cmd
}

func newTopicGrow(c *client) *cobra.Command {
	var to int
	cmd := &cobra.Command{
		Use:   "grow TOPIC... --to N",
		Short: "Raise the number of partitions",
		Long: `Raise the number of partitions. It can never be lowered, and records with the same key
may then go to another partition than before.

With -o json: an array of {name, result, error}; result is grown or failed.`,
		Example:               "  morrow topic grow orders --to 16",
		Args:                  wantArgs(1, -1),
		ValidArgsFunction:     c.complete(0, -1, topicNames),
		DisableFlagsInUseLine: true,
		RunE: c.run(func(ctx context.Context, cmd *cobra.Command, cl *cluster, args []string) error {
			grown, err := cl.UpdatePartitions(ctx, to, args...)
			if err != nil {
				return err
			}
			var done outcomes
			for _, name := range args {
				t := grown[name]
				done.add(name, "grown", explained(t.Err, t.ErrMessage))
			}
			return done.print(cmd, c.output)
		}),
	}
	cmd.Flags().IntVar(&to, "to", 0, "new `number` of partitions")
	needFlags(cmd, "to")
	completeFlags(cmd, map[string]cobra.CompletionFunc{"to": cobra.NoFileCompletions})
	return cmd
}

func newTopicDelete(c *client) *cobra.Command {
	var ifExists bool
	cmd := &cobra.Command{
		Use:   "delete TOPIC...",
		Short: "Delete topics with all they own: records, schedule, remote objects, offsets",
		Long: `Delete topics with all they own: records, pending delayed records, objects in the tier,
committed offsets. A new topic of the same name has nothing of the old one.

With -o json: an array of {name, result, error}; result is deleted, unchanged or failed.`,
		Example: `  morrow topic delete orders
  morrow topic delete --if-exists orders payments`,
		Args:              wantArgs(1, -1),
		ValidArgsFunction: c.complete(0, -1, topicNames),
		RunE: c.run(func(ctx context.Context, cmd *cobra.Command, cl *cluster, args []string) error {
			deleted, err := cl.DeleteTopics(ctx, args...)
			if err != nil {
				return err
			}
			var done outcomes
			for _, name := range args {
				t := deleted[name]
				if ifExists && errors.Is(t.Err, kerr.UnknownTopicOrPartition) {
					done.add(name, "unchanged", nil)
					continue
				}
				done.add(name, "deleted", explained(t.Err, t.ErrMessage))
			}
			return done.print(cmd, c.output)
		}),
	}
	cmd.Flags().BoolVar(&ifExists, "if-exists", false, "a topic that does not exist is no error")
	return cmd
}

func newTopicTrim(c *client) *cobra.Command {
	var partition int32
	var before string
	cmd := &cobra.Command{
		Use:   "trim TOPIC --partition N --before OFFSET",
		Short: "Delete the oldest records of a partition",
		Long: `Delete the records of a partition that lie below an offset, at once and for good. Delayed
records that are pending stay, wherever they lie.

With -o json: an array of {name, result, error}; result is the new first offset, or failed.`,
		Example: `  morrow topic trim orders --partition 3 --before 1000
  morrow topic trim orders --partition 3 --before end`,
		Args:                  wantArgs(1, 1),
		ValidArgsFunction:     c.complete(0, 0, topicNames),
		DisableFlagsInUseLine: true,
		RunE: c.run(func(ctx context.Context, cmd *cobra.Command, cl *cluster, args []string) error {
			offset, err := parseTrim(before)
			if err != nil {
				return err
			}
			topics, err := findTopics(ctx, cl, args)
			if err != nil {
				return err
			}
			if _, ok := topics[args[0]].Partitions[partition]; !ok {
				return fmt.Errorf("topic %s has no partition %d", args[0], partition)
			}
			var os kadm.Offsets
			os.Add(kadm.Offset{Topic: args[0], Partition: partition, At: offset})
			trimmed, err := cl.DeleteRecords(ctx, os)
			if err != nil {
				return err
			}
			var done outcomes
			for _, t := range trimmed.Sorted() {
				done.add(fmt.Sprintf("%s-%d", t.Topic, t.Partition), fmt.Sprintf("begins at offset %d", t.LowWatermark), explained(t.Err, ""))
			}
			return done.print(cmd, c.output)
		}),
	}
	cmd.Flags().Int32Var(&partition, "partition", 0, "`number` of the partition")
	cmd.Flags().StringVar(&before, "before", "", "first `offset` to keep, or end to keep nothing")
	needFlags(cmd, "partition", "before")
	completeFlags(cmd, map[string]cobra.CompletionFunc{
		"partition": cobra.NoFileCompletions,
		"before":    cobra.FixedCompletions([]string{"end"}, cobra.ShellCompDirectiveNoFileComp),
	})
	return cmd
}

// parseTrim reads the offset to trim before; -1 is Kafka's spelling of the end.
func parseTrim(s string) (int64, error) {
	if s == "end" {
		return -1, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < -1 {
		return 0, fmt.Errorf("invalid value %q for --before: must be an offset or end", s)
	}
	return n, nil
}

// findTopics describes topics. The error names those that do not exist.
func findTopics(ctx context.Context, cl *cluster, names []string) (kadm.TopicDetails, error) {
	topics, err := cl.ListTopicsWithInternal(ctx, names...)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, name := range names {
		t, ok := topics[name]
		switch {
		case !ok || errors.Is(t.Err, kerr.UnknownTopicOrPartition):
			errs = append(errs, fmt.Errorf("topic %s does not exist", name))
		case t.Err != nil:
			errs = append(errs, fmt.Errorf("topic %s: %w", name, explained(t.Err, "")))
		}
	}
	return topics, errors.Join(errs...)
}

// completeFlags says how the values of flags are completed.
func completeFlags(cmd *cobra.Command, by map[string]cobra.CompletionFunc) {
	for flag, f := range by {
		if err := cmd.RegisterFlagCompletionFunc(flag, f); err != nil {
			panic(err) // no such flag
		}
	}
}
