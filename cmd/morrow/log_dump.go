package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/log/segment"
)

func newLogDump() *cobra.Command {
	var output, offsets string
	d := logDump{from: 0, to: math.MaxInt64}
	cmd := &cobra.Command{
		Use:   "dump FILE...",
		Short: "Show the batches and records of a segment, or the entries of an index",
		Long: `Show the batches of a segment (.log), with --records their records too, or the entries of
an index (.index, .timeindex, .txnindex). Delayed records are in batches marked hidden;
a batch marked delivery has delivered ones. Damage is shown where it is, and what follows it.

Keys, values and headers are shown as text in quotes, or in hex, 0x…, if they are none.

With -o json: one object per line, with "kind": "batch", "record", "index" or "damage". Bytes
are strings, or {"hex": "…"} if they are no text; timestamps are milliseconds.

The exit code is 1 if a file is damaged, and standard error says which.`,
		Example: `  morrow log dump data/logs/99a281a650124e0cabc6b62e19ce7405-0/00000000000000000000.log
  morrow log dump --records --offsets 1000:1010 00000000000000000000.log
  morrow log dump --records -o json 00000000000000000000.log | jq -r 'select(.kind == "record").value'`,
		Args:              wantArgs(1, -1),
		ValidArgsFunction: completeLogs,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if err := errors.Join(checkOutput(output), d.parseOffsets(offsets)); err != nil {
				return err
			}
			out := bufio.NewWriter(cmd.OutOrStdout())
			defer func() { err = errors.Join(err, out.Flush()) }()
			d.out = textDump{out, d.records}
			if output == "json" {
				enc := json.NewEncoder(out)
				enc.SetEscapeHTML(false)
				d.out = jsonDump{enc}
			}
			var damaged []string
			for _, name := range args {
				if len(args) > 1 && output == "text" {
					fmt.Fprintf(out, "%s:\n", name)
				}
				d.damaged = false
				if err := d.file(name); err != nil {
					return fmt.Errorf("%s: %w", name, reason(err))
				}
				if d.damaged {
					damaged = append(damaged, name)
				}
			}
			if len(damaged) > 0 {
				return fmt.Errorf("damaged: %s", strings.Join(damaged, ", "))
			}
			return nil
		},
	}
	addOutputFlag(cmd, &output)
	cmd.Flags().BoolVar(&d.records, "records", false, "show records too")
	cmd.Flags().StringVar(&offsets, "offsets", "", "show only offsets `from:to`, without the latter; either may be left out")
	completeFlags(cmd, map[string]cobra.CompletionFunc{"offsets": cobra.NoFileCompletions})
	return cmd
}

// logDump is a run of "log dump".
type logDump struct {
	records  bool
	from, to int64 // offsets shown, half-open
	out      dumpWriter
	damaged  bool // the present file
}

// dumpWriter shows what is in a file.
type dumpWriter interface {
	batch(b record.Batch, pos int64) error
	record(b record.Batch, v *record.View) error
	index(e segment.IndexEntry) error
	damage(p segment.Piece, reason error) error
}

func (d *logDump) parseOffsets(s string) error {
	if s == "" {
		return nil
	}
	from, to, ok := strings.Cut(s, ":")
	var errs [2]error
	if from != "" {
		d.from, errs[0] = strconv.ParseInt(from, 10, 64)
	}
	if to != "" {
		d.to, errs[1] = strconv.ParseInt(to, 10, 64)
	}
	if !ok || errors.Join(errs[:]...) != nil || d.from < 0 || d.to < d.from {
		return fmt.Errorf("invalid value %q for --offsets: must be FROM:TO, such as 100:200, 100: or :200", s)
	}
	return nil
}

func (d *logDump) file(name string) error {
	if segment.IsIndex(name) {
		err := segment.DumpIndex(files, name, func(e segment.IndexEntry) error {
			if e.Offset < d.from || e.Offset >= d.to {
				return nil
			}
			return d.out.index(e)
		})
		var corrupt *segment.CorruptError
		if errors.As(err, &corrupt) {
			d.damaged = true
			return d.out.damage(segment.Piece{Pos: corrupt.Pos, EndPos: corrupt.Pos, Next: segment.None}, corrupt.Err)
		}
		return err
	}
	base, suffix, ok := segment.ParseName(filepath.Base(name))
	if ok && suffix != segment.LogSuffix {
		return fmt.Errorf("files ending in %s cannot be shown", suffix)
	}
	f, err := files.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // nothing was written
	size, err := f.Size()
	if err != nil {
		return err
	}
	return segment.Dump(f, base, size, d.piece)
}

func (d *logDump) piece(p segment.Piece) error {
	switch {
	case errors.Is(p.Err, segment.ErrUnused):
		return nil
	case p.Err != nil:
		d.damaged = true
		return d.out.damage(p, p.Err)
	case p.Batch.EndOffset() <= d.from || p.Batch.BaseOffset() >= d.to:
		return nil
	}
	if err := d.out.batch(p.Batch, p.Pos); err != nil || !d.records {
		return err
	}
	stop := false
	err := p.Batch.Walk(nil, func(v *record.View) error {
		offset := p.Batch.BaseOffset() + int64(v.OffsetDelta)
		if offset < d.from || offset >= d.to {
			return nil
		}
		err := d.out.record(p.Batch, v)
		stop = err != nil
		return err
	})
	if err == nil || stop {
		return err
	}
	d.damaged = true
	return d.out.damage(p, err)
}
