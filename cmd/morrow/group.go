package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/morrowmq/morrow/internal/when"
)

func newGroup() *cobra.Command {
	var c client
	cmd := newFamily("group", "List, describe, reset and delete groups",
		newGroupList(&c), newGroupDescribe(&c), newGroupInFlight(&c), newGroupReset(&c), newGroupDelete(&c))
	cmd.Aliases = []string{"groups"}
	cmd.Example = `  morrow group list
  morrow group describe billing
  morrow group reset billing --topic orders --to earliest`
	c.addTo(cmd)
	return cmd
}

// groupRow is a group in listings.
type groupRow struct {
	Group    string `json:"group"`
	Type     string `json:"type"` // classic, consumer (KIP-848) or share (KIP-932)
	Protocol string `json:"protocol_type"`
	State    string `json:"state"`
}

// groupTypes are the kinds of groups there are.
var groupTypes = []string{"classic", "consumer", "share"}

func newGroupList(c *client) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List groups",
		Long: `List groups. The type is classic, consumer for groups of the newer protocol (KIP-848), or
share for share groups (KIP-932).

With -o json: an array of {group, type, protocol_type, state}.`,
		Example: `  morrow group list
  morrow group list -o json | jq -r '.[] | select(.state == "Empty").group'`,
		Aliases: []string{"ls"},
		Args:    wantArgs(0, 0),
		RunE: c.run(func(ctx context.Context, cmd *cobra.Command, cl *cluster, _ []string) error {
			rows, err := listGroups(ctx, cl)
			if err != nil {
				return err
			}
			return printAs(cmd.OutOrStdout(), c.output, rows, func(w io.Writer) {
				row(w, "GROUP", "TYPE", "PROTOCOL", "STATE")
				for _, r := range rows {
					row(w, r.Group, r.Type, r.Protocol, r.State)
				}
			})
		}),
	}
}

func listGroups(ctx context.Context, cl *cluster) ([]groupRow, error) {
	rows := []groupRow{}
	for _, kind := range groupTypes {
		groups, err := cl.ListGroupsByType(ctx, []string{kind})
		if err != nil {
			return nil, err
		}
		for _, g := range groups.Sorted() {
			rows = append(rows, groupRow{g.Group, kind, g.ProtocolType, g.State})
		}
	}
	slices.SortStableFunc(rows, func(a, b groupRow) int { return strings.Compare(a.Group, b.Group) })
	return rows, nil
}

func newGroupReset(c *client) *cobra.Command {
	var topic, to string
	var partitions []int32
	cmd := &cobra.Command{
		Use:   "reset GROUP --topic TOPIC --to earliest|latest|OFFSET|TIME",
		Short: "Move a group's committed offsets on a topic",
		Long: `Move a group's committed offsets on a topic. The group must have no members: stop its
consumers before. A group that does not exist is created, so that consumers that join it
later begin there. Of a share group it is the start offset that moves; what was known of the
records, deliveries included, is forgotten.

A TIME is as in RFC 3339, or a duration before now such as 90m or 2d; the offset is then
that of the first record not older.

With -o json: an array of {name, result, error}; result is the offset, or failed.`,
		Example: `  morrow group reset billing --topic orders --to earliest
  morrow group reset billing --topic orders --partition 3 --to 1000
  morrow group reset billing --topic orders --to 2026-11-20T08:00:00Z
  morrow group reset billing --topic orders --to 2d`,
		Args:                  wantArgs(1, 1),
		ValidArgsFunction:     c.complete(0, 0, groupNames),
		DisableFlagsInUseLine: true,
		RunE: c.run(func(ctx context.Context, cmd *cobra.Command, cl *cluster, args []string) error {
			place, err := parsePlace(to, time.Now())
			if err != nil {
				return err
			}
			offsets, err := place.find(ctx, cl, topic, partitions)
			if err != nil {
				return err
			}
			done, err := resetGroup(ctx, cl, args[0], offsets)
			if err != nil {
				return err
			}
			return done.print(cmd, c.output)
		}),
	}
	cmd.Flags().StringVar(&topic, "topic", "", "`topic` to read")
	cmd.Flags().Int32SliceVar(&partitions, "partition", nil, "`numbers` of the partitions (default all)")
	cmd.Flags().Lookup("partition").DefValue = ""
	cmd.Flags().StringVar(&to, "to", "", "`place` to go to: earliest, latest, an offset, an RFC 3339 time, or a duration before now")
	needFlags(cmd, "topic", "to")
	completeFlags(cmd, map[string]cobra.CompletionFunc{
		"topic":     c.complete(0, -1, topicNames),
		"partition": cobra.NoFileCompletions,
		"to":        cobra.FixedCompletions([]string{"earliest", "latest"}, cobra.ShellCompDirectiveNoFileComp),
	})
	return cmd
}

