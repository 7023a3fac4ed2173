package main

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/morrowmq/morrow/broker/schedules"
	"github.com/morrowmq/morrow/internal/when"
)

func newSchedule() *cobra.Command {
	c := scheduleClient{apiClient: apiClient{base: "api/v1/schedules"}}
	cmd := newFamily("schedule", "See and steer what is to be delivered later",
		newScheduleList(&c), newScheduleShow(&c), newScheduleTimeline(&c), newScheduleSources(&c), newScheduleCancel(&c), newScheduleMove(&c))
	cmd.Aliases = []string{"schedules"}
	cmd.Long = `See and steer what is to be delivered later.

These commands ask the broker's HTTP address. A record that is pending is named by its
topic, its partition and its ticket: the offset that its producer was told.

With -o json they print what the HTTP API answers, as docs/openapi.yaml describes it. list
prints the pages of a topic as one, and without a topic an array of all topics.`
	cmd.Example = `  morrow schedule list                                   what is pending in which topic
  morrow schedule list orders --until 1h --prefix customer-17/
  morrow schedule timeline orders
  morrow schedule show orders 0 4711
  morrow schedule move orders 0 4711 --delay 10m
  morrow schedule cancel orders 0 4711
  morrow schedule cancel orders --prefix customer-17/ --dry-run`
	c.addHTTPFlag(cmd)
	cmd.PersistentFlags().DurationVar(&c.timeout, "timeout", 45*time.Second, "`time` to wait for an answer")
	addOutputFlag(cmd, &c.output)
	cmd.PersistentPreRunE = func(*cobra.Command, []string) error { return checkOutput(c.output) }
	return cmd
}

func newScheduleList(c *scheduleClient) *cobra.Command {
	var f scheduleFilter
	var limit int
	cmd := &cobra.Command{
		Use:   "list [TOPIC]",
		Short: "List the pending records of a topic, those due first at the top; without a topic, sum up every topic",
		Example: `  morrow schedule list
  morrow schedule list orders --until 1h --limit 20
  morrow schedule list orders --prefix customer-17/ -o json`,
		Args: wantArgs(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 0 {
				return fmt.Errorf("invalid value %d for --limit: must not be negative", limit)
			}
			if len(args) == 0 {
				for _, flag := range []string{"partition", "from", "until", "prefix", "limit"} {
					if cmd.Flags().Changed(flag) {
						return usageError(cmd, fmt.Sprintf("--%s needs a topic", flag))
					}
				}
				return c.listTopics(cmd)
			}
			which, err := f.parse(time.Now())
			if err != nil {
				return err
			}
			page, err := c.pages(cmd.Context(), args[0], which.Query(), limit)
			if err != nil {
				return err
			}
			return printAs(cmd.OutOrStdout(), c.output, page, func(w io.Writer) { printEntries(w, page, time.Now()) })
		},
	}
	f.addTo(cmd)
	cmd.Flags().IntVarP(&limit, "limit", "n", 100, "how many records to list at most; 0 lists all")
	return cmd
}

func (c *scheduleClient) listTopics(cmd *cobra.Command) error {
	var topics schedules.Topics
	if err := c.get(cmd.Context(), &topics, nil); err != nil {
		return err
	}
	now := time.Now()
	return printAs(cmd.OutOrStdout(), c.output, topics.Topics, func(w io.Writer) {
		row(w, "TOPIC", "PENDING", "OVERDUE", "BYTES", "NEXT DUE", "DELIVERED", "CANCELLED", "LATE P99", "STOPPED", "LOADING")
		for _, t := range topics.Topics {
			next, late, loading := "", "", ""
			if t.NextDueMs != nil {
				next = when.Due(*t.NextDueMs, now)
			}
			if t.Lateness.Count > 0 {
				late = when.Span(time.Duration(t.Lateness.P99Ms) * time.Millisecond)
			}
			if t.Loading > 0 {
				loading = fmt.Sprintf("%d of %d partitions", t.Loading, t.Partitions)
			}
			row(w, t.Topic, t.Pending, t.Overdue, t.Bytes, next, t.Delivered, t.Cancelled+t.Replaced, late, t.StoppedSources, loading)
		}
	})
}

