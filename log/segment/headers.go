package segment

import (
	"fmt"
	"io"

	"github.com/morrowmq/morrow/log/batches"
	"github.com/morrowmq/morrow/log/record"
)

// headers reads the headers of a segment's batches.
type headers struct {
	*batches.Headers
	s *Segment
}

// headers returns a reader of the batches that are in f, the segment's file, now. Close it afterwards.
func (s *Segment) headers(f io.ReaderAt) headers {
	return headers{batches.NewHeaders(f, s.Size(), batches.MostHeaders), s}
}

// at returns the header of the batch at pos, valid until the next call, and where the batch ends.
// A *CorruptError says that there is no whole one; any other error comes from reading.
func (h headers) at(pos int64) (record.Batch, int64, error) {
	b, end, err := h.At(pos)
	if err != nil {
		return nil, 0, h.s.badBatch(pos, err)
	}
	return b, end, nil
}

// badBatch is why the batch at pos could not be read: a *CorruptError if it is not whole. What the
// disk does not give is not damaged: the next try may have it.
func (s *Segment) badBatch(pos int64, err error) error {
	if batches.Damaged(err) {
		return &CorruptError{File: s.Name(), Pos: pos, Err: err}
	}
	return fmt.Errorf("read batch at position %d: %w", pos, err) // of a file that err names
}
