package main

import (
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/morrowmq/morrow/broker/schedules"
	"github.com/morrowmq/morrow/internal/when"
)

func newScheduleTimeline(c *scheduleClient) *cobra.Command {
	var from, until string
	var buckets, width int
	var partition int32
	cmd := &cobra.Command{
		Use:   "timeline TOPIC",
		Short: "Draw when what is due",
		Example: `  morrow schedule timeline orders
  morrow schedule timeline orders --until 1h --buckets 12`,
		Args: wantArgs(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f := scheduleFilter{partition: partition, from: from, until: until}
			which, err := f.parse(time.Now())
			if err != nil {
				return err
			}
			q := which.Query()
			q.Set("buckets", strconv.Itoa(buckets))
			t, err := c.timeline(cmd, args[0], q)
			if err != nil {
				return err
			}
			return printAs(cmd.OutOrStdout(), c.output, t, func(w io.Writer) { drawTimeline(w, t, width) })
		},
	}
	fl := cmd.Flags()
	fl.Int32VarP(&partition, "partition", "p", anyPartition, "only this partition")
	fl.StringVar(&from, "from", "", "`time` to begin at: now, a duration from now, an RFC 3339 time, or milliseconds since 1970 (default: now)")
	fl.StringVar(&until, "until", "", "`time` to end at (default: behind the last record)")
	fl.IntVar(&buckets, "buckets", 24, "how many rows to draw at most; they begin at round times")
	fl.IntVar(&width, "width", 50, "how wide the longest bar is")
	return cmd
}

func (c *scheduleClient) timeline(cmd *cobra.Command, topic string, q url.Values) (t schedules.Timeline, err error) {
	err = c.get(cmd.Context(), &t, q, topic, "timeline")
	return t, err
}

// drawTimeline draws a histogram, one row for each bucket; none if all are empty.
func drawTimeline(w io.Writer, t schedules.Timeline, width int) {
	most := int64(0)
	for _, b := range t.Buckets {
		most = max(most, b.Count)
	}
	if most+t.Before+t.After == 0 {
		fmt.Fprintln(w, "nothing is pending")
		return
	}
	now := time.UnixMilli(t.NowMs)
	fmt.Fprintln(w, "DUE FROM\t\tRECORDS\t")
	if t.Before > 0 {
		fmt.Fprintf(w, "before\t\t%d\t\n", t.Before)
	}
	if most == 0 {
		t.Buckets = nil
	}
	for _, b := range t.Buckets {
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\n", timestamp(b.FromMs), when.Due(b.FromMs, now), b.Count, bar(b.Count, most, width))
	}
	if t.After > 0 {
		fmt.Fprintf(w, "later\t\t%d\t\n", t.After)
	}
}

// bar is as long, in eighths of a character, as n is a part of most. What is not nothing can be seen.
func bar(n, most int64, width int) string {
	eighths := int(float64(n) / float64(max(most, 1)) * float64(max(width, 1)) * 8)
	if n > 0 {
		eighths = max(eighths, 1)
	}
	return strings.Repeat("█", eighths/8) + []string{"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"}[eighths%8]
}
