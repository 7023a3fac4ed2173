package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/morrowmq/morrow/broker/schedules"
	"github.com/morrowmq/morrow/internal/when"
)

func newScheduleCancel(c *scheduleClient) *cobra.Command {
	var f scheduleFilter
	var all, dryRun bool
	cmd := &cobra.Command{
		Use:   "cancel TOPIC [PARTITION TICKET]",
		Short: "Cancel one pending record, or all that pass filters",
		Long: `Cancel one pending record, or all that pass filters.

What is reported as cancelled is never delivered. A record that was delivered or
cancelled by somebody else meanwhile is reported as too late.`,
		Example: `  morrow schedule cancel orders 0 4711
  morrow schedule cancel orders --prefix customer-17/ --dry-run
  morrow schedule cancel orders --all`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 2 {
				return usageError(cmd, "argument missing")
			}
			for _, flag := range []string{"partition", "from", "until", "prefix", "all", "dry-run"} {
				if len(args) > 1 && cmd.Flags().Changed(flag) {
					return usageError(cmd, fmt.Sprintf("--%s does not go with a ticket", flag))
				}
			}
			return wantArgs(1, 3)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 3 {
				return c.cancelOne(cmd, args)
			}
			which, err := f.parse(time.Now())
			if err != nil {
				return err
			}
			if !all && which == (schedules.Filter{}) {
				return usageError(cmd, "say which: --partition, --from, --until, --prefix, or --all")
			}
			m := which.Cancel()
			m.All, m.DryRun = all, dryRun
			return c.cancelMany(cmd, args[0], m)
		},
	}
	f.addTo(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "cancel everything that is pending in the topic")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only count")
	return cmd
}

func (c *scheduleClient) cancelOne(cmd *cobra.Command, args []string) error {
	var done schedules.Cancelled
	if err := c.do(cmd.Context(), http.MethodDelete, &done, nil, nil, args...); err != nil {
		return err
	}
	return printAs(cmd.OutOrStdout(), c.output, done, func(w io.Writer) {
		fmt.Fprintf(w, "cancelled %s-%d offset %d\n", done.Topic, done.Partition, done.Ticket)
	})
}

// cancelMany asks again until all is done: one request cancels a bounded number. A dry run is one
// request, which counts all.
func (c *scheduleClient) cancelMany(cmd *cobra.Command, topic string, m schedules.CancelMany) error {
	m.Limit = 10_000
	if m.DryRun {
		m.Limit = 1_000_000
	}
	sum := schedules.CancelledMany{Topic: topic, DryRun: m.DryRun}
	for !sum.Done {
		var done schedules.CancelledMany
		if err := c.do(cmd.Context(), http.MethodPost, &done, m, nil, topic, "cancel"); err != nil {
			if sum.Cancelled > 0 {
				err = fmt.Errorf("after %d were cancelled: %w", sum.Cancelled, err)
			}
			return err
		}
		sum.Matched += done.Matched
		sum.Cancelled += done.Cancelled
		sum.TooLate += done.TooLate
		sum.Done = done.Done
		if m.DryRun {
			break
		}
	}
	return printAs(cmd.OutOrStdout(), c.output, sum, func(w io.Writer) {
		switch {
		case sum.DryRun && !sum.Done:
			fmt.Fprintf(w, "would cancel %d or more in %s\n", sum.Matched, topic)
		case sum.DryRun:
			fmt.Fprintf(w, "would cancel %d in %s\n", sum.Matched, topic)
		default:
			fmt.Fprintf(w, "cancelled %d in %s\n", sum.Cancelled, topic)
		}
		if sum.TooLate > 0 {
			fmt.Fprintf(w, "too late for %d\n", sum.TooLate)
		}
	})
}

func newScheduleMove(c *scheduleClient) *cobra.Command {
	var due, delay string
	cmd := &cobra.Command{
		Use:   "move TOPIC PARTITION TICKET --due TIME | --delay DURATION",
		Short: "Change when a pending record is due. It gets a new ticket",
		Example: `  morrow schedule move orders 0 4711 --delay 10m
  morrow schedule move orders 0 4711 --due 2026-12-24T18:00:00Z`,
		Args: wantArgs(3, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := parseMove(due, delay)
			if err != nil {
				return err
			}
			var done schedules.Moved
			if err := c.do(cmd.Context(), http.MethodPost, &done, m, nil, append(args, "move")...); err != nil {
				return err
			}
			return printAs(cmd.OutOrStdout(), c.output, done, func(w io.Writer) {
				fmt.Fprintf(w, "moved %s-%d offset %d to offset %d, due %s\n", done.Topic, done.Partition, done.OldTicket, done.Ticket, timestamp(done.DueMs))
			})
		},
	}
	cmd.Flags().StringVar(&due, "due", "", "the new due `time`: now, a duration from now, an RFC 3339 time, or milliseconds since 1970; a past one means now")
	cmd.Flags().StringVar(&delay, "delay", "", "how long from now: a duration like 90s or 2d, or milliseconds")
	needOneFlag(cmd, "due", "delay")
	return cmd
}

func parseMove(due, delay string) (m schedules.Move, err error) {
	if due != "" {
		m.DueMs, err = parseDue("due", due, time.Now())
		return m, err
	}
	ms, err := strconv.ParseInt(delay, 10, 64)
	if err != nil {
		d, err := when.ParseSpan(delay)
		if err != nil {
			return m, fmt.Errorf("invalid value %q for --delay: %w", delay, errors.New("must be a duration like 90s or 2d, or milliseconds"))
		}
		ms = d.Milliseconds()
	}
	m.DelayMs = &ms
	return m, nil
}
