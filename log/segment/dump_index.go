package segment

import (
	"bytes"
	"fmt"
	"path/filepath"

	"github.com/morrowmq/morrow/internal/vfs"
)

// IndexEntry is an entry of a side file. The fields that its kind of file has are set; the others are None.
type IndexEntry struct {
	Pos       int64 // of the entry, in the file
	Offset    int64 // of a record; in an index of aborted transactions, the marker's
	BatchPos  int64 // where the batch lies in the log file
	Timestamp int64 // ms
	Aborted   *AbortedTxn
}

// indexWidths are the widths of the entries of the files that DumpIndex reads.
var indexWidths = map[string]int{IndexSuffix: offsetWidth, TimeSuffix: timeWidth, TxnSuffix: abortedWidth}

// IsIndex reports whether a path is that of a side file that [DumpIndex] reads.
func IsIndex(name string) bool {
	_, suffix, ok := ParseName(filepath.Base(name))
	return ok && indexWidths[suffix] > 0
}

// DumpIndex calls visit for every entry of an offset index, a time index or an index of aborted
// transactions (see [IsIndex]), of ours or of Kafka's. Space that was allocated beforehand is left
// out. An incomplete or unknown entry is a *CorruptError.
func DumpIndex(fsys vfs.FS, name string, visit func(IndexEntry) error) error {
	base, suffix, _ := ParseName(filepath.Base(name))
	width := indexWidths[suffix]
	if width == 0 {
		return fmt.Errorf("%s is no index of a segment", name)
	}
	b, err := vfs.ReadFile(fsys, name)
	if err != nil {
		return err
	}
	used := len(bytes.TrimRight(b, "\x00"))
	for pos := 0; pos < used; pos += width {
		if len(b)-pos < width {
			return &CorruptError{File: name, Pos: int64(pos), Err: errOdd}
		}
		e, err := parseIndex(b[pos:pos+width], suffix, base)
		if err != nil {
			return &CorruptError{File: name, Pos: int64(pos), Err: err}
		}
		e.Pos = int64(pos)
		if err := visit(e); err != nil {
			return err
		}
	}
	return nil
}

func parseIndex(entry []byte, suffix string, base int64) (IndexEntry, error) {
	e := IndexEntry{Offset: None, BatchPos: None, Timestamp: None}
	switch suffix {
	case IndexSuffix:
		rel, pos := offsetEntry(entry)
		e.Offset, e.BatchPos = base+int64(rel), int64(pos)
	case TimeSuffix:
		timestamp, rel := timeEntry(entry)
		e.Offset, e.Timestamp = base+int64(rel), timestamp
	case TxnSuffix:
		a, err := parseAborted(entry)
		if err != nil {
			return e, err
		}
		e.Offset, e.Aborted = a.LastOffset, &a
	}
	return e, nil
}
