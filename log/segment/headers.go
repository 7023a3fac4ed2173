package segment

import (
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
// What it cannot read is a *CorruptError.
func (h headers) at(pos int64) (record.Batch, int64, error) {
	b, end, err := h.At(pos)
	if err != nil {
		return nil, 0, &CorruptError{File: h.s.Name(), Pos: pos, Err: err}
	}
	return b, end, nil
}
