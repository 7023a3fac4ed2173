package main

import (
	"errors"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/segment"
)

func newLog() *cobra.Command {
	cmd := newFamily("log", "Look into log files: check them for damage, show what is in them, give up what is lost", newLogCheck(), newLogDump(), newLogSalvage())
	cmd.Aliases = []string{"logs"}
	cmd.Long = `Look into log files: check them for damage, show what is in them, give up what is lost.

The files are only read, except by "salvage --accept-loss". They may be those of a broker that
is running or not, of Morrow or of Kafka, or copies. "morrow topic describe" shows where those
of a topic are.`
	cmd.Example = `  morrow log check data
  morrow log dump data/logs/99a281a650124e0cabc6b62e19ce7405-0/00000000000000000000.log --records`
	return cmd
}

// files is how log files are reached.
var files = vfs.OS{ReadOnly: true}

// completeLogs completes names of log files, and directories on the way.
func completeLogs(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{segment.LogSuffix[1:], segment.IndexSuffix[1:], segment.TimeSuffix[1:], segment.TxnSuffix[1:]}, cobra.ShellCompDirectiveFilterFileExt
}

// reason leaves out a path that the caller says already.
func reason(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
