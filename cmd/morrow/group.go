package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

func newGroup() *cobra.Command {
	var c client
	cmd := &cobra.Command{Use: "group", Aliases: []string{"groups"}, Short: "List, describe, reset and delete consumer groups"}
	c.addTo(cmd)
	cmd.AddCommand(newGroupList(&c), newGroupDescribe(&c), newGroupReset(&c), newGroupDelete(&c))
	return cmd
}

type groupRow struct {
	Group    string `json:"group"`
	Type     string `json:"type"`
	Protocol string `json:"protocol_type"`
	State    string `json:"state"`
}

func newGroupList(c *client) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List groups",
		Args:  cobra.NoArgs,
		RunE: c.withAdmin(func(ctx context.Context, cmd *cobra.Command, adm *kadm.Client, _ []string) error {
			rows := []groupRow{}
			for _, kind := range []string{"classic", "consumer"} {
				groups, err := adm.ListGroupsByType(ctx, []string{kind})
				if err != nil {
					return err
				}
				for _, g := range groups.Sorted() {
					rows = append(rows, groupRow{g.Group, kind, g.ProtocolType, g.State})
				}
			}
			return printAs(cmd.OutOrStdout(), c.output, rows, func(w io.Writer) {
				fmt.Fprintln(w, "GROUP\tTYPE\tPROTOCOL\tSTATE")
				for _, r := range rows {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.Group, r.Type, r.Protocol, r.State)
				}
			})
		}),
	}
}

type lagRow struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Committed int64  `json:"committed"`
	End       int64  `json:"end"`
	Lag       int64  `json:"lag"`
	Member    string `json:"member,omitempty"`
	Host      string `json:"host,omitempty"`
	Error     string `json:"error,omitempty"`
}

type groupDescription struct {
	groupRow
	Members    int      `json:"members"`
	TotalLag   int64    `json:"lag"`
	Partitions []lagRow `json:"partitions"`
}

func newGroupDescribe(c *client) *cobra.Command {
	return &cobra.Command{
		Use:   "describe GROUP...",
		Short: "Show members, committed offsets and lag. Delayed records that are not due are not lag",
		Args:  cobra.MinimumNArgs(1),
		RunE: c.withAdmin(func(ctx context.Context, cmd *cobra.Command, adm *kadm.Client, args []string) error {
			lags, err := adm.Lag(ctx, args...)
			if err != nil {
				return err
			}
			out := []groupDescription{}
			for _, g := range lags.Sorted() {
				if err := g.Error(); err != nil {
					return fmt.Errorf("group %s: %w", g.Group, err)
				}
				d := groupDescription{groupRow: groupRow{Group: g.Group, Protocol: g.ProtocolType, State: g.State}, Members: len(g.Members), TotalLag: g.Lag.Total()}
				for _, l := range g.Lag.Sorted() {
					d.Partitions = append(d.Partitions, describeLag(l))
				}
				out = append(out, d)
			}
			return printAs(cmd.OutOrStdout(), c.output, out, func(w io.Writer) { printGroups(w, out) })
		}),
	}
}

func describeLag(l kadm.GroupMemberLag) lagRow {
	r := lagRow{Topic: l.Topic, Partition: l.Partition, Committed: l.Commit.At, End: l.End.Offset, Lag: l.Lag}
	if l.Member != nil {
		r.Member, r.Host = l.Member.MemberID, l.Member.ClientHost
	}
	if l.Err != nil {
		r.Error = l.Err.Error()
	}
	return r
}

func printGroups(w io.Writer, groups []groupDescription) {
	for i, g := range groups {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "group:\t%s\nstate:\t%s\nmembers:\t%d\nlag:\t%d\n", g.Group, g.State, g.Members, g.TotalLag)
		fmt.Fprintln(w, "\nTOPIC\tPARTITION\tCOMMITTED\tEND\tLAG\tMEMBER\tHOST\tERROR")
		for _, p := range g.Partitions {
			fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%s\t%s\t%s\n", p.Topic, p.Partition, p.Committed, p.End, p.Lag, p.Member, p.Host, p.Error)
		}
	}
}

func newGroupReset(c *client) *cobra.Command {
	var topic, to string
	cmd := &cobra.Command{
		Use:     "reset GROUP --topic TOPIC --to earliest|latest|TIME",
		Short:   "Move an inactive group's committed offsets on a topic",
		Example: "  morrow group reset billing --topic orders --to 2026-11-20T08:00:00Z",
		Args:    cobra.ExactArgs(1),
		RunE: c.withAdmin(func(ctx context.Context, cmd *cobra.Command, adm *kadm.Client, args []string) error {
			listed, err := offsetsAt(ctx, adm, topic, to)
			if err != nil {
				return err
			}
			if err := listed.Error(); err != nil {
				return fmt.Errorf("topic %s: %w", topic, err)
			}
			committed, err := adm.CommitOffsets(ctx, args[0], listed.Offsets())
			if err != nil {
				return err
			}
			return c.report(cmd, "reset", 1, func(yield func(string, error)) {
				for _, o := range committed.Sorted() {
					yield(fmt.Sprintf("%s %s-%d to offset %d", args[0], o.Topic, o.Partition, o.At), o.Err)
				}
			})
		}),
	}
	cmd.Flags().StringVar(&topic, "topic", "", "topic")
	cmd.Flags().StringVar(&to, "to", "", "earliest, latest, an RFC 3339 time or epoch milliseconds")
	_ = cmd.MarkFlagRequired("topic")
	_ = cmd.MarkFlagRequired("to")
	return cmd
}

func offsetsAt(ctx context.Context, adm *kadm.Client, topic, to string) (kadm.ListedOffsets, error) {
	switch to {
	case "earliest":
		return adm.ListStartOffsets(ctx, topic)
	case "latest":
		return adm.ListEndOffsets(ctx, topic)
	}
	ms, err := parseTime(to)
	if err != nil {
		return nil, fmt.Errorf("invalid value %q for --to: must be earliest, latest, an RFC 3339 time or epoch milliseconds", to)
	}
	return adm.ListOffsetsAfterMilli(ctx, ms, topic)
}

func newGroupDelete(c *client) *cobra.Command {
	return &cobra.Command{
		Use:   "delete GROUP...",
		Short: "Delete groups without members, with their offsets",
		Args:  cobra.MinimumNArgs(1),
		RunE: c.withAdmin(func(ctx context.Context, cmd *cobra.Command, adm *kadm.Client, args []string) error {
			deleted, err := adm.DeleteGroups(ctx, args...)
			if err != nil {
				return err
			}
			return c.report(cmd, "deleted", len(deleted), func(yield func(string, error)) {
				for _, g := range deleted.Sorted() {
					yield(g.Group, g.Err)
				}
			})
		}),
	}
}
