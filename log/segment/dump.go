package segment

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/record"
)

// DumpOptions say what [Dump] writes.
type DumpOptions struct {
	Records bool // every record, not only every batch
}

// Dump writes what is in a file of a segment for people to read, or in all segments of a directory: one line per batch, record or index entry. It
// reads as it goes, and returns a *CorruptError where it can go no further.
func Dump(w io.Writer, fsys vfs.FS, name string, o DumpOptions) (err error) {
	out := bufio.NewWriter(w)
	defer func() { err = errors.Join(err, out.Flush()) }()
	base, suffix, ok := ParseName(path.Base(name))
	if ok && suffix != LogSuffix {
		return dumpSide(out, fsys, name, base, suffix)
	}
	names, err := logFiles(fsys, name)
	if err != nil {
		return err
	}
	for _, log := range names {
		if len(names) > 1 {
			fmt.Fprintf(out, "%s\n", log)
		}
		if err := dumpLog(out, fsys, log, o); err != nil {
			return err
		}
	}
	return nil
}

func dumpLog(w io.Writer, fsys vfs.FS, name string, o DumpOptions) error {
	f, err := fsys.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return err
	}
	sc := NewScanner(f, 0, size)
	defer sc.Close()
	for {
		b, pos, err := sc.Next()
		switch {
		case err == io.EOF:
			return nil
		case damaged(err) && sc.Skip():
			fmt.Fprintf(w, "position %d: %v\n", pos, err)
			continue
		case damaged(err):
			return &CorruptError{File: name, Pos: pos, Err: err}
		case err != nil:
			return err
		}
		fmt.Fprintln(w, line(b, pos))
		if o.Records {
			if err := dumpRecords(w, b); err != nil {
				fmt.Fprintf(w, "  %v\n", err)
			}
		}
	}
}

var codecs = [...]string{"none", "gzip", "snappy", "lz4", "zstd"}

// line describes a batch.
func line(b record.Batch, pos int64) string {
	var s strings.Builder
	a := b.Attributes()
	fmt.Fprintf(&s, "offset %d..%d position %d size %d records %d epoch %d", b.BaseOffset(), b.LastOffset(), pos, len(b), b.Count(), b.LeaderEpoch())
	fmt.Fprintf(&s, " timestamp %d..%d", b.BaseTimestamp(), b.MaxTimestamp())
	if b.ProducerID() >= 0 {
		fmt.Fprintf(&s, " producer %d/%d sequence %d..%d", b.ProducerID(), b.ProducerEpoch(), b.BaseSequence(), b.LastSequence())
	}
	if c := int(a.Codec()); c > 0 && c < len(codecs) {
		fmt.Fprintf(&s, " %s", codecs[c])
	} else if c > 0 {
		fmt.Fprintf(&s, " codec %d", c)
	}
	for _, f := range []struct {
		bit  record.Attributes
		name string
	}{
		{record.LogAppendTime, "log-append-time"}, {record.Transactional, "transactional"}, {record.Control, "control"},
		{record.DeleteHorizon, "delete-horizon"}, {record.Hidden, "hidden"}, {record.Continued, "continued"}, {record.Delivery, "delivery"},
	} {
		if a.Has(f.bit) {
			fmt.Fprintf(&s, " %s", f.name)
		}
	}
	fmt.Fprintf(&s, " crc %08x", b.CRC())
	return s.String()
}

func dumpRecords(w io.Writer, b record.Batch) error {
	return b.Walk(nil, func(v *record.View) error {
		fmt.Fprintf(w, "  offset %d timestamp %d key %s value %s", b.BaseOffset()+int64(v.OffsetDelta), v.CreateTime(), quote(v.Key), quote(v.Value))
		for k, val := range v.Headers {
			fmt.Fprintf(w, " %s=%s", quote(k), quote(val))
		}
		_, err := fmt.Fprintln(w)
		return err
	})
}

func quote(b []byte) string {
	if b == nil {
		return "null"
	}
	return fmt.Sprintf("%q", b)
}

// dumpSide writes the entries of an index.
func dumpSide(w io.Writer, fsys vfs.FS, name string, base int64, suffix string) error {
	b, err := vfs.ReadFile(fsys, name)
	if err != nil {
		return err
	}
	width := map[string]int{IndexSuffix: offsetWidth, TimeSuffix: timeWidth, TxnSuffix: abortedWidth}[suffix]
	if width == 0 {
		return fmt.Errorf("%s: files ending in %s cannot be shown", name, suffix)
	}
	for pos := 0; pos < len(b); pos += width {
		if len(b)-pos < width {
			return &CorruptError{File: name, Pos: int64(pos), Err: io.ErrUnexpectedEOF}
		}
		e := b[pos : pos+width]
		switch suffix {
		case IndexSuffix:
			rel, at := offsetEntry(e)
			fmt.Fprintf(w, "offset %d position %d\n", base+int64(rel), at)
		case TimeSuffix:
			ts, rel := timeEntry(e)
			fmt.Fprintf(w, "timestamp %d offset %d\n", ts, base+int64(rel))
		case TxnSuffix:
			a, err := parseAborted(e)
			if err != nil {
				return &CorruptError{File: name, Pos: int64(pos), Err: err}
			}
			fmt.Fprintf(w, "producer %d offset %d..%d last stable offset %d\n", a.ProducerID, a.FirstOffset, a.LastOffset, a.LastStable)
		}
	}
	return nil
}
