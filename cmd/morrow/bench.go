package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/morrowmq/morrow/internal/bench"
	"github.com/morrowmq/morrow/log/record"
)

func newBench() *cobra.Command {
	var output string
	cmd := newFamily("bench", "Measure how fast a broker is, and the machine without one",
		newBenchProduce(&output), newBenchConsume(&output), newBenchEndToEnd(&output), newBenchDelay(&output), newBenchBaseline(&output),
		newBenchSuite(&output), newBenchCompare(&output))
	cmd.Long = `Measure how fast a broker is, Morrow or any other that speaks Kafka's protocol, and
how fast the machine is without one.

The result goes to standard output: a table, or with -o json one line of JSON, which has
more. Progress goes to standard error. MB are 10^6 bytes, GB 10^9.`
	cmd.Example = `  morrow bench produce --record-size 100 --rate 50000
  morrow bench delay --records 100000 --delay 5s
  morrow bench suite --quick`
	addOutputFlag(cmd, &output)
	cmd.PersistentPreRunE = func(*cobra.Command, []string) error { return checkOutput(output) }
	return cmd
}

// benchFlags are what the commands that load a broker share.
type benchFlags struct {
	load   bench.Load
	extent bench.Extent

	codec, acks, sync string
	partitions        int32
	configs           []string
	keep              bool
	serverPID         int
	http              string
	output            *string
}

func (f *benchFlags) addTo(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringSliceVarP(&f.load.Brokers, "bootstrap", "b", defaultBootstrap(), "`addresses` of brokers, also as "+bootstrapEnv)
	fl.StringVarP(&f.load.Topic, "topic", "t", "", "topic; created if missing, and then deleted afterwards (default: a new one)")
	fl.Int32VarP(&f.partitions, "partitions", "p", 1, "partitions of a topic that is created")
	fl.StringArrayVar(&f.configs, "set", nil, "config of a topic that is created, as key=value, may be repeated")
	fl.StringVar(&f.sync, "sync", "default", "when a topic that is created is synced: always (before every acknowledgement), never, or default (as the broker likes)")
	fl.BoolVar(&f.keep, "keep", false, "keep a topic that was created")

	fl.IntVar(&f.load.RecordBytes, "record-size", 1024, "bytes of a record's value")
	fl.IntVar(&f.load.BatchBytes, "batch-bytes", 1_000_000, "most bytes of a batch, before compression")
	fl.StringVar(&f.codec, "codec", "none", "compression: none, gzip, snappy, lz4 or zstd")
	fl.StringVar(&f.acks, "acks", "all", "who acknowledges: all (in-sync replicas), 1 (the leader) or 0 (nobody)")
	fl.Float64Var(&f.load.RecordsPerSecond, "rate", 0, "most records to produce per second; 0 is as fast as possible")
	fl.IntVar(&f.load.Connections, "connections", 1, "connections with --raw, clients without")
	fl.IntVar(&f.load.InFlight, "in-flight", 5, "produce requests under way on a connection")
	fl.DurationVar(&f.load.Linger, "linger", 0, "how long a client waits for more records to fill a batch; not with --raw")
	fl.StringVar(&f.load.Congestion, "congestion", "", "TCP congestion control of what is sent with --raw (default: the system's)")

	fl.DurationVar(&f.extent.Duration, "duration", 10*time.Second, "how long to measure; 0 has no limit")
	fl.Int64Var(&f.extent.Records, "records", 0, "how many records to measure; 0 has no limit")
	fl.DurationVar(&f.extent.Warmup, "warmup", time.Second, "how long to load before measuring")

	fl.IntVar(&f.serverPID, "server-pid", 0, "process id of a broker on this machine, for its CPU time and memory")
	fl.StringVar(&f.http, "http", "", "host:port where the broker serves /metrics, for its CPU time and memory")
	excludeFlags(cmd, "server-pid", "http")
	for flag, values := range map[string][]string{
		"codec": {"none", "gzip", "snappy", "lz4", "zstd"}, "acks": {"all", "1", "0"}, "sync": {"always", "never", "default"},
	} {
		_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	}
}