func printEntries(w io.Writer, page schedules.Page, now time.Time) {
	row(w, "PARTITION", "TICKET", "DUE", "IN", "BYTES", "KEY")
	for _, e := range page.Records {
		in := when.Due(e.DueMs, now)
		if e.InFlight {
			in = "being delivered"
		}
		key := ""
		if e.Key != "" {
			key = strconv.Quote(e.Key)
		}
		row(w, e.Partition, e.Ticket, timestamp(e.DueMs), in, e.Bytes, key)
	}
	if page.Next != "" {
		fmt.Fprintln(w, "there are more: see --limit")
	}
}

func newScheduleShow(c *scheduleClient) *cobra.Command {
	return &cobra.Command{
		Use:   "show TOPIC PARTITION TICKET",
		Short: "Show a pending record with its contents",
		Example: `  morrow schedule show orders 0 4711
  morrow schedule show orders 0 4711 -o json`,
		Args: wantArgs(3, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			var r schedules.Record
			if err := c.get(cmd.Context(), &r, nil, args...); err != nil {
				return err
			}
			return printAs(cmd.OutOrStdout(), c.output, r, func(w io.Writer) { printRecord(w, r, time.Now()) })
		},
	}
}

func printRecord(w io.Writer, r schedules.Record, now time.Time) {
	fmt.Fprintf(w, "ticket:\t%s-%d offset %d\n", r.Topic, r.Partition, r.Ticket)
	fmt.Fprintf(w, "due:\t%s (%s)\n", timestamp(r.DueMs), when.Due(r.DueMs, now))
	fmt.Fprintf(w, "produced:\t%s\n", timestamp(r.ProducedAtMs))
	if r.Key != "" {
		fmt.Fprintf(w, "schedule key:\t%q\n", r.Key)
	}
	if r.Run != nil {
		fmt.Fprintf(w, "run:\t%d\n", *r.Run)
	}
	for _, h := range r.Headers {
		fmt.Fprintf(w, "header:\t%q: %s\n", h.Key, quoted(h.Value))
	}
	fmt.Fprintf(w, "key:\t%s\nvalue:\t%s\n", quoted(r.RecordKey), quoted(r.Value))
}

func quoted(b *schedules.Bytes) string {
	if b == nil {
		return "null"
	}
	return strconv.Quote(string(*b))
}

func newScheduleSources(c *scheduleClient) *cobra.Command {
	partition := int32(anyPartition)
	cmd := &cobra.Command{
		Use:   "sources TOPIC",
		Short: "Show where the pending records of a topic lie, and why none is delivered from there, if so",
		Example: `  morrow schedule sources orders
  morrow schedule sources orders -p 3`,
		Args: wantArgs(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var which schedules.Filter
			if partition != anyPartition {
				which.Partition = &partition
			}
			var s schedules.Sources
			if err := c.get(cmd.Context(), &s, which.Query(), args[0], "sources"); err != nil {
				return err
			}
			now := time.Now()
			return printAs(cmd.OutOrStdout(), c.output, s, func(w io.Writer) {
				row(w, "PARTITION", "SOURCE", "PENDING", "NEXT DUE", "STOPPED")
				for _, src := range s.Sources {
					where, next := "log", ""
					if src.Run != nil {
						where = fmt.Sprintf("run %d", *src.Run)
					}
					if src.NextDueMs != nil {
						next = when.Due(*src.NextDueMs, now)
					}
					row(w, src.Partition, where, src.Pending, next, src.Stopped)
				}
			})
		},
	}
	cmd.Flags().Int32VarP(&partition, "partition", "p", anyPartition, "only this partition")
	return cmd
}
