// Package batches reads batches that lie one behind the other in a file, or in anything else that
// can be read by position: [Scanner] all of each, front to back, [Headers] only their headers,
// wherever it is asked to.
//
// Where batches begin and end is known to the caller: the segments of a log and the objects of the
// tier keep them alike, and nothing else of the two is alike. Readers are for one goroutine at a
// time; nothing here locks, writes or starts a goroutine.
package batches

import (
	"errors"
	"io"

	"github.com/morrowmq/morrow/log/record"
)

// Damaged reports whether an error says that bytes are wrong or missing, rather than that they
// could not be read.
func Damaged(err error) bool {
	return errors.Is(err, record.ErrTorn) || errors.Is(err, record.ErrCRC) ||
		errors.Is(err, record.ErrMagic) || errors.Is(err, record.ErrInvalid)
}

// readFull reads len(b) bytes at pos; fewer are record.ErrTorn.
func readFull(r io.ReaderAt, b []byte, pos int64) error {
	n, err := r.ReadAt(b, pos)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return record.ErrTorn
	}
	return err
}
