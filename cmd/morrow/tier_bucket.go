package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket"
)

type probeCheck struct {
	Check string `json:"check"`
	Error string `json:"error,omitempty"`
	unfit bool   // the store does it wrong, rather than not at all
}

func newTierProbe(c *tierClient) *cobra.Command {
	return &cobra.Command{
		Use:   "probe [URL]",
		Short: "Check that a store verifies what confirmed uploads rest on: the broker's check at its start, by hand",
		Example: `  morrow tier probe
  morrow tier probe s3://bucket/prefix?region=eu-central-1`,
		Args: wantArgs(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				c.url = args[0]
			}
			b, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			checks := []probeCheck{}
			perr := bucket.Probe(cmd.Context(), b, fmt.Sprintf("morrow-probe-%d/", time.Now().UnixNano()), func(check string, err error) {
				p := probeCheck{Check: check}
				if err != nil {
					p.Error, p.unfit = err.Error(), errors.Is(err, bucket.ErrUnfit)
				}
				checks = append(checks, p)
			})
			err = printAs(cmd.OutOrStdout(), c.output, checks, func(w io.Writer) {
				for _, p := range checks {
					switch {
					case p.Error == "":
						fmt.Fprintf(w, "ok\t%s\n", p.Check)
					case p.unfit:
						fmt.Fprintf(w, "failed\t%s\t%s\n", p.Check, p.Error)
					case perr != nil && p.Error == perr.Error(): // the last line says it, and what helps
						fmt.Fprintf(w, "unknown\t%s\n", p.Check)
					default:
						fmt.Fprintf(w, "unknown\t%s\t%s\n", p.Check, p.Error)
					}
				}
			})
			if perr != nil {
				return perr
			}
			return err
		},
	}
}

// tierRow is one partition in the bucket.
type tierRow struct {
	Cluster     string `json:"cluster"`
	Topic       string `json:"topic"`
	ID          string `json:"id"`
	Partition   int32  `json:"partition"`
	Start       int64  `json:"start"`
	End         int64  `json:"end"`
	Segments    int    `json:"segments"`
	Bytes       int64  `json:"bytes"`
	CommittedMs int64  `json:"committed_ms"`
}

func newTierList(c *tierClient) *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "List the partitions in the bucket, with what is confirmed of each",
		Example: `  morrow tier ls
  morrow tier ls --url s3://bucket/prefix?region=eu-central-1 -o json`,
		Args: wantArgs(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, topics, err := c.inventory(cmd.Context())
			if err != nil {
				return err
			}
			rows := []tierRow{}
			for _, t := range topics {
				for _, m := range t.Partitions {
					s := m.Summary()
					rows = append(rows, tierRow{
						Cluster: t.Cluster, Topic: m.Name, ID: t.ID.Kafka(), Partition: m.PartitionID.Partition,
						Start: m.Start, End: m.End, Segments: s.Segments, Bytes: s.Bytes, CommittedMs: m.Time,
					})
				}
			}
			err = printAs(cmd.OutOrStdout(), c.output, rows, func(w io.Writer) {
				row(w, "TOPIC", "PARTITION", "OFFSETS", "SEGMENTS", "BYTES", "COMMITTED", "ID", "CLUSTER")
				for _, r := range rows {
					row(w, r.Topic, r.Partition, rangeText(r.Start, r.End), r.Segments, r.Bytes, timestamp(r.CommittedMs), r.ID, r.Cluster)
				}
			})
			return errors.Join(err, damaged(topics...))
		},
	}
}

// tierSegment is one segment in the bucket.
type tierSegment struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Base      int64  `json:"base"`
	End       int64  `json:"end"`
	Bytes     int64  `json:"bytes"`
	// VisibleEnd is the end of the last record that is not hidden, MaxTimestampMs the newest of
	// their timestamps; -1 if there is none.
	VisibleEnd     int64  `json:"visible_end"`
	MaxTimestampMs int64  `json:"max_timestamp_ms"`
	CommittedMs    int64  `json:"committed_ms"`
	Checksum       string `json:"checksum"`
	Key            string `json:"key"`
}

func newTierShow(c *tierClient) *cobra.Command {
	return &cobra.Command{
		Use:   "show TOPIC",
		Short: "List the segments of a topic, named by name or id, that are in the bucket",
		Example: `  morrow tier show orders
  morrow tier show orders --url s3://bucket/prefix?region=eu-central-1 -o json`,
		Args: wantArgs(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, topics, err := c.inventory(cmd.Context())
			if err != nil {
				return err
			}
			rows, known, harm := []tierSegment{}, false, error(nil)
			for _, t := range topics {
				if t.Name != args[0] && t.ID.Kafka() != args[0] {
					continue
				}
				known, harm = true, errors.Join(harm, damaged(t))
				for _, m := range t.Partitions {
					err := m.EachSegment(cmd.Context(), b, func(e *tier.Entry) error {
						rows = append(rows, tierSegment{
							Topic: t.Name, Partition: m.PartitionID.Partition, Base: e.Base, End: e.End, Bytes: e.Bytes, VisibleEnd: e.VisibleEnd,
							MaxTimestampMs: e.MaxTimestamp, CommittedMs: e.Time, Checksum: e.Sum.String(), Key: m.Key(e),
						})
						return nil
					})
					if err != nil {
						return err
					}
				}
			}
			if !known {
				return fmt.Errorf("%s holds no topic %q", b, args[0])
			}
			err = printAs(cmd.OutOrStdout(), c.output, rows, func(w io.Writer) {
				row(w, "PARTITION", "BASE", "END", "BYTES", "NEWEST RECORD", "COMMITTED", "KEY")
				for _, r := range rows {
					row(w, r.Partition, r.Base, r.End, r.Bytes, timestamp(r.MaxTimestampMs), timestamp(r.CommittedMs), r.Key)
				}
			})
			return errors.Join(err, harm)
		},
	}
}