func newBenchProduce(output *string) *cobra.Command {
	f := benchFlags{output: output}
	var raw bool
	var delay, spread time.Duration
	cmd := &cobra.Command{
		Use:   "produce",
		Short: "Produce as fast as possible, or at a rate",
		Long: `Produce as fast as possible, or at a rate, through franz-go.

With --raw, one batch is encoded beforehand and sent again and again, so that not the
client is measured: latencies are then those of requests, and bytes those of batches.`,
		Example: `  morrow bench produce --raw --sync never --server-pid $(pidof morrow)
  morrow bench produce --raw --sync always --partitions 256 --connections 64 --record-size 1024 --batch-bytes 4096
  morrow bench produce --record-size 100 --codec lz4 --rate 50000
  morrow bench produce --raw --record-size 100 --delay 1h --spread 24h --records 10000000 --keep`,
		Args: wantArgs(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			drive := bench.Produce
			if raw {
				drive = bench.RawProduce
			}
			switch {
			case delay < 0 || spread < 0:
				return fmt.Errorf("invalid delay %v or spread %v: must not be negative", delay, spread)
			case delay > 0 && !raw:
				return errors.New("--delay needs --raw; morrow bench delay sends delayed records through a client")
			case delay > 0:
				f.load.Header = bench.Delays(delay, spread)
			}
			return f.run(cmd, drive, 0)
		},
	}
	f.addTo(cmd)
	cmd.Flags().BoolVar(&raw, "raw", false, "send requests that were encoded beforehand")
	cmd.Flags().DurationVar(&delay, "delay", 0, "shortest delay of the records of --raw; 0 is none")
	cmd.Flags().DurationVar(&spread, "spread", 0, "delays are spread evenly over this much above the shortest")
	return cmd
}

func newBenchConsume(output *string) *cobra.Command {
	f := benchFlags{output: output}
	var raw bool
	var fill int64
	cmd := &cobra.Command{
		Use:   "consume",
		Short: "Read a topic from its beginning to its end, again and again",
		Long: `Read a topic from its beginning to its end, again and again, through franz-go.
A topic that is created is filled first.

With --raw, batches are dropped after a look at their headers, so that not the client is
measured: latencies are then those of requests, and bytes those of batches.`,
		Example: `  morrow bench consume --raw --fetch-bytes 8388608
  morrow bench consume --topic orders --duration 30s`,
		Args: wantArgs(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			drive := bench.Consume
			if raw {
				drive = bench.RawFetch
			}
			return f.run(cmd, drive, fill)
		},
	}
	f.addTo(cmd)
	cmd.Flags().BoolVar(&raw, "raw", false, "drop what is read without decoding it")
	cmd.Flags().Int32Var(&f.load.FetchBytes, "fetch-bytes", 8<<20, "most bytes of a fetch")
	cmd.Flags().Int64Var(&fill, "fill-bytes", 1<<30, "bytes to fill a topic with that is created")
	return cmd
}

func newBenchEndToEnd(output *string) *cobra.Command {
	f := benchFlags{output: output}
	cmd := &cobra.Command{
		Use:     "e2e",
		Short:   "Produce and consume, and measure how long records take from one to the other",
		Example: "  morrow bench e2e --rate 10000 --record-size 100 --partitions 4",
		Args:    wantArgs(0, 0),
		RunE:    func(cmd *cobra.Command, _ []string) error { return f.run(cmd, bench.EndToEnd, 0) },
	}
	f.addTo(cmd)
	_ = cmd.Flags().Set("rate", "1000")
	cmd.Flags().Lookup("rate").DefValue = "1000"
	return cmd
}

