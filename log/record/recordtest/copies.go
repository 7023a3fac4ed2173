// Package recordtest holds logs that are too large to be stored, for tests of what happens at large positions.
package recordtest

import (
	"io"

	"github.com/morrowmq/morrow/log/record"
)

// Copies reads as n copies of a batch, one behind the other, each with the offsets that follow
// those of the one before. A checksum does not cover the base offset, so all of them are valid. It
// is safe for concurrent use.
type Copies struct {
	batch record.Batch
	n     int64
}

// NewCopies returns n copies of a batch. The first keeps its base offset.
func NewCopies(b record.Batch, n int64) *Copies { return &Copies{b, n} }

// Size is the bytes of all copies.
func (c *Copies) Size() int64 { return c.n * int64(len(c.batch)) }

// Base and End bound the offsets of all copies.
func (c *Copies) Base() int64 { return c.batch.BaseOffset() }

// End is the offset after the last copy.
func (c *Copies) End() int64 { return c.base(c.n) }

func (c *Copies) base(i int64) int64 {
	return c.batch.BaseOffset() + i*(c.batch.EndOffset()-c.batch.BaseOffset())
}

// ReadAt implements io.ReaderAt.
func (c *Copies) ReadAt(b []byte, pos int64) (n int, err error) {
	size := int64(len(c.batch))
	for n < len(b) && pos < c.Size() {
		i, at := pos/size, pos%size
		var head [record.LengthEnd]byte // the base offset and the length
		copy(head[:], c.batch)
		record.Batch(head[:]).SetBaseOffset(c.base(i))
		k := 0
		if at < int64(len(head)) {
			k = copy(b[n:], head[at:])
		}
		k += copy(b[n+k:], c.batch[at+int64(k):])
		n, pos = n+k, pos+int64(k)
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}
