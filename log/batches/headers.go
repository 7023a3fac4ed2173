package batches

import (
	"io"
	"sync"

	"github.com/morrowmq/morrow/log/record"
)

// Headers reads the headers of batches by position. It reads little at first, as most look-ups are
// over after a few batches, and more at a time while it is led through small batches one after the
// other; large ones are stepped over.
type Headers struct {
	r    io.ReaderAt
	end  int64 // no batch ends above it
	most int   // bytes read at a time, at most
	pos  int64 // of buf
	buf  []byte
	next int64 // where the last batch ends
	read int   // bytes read at a time
	room [MostHeaders]byte
}

const (
	// FewHeaders and MostHeaders are how many bytes are read at a time at first, and in the end.
	FewHeaders  = 4 << 10
	MostHeaders = 64 << 10
)

var headersPool = sync.Pool{New: func() any { return new(Headers) }}

// NewHeaders reads headers of the batches in r, none of which ends above end. It never reads more
// than so many bytes at a time, from FewHeaders to MostHeaders. Close it afterwards.
func NewHeaders(r io.ReaderAt, end int64, most int) *Headers {
	h := headersPool.Get().(*Headers)
	h.r, h.end, h.most = r, end, most
	h.pos, h.buf, h.next, h.read = 0, nil, -1, FewHeaders
	return h
}

// Close gives the buffer back.
func (h *Headers) Close() {
	h.r, h.buf = nil, nil
	headersPool.Put(h)
}

// End is where the last batch ends at the latest.
func (h *Headers) End() int64 { return h.end }

// At returns the header of the batch at pos, valid until the next call, and where the batch ends.
// An error that is [Damaged] says that there is no batch that can be whole; any other comes from
// reading.
func (h *Headers) At(pos int64) (record.Batch, int64, error) {
	if pos < h.pos || pos+record.HeaderLen > h.pos+int64(len(h.buf)) {
		if err := h.fill(pos); err != nil {
			return nil, 0, err
		}
	}
	b := record.Batch(h.buf[pos-h.pos:])
	n, err := record.FrameLen(b)
	if err != nil {
		return nil, 0, err
	}
	if pos+int64(n) > h.end {
		return nil, 0, record.ErrTorn
	}
	h.next = pos + int64(n)
	return b[:record.HeaderLen], h.next, nil
}

func (h *Headers) fill(pos int64) error {
	if pos == h.next && pos < h.pos+int64(len(h.buf)+h.read) {
		h.read = min(2*h.read, h.most)
	} else {
		h.read = FewHeaders
	}
	n := min(int64(h.read), h.end-pos)
	h.buf, h.pos = nil, pos
	if n < record.HeaderLen {
		return record.ErrTorn
	}
	if err := readFull(h.r, h.room[:n], pos); err != nil {
		return err
	}
	h.buf = h.room[:n]
	return nil
}
