package tier

import (
	"fmt"

	"github.com/morrowmq/morrow/log/batches"
	"github.com/morrowmq/morrow/log/record"
)

// headers reads the headers of a segment's batches.
type headers struct{ *batches.Headers }

// at returns the header of the batch at pos, valid until the next call, and where the batch ends.
// ErrCorrupt: there is none.
func (h headers) at(pos int64) (record.Batch, int64, error) {
	b, end, err := h.At(pos)
	if err != nil {
		return nil, 0, badBatch(pos, err)
	}
	return b, end, nil
}

// badBatch is why the batch at pos could not be read: ErrCorrupt if it is not whole.
func badBatch(pos int64, err error) error {
	if batches.Damaged(err) {
		return fmt.Errorf("%w: batch at %d: %w", ErrCorrupt, pos, err)
	}
	return fmt.Errorf("read batch at %d: %w", pos, err)
}

// headers reads headers of the batches that end at or below a position. It reads few at a time: a
// look at the last ones of a block is not to wait for the next block.
func (s *segmentReader) headers(end int64) headers {
	return headers{batches.NewHeaders(s, end, batches.FewHeaders)}
}

// batch reads the batch in [pos, end), into buf if it fits.
func (s *segmentReader) batch(pos, end int64, buf []byte) (record.Batch, error) {
	if n := end - pos; int64(cap(buf)) < n {
		buf = make([]byte, n)
	} else {
		buf = buf[:n]
	}
	if _, err := s.ReadAt(buf, pos); err != nil {
		return nil, err
	}
	return buf, nil
}
