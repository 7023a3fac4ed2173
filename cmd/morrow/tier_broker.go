package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/morrowmq/morrow/broker/remote"
	"github.com/morrowmq/morrow/internal/when"
	"github.com/morrowmq/morrow/tier"
)

// status asks the broker how its tier stands, with all partitions or those of a topic, which must be
// there, or deleted and not gone from the bucket.
func (c *tierClient) status(ctx context.Context, topic string) (remote.Status, error) {
	var s remote.Status
	q := url.Values{}
	if topic != "" {
		q.Set("topic", topic)
	}
	err := c.get(ctx, &s, q)
	if err == nil && topic != "" && len(s.Partitions)+len(s.Deletions) == 0 {
		err = fmt.Errorf("topic %s does not exist, or is not tiered", topic)
	}
	return s, err
}

func newTierStatus(c *tierClient) *cobra.Command {
	return &cobra.Command{
		Use:   "status [TOPIC]",
		Short: "Show how far everything is confirmed, what waits, and what is wrong",
		Long: `Show how far everything is confirmed, what waits, and what is wrong.

CONFIRMED is the offset below which everything is in the bucket and may be deleted locally.
WAITING is what is closed and not confirmed. AT RISK is the age of the oldest record that would
be lost with the disk: records are uploaded when their segment is closed (segment.bytes,
segment.ms). A deleted topic is listed until its objects are gone from the bucket.`,
		Example: `  morrow tier status
  morrow tier status orders -o json`,
		Args: wantArgs(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			topic := ""
			if len(args) > 0 {
				topic = args[0]
			}
			s, err := c.status(cmd.Context(), topic)
			if err != nil {
				return err
			}
			return printAs(cmd.OutOrStdout(), c.output, s, func(w io.Writer) { printTierStatus(w, s) })
		},
	}
}

func printTierStatus(w io.Writer, s remote.Status) {
	state := "in use"
	if !s.Usable {
		state = "not in use: " + s.Error
	}
	fmt.Fprintf(w, "bucket: %s, %s\n", s.Bucket, state)
	fmt.Fprintf(w, "cluster: %s\n", s.Cluster)
	if s.Owner.SeenMs != nil {
		whose := "another broker"
		if s.Owner.Ours {
			whose = "this broker"
		}
		fmt.Fprintf(w, "owner: %s, %s, seen %s\n", s.Owner.Name, whose, timestamp(*s.Owner.SeenMs))
	}
	if s.Sweep != nil {
		fmt.Fprintf(w, "last sweep: %s, %d orphans among %d objects\n", timestamp(s.Sweep.AtMs), s.Sweep.Orphans, s.Sweep.Objects)
	}
	if s.DiskFullInMs != nil {
		fmt.Fprintf(w, "disk full: in %s, if the store stays away\n", when.Span(time.Duration(*s.DiskFullInMs)*time.Millisecond))
	}
	for _, d := range s.Deletions {
		why := "waits for the store"
		if d.Error != "" {
			why = "is tried again: " + d.Error
		} else if s.Usable {
			why = "is under way"
		}
		fmt.Fprintf(w, "deleted topic: %s, since %s, deletion of its objects %s\n", d.Topic, timestamp(d.SinceMs), why)
	}
	for _, a := range s.Alarms {
		fmt.Fprintf(w, "alarm: %s: %s: %s\n", a.Name, a.Subject, a.Text)
	}
	fmt.Fprintln(w)
	row(w, "TOPIC", "PARTITION", "CONFIRMED", "LOG END", "REMOTE", "SEGMENTS", "BYTES", "WAITING", "BYTES", "FOR", "AT RISK", "LAST SCRUB")
	for _, p := range s.Partitions {
		scrub := "-"
		if p.Scrub != nil {
			scrub = fmt.Sprintf("%s, %d damaged", timestamp(p.Scrub.AtMs), p.Scrub.Damaged-p.Scrub.Repaired)
		}
		row(w, p.Topic, p.Partition, offsetText(p.Confirmed), p.LogEnd, rangeText(p.RemoteStart, p.RemoteEnd), p.Segments, p.Bytes,
			p.Lag.Segments, p.Lag.Bytes, millis(p.Lag.Ms), millis(p.AtRiskMs), scrub)
	}
}

// offsetText is an offset, "?" if it is not known.
func offsetText(offset int64) string {
	if offset < 0 {
		return "?"
	}
	return strconv.FormatInt(offset, 10)
}

// rangeText is a range of offsets, "-" if nothing is there.
func rangeText(start, end int64) string {
	if start < 0 || start == end {
		return "-"
	}
	return fmt.Sprintf("%d to %d", start, end)
}

func millis(ms int64) time.Duration { return (time.Duration(ms) * time.Millisecond).Round(time.Second) }

func newTierExplain(c *tierClient) *cobra.Command {
	partition := int32(-1)
	cmd := &cobra.Command{
		Use:   "explain TOPIC",
		Short: "Say for every segment of a topic where it is, why it is kept or gone, and when the open one closes",
		Example: `  morrow tier explain orders
  morrow tier explain orders --partition 3 -o json`,
		Args: wantArgs(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			q := url.Values{}
			if cmd.Flags().Changed("partition") {
				q.Set("partition", strconv.Itoa(int(partition)))
			}
			var s remote.Segments
			if err := c.get(cmd.Context(), &s, q, args[0], "segments"); err != nil {
				return err
			}
			return printAs(cmd.OutOrStdout(), c.output, s, func(w io.Writer) {
				row(w, "PARTITION", "BASE", "END", "BYTES", "WHERE", "WHY")
				for _, x := range s.Segments {
					row(w, x.Partition, x.Base, x.End, x.Bytes, x.Where, x.Why)
				}
			})
		},
	}
	cmd.Flags().Int32VarP(&partition, "partition", "p", -1, "only this partition")
	return cmd
}

