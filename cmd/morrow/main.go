// Command morrow is the broker and the tool that goes with it: it serves, and
// it looks at and changes topics, groups, configs, schedules, tiers and log files.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run executes one command line and returns the exit code: 0, or 1 with a line on stderr for
// everything that went wrong.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot(stdout, stderr)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if !errors.Is(err, errReported) {
		printError(stderr, err)
	}
	return 1
}

// printError writes one line per problem, each saying whose it is.
func printError(w io.Writer, err error) {
	for line := range strings.Lines(strings.TrimSpace(err.Error())) {
		if line = strings.TrimSpace(line); line != "" {
			fmt.Fprintln(w, "morrow:", line)
		}
	}
}

// errReported is returned by commands that have already printed what failed, item by item.
var errReported = errors.New("reported")