// resetGroup moves the committed offsets of a group, or the start offsets of a share group.
func resetGroup(ctx context.Context, cl *cluster, group string, offsets kadm.Offsets) (done outcomes, err error) {
	share, err := isShareGroup(ctx, cl, group)
	if err != nil {
		return done, err
	}
	if share {
		return resetShare(ctx, cl, group, offsets)
	}
	committed, err := cl.CommitOffsets(ctx, group, offsets)
	if err != nil {
		return done, err
	}
	for _, o := range committed.Sorted() {
		done.add(fmt.Sprintf("%s-%d", o.Topic, o.Partition), fmt.Sprintf("%s reads from offset %d", group, o.At), explained(o.Err, ""))
	}
	return done, nil
}

// place is where a group is to go on: at the start, the end, an offset or a time.
type place struct {
	kind   string // "earliest", "latest", "offset" or "time"
	offset int64
	millis int64
}

func parsePlace(s string, now time.Time) (place, error) {
	if s == "earliest" || s == "latest" {
		return place{kind: s}, nil
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		if n < 0 {
			return place{}, errPlace(s)
		}
		return place{kind: "offset", offset: n}, nil
	}
	if ms, err := when.ParseTime(s); err == nil {
		return place{kind: "time", millis: ms}, nil
	}
	if d, err := when.ParseSpan(s); err == nil && d >= 0 {
		return place{kind: "time", millis: now.Add(-d).UnixMilli()}, nil
	}
	return place{}, errPlace(s)
}

func errPlace(s string) error {
	return fmt.Errorf("invalid value %q for --to: must be earliest, latest, an offset, an RFC 3339 time, or a duration before now", s)
}

// find returns the offsets of the place in partitions of a topic; none means all.
func (p place) find(ctx context.Context, cl *cluster, topic string, partitions []int32) (kadm.Offsets, error) {
	if _, err := findTopics(ctx, cl, []string{topic}); err != nil {
		return nil, err
	}
	listed, err := p.list(ctx, cl, topic)
	if err != nil {
		return nil, err
	}
	return p.choose(listed, topic, partitions)
}

// list asks for the offsets of the place in every partition. The end stands in for an offset.
func (p place) list(ctx context.Context, cl *cluster, topic string) (kadm.ListedOffsets, error) {
	switch p.kind {
	case "earliest":
		return cl.ListStartOffsets(ctx, topic)
	case "time":
		return cl.ListOffsetsAfterMilli(ctx, p.millis, topic)
	}
	return cl.ListEndOffsets(ctx, topic)
}

// choose returns the offsets to commit, in the wanted partitions; none means all.
func (p place) choose(listed kadm.ListedOffsets, topic string, wanted []int32) (kadm.Offsets, error) {
	offsets := kadm.Offsets{}
	for _, n := range wanted {
		if _, ok := listed.Lookup(topic, n); !ok {
			return nil, fmt.Errorf("topic %s has no partition %d", topic, n)
		}
	}
	for _, n := range slices.Sorted(maps.Keys(listed[topic])) {
		o := listed[topic][n]
		if len(wanted) > 0 && !slices.Contains(wanted, n) {
			continue
		}
		if o.Err != nil {
			return nil, fmt.Errorf("topic %s, partition %d: %w", topic, n, explained(o.Err, ""))
		}
		if p.kind == "offset" {
			if p.offset > o.Offset {
				return nil, fmt.Errorf("topic %s, partition %d ends at offset %d: %d is beyond", topic, n, o.Offset, p.offset)
			}
			o.Offset = p.offset
		}
		offsets.Add(kadm.Offset{Topic: topic, Partition: n, At: o.Offset, LeaderEpoch: -1})
	}
	return offsets, nil
}

func newGroupDelete(c *client) *cobra.Command {
	return &cobra.Command{
		Use:   "delete GROUP...",
		Short: "Delete groups without members, with their committed offsets",
		Long: `Delete groups with their committed offsets, share groups with all they know of records. They
must have no members.

With -o json: an array of {name, result, error}; result is deleted or failed.`,
		Example:           "  morrow group delete billing",
		Args:              wantArgs(1, -1),
		ValidArgsFunction: c.complete(0, -1, groupNames),
		RunE: c.run(func(ctx context.Context, cmd *cobra.Command, cl *cluster, args []string) error {
			deleted, err := cl.DeleteGroups(ctx, args...)
			if err != nil {
				return err
			}
			var done outcomes
			for _, name := range args {
				done.add(name, "deleted", explained(deleted[name].Err, ""))
			}
			return done.print(cmd, c.output)
		}),
	}
}
