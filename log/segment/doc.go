// Package segment is one file of a partition's log and the caches beside it.
//
// A segment is a run of record batches in offset order, stored byte for byte as Kafka does,
// with Kafka's offset index, time index and index of aborted transactions, and a
// summary of our own that says how far those go and what their checksums are. Only the
// .log file is the truth: a side file that is missing, stale or damaged is
// noticed and rebuilt from it.
//
// One goroutine at a time appends to a segment or truncates it (the owner, package log,
// sees to that); any number may read and sync meanwhile. The package starts no goroutine.
package segment

import (
	"fmt"
	"strconv"

	"github.com/morrowmq/morrow/internal/vfs"
)

// Suffixes of the files of a segment; the name before it is the base offset in 20 digits.
const (
	LogSuffix     = ".log"
	IndexSuffix   = ".index"
	TimeSuffix    = ".timeindex"
	TxnSuffix     = ".txnindex"
	SummarySuffix = ".summary"
)

var suffixes = []string{LogSuffix, IndexSuffix, TimeSuffix, TxnSuffix, SummarySuffix}

// MaxBytes is the largest size of a segment: positions in the index are int32.
const MaxBytes = 1<<31 - 1

// FileName is the name, without directory, of a segment's file.
func FileName(base int64, suffix string) string {
	return fmt.Sprintf("%020d%s", base, suffix)
}

// ParseName takes a file name apart. ok is false if it is not one of ours.
func ParseName(name string) (base int64, suffix string, ok bool) {
	if len(name) <= 20 || name[20] != '.' {
		return 0, "", false
	}
	for _, c := range name[:20] {
		if c < '0' || c > '9' {
			return 0, "", false
		}
	}
	base, err := strconv.ParseInt(name[:20], 10, 64)
	return base, name[20:], err == nil
}

// CorruptError is damage in data that was durable. Nothing may be skipped because of it.
type CorruptError struct {
	File string // path
	Pos  int64  // position of the batch or entry
	Err  error
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s is corrupt at position %d: %v", e.File, e.Pos, e.Err)
}

func (e *CorruptError) Unwrap() error { return e.Err }

// Options are what the segments of one log have in common.
type Options struct {
	FS                 vfs.FS
	Handles            *Handles
	Dir                string
	IndexIntervalBytes int // bytes of log between two entries of the offset index
}
