package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func newRoot(stdout, stderr io.Writer) *cobra.Command {
	root := newFamily("morrow", "A Kafka-compatible broker that can deliver a message later",
		newServe(),
		newTopic(),
		newGroup(),
		newTransaction(),
		newSchedule(),
		newAlarms(),
		newTier(),
		newConfig(),
		newLog(),
		newBench(),
		newVersion(),
	)
	root.Long = `Morrow is a broker that existing Kafka clients use unchanged, that can deliver a
message later (a header says when), and that tiers closed log segments to object
storage with confirmed uploads.

The exit code is 0, or 1 if anything went wrong: then standard error has a line for it.
Times are shown in UTC, and in milliseconds since 1970 by -o json.`
	root.Example = `  morrow serve                                    start a broker
  echo hello | kcat -P -b 127.0.0.1:9092 -t orders -H morrow-delay=10s
  kcat -C -b 127.0.0.1:9092 -t orders             "hello" arrives ten seconds later
  morrow topic describe orders                    see what is in it`
	root.Version = buildVersion().String()
	root.Flags().BoolP("version", "v", false, "show the version") // cobra looks at it
	root.SetVersionTemplate("{{.Version}}\n")
	root.SilenceUsage, root.SilenceErrors = true, true
	root.SetFlagErrorFunc(flagError)
	// What has subcommands does nothing itself: its help need not say how.
	root.SetUsageTemplate(strings.Replace(root.UsageTemplate(), "{{if .Runnable}}", "{{if and .Runnable (not .HasAvailableSubCommands)}}", 1))
	root.SetOut(stdout)
	root.SetErr(stderr)
	checkHelp(root)
	return root
}

// flagError says what a flag expects, in other words than those of a function, and where more is said.
func flagError(cmd *cobra.Command, err error) error {
	text := err.Error()
	if number, ok := errors.AsType[*strconv.NumError](err); ok {
		want := map[string]string{"ParseFloat": "must be a number", "ParseBool": "must be true or false"}[number.Func]
		if want == "" {
			want = "must be a whole number"
		}
		if errors.Is(number, strconv.ErrRange) {
			want = "is out of range"
		}
		text = strings.TrimSuffix(text, number.Error()) + want
	}
	if missing, ok := errors.AsType[*pflag.NotExistError](err); ok {
		text += otherAddress(cmd, missing.GetSpecifiedName())
	}
	return fmt.Errorf("%s: see %s --help", text, cmd.CommandPath())
}

// otherAddress tells who names an address by a flag that other commands have how this one is told it.
func otherAddress(cmd *cobra.Command, flag string) string {
	switch has := func(name string) bool { return cmd.Flag(name) != nil }; {
	case (flag == "b" || flag == "bootstrap") && has("http"):
		return " (this command asks the HTTP address: --http)"
	case flag == "http" && has("bootstrap"):
		return " (this command asks Kafka's listener: --bootstrap)"
	}
	return ""
}

// checkHelp has the help command refuse what is no command, where cobra shows the help of the last that is one.
func checkHelp(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	help, _, err := root.Find([]string{"help"})
	if err != nil {
		return // there are no commands to help with
	}
	help.Example = "  morrow help topic create"
	help.Args = func(_ *cobra.Command, args []string) error {
		cmd, left, err := root.Find(args)
		if err != nil {
			return err
		}
		return unknownSubcommand(cmd, left)
	}
}

// newFamily makes a command that only has subcommands. A shell completes arguments of those that
// say how, and no files for the others.
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

// needFlags refuses cmd without all of these flags.
func needFlags(cmd *cobra.Command, names ...string) {
	checkFlags(cmd, func() string {
		for _, name := range names {
			if !cmd.Flags().Changed(name) {
				return "--" + name + " missing"
			}
		}
		return ""
	})
	for _, name := range names {
		_ = cmd.MarkFlagRequired(name) // for shells, which offer it
	}
}

// needOneFlag refuses cmd without any of these flags, or with several.
func needOneFlag(cmd *cobra.Command, names ...string) {
	excludeFlags(cmd, names...)
	checkFlags(cmd, func() string {
		if !slices.ContainsFunc(names, cmd.Flags().Changed) {
			return "--" + strings.Join(names, " or --") + " missing"
		}
		return ""
	})
}

// excludeFlags refuses cmd with more than one of these flags.
func excludeFlags(cmd *cobra.Command, names ...string) {
	checkFlags(cmd, func() string {
		var set []string
		for _, name := range names {
			if cmd.Flags().Changed(name) {
				set = append(set, "--"+name)
			}
		}
		if len(set) > 1 {
			return strings.Join(set, " and ") + " exclude each other"
		}
		return ""
	})
}

// checkFlags adds a look at the flags to that at the arguments, which comes before cobra's own: its
// words are about groups of flags.
func checkFlags(cmd *cobra.Command, problem func() string) {
	args := cmd.Args
	cmd.Args = func(cmd *cobra.Command, given []string) error {
		if err := args(cmd, given); err != nil {
			return err
		}
		if p := problem(); p != "" {
			return usageError(cmd, p)
		}
		return nil
	}
}
