package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/morrowmq/morrow/log"
)

// topicDescription is a topic with its partitions and what was configured for it.
type topicDescription struct {
	topicRow
	Configs map[string]string `json:"configs"` // those set on the topic
	Details []partitionRow    `json:"partition_details"`
}

// partitionRow is a partition of a described topic. Numbers that are not known are -1.
type partitionRow struct {
	Partition int32   `json:"partition"`
	Leader    int32   `json:"leader"`
	Epoch     int32   `json:"leader_epoch"`
	Replicas  []int32 `json:"replicas"`
	ISR       []int32 `json:"isr"`
	Start     int64   `json:"start"`  // offset of the first record
	End       int64   `json:"end"`    // offset after the last one
	Bytes     int64   `json:"bytes"`  // on the leader's disk
	Remote    int64   `json:"remote"` // in the tier
	Directory string  `json:"directory,omitempty"`
	Error     string  `json:"error,omitempty"`
}

func newTopicDescribe(c *client) *cobra.Command {
	return &cobra.Command{
		Use:   "describe TOPIC...",
		Short: "Show partitions, offsets, sizes, changed configs and log directories of topics",
		Long: `Show partitions, offsets, sizes, changed configs and log directories of topics.

START is the offset of the first record and END the one after the last, as consumers see
them: delayed records that are not due yet are no part of it. BYTES is what the partition
takes on its leader's disk, delayed records included, and REMOTE what it takes in the
tier, if it is tiered; what was uploaded and is still on the disk is in both. The log
directories, one for each partition, hold the files that "morrow log check" and "morrow
log dump" read.

With -o json: an array of {name, id, partitions, replicas, internal, configs,
partition_details: [{partition, leader, leader_epoch, replicas, isr, start, end, bytes,
remote, directory, error}]}. A number that is not known, or does not apply, is -1.`,
		Example: `  morrow topic describe orders
  morrow topic describe orders -o json | jq '.[0].partition_details[] | .end - .start'`,
		Args:              wantArgs(1, -1),
		ValidArgsFunction: c.complete(0, -1, topicNames),
		RunE: c.run(func(ctx context.Context, cmd *cobra.Command, cl *cluster, args []string) error {
			out, err := describeTopics(ctx, cl, args)
			if err != nil {
				return err
			}
			return printAs(cmd.OutOrStdout(), c.output, out, func(w io.Writer) { printTopics(w, out) })
		}),
	}
}

func describeTopics(ctx context.Context, cl *cluster, names []string) ([]topicDescription, error) {
	topics, err := findTopics(ctx, cl, names)
	if err != nil {
		return nil, err
	}
	starts, err := cl.ListStartOffsets(ctx, names...)
	if err != nil {
		return nil, err
	}
	ends, err := cl.ListEndOffsets(ctx, names...)
	if err != nil {
		return nil, err
	}
	dirs, err := describeLogDirs(ctx, cl, topics.TopicsSet())
	if err != nil {
		return nil, err
	}
	configs, err := cl.DescribeTopicConfigs(ctx, names...)
	if err != nil {
		return nil, err
	}
	out := []topicDescription{}
	for _, t := range topics.Sorted() {
		d := topicDescription{topicRow: newTopicRow(t), Configs: map[string]string{}, Details: []partitionRow{}}
		rc, err := configs.On(t.Topic, nil)
		if err != nil {
			return nil, fmt.Errorf("topic %s: %w", t.Topic, explained(err, rc.ErrMessage))
		}
		for _, cfg := range rc.Configs {
			if cfg.Source == kmsg.ConfigSourceDynamicTopicConfig {
				d.Configs[cfg.Key] = cfg.MaybeValue()
			}
		}
		for _, p := range t.Partitions.Sorted() {
			d.Details = append(d.Details, describePartition(t.ID, p, starts, ends, dirs))
		}
		out = append(out, d)
	}
	return out, nil
}

func describePartition(id kadm.TopicID, p kadm.PartitionDetail, starts, ends kadm.ListedOffsets, dirs logDirs) partitionRow {
	r := partitionRow{Partition: p.Partition, Leader: p.Leader, Epoch: p.LeaderEpoch, Replicas: p.Replicas, ISR: p.ISR, Start: -1, End: -1, Bytes: -1, Remote: -1}
	if o, ok := starts.Lookup(p.Topic, p.Partition); ok && o.Err == nil {
		r.Start = o.Offset
	}
	if o, ok := ends.Lookup(p.Topic, p.Partition); ok && o.Err == nil {
		r.End = o.Offset
	} else if ok {
		r.Error = explained(o.Err, "").Error()
	}
	if in, ok := dirs[replica{p.Leader, p.Topic, p.Partition}]; ok {
		r.Bytes, r.Remote = in.bytes, in.remote
		r.Directory = filepath.Join(in.dir, "logs", log.ID{Topic: id, Partition: p.Partition}.String())
	}
	if p.Err != nil {
		r.Error = explained(p.Err, "").Error()
	}
	return r
}

func printTopics(w io.Writer, topics []topicDescription) {
	for i := range topics {
		t := &topics[i]
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "topic:\t%s\nid:\t%s\n", t.Name, t.ID)
		for _, k := range sortedKeys(t.Configs) {
			fmt.Fprintf(w, "config:\t%s=%s\n", k, t.Configs[k])
		}
		for _, dir := range t.directories() {
			fmt.Fprintf(w, "log:\t%s\n", dir)
		}
		fmt.Fprintln(w)
		row(w, "PARTITION", "LEADER", "REPLICAS", "ISR", "START", "END", "BYTES", "REMOTE")
		for _, p := range t.Details {
			row(w, p.Partition, p.Leader, ints(p.Replicas), ints(p.ISR), known(p.Start), known(p.End), known(p.Bytes), known(p.Remote))
		}
		for _, p := range t.Details {
			if p.Error != "" {
				fmt.Fprintf(w, "partition %d: %s\n", p.Partition, p.Error)
			}
		}
	}
}

// directories are those of all partitions, with * for the number of the partition.
func (t *topicDescription) directories() []string {
	var dirs []string
	for _, p := range t.Details {
		if stem, ok := strings.CutSuffix(p.Directory, fmt.Sprint("-", p.Partition)); ok && !slices.Contains(dirs, stem+"-*") {
			dirs = append(dirs, stem+"-*")
		}
	}
	return dirs
}

// known shows a number, or nothing if it is not known.
func known(n int64) string {
	if n < 0 {
		return ""
	}
	return fmt.Sprint(n)
}
