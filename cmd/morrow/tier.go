package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/tier"
)

func newTier() *cobra.Command {
	var c tierClient
	cmd := newFamily("tier", "Look into the bucket that closed segments are tiered to", newTierProbe(&c), newTierList(&c), newTierVerify(&c), newTierRestore(&c))
	cmd.Long = `Look into the bucket that closed segments are tiered to. These commands talk to the
bucket itself, not to a broker; they change nothing in it.`
	cmd.Example = `  morrow tier probe s3://bucket/prefix?region=eu-central-1
  morrow tier ls
  morrow tier verify --deep --url file:///var/lib/morrow/tier`
	cmd.PersistentFlags().StringVar(&c.url, "url", "", "`address` of the bucket, as in tier.url (default: the directory data/tier)")
	addOutputFlag(cmd, &c.output)
	cmd.PersistentPreRunE = func(*cobra.Command, []string) error { return checkOutput(c.output) }
	return cmd
}

// tierClient is what the commands share: which bucket, and how to print.
type tierClient struct {
	url, output string
}

func (c *tierClient) open(ctx context.Context) (tier.Bucket, error) {
	url := c.url
	if url == "" {
		dir, err := filepath.Abs(filepath.Join("data", "tier"))
		if err != nil {
			return nil, err
		}
		url = "file://" + dir
	}
	return tier.OpenBucket(ctx, url, vfs.OS{})
}

type probeCheck struct {
	Check string `json:"check"`
	Error string `json:"error,omitempty"`
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
			perr := tier.Probe(cmd.Context(), b, fmt.Sprintf("morrow-probe-%d/", time.Now().UnixNano()), func(check string, err error) {
				p := probeCheck{Check: check}
				if err != nil {
					p.Error = err.Error()
				}
				checks = append(checks, p)
			})
			err = printAs(cmd.OutOrStdout(), c.output, checks, func(w io.Writer) {
				for _, p := range checks {
					if p.Error != "" {
						fmt.Fprintf(w, "failed\t%s\t%s\n", p.Check, p.Error)
					} else {
						fmt.Fprintf(w, "ok\t%s\n", p.Check)
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
	Topic     string `json:"topic"`
	ID        string `json:"id"`
	Partition int32  `json:"partition"`
	Start     int64  `json:"start"`
	End       int64  `json:"end"`
	Segments  int64  `json:"segments"`
	Bytes     int64  `json:"bytes"`
	Committed string `json:"committed"`
}

func newTierList(c *tierClient) *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "List the partitions in the bucket, with what is confirmed of each",
		Example: `  morrow tier ls
  morrow tier ls --url s3://bucket/prefix?region=eu-central-1 -o json`,
		Args: wantArgs(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			rows := []tierRow{}
			err := c.each(cmd.Context(), func(_ tier.Bucket, m *tier.Manifest) error {
				s := m.Summary()
				rows = append(rows, tierRow{
					Topic: m.Name, ID: m.Topic.String(), Partition: m.PartitionID.Partition,
					Start: m.Start, End: m.End, Segments: int64(s.Segments), Bytes: s.Bytes,
					Committed: time.UnixMilli(m.Time).UTC().Format(time.RFC3339),
				})
				return nil
			})
			if err != nil {
				return err
			}
			return printAs(cmd.OutOrStdout(), c.output, rows, func(w io.Writer) {
				fmt.Fprintln(w, "TOPIC\tPARTITION\tSTART\tEND\tSEGMENTS\tBYTES\tCOMMITTED")
				for _, r := range rows {
					fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%s\n", r.Topic, r.Partition, r.Start, r.End, r.Segments, r.Bytes, r.Committed)
				}
			})
		},
	}
}

// each calls visit with every manifest of the bucket.
func (c *tierClient) each(ctx context.Context, visit func(tier.Bucket, *tier.Manifest) error) error {
	b, err := c.open(ctx)
	if err != nil {
		return err
	}
	return b.List(ctx, "", func(o tier.Object) error {
		parts := strings.Split(o.Key, "/")
		if len(parts) != 4 || parts[3] != "manifest" {
			return nil
		}
		topic, err := tier.ParseTopicID(parts[1])
		if err != nil {
			return nil // somebody else's object
		}
		n, err := strconv.ParseInt(parts[2], 10, 32)
		if err != nil {
			return nil
		}
		m, err := tier.ReadManifest(ctx, b, parts[0], topic, int32(n))
		if err != nil {
			return err
		}
		return visit(b, m)
	})
}

type verifyRow struct {
	Topic     string   `json:"topic"`
	Partition int32    `json:"partition"`
	Objects   int      `json:"objects"`
	Bytes     int64    `json:"bytes"`
	Damaged   []string `json:"damaged"`
}

func newTierVerify(c *tierClient) *cobra.Command {
	var o tier.VerifyOptions
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check that every object a manifest names is there, whole and undamaged. It can run beside brokers",
		Example: `  morrow tier verify
  morrow tier verify --deep --rate 10000000`,
		Args: wantArgs(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			rows := []verifyRow{}
			damaged := 0
			err := c.each(cmd.Context(), func(b tier.Bucket, m *tier.Manifest) error {
				v, err := tier.Verify(cmd.Context(), b, m, o)
				if err != nil {
					return err
				}
				r := verifyRow{Topic: m.Name, Partition: m.PartitionID.Partition, Objects: v.Objects, Bytes: v.Bytes, Damaged: []string{}}
				for _, d := range v.Damaged {
					r.Damaged = append(r.Damaged, fmt.Sprintf("%s: %v", d.Key, d.Err))
					damaged++
				}
				rows = append(rows, r)
				return nil
			})
			if err != nil {
				return err
			}
			err = printAs(cmd.OutOrStdout(), c.output, rows, func(w io.Writer) {
				fmt.Fprintln(w, "TOPIC\tPARTITION\tOBJECTS\tBYTES\tDAMAGED")
				for _, r := range rows {
					fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%s\n", r.Topic, r.Partition, r.Objects, r.Bytes, strings.Join(r.Damaged, "; "))
				}
			})
			if err == nil && damaged > 0 {
				err = fmt.Errorf("%d objects are damaged or missing", damaged)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&o.Deep, "deep", false, "read every byte and compute its checksum, rather than ask the store what it has")
	cmd.Flags().Int64Var(&o.BytesPerSecond, "rate", 0, "bytes per second to read at most; 0 is no limit")
	return cmd
}