func newTierSweep(c *tierClient) *cobra.Command {
	var remove, log bool
	var grace time.Duration
	var clusterID string
	last := remote.DefaultSweepLog
	cmd := &cobra.Command{
		Use:   "sweep",
		Short: "List the objects in the bucket that no manifest names; with --delete, delete them",
		Long: `List the objects in the bucket that no manifest names; with --delete, delete them. A broker
does so once in a while (tier.sweep.interval.ms); this command asks it to do it now.

What is deleted is first recorded in the bucket, with time, key, size and reason; --log shows
it.

With --url and --cluster it works on the bucket itself, for a cluster whose brokers are
stopped, and refuses to delete while one is not.`,
		Example: `  morrow tier sweep
  morrow tier sweep --delete --grace 48h
  morrow tier sweep --log --last 10
  morrow tier sweep --url s3://bucket/prefix?region=eu-central-1 --cluster FiywTeudQomlnvISQS9WvQ`,
		Args: wantArgs(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if (c.url == "") != (clusterID == "") {
				return usageError(cmd, "--url and --cluster go together")
			}
			if log {
				return c.showSweeps(cmd, clusterID, last)
			}
			s := remote.Swept{Deleted: remove, Found: []remote.Orphan{}}
			var err error
			if c.url == "" {
				q := remote.SweepRequest{Delete: remove, GraceMs: grace.Milliseconds()}
				err = c.do(cmd.Context(), http.MethodPost, &s, q, nil, "sweep")
			} else {
				err = c.sweepBucket(cmd.Context(), clusterID, grace, &s)
			}
			if err != nil {
				return explainOwner(err, "")
			}
			return printAs(cmd.OutOrStdout(), c.output, s, func(w io.Writer) { printSwept(w, s) })
		},
	}
	cmd.Flags().BoolVar(&remove, "delete", false, "delete them")
	cmd.Flags().DurationVar(&grace, "grace", 0, "`age` of what is looked at, 12h at least (default: tier.sweep.grace.ms)")
	cmd.Flags().StringVar(&clusterID, "cluster", "", "`id` of a cluster whose brokers are stopped")
	cmd.Flags().BoolVar(&log, "log", false, "show what was deleted, by whom, when and why")
	cmd.Flags().IntVar(&last, "last", last, "with --log: so many `sweeps` that deleted something")
	excludeFlags(cmd, "log", "delete")
	excludeFlags(cmd, "log", "grace")
	return cmd
}

// showSweeps shows what sweeps have deleted, as the broker says, or the bucket if a cluster is named.
func (c *tierClient) showSweeps(cmd *cobra.Command, clusterID string, last int) error {
	if last < 1 || last > remote.MaxSweepLog {
		return usageError(cmd, fmt.Sprintf("--last is %d, expected a number from 1 to %d", last, remote.MaxSweepLog))
	}
	var s remote.SweepLog
	if c.url == "" {
		if err := c.get(cmd.Context(), &s, url.Values{"last": {strconv.Itoa(last)}}, "sweeps"); err != nil {
			return err
		}
	} else {
		b, err := c.open(cmd.Context())
		if err != nil {
			return err
		}
		records, err := tier.SweepLog(cmd.Context(), b, clusterID, last)
		if err != nil {
			return err
		}
		s = remote.NewSweepLog(records)
	}
	return printAs(cmd.OutOrStdout(), c.output, s, func(w io.Writer) {
		row(w, "SWEPT", "BY", "STORED", "BYTES", "KEY", "WHY")
		for _, x := range s.Sweeps {
			if x.Error != "" {
				row(w, timestamp(x.AtMs), "?", "-", "-", "-", x.Error)
			}
			for _, d := range x.Deleted {
				row(w, timestamp(x.AtMs), x.By, timestamp(d.StoredMs), d.Bytes, d.Key, d.Why)
			}
		}
	})
}

// sweepBucket works on the bucket itself.
func (c *tierClient) sweepBucket(ctx context.Context, clusterID string, grace time.Duration, s *remote.Swept) error {
	b, err := c.open(ctx)
	if err != nil {
		return err
	}
	swept, err := tier.SweepOffline(ctx, b, clusterID, "morrow tier sweep on "+hostName(), tier.SweepOptions{
		DryRun: !s.Deleted, Grace: grace,
		Found: func(o tier.Orphan) {
			s.Found = append(s.Found, remote.Orphan{Key: o.Key, Bytes: o.Size, StoredMs: o.Modified.UnixMilli(), Why: o.Why})
		},
	})
	s.Objects, s.Orphans, s.OrphanBytes, s.Uploads = swept.Objects, swept.Orphans, swept.OrphanBytes, swept.Uploads
	return err
}

func printSwept(w io.Writer, s remote.Swept) {
	if len(s.Found) > 0 {
		row(w, "STORED", "BYTES", "KEY", "WHY")
		for _, o := range s.Found {
			row(w, timestamp(o.StoredMs), o.Bytes, o.Key, o.Why)
		}
	}
	done, ended := "found", "found"
	if s.Deleted {
		done, ended = "deleted", "ended"
	}
	fmt.Fprintf(w, "%d objects, %d orphans of %d bytes %s, %d unfinished uploads %s\n", s.Objects, s.Orphans, s.OrphanBytes, done, s.Uploads, ended)
}
