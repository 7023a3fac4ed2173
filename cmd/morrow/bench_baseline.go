package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/morrowmq/morrow/internal/bench"
)

func newBenchBaseline() *cobra.Command {
	var dir, only string
	var each time.Duration
	var warm int64
	cmd := &cobra.Command{
		Use:   "baseline",
		Short: "Measure what the machine does without a broker",
		Long: `Measure what the machine does without a broker: syncs of a file, checksums, and the
least that any broker must do for a produce request (receive, check, append, answer) and
for a fetch (sendfile), over loopback, with the congestion controls cubic and bbr if the
system has them.

A table goes to standard error, one line of JSON to standard output.`,
		Args: wantArgs(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			probes := slices.DeleteFunc(bench.Probes(), func(p bench.Probe) bool { return !strings.Contains(p.Name, only) })
			bar := newBar(cmd.ErrOrStderr(), "baseline", int64(len(probes)))
			b, err := bench.MeasureBaseline(cmd.Context(), dir, probes, each, warm, func(name string) {
				if bar != nil {
					bar.Describe(name)
					_ = bar.Add(1)
				}
			})
			if bar != nil {
				_ = bar.Finish()
			}
			if err != nil {
				return err
			}
			if err := printBaseline(cmd.ErrOrStderr(), b); err != nil {
				return err
			}
			return printLine(cmd.OutOrStdout(), b)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", ".", "directory on the disk to measure")
	cmd.Flags().StringVar(&only, "only", "", "measure only what has this text in its name")
	cmd.Flags().DurationVar(&each, "each", time.Second, "how long to measure each thing")
	cmd.Flags().Int64Var(&warm, "warm-bytes", 1<<30, "bytes to write and remove before each measurement: memory that is used for files for the first time is slow")
	return cmd
}

func printBaseline(w io.Writer, b bench.Baseline) error {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintf(tw, "%d CPUs, congestion control %s\n\n", b.CPUs, b.Congestion)
	fmt.Fprintln(tw, "WHAT\tGB/S\tP50 MS\tP99 MS\tCPU-S/GB")
	for _, r := range b.Rows {
		fmt.Fprintf(tw, "%s\t%.2f\t%.3f\t%.3f\t%.2f\n", r.Name, r.BytesPerSecond/1e9, r.Latency.P50, r.Latency.P99, r.CPUSecondsPerGB)
	}
	return tw.Flush()
}
