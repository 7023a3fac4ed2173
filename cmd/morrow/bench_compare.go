package main

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/morrowmq/morrow/internal/bench"
)

func newBenchCompare(output *string) *cobra.Command {
	var match string
	c := bench.Comparison{WarmBytes: 2 << 30}
	cmd := &cobra.Command{
		Use:   "compare NAME=HOST:PORT[,PID] NAME=HOST:PORT[,PID]...",
		Short: "Put the same loads on several brokers, in turn",
		Long: `Put the same loads on several brokers, in turn: Morrow and any others that speak
Kafka's protocol. What is printed are medians, and how the first broker compares with the
others: above 1 is better for the first. With a process id, processor time and memory of a
broker on this machine are compared too.

Each broker should run alone on its disk, and nothing else on the machine. Topics are
created with one replica and deleted afterwards.`,
		Example: "  morrow bench compare morrow=127.0.0.1:9092,$(pidof morrow) kafka=127.0.0.1:9192,$(pidof java)",
		Args:    wantArgs(2, 8),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if c.Match, err = regexp.Compile(match); err != nil {
				return fmt.Errorf("invalid value %q for --load: %w", match, err)
			}
			for _, arg := range args {
				p, err := parsePeer(arg)
				if err != nil {
					return err
				}
				c.Peers = append(c.Peers, p)
			}
			c.Began = suiteProgress(cmd.ErrOrStderr())
			rows, err := c.Run(cmd.Context())
			return errors.Join(err, printMeasured(cmd.OutOrStdout(), *output, rows, func(w io.Writer) { printCompared(w, c.Peers, rows) }))
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&match, "load", "", "only loads whose name matches this regular `expression`")
	fl.IntVar(&c.Repetitions, "repetitions", 3, "how often everything is measured")
	fl.DurationVar(&c.Step, "step", 3*time.Second, "how long each measurement takes")
	fl.StringVar(&c.Dir, "dir", "", "`directory` on the brokers' disk: 2 GiB are written and removed there before each\nmeasurement, so that all brokers find disk and memory alike")
	fl.Int64Var(&c.FillBytes, "fill-bytes", 1<<30, "bytes in the topic that is consumed")
	return cmd
}

// parsePeer reads NAME=HOST:PORT[,PID].
func parsePeer(arg string) (p bench.Peer, err error) {
	name, rest, ok := strings.Cut(arg, "=")
	addr, pid, known := strings.Cut(rest, ",")
	if !ok || name == "" || addr == "" {
		return p, fmt.Errorf("invalid broker %q: must be NAME=HOST:PORT or NAME=HOST:PORT,PID", arg)
	}
	p = bench.Peer{Name: name, Brokers: []string{addr}}
	if known {
		n, err := strconv.Atoi(pid)
		if err != nil || n <= 0 {
			return p, fmt.Errorf("invalid process id %q of %s: must be a positive number", pid, name)
		}
		p.Server = bench.Process(n)
	}
	return p, nil
}

func printCompared(w io.Writer, peers []bench.Peer, rows []bench.Compared) {
	fmt.Fprint(w, "WHAT\t")
	for i, p := range peers {
		fmt.Fprintf(w, "%s\t", strings.ToUpper(p.Name))
		if i > 0 {
			fmt.Fprint(w, "×\t")
		}
	}
	fmt.Fprintln(w)
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t", r.Name)
		for i, v := range r.Values {
			if v == 0 {
				fmt.Fprint(w, "-\t")
			} else {
				fmt.Fprintf(w, "%.3g %s\t", v, r.Unit)
			}
			if i > 0 {
				fmt.Fprintf(w, "%s\t", advantage(r, i))
			}
		}
		fmt.Fprintln(w)
	}
}

// advantage is by what factor the first peer is better than another.
func advantage(r bench.Compared, i int) string {
	first, other := r.Values[0], r.Values[i]
	if r.Lower {
		first, other = other, first
	}
	if first == 0 || other == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2g", first/other)
}
