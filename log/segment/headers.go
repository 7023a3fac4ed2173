package segment

import (
	"io"
	"sync"

	"github.com/morrowmq/morrow/log/record"
)

// headers reads the headers of batches by position. It reads little at first, as most look-ups are over after a few batches, and
// more at a time while it is led through small batches one after the other; large ones are stepped over.
type headers struct {
	s    *Segment
	f    io.ReaderAt
	end  int64 // no batch ends above it
	pos  int64 // of buf
	buf  []byte
	next int64 // where the last batch ends
	read int   // bytes read at a time
	room [maxHeaderRead]byte
}

const (
	minHeaderRead = 4 << 10
	maxHeaderRead = 64 << 10
)

var headersPool = sync.Pool{New: func() any { return new(headers) }}

// headers returns a reader of the batches that are in f, the segment's file, now. Close it afterwards.
func (s *Segment) headers(f io.ReaderAt) *headers {
	h := headersPool.Get().(*headers)
	h.s, h.f, h.end = s, f, s.Size()
	h.pos, h.buf, h.next, h.read = 0, nil, None, minHeaderRead
	return h
}

func (h *headers) close() {
	h.s, h.f = nil, nil
	headersPool.Put(h)
}

// at returns the header of the batch at pos, valid until the next call, and where the batch ends.
func (h *headers) at(pos int64) (record.Batch, int64, error) {
	if pos < h.pos || pos+record.HeaderLen > h.pos+int64(len(h.buf)) {
		if err := h.fill(pos); err != nil {
			return nil, 0, &CorruptError{File: h.s.Name(), Pos: pos, Err: err}
		}
	}
	b := record.Batch(h.buf[pos-h.pos:])
	n, err := record.FrameLen(b)
	if err == nil && pos+int64(n) > h.end {
		err = record.ErrTorn
	}
	if err != nil {
		return nil, 0, &CorruptError{File: h.s.Name(), Pos: pos, Err: err}
	}
	h.next = pos + int64(n)
	return b[:record.HeaderLen], h.next, nil
}

func (h *headers) fill(pos int64) error {
	if pos == h.next && pos < h.pos+int64(len(h.buf)+h.read) {
		h.read = min(2*h.read, maxHeaderRead)
	} else {
		h.read = minHeaderRead
	}
	n := min(int64(h.read), h.end-pos)
	h.buf, h.pos = nil, pos
	if n < record.HeaderLen {
		return record.ErrTorn
	}
	if err := readFull(h.f, h.room[:n], pos); err != nil {
		return err
	}
	h.buf = h.room[:n]
	return nil
}
