package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/morrowmq/morrow/internal/bench"
)

func newBenchBaseline(output *string) *cobra.Command {
	var dir, only string
	var each time.Duration
	var warm int64
	cmd := &cobra.Command{
		Use:   "baseline",
		Short: "Measure what the machine does without a broker",
		Long: `Measure what the machine does without a broker: syncs of a file, checksums, and the
least that any broker must do for a produce request (receive, check, append, answer) and
for a fetch (sendfile), over loopback, with the congestion controls cubic and bbr if the
system has them.`,
		Example: "  morrow bench baseline --dir /var/lib/morrow",
		Args:    wantArgs(0, 0),
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
			return printMeasured(cmd.OutOrStdout(), *output, b, func(w io.Writer) { printBaseline(w, b) })
		},
	}
	cmd.Flags().StringVar(&dir, "dir", ".", "directory on the disk to measure")
	cmd.Flags().StringVar(&only, "only", "", "measure only what has this text in its name")
	cmd.Flags().DurationVar(&each, "each", time.Second, "how long to measure each thing")
	cmd.Flags().Int64Var(&warm, "warm-bytes", 1<<30, "bytes to write and remove before each measurement: memory that is used for files for the first time is slow")
	return cmd
}

func printBaseline(w io.Writer, b bench.Baseline) {
	fmt.Fprintf(w, "%d CPUs, congestion control %s\n\n", b.CPUs, b.Congestion)
	fmt.Fprintln(w, "WHAT\tGB/S\tP50 MS\tP99 MS\tCPU-S/GB")
	for _, r := range b.Rows {
		fmt.Fprintf(w, "%s\t%.2f\t%.3f\t%.3f\t%.2f\n", r.Name, r.BytesPerSecond/1e9, r.Latency.P50, r.Latency.P99, r.CPUSecondsPerGB)
	}
}
