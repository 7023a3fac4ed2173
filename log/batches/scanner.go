package batches

import (
	"errors"
	"io"
	"sync"

	"github.com/morrowmq/morrow/log/record"
)

// readAhead is how much a Scanner reads at a time.
const readAhead = 256 << 10

var scanPool = sync.Pool{New: func() any { b := make([]byte, readAhead); return &b }}

// Scanner reads batches one after the other, checking each one's checksum. It reads every byte once, in order.
type Scanner struct {
	r    io.ReaderAt
	pos  int64 // of the next batch
	end  int64
	buf  []byte // what was read and not yet returned, from pos on
	room *[]byte
}

// NewScanner reads the batches in [pos, end) of r. Close it afterwards.
func NewScanner(r io.ReaderAt, pos, end int64) *Scanner {
	return &Scanner{r: r, pos: pos, end: end, room: scanPool.Get().(*[]byte)}
}

// Next returns the next batch, which is valid until the next call, and its position. At the end it
// returns io.EOF. An error that is [Damaged] says that there is no whole batch at pos; any other
// comes from reading.
func (s *Scanner) Next() (b record.Batch, pos int64, err error) {
	pos = s.pos
	if pos >= s.end {
		return nil, pos, io.EOF
	}
	if err := s.fill(record.HeaderLen); err != nil {
		return nil, pos, err
	}
	b, rest, err := record.Next(s.buf)
	if errors.Is(err, record.ErrTorn) { // in the buffer
		b, rest, err = s.long()
	}
	if err == nil {
		err = b.CheckCRC()
	}
	if err != nil {
		return nil, pos, err
	}
	s.buf = rest
	s.pos += int64(len(b))
	return b, pos, nil
}

// long is the next batch, of which more has to be read.
func (s *Scanner) long() (b record.Batch, rest []byte, err error) {
	n, err := record.FrameLen(s.buf)
	if err == nil {
		err = s.fill(n)
	}
	if err != nil {
		return nil, nil, err
	}
	return record.Next(s.buf)
}

// Unread is the position up to which everything has been read.
func (s *Scanner) Unread() int64 { return s.pos + int64(len(s.buf)) }

// fill makes at least n bytes available in buf.
func (s *Scanner) fill(n int) error {
	if len(s.buf) >= n {
		return nil
	}
	if int64(n) > s.end-s.pos {
		return record.ErrTorn
	}
	room := *s.room
	if n > len(room) {
		room = make([]byte, n)
		*s.room = room
	}
	have := copy(room, s.buf)
	want := int(min(int64(max(n, readAhead)), s.end-s.pos)) // the room may be larger: it was used before
	if err := readFull(s.r, room[have:want], s.pos+int64(have)); err != nil {
		return err
	}
	s.buf = room[:want]
	return nil
}

// Close gives the buffer back.
func (s *Scanner) Close() {
	if len(*s.room) <= 4*readAhead {
		scanPool.Put(s.room)
	}
	s.room, s.buf = nil, nil
}
