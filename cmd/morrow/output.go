package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/morrowmq/morrow/internal/when"
)

// addOutputFlag declares --output on cmd and all its subcommands.
func addOutputFlag(cmd *cobra.Command, output *string) {
	cmd.PersistentFlags().StringVarP(output, "output", "o", "text", "`format` to print in: text or json")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
}

func checkOutput(output string) error {
	if output != "text" && output != "json" {
		return fmt.Errorf("invalid value %q for --output: must be text or json", output)
	}
	return nil
}

// printAs writes v as JSON, or calls text with a writer that aligns columns separated by tabs.
func printAs(w io.Writer, output string, v any, text func(w io.Writer)) error {
	if output == "json" {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	}
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	text(tw)
	return tw.Flush()
}

// row writes the columns of a table. The last one is not padded, and empty ones show as "-".
func row(w io.Writer, columns ...any) {
	parts := make([]string, len(columns))
	for i, c := range columns {
		if parts[i] = fmt.Sprint(c); parts[i] == "" {
			parts[i] = "-"
		}
	}
	fmt.Fprintln(w, strings.Join(parts, "\t"))
}

// outcome is what became of one of several things a command was asked to change.
type outcome struct {
	Name   string `json:"name"`
	Result string `json:"result"` // what was done, "unchanged" or "failed"
	Error  string `json:"error,omitempty"`
}

// outcomes collects them.
type outcomes []outcome

// add notes that something was done to name, or why not.
func (o *outcomes) add(name, done string, err error) {
	if err != nil {
		*o = append(*o, outcome{name, "failed", err.Error()})
		return
	}
	*o = append(*o, outcome{name, done, ""})
}

// print writes one line for everything that was changed, and one to standard error for everything
// that could not be. Then the error is errReported.
func (o outcomes) print(cmd *cobra.Command, output string) error {
	failed := slices.ContainsFunc(o, func(r outcome) bool { return r.Error != "" })
	err := printAs(cmd.OutOrStdout(), output, o, func(w io.Writer) {
		for _, r := range o {
			if r.Error == "" {
				fmt.Fprintf(w, "%s: %s\n", r.Name, r.Result)
			}
		}
	})
	for _, r := range o {
		if r.Error != "" {
			fmt.Fprintf(cmd.ErrOrStderr(), "morrow: %s: %s\n", r.Name, r.Error)
		}
	}
	if err == nil && failed {
		err = errReported
	}
	return err
}

// timestamp is a time in milliseconds since the epoch as people read it, "-" for zero and below,
// which mean none.
func timestamp(ms int64) string {
	if ms <= 0 {
		return "-"
	}
	return when.RFC3339(ms)
}

func ints(ns []int32) string {
	parts := make([]string, len(ns))
	for i, n := range ns {
		parts[i] = fmt.Sprint(n)
	}
	return strings.Join(parts, ",")
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
