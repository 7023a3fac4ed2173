package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func newRoot(stdout, stderr io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:   "morrow",
		Short: "A Kafka-compatible broker that can deliver a message later",
		Long: `Morrow is a broker that existing Kafka clients use unchanged, that can deliver a
message later (a header says when), and that tiers closed log segments to object
storage with confirmed uploads.

  morrow serve                                    start a broker
  echo hello | kcat -P -b 127.0.0.1:9092 -t orders -H morrow-delay=10s
  kcat -C -b 127.0.0.1:9092 -t orders             "hello" arrives ten seconds later`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
	}
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.AddCommand(
		newServe(),
		newTopic(),
		newGroup(),
		newSchedule(),
		newTier(),
		newConfig(),
		newBench(),
		newVersion(),
	)
	return root
}

// client is what the commands that talk to a broker share: where it is, and how to print.
type client struct {
	bootstrap []string
	output    string
	timeout   time.Duration
}

// addTo declares the flags on cmd and all its subcommands.
func (c *client) addTo(cmd *cobra.Command) {
	f := cmd.PersistentFlags()
	f.StringSliceVarP(&c.bootstrap, "bootstrap", "b", []string{"127.0.0.1:9092"}, "addresses of brokers")
	f.DurationVar(&c.timeout, "timeout", 15*time.Second, "how long to wait for the broker")
	addOutputFlag(cmd, &c.output)
	cmd.PersistentPreRunE = func(*cobra.Command, []string) error { return checkOutput(c.output) }
}

func addOutputFlag(cmd *cobra.Command, output *string) {
	cmd.PersistentFlags().StringVarP(output, "output", "o", "text", "how to print: text or json")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
}

func checkOutput(output string) error {
	if output != "text" && output != "json" {
		return fmt.Errorf("invalid value %q for --output: must be text or json", output)
	}
	return nil
}

// admin connects; the caller closes it. It does no I/O yet.
func (c *client) admin() (*kadm.Client, error) {
	cl, err := kgo.NewClient(
		kgo.SeedBrokers(c.bootstrap...),
		kgo.RequestRetries(3),
		kgo.RetryTimeout(c.timeout),
		kgo.ClientID("morrow-cli"),
	)
	if err != nil {
		return nil, err
	}
	adm := kadm.NewClient(cl)
	adm.SetTimeoutMillis(int32(c.timeout.Milliseconds()))
	return adm, nil
}

// print writes v as JSON, or calls text with a table writer that aligns columns separated by tabs.
func printAs(w io.Writer, output string, v any, text func(w io.Writer)) error {
	if output == "json" {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	}
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	text(tw)
	return tw.Flush()
}

// configArgs parses key=value arguments.
func configArgs(pairs []string) (map[string]*string, error) {
	m := make(map[string]*string, len(pairs))
	for _, p := range pairs {
		k, v, ok := strings.Cut(p, "=")
		if !ok || k == "" {
			return nil, fmt.Errorf("invalid config %q: must be key=value", p)
		}
		m[k] = &v
	}
	return m, nil
}
