package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/morrowmq/morrow/internal/bench"
)

func newBenchSuite(output *string) *cobra.Command {
	var quick bool
	s := bench.Suite{Delays: true, Tiers: true, IdlePartitions: 1000, WarmBytes: 2 << 30, FetchBytes: 1 << 30, Within: 2 * time.Minute}
	cmd := &cobra.Command{
		Use:   "suite",
		Short: "Compare this broker with the bare machine and with the project's goals",
		Long: `Compare this broker with the bare machine and with the project's goals.

Starts brokers of this very program on free ports of the loopback interface and on a new
directory below --dir, measures them and the bare machine in turn, several times over,
and removes everything. It needs a machine with nothing else to do and takes about five
minutes, or less than two with --quick, and then says less.`,
		Example: `  morrow bench suite --dir /var/lib/morrow
  morrow bench suite --quick --only delayed -o json`,
		Args: wantArgs(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if quick {
				s.Repetitions, s.Step, s.RecoverBytes = min(s.Repetitions, 2), min(s.Step, 500*time.Millisecond), min(s.RecoverBytes, 1e9)
				s.WarmBytes, s.FetchBytes, s.Within = 1<<30, 256<<20, 20*time.Second
				s.DueRecords, s.PendingRecords = min(s.DueRecords, 200_000), min(s.PendingRecords, 1_000_000)
			}
			bin, err := os.Executable()
			if err != nil {
				return err
			}
			s.Start = func(ctx context.Context, dataDir string, configs map[string]string) (bench.Instance, error) {
				c, err := startChild(ctx, bin, dataDir, configs)
				if err != nil {
					return nil, err // not a nil *child in an interface
				}
				return c, nil
			}
			s.Began = suiteProgress(cmd.ErrOrStderr())
			report, err := s.Run(cmd.Context())
			if err != nil && len(report.Rows) == 0 {
				return err
			}
			return errors.Join(err, printMeasured(cmd.OutOrStdout(), *output, report, func(w io.Writer) { printSuite(w, report) }))
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&s.Dir, "dir", ".", "directory on the disk to measure")
	fl.BoolVar(&quick, "quick", false, "measure less")
	fl.IntVar(&s.Repetitions, "repetitions", 4, "how often everything is measured; a slow machine does less")
	fl.DurationVar(&s.Step, "step", 1200*time.Millisecond, "how long each measurement takes")
	fl.Int64Var(&s.RecoverBytes, "recover-bytes", 10e9, "bytes in the log of the broker that is killed and started again")
	fl.Int64Var(&s.DueRecords, "due-records", 1_000_000, "how many delayed records are due at once")
	fl.Int64Var(&s.PendingRecords, "pending-records", 10_000_000, "delayed records that are pending when a broker is killed and started again")
	fl.StringVar(&s.Only, "only", "", "take only the steps that have this text in their name")
	return cmd
}

// suiteProgress draws a bar, or writes a line per step if w is no terminal.
func suiteProgress(w io.Writer) func(what string, step, steps int) {
	bar := newBar(w, "suite", 1)
	return func(what string, step, steps int) {
		if bar == nil {
			fmt.Fprintf(w, "%d/%d %s\n", step+1, steps, what)
			return
		}
		bar.ChangeMax(steps)
		bar.Describe(what)
		_ = bar.Set(step)
		if step+1 == steps {
			_ = bar.Finish()
		}
	}
}

func printSuite(w io.Writer, r bench.SuiteReport) {
	fmt.Fprintln(w, "WHAT\tBROKER\tBARE\tREACHED\tRANGE\tGOAL\t")
	for _, row := range r.Rows {
		bare, unit := "", " "+row.Unit
		if row.Relative {
			bare, unit = fmt.Sprintf("%.3g %s", row.Bare, row.Unit), " ×"
		}
		fmt.Fprintf(w, "%s\t%.3g %s\t%s\t%.3g%s\t%.3g – %.3g\t%s\t%s\n",
			row.Name, row.Broker, row.Unit, bare, row.Figure, unit, row.Low, row.High, goalText(row.Goal), row.Verdict)
	}
}

func goalText(g bench.Goal) string {
	switch {
	case g.AtLeast != 0:
		return fmt.Sprintf("≥ %g", g.AtLeast)
	case g.AtMost != 0:
		return fmt.Sprintf("≤ %g", g.AtMost)
	}
	return ""
}
