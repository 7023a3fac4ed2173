package segment

import (
	"errors"
	"io"
	"sync"

	"github.com/morrowmq/morrow/log/record"
)

// readAhead is how much a Scanner reads at a time.
const readAhead = 256 << 10

var scanPool = sync.Pool{New: func() any { b := make([]byte, readAhead); return &b }}

// Scanner reads the batches of a file one after the other, checking each one's checksum.
type Scanner struct {
	f    io.ReaderAt
	pos  int64 // of the next batch
	end  int64
	buf  []byte // what was read and not yet returned, from pos on
	room *[]byte
}

// NewScanner reads the batches in [pos, end) of f. Close it afterwards.
func NewScanner(f io.ReaderAt, pos, end int64) *Scanner {
	return &Scanner{f: f, pos: pos, end: end, room: scanPool.Get().(*[]byte)}
}

// Next returns the next batch, which is valid until the next call, and its position. At the end
// it returns io.EOF. record.ErrTorn, ErrCRC, ErrMagic and ErrInvalid say that there is no whole batch at pos; any other
// error comes from reading.
func (s *Scanner) Next() (b record.Batch, pos int64, err error) {
	pos = s.pos
	if pos >= s.end {
		return nil, pos, io.EOF
	}
	if err := s.fill(record.LengthEnd); err != nil {
		return nil, pos, err
	}
	n, err := record.FrameLen(s.buf)
	if err != nil {
		return nil, pos, err
	}
	if int64(n) > s.end-pos {
		return nil, pos, record.ErrTorn
	}
	if err := s.fill(n); err != nil {
		return nil, pos, err
	}
	b, _, err = record.Next(s.buf)
	if err == nil {
		err = b.CheckCRC()
	}
	if err != nil {
		return nil, pos, err
	}
	s.buf = s.buf[n:]
	s.pos += int64(n)
	return b, pos, nil
}

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
		copy(room, s.buf)
		*s.room = room
	} else {
		copy(room, s.buf)
	}
	have := len(s.buf)
	want := int(min(int64(len(room)), s.end-s.pos))
	err := readFull(s.f, room[have:want], s.pos+int64(have))
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return record.ErrTorn
	}
	if err != nil {
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

// damaged reports whether err says that bytes are wrong, rather than that they could not be read.
func damaged(err error) bool {
	return errors.Is(err, record.ErrTorn) || errors.Is(err, record.ErrCRC) ||
		errors.Is(err, record.ErrMagic) || errors.Is(err, record.ErrInvalid)
}

// Scan calls visit for every batch that ends above from and begins below to, hidden ones
// included. The batch is valid during the call. Damage is a *CorruptError.
func (s *Segment) Scan(from, to int64, visit func(b record.Batch, pos int64) error) error {
	pos, err := s.floorBatch(from)
	if err != nil {
		return err
	}
	f, err := s.log.acquire()
	if err != nil {
		return err
	}
	defer s.log.release()
	sc := NewScanner(f, pos, s.Size())
	defer sc.Close()
	for {
		b, pos, err := sc.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case damaged(err):
			return &CorruptError{File: s.Name(), Pos: pos, Err: err}
		case err != nil:
			return err
		case b.BaseOffset() >= to:
			return nil
		case b.EndOffset() <= from:
			continue
		}
		if err := visit(b, pos); err != nil {
			return err
		}
	}
}