// run opens the topic, fills it if it is new, puts the load on, prints the report, and deletes what it created.
func (f *benchFlags) run(cmd *cobra.Command, drive func(bench.Load) bench.Drive, fill int64) (err error) {
	configs, err := f.resolve()
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	topic, end, err := f.open(ctx, configs)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	if topic.Created() && fill > 0 {
		if err := f.fill(ctx, cmd.ErrOrStderr(), fill); err != nil {
			return err
		}
	}
	m := bench.NewMeter()
	stop := showProgress(cmd.ErrOrStderr(), cmd.Name(), f.extent, m)
	r, err := bench.Run(ctx, cmd.Name(), drive(f.load), f.extent, f.server(), m)
	stop()
	if err == nil && r.Records == 0 && r.Errors > 0 {
		err = errors.New(r.LastError)
	}
	if r.Seconds > 0 {
		err = errors.Join(err, printMeasured(cmd.OutOrStdout(), *f.output, r, func(w io.Writer) { printReport(w, r) }))
	}
	return err
}

// open opens the topic of the load. end deletes it if it was created and is not to be kept.
func (f *benchFlags) open(ctx context.Context, configs map[string]*string) (topic *bench.Topic, end func() error, err error) {
	topic, err = bench.OpenTopic(ctx, f.load.Brokers, f.load.Topic, f.partitions, configs)
	if err != nil {
		return nil, nil, f.explain(err)
	}
	return topic, func() error {
		if f.keep {
			return nil
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
		defer cancel()
		return topic.Delete(ctx)
	}, nil
}

// explain says in one line what keeps the load from the brokers.
func (f *benchFlags) explain(err error) error {
	c := client{bootstrap: f.load.Brokers}
	return c.explain(err)
}

// resolve turns the flags that are names into what they mean, and returns the configs of the topic.
func (f *benchFlags) resolve() (map[string]*string, error) {
	if f.load.FetchBytes == 0 {
		f.load.FetchBytes = 8 << 20
	}
	if f.load.Topic == "" {
		f.load.Topic = bench.TopicName()
	}
	codecs := map[string]record.Codec{"none": record.None, "gzip": record.Gzip, "snappy": record.Snappy, "lz4": record.LZ4, "zstd": record.Zstd}
	acks := map[string]int16{"all": -1, "-1": -1, "1": 1, "0": 0}
	var ok bool
	if f.load.Codec, ok = codecs[f.codec]; !ok {
		return nil, fmt.Errorf("invalid value %q for --codec: must be none, gzip, snappy, lz4 or zstd", f.codec)
	}
	if f.load.Acks, ok = acks[f.acks]; !ok {
		return nil, fmt.Errorf("invalid value %q for --acks: must be all, 1 or 0", f.acks)
	}
	configs, err := configArgs(f.configs)
	if err != nil {
		return nil, err
	}
	switch f.sync {
	case "default":
	case "always":
		configs["flush.messages"] = literal("1")
	case "never":
		configs["flush.messages"] = literal(strconv.FormatInt(math.MaxInt64, 10))
	default:
		return nil, fmt.Errorf("invalid value %q for --sync: must be always, never or default", f.sync)
	}
	return configs, f.load.Check()
}

func literal(s string) *string { return &s }

// server is where the CPU time and memory of the broker are found, or nil.
func (f *benchFlags) server() bench.Server {
	switch {
	case f.serverPID != 0:
		return bench.Process(f.serverPID)
	case f.http != "":
		return bench.Metrics("http://" + f.http + "/metrics")
	}
	return nil
}

// fill produces about size bytes to the topic.
func (f *benchFlags) fill(ctx context.Context, stderr io.Writer, size int64) error {
	extent := bench.Extent{Records: max(1, size/int64(f.load.RecordBytes))}
	load := f.load
	load.Acks, load.RecordsPerSecond = -1, 0
	m := bench.NewMeter()
	stop := showProgress(stderr, "fill", extent, m)
	defer stop()
	_, err := bench.Run(ctx, "fill", bench.RawProduce(load), extent, nil, m)
	return err
}

// printMeasured writes v as one line of JSON, or calls text with a writer that aligns columns
// separated by tabs.
func printMeasured(w io.Writer, output string, v any, text func(io.Writer)) error {
	if output == "json" {
		return json.NewEncoder(w).Encode(v)
	}
	return printAs(w, output, v, text)
}
