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
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run executes one command line and returns the exit code: 0, or 1 with one line on stderr that says what went wrong.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot(stdout, stderr)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil || errors.Is(err, errReported) {
		if err != nil {
			return 1
		}
		return 0
	}
	fmt.Fprintln(stderr, "morrow:", err)
	return 1
}

// errReported is returned by commands that have already printed what failed, item by item.
var errReported = errors.New("reported")
