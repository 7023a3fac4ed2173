package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/morrowmq/morrow/broker/inflight"
)

// shareGroups describes those of the named groups that are share groups.
func shareGroups(ctx context.Context, cl *cluster, names []string) (map[string]groupDescription, error) {
	described, err := cl.DescribeShareGroups(ctx, names...)
	if err != nil {
		return nil, err
	}
	out := map[string]groupDescription{}
	var errs []error
	for name, g := range described {
		if errors.Is(g.Err, kerr.GroupIDNotFound) || errors.Is(g.Err, kerr.UnsupportedVersion) {
			continue
		}
		d, err := describeShare(ctx, cl, g)
		if err != nil {
			errs = append(errs, fmt.Errorf("group %s: %w", name, explained(err, "")))
		}
		out[name] = d
	}
	return out, errors.Join(errs...)
}

func describeShare(ctx context.Context, cl *cluster, g kadm.DescribedShareGroup) (groupDescription, error) {
	d := groupDescription{
		groupRow: groupRow{g.GroupID, "share", "share", g.GroupState},
		Assignor: g.Assignor, Epoch: g.GroupEpoch, Coordinator: g.Coordinator.NodeID, Members: []memberRow{}, Partitions: []lagRow{},
	}
	if g.Err != nil {
		return d, g.Err
	}
	for _, m := range g.Members {
		r := memberRow{Member: m.MemberID, Client: m.ClientID, Host: strings.TrimPrefix(m.ClientHost, "/"), Epoch: m.MemberEpoch, Partitions: []string{}}
		for _, t := range m.Assignment.Sorted() {
			for _, p := range t.Partitions {
				r.Partitions = append(r.Partitions, fmt.Sprintf("%s-%d", t.Topic, p))
			}
		}
		d.Members = append(d.Members, r)
	}
	described, err := cl.DescribeShareGroupOffsets(ctx, g.GroupID)
	if err != nil {
		return d, err
	}
	for _, o := range described[g.GroupID].Offsets.Sorted() {
		l := d.partition(o.Topic, o.Partition)
		if o.Err != nil {
			l.Error = explained(o.Err, "").Error()
			continue
		}
		l.Committed, l.Lag = o.StartOffset, o.Lag
		d.Lag += max(o.Lag, 0)
	}
	return d, described[g.GroupID].Err
}

// isShareGroup reports whether there is a share group of that name.
func isShareGroup(ctx context.Context, cl *cluster, name string) (bool, error) {
	described, err := cl.DescribeShareGroups(ctx, name)
	return err == nil && described[name].Err == nil, err
}

// resetShare moves the start offsets of a share group.
func resetShare(ctx context.Context, cl *cluster, group string, offsets kadm.Offsets) (outcomes, error) {
	var done outcomes
	altered, err := cl.AlterShareGroupOffsets(ctx, group, offsets)
	if err != nil {
		return done, explained(err, "")
	}
	for _, o := range offsets.Sorted() {
		perr, _ := altered.Lookup(o.Topic, o.Partition)
		done.add(fmt.Sprintf("%s-%d", o.Topic, o.Partition), fmt.Sprintf("%s reads from offset %d", group, o.At), explained(perr, ""))
	}
	return done, nil
}

func newGroupInFlight(kafka *client) *cobra.Command {
	c := apiClient{base: "api/v1/shares"}
	cmd := &cobra.Command{
		Use:   "inflight GROUP",
		Short: "Show what a share group has in flight",
		Long: `Show, for every partition a share group reads, the records that it has not finished: those that
members hold (ACQUIRED), those that are AVAILABLE again, those WAITING for their retry
(share.retry.delay.ms), and those DYING, on their way to the dead-letter topic. DELIVERIES
says how many of them were delivered never, once, twice, and so on.

This is asked for at the HTTP address of a broker.

With -o json: an array of {group, topic, partition, start, end, available, waiting, acquired,
finished, dying, deliveries, error}; error is why letters cannot be written.`,
		Example: `  morrow group inflight billing
  morrow group inflight billing -o json | jq 'map(.waiting) | add'`,
		Args: wantArgs(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c.timeout = kafka.timeout
			var parts []inflight.Partition
			if err := c.get(cmd.Context(), &parts, nil, args[0]); err != nil {
				return err
			}
			return printAs(cmd.OutOrStdout(), kafka.output, parts, func(w io.Writer) { printInFlight(w, parts) })
		},
	}
	c.addHTTPFlag(cmd)
	return cmd
}

func printInFlight(w io.Writer, parts []inflight.Partition) {
	row(w, "TOPIC", "PARTITION", "START", "END", "AVAILABLE", "WAITING", "ACQUIRED", "DYING", "DELIVERIES")
	for _, p := range parts {
		counts := make([]string, len(p.Deliveries))
		for i, n := range p.Deliveries {
			counts[i] = fmt.Sprint(n)
		}
		row(w, p.Topic, p.Partition, p.Start, p.End, p.Available, p.Waiting, p.Acquired, p.Dying, strings.Join(counts, " "))
	}
	for _, p := range parts {
		if p.Error != "" {
			fmt.Fprintf(w, "%s-%d: dead letters cannot be written: %s\n", p.Topic, p.Partition, p.Error)
		}
	}
}
