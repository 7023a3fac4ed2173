package tier

import (
	"errors"
	"fmt"
	"io"

	"github.com/morrowmq/morrow/log/record"
)

// scanner walks the batches in [pos, end) of r from front to back. The zero value with r, pos and end set is ready.
type scanner struct {
	r        io.ReaderAt
	pos, end int64        // the unread range of r
	seen     func([]byte) // if set, gets every byte once, in order, as it is read
	buf      []byte       // buf[lo:] is read and not yet returned; it ends at pos
	lo       int
}

const scanBytes = 256 << 10

// next returns the next batch and its position in r. The batch is valid until the following call. After the last one it
// returns io.EOF; a batch that does not end in the range is ErrCorrupt.
func (s *scanner) next() (record.Batch, int64, error) {
	at := s.pos - int64(len(s.buf)-s.lo)
	if at == s.end {
		return nil, 0, io.EOF
	}
	if err := s.need(record.LengthEnd); err != nil {
		return nil, 0, err
	}
	n, err := record.FrameLen(s.buf[s.lo:])
	if err != nil {
		return nil, 0, fmt.Errorf("%w: batch at %d: %w", ErrCorrupt, at, err)
	}
	if err := s.need(n); err != nil {
		return nil, 0, err
	}
	b, _, err := record.Next(s.buf[s.lo:])
	if err != nil {
		return nil, 0, fmt.Errorf("%w: batch at %d: %w", ErrCorrupt, at, err)
	}
	s.lo += n
	return b, at, nil
}

// need reads on until n unreturned bytes are in the buffer.
func (s *scanner) need(n int) error {
	have := len(s.buf) - s.lo
	if have >= n {
		return nil
	}
	if int64(n-have) > s.end-s.pos {
		return fmt.Errorf("%w: batch at %d ends beyond %d", ErrCorrupt, s.pos-int64(have), s.end)
	}
	want := int(min(int64(max(n, scanBytes)-have), s.end-s.pos))
	if cap(s.buf) < have+want {
		s.buf = append(make([]byte, 0, have+want), s.buf[s.lo:]...)
	} else {
		s.buf = append(s.buf[:0], s.buf[s.lo:]...)
	}
	s.lo = 0
	s.buf = s.buf[:have+want]
	got, err := s.r.ReadAt(s.buf[have:], s.pos)
	if got < want {
		s.buf = s.buf[:have]
		if err == nil || errors.Is(err, io.EOF) {
			err = fmt.Errorf("%w: ends at %d instead of %d", ErrCorrupt, s.pos+int64(got), s.end)
		}
		return err
	}
	if s.seen != nil {
		s.seen(s.buf[have:])
	}
	s.pos += int64(want)
	return nil
}
