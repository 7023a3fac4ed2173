package main

import (
	"errors"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/morrowmq/morrow/internal/bench"
)

func newBenchDelay(output *string) *cobra.Command {
	f := benchFlags{output: output}
	var l bench.DelayLoad
	cmd := &cobra.Command{
		Use:   "delay",
		Short: "Insert records that are due later, and measure what becomes of them",
		Long: `Insert records that are due later, and measure what becomes of them: how many were lost,
came twice, came early or out of order, and how late the others were.

Lateness counts from a record's due time until a consumer has it, by this machine's
clock. A broker that knows no delays delivers at once, and all records are early.`,
		Example: `  morrow bench delay --records 100000 --rate 20000 --delay 5s --spread 10s
  morrow bench delay --records 1000000 --delay 1m --burst --record-size 100`,
		Args: wantArgs(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if l.Burst && !cmd.Flags().Changed("spread") {
				l.Spread = time.Second
			}
			return f.runDelay(cmd, l)
		},
	}
	f.addTo(cmd)
	fl := cmd.Flags()
	fl.DurationVar(&l.Delay, "delay", 5*time.Second, "shortest delay; with --burst, when after the start all are due")
	fl.DurationVar(&l.Spread, "spread", 5*time.Second, "delays are spread evenly over this much above the shortest")
	fl.BoolVar(&l.Burst, "burst", false, "have all records due in the same second, or in the same --spread if that is given")
	fl.DurationVar(&l.Patience, "patience", 30*time.Second, "how long after the last due time to wait for what is missing")
	for _, name := range []string{"duration", "warmup"} { // all records count
		_ = fl.MarkHidden(name)
	}
	_ = fl.Set("records", "100000")
	fl.Lookup("records").DefValue = "100000"
	fl.Lookup("records").Usage = "how many records to insert"
	return cmd
}

// runDelay opens the topic, runs the load, prints the report, and deletes what it created.
func (f *benchFlags) runDelay(cmd *cobra.Command, l bench.DelayLoad) (err error) {
	configs, err := f.resolve()
	if err != nil {
		return err
	}
	l.Load, l.Records = f.load, f.extent.Records
	if err := l.Check(); err != nil {
		return err
	}
	ctx := cmd.Context()
	topic, end, err := f.open(ctx, configs)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	if !topic.Created() {
		return errors.New("topic " + l.Topic + " exists: records of its own would be taken for the load's")
	}
	m := bench.NewMeter()
	stop := showProgress(cmd.ErrOrStderr(), cmd.Name(), bench.Extent{Records: l.Records}, m)
	r, err := bench.Delay(ctx, l, f.server(), m)
	stop()
	if r.Inserted > 0 {
		err = errors.Join(err, printMeasured(cmd.OutOrStdout(), *f.output, r, func(w io.Writer) { printDelayReport(w, r) }))
	}
	return err
}
