// Package batches reads batches that lie one behind the other in a file, or in anything else that
// can be read by position: [Scanner] all of each, front to back, [Headers] only their headers,
// wherever it is asked to, [Read] a single one.
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

// Read reads the batch in [pos, end) of r, into buf if it fits there, and checks its checksum. Errors
// are as for [Scanner.Next].
func Read(r io.ReaderAt, pos, end int64, buf []byte) (record.Batch, error) {
	n := int(end - pos)
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	b := record.Batch(buf[:n])
	if err := readFull(r, b, pos); err != nil {
		return nil, err
	}
	if err := b.CheckCRC(); err != nil {
		return nil, err
	}
	return b, nil
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
