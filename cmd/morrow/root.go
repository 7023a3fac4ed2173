package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

func newRoot(stdout, stderr io.Writer) *cobra.Command {
	root := newFamily("morrow", "A Kafka-compatible broker that can deliver a message later",
		newServe(),
		newTopic(),
		newGroup(),
		newTransaction(),
		newSchedule(),
		newTier(),
		newConfig(),
		newLog(),
		newBench(),
		newVersion(),
	)
	root.Long = `Morrow is a broker that existing Kafka clients use unchanged, that can deliver a
message later (a header says when), and that tiers closed log segments to object
storage with confirmed uploads.

The exit code is 0, or 1 if anything went wrong: then standard error has a line for it.`
	root.Example = `  morrow serve                                    start a broker
  echo hello | kcat -P -b 127.0.0.1:9092 -t orders -H morrow-delay=10s
  kcat -C -b 127.0.0.1:9092 -t orders             "hello" arrives ten seconds later
  morrow topic describe orders                    see what is in it`
	root.SilenceUsage, root.SilenceErrors = true, true
	// What has subcommands does nothing itself: its help need not say how.
	root.SetUsageTemplate(strings.Replace(root.UsageTemplate(), "{{if .Runnable}}", "{{if and .Runnable (not .HasAvailableSubCommands)}}", 1))
	root.SetOut(stdout)
	root.SetErr(stderr)
	return root
}

// newFamily makes a command that only has subcommands. A shell completes arguments of those that say how, and no files for the others.
func newFamily(use, short string, subcommands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  unknownSubcommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.SuggestionsMinimumDistance = 2
	for _, sub := range subcommands {
		if sub.ValidArgsFunction == nil {
			sub.ValidArgsFunction = cobra.NoFileCompletions
		}
	}
	cmd.AddCommand(subcommands...)
	return cmd
}

func unknownSubcommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return fmt.Errorf("%w: did you mean %s?", err, strings.Join(near, " or "))
	}
	return fmt.Errorf("%w: see %s --help", err, cmd.CommandPath())
}

// wantArgs accepts from min to max arguments (max < 0: any number). The error shows how the command is used.
func wantArgs(min, max int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		var problem string
		switch {
		case len(args) < min:
			problem = "argument missing"
		case max >= 0 && len(args) > max:
			problem = fmt.Sprintf("unexpected argument %q", args[max])
		case slices.Contains(args, ""):
			problem = "empty argument"
		default:
			return nil
		}
		return usageError(cmd, problem)
	}
}

func usageError(cmd *cobra.Command, problem string) error {
	usage := strings.TrimSuffix(cmd.UseLine(), " [flags]")
	return errors.New(problem + "; usage: " + usage)
}
