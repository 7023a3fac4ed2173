package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/log/segment"
)

// checkReport is what "log check" prints as JSON.
type checkReport struct {
	Logs     []checkedLog   `json:"logs"`
	Total    checkedLog     `json:"total"`
	Problems []checkProblem `json:"problems"`
}

// checkedLog is what was checked of one log, or of all.
type checkedLog struct {
	Directory string `json:"directory,omitempty"`
	Segments  int    `json:"segments"`
	Batches   int64  `json:"batches"`
	Records   int64  `json:"records"`
	Hidden    int64  `json:"hidden"` // of the records
	Bytes     int64  `json:"bytes"`
	Start     int64  `json:"start"` // offsets
	End       int64  `json:"end"`
	Tail      int64  `json:"unacknowledged_tail_bytes"`
	Problems  int    `json:"problems"`
}

// checkProblem is something that is wrong.
type checkProblem struct {
	File     string `json:"file"`
	Position int64  `json:"position"`
	Problem  string `json:"problem"`
	Cache    bool   `json:"cache"` // the file is made again from the log when it is needed
}

func newLogCheck() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "check PATH...",
		Short: "Read log files whole and report every damage",
		Long: `Read log files whole and report every damage: the framing, checksum, offsets, record counts,
groups and marks of every batch, whether the indexes lead to them, and whether segments
join. A PATH is a segment (.log), the directory of a partition, or any directory above such
ones, like a data directory.

Every problem is a line with file, position and what is wrong. A problem of a cache (an index,
a summary, a snapshot) costs no record: the broker makes it again when it needs it, and it
may be deleted while the broker is stopped. Bytes at the end of a log that were never
acknowledged, as an append that is under way or that a crash cut short, are no damage; the
broker cuts them at its next start.

The exit code is 1 if there is any problem.

With -o json: {logs: [{directory, segments, batches, records, hidden, bytes, start, end,
unacknowledged_tail_bytes, problems}], total, problems: [{file, position, problem, cache}]}.`,
		Example: `  morrow log check data
  morrow log check data/logs/99a281a650124e0cabc6b62e19ce7405-0
  morrow log check /var/lib/kafka/orders-0/00000000000000000000.log`,
		Args:              wantArgs(1, -1),
		ValidArgsFunction: completeLogs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			c := logCheck{report: checkReport{Logs: []checkedLog{}, Problems: []checkProblem{}}}
			if output == "text" {
				c.text = cmd.OutOrStdout()
			}
			for _, path := range args {
				if err := c.path(cmd, path); err != nil {
					return fmt.Errorf("%s: %w", path, reason(err))
				}
			}
			return c.finish(cmd, output)
		},
	}
	addOutputFlag(cmd, &output)
	return cmd
}

// logCheck is a run of "log check".
type logCheck struct {
	report checkReport
	text   io.Writer // where to print while it goes on, nil if not
}

// path checks a file, the log in a directory, or all logs below it.
func (c *logCheck) path(cmd *cobra.Command, path string) error {
	st, err := files.Stat(path)
	if err != nil {
		return err
	}
	if !st.Dir {
		return c.file(path)
	}
	found := false
	err = filepath.WalkDir(path, func(dir string, d fs.DirEntry, err error) error {
		if dir != path && errors.Is(err, fs.ErrNotExist) {
			return nil // removed meanwhile
		}
		if err := cmp.Or(err, cmd.Context().Err()); err != nil {
			return err
		}
		switch {
		case !d.IsDir():
			return nil
		case log.Unfinished(d.Name()):
			return fs.SkipDir
		case !holdsLog(dir):
			return nil
		}
		found = true
		return c.log(dir, nil)
	})
	if err == nil && !found {
		err = errors.New("there are no log files in it")
	}
	return err
}

func holdsLog(dir string) bool {
	names, err := files.List(dir)
	return err == nil && slices.ContainsFunc(names, func(name string) bool {
		_, suffix, ok := segment.ParseName(name)
		return ok && suffix == segment.LogSuffix
	})
}

