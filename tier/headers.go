package tier

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/morrowmq/morrow/log/record"
)

// headers walks the headers of the batches in [pos, end) of r, reading little else.
type headers struct {
	r        io.ReaderAt
	pos, end int64
	window   []byte // bytes of r from at on
	at       int64
}

// header is where a batch lies and which offsets it holds.
type header struct {
	pos, length int64
	base, end   int64
	timestamp   int64 // the largest
}

const headerWindow = 4 << 10

// next returns the next header, io.EOF after the last.
func (w *headers) next() (header, error) {
	if w.pos == w.end {
		return header{}, io.EOF
	}
	b, err := w.bytes()
	if err != nil {
		return header{}, err
	}
	n, err := record.FrameLen(b)
	if err != nil {
		return header{}, fmt.Errorf("%w: batch at %d: %w", ErrCorrupt, w.pos, err)
	}
	base := int64(binary.BigEndian.Uint64(b))
	batch := record.Batch(b)
	h := header{pos: w.pos, length: int64(n), base: base, end: batch.EndOffset(), timestamp: batch.MaxTimestamp()}
	if h.length > w.end-w.pos {
		return header{}, fmt.Errorf("%w: batch at %d ends beyond %d", ErrCorrupt, w.pos, w.end)
	}
	w.pos += h.length
	return h, nil
}

// bytes returns the header at pos.
func (w *headers) bytes() ([]byte, error) {
	if off := w.pos - w.at; off >= 0 && off+record.HeaderLen <= int64(len(w.window)) {
		return w.window[off : off+record.HeaderLen], nil
	}
	n := min(headerWindow, w.end-w.pos)
	if n < record.HeaderLen {
		return nil, fmt.Errorf("%w: batch at %d ends beyond %d", ErrCorrupt, w.pos, w.end)
	}
	if w.window == nil {
		w.window = make([]byte, headerWindow)
	}
	w.window = w.window[:n]
	if got, err := w.r.ReadAt(w.window, w.pos); int64(got) < n {
		w.window = w.window[:0]
		return nil, fmt.Errorf("read batch header at %d: %w", w.pos, err)
	}
	w.at = w.pos
	return w.window[:record.HeaderLen], nil
}