// file checks one segment. If its name is not a segment's, what lies beside it is none of it.
func (c *logCheck) file(path string) error {
	if base, suffix, ok := segment.ParseName(filepath.Base(path)); ok && suffix == segment.LogSuffix {
		return c.log(filepath.Dir(path), []int64{base})
	} else if ok {
		return errors.New("give the .log file: what lies beside it is checked with it")
	}
	l := checkedLog{Directory: path, Segments: 1}
	s, err := segment.Check(segment.CheckOptions{FS: files, Name: path, Report: c.problem(&l)})
	if err != nil {
		return err
	}
	if s.Tail.Damage != nil {
		c.problem(&l)(segment.Problem{File: path, Pos: s.Tail.DamagePos, Err: s.Tail.Damage})
	}
	l.Batches, l.Records, l.Hidden, l.Bytes, l.Start, l.End = s.Batches, s.Records, s.Hidden, s.Size, s.Base, s.End
	c.add(l)
	return nil
}

func (c *logCheck) log(dir string, only []int64) error {
	l := checkedLog{Directory: dir}
	s, err := log.Check(log.CheckOptions{FS: files, Dir: dir, Only: only, Report: c.problem(&l)})
	if errors.Is(err, fs.ErrNotExist) && only == nil {
		return nil // the log was removed meanwhile
	}
	if err != nil {
		return err
	}
	l.Segments, l.Batches, l.Records, l.Hidden, l.Bytes = s.Segments, s.Batches, s.Records, s.Hidden, s.Bytes
	l.Start, l.End, l.Tail = s.Start, s.End, s.Tail
	c.add(l)
	return nil
}

// problem notes, and prints, what is wrong with a log.
func (c *logCheck) problem(l *checkedLog) func(segment.Problem) {
	return func(p segment.Problem) {
		l.Problems++
		c.report.Problems = append(c.report.Problems, checkProblem{p.File, p.Pos, p.Err.Error(), p.Cache})
		if c.text == nil {
			return
		}
		kind := "damaged"
		if p.Cache {
			kind = "damaged cache"
		}
		fmt.Fprintf(c.text, "%s: %s: position %d: %s\n", kind, p.File, p.Pos, p.Err)
	}
}

func (c *logCheck) add(l checkedLog) {
	c.report.Logs = append(c.report.Logs, l)
	t := &c.report.Total
	t.Segments += l.Segments
	t.Batches += l.Batches
	t.Records += l.Records
	t.Hidden += l.Hidden
	t.Bytes += l.Bytes
	t.Tail += l.Tail
	t.Problems += l.Problems
}

// finish prints the sum, and returns errReported if anything is wrong.
func (c *logCheck) finish(cmd *cobra.Command, output string) error {
	err := printAs(cmd.OutOrStdout(), output, c.report, func(w io.Writer) { fmt.Fprintln(w, c.summary()) })
	if err == nil && len(c.report.Problems) > 0 {
		err = errReported
	}
	return err
}

func (c *logCheck) summary() string {
	t := c.report.Total
	parts := []string{
		plural(len(c.report.Logs), "log"), plural(t.Segments, "segment"), plural(t.Batches, "batch"),
		plural(t.Records, "record"), plural(t.Bytes, "byte"),
	}
	if t.Hidden > 0 {
		parts[3] += fmt.Sprintf(" (%d hidden)", t.Hidden)
	}
	caches := 0
	for _, p := range c.report.Problems {
		if p.Cache {
			caches++
		}
	}
	verdict := "no damage"
	switch n := len(c.report.Problems); {
	case caches > 0 && caches == n:
		verdict = plural(n, "problem") + ", all of caches: no record is affected"
	case n > 0:
		verdict = plural(n, "problem")
	}
	if t.Tail > 0 {
		verdict += fmt.Sprintf(", %s not acknowledged at the end", plural(t.Tail, "byte"))
	}
	return "checked " + strings.Join(parts, ", ") + ": " + verdict
}

// plural is a count with its noun.
func plural[N int | int64](n N, noun string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case strings.HasSuffix(noun, "ch"):
		return fmt.Sprintf("%d %ses", n, noun)
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
