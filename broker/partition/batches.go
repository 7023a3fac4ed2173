package partition

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/morrowmq/morrow/delay"
	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/log/batches"
	"github.com/morrowmq/morrow/log/record"
)

// Batch is one batch of a read, by its header.
type Batch struct {
	record.Batch       // the header only
	Pos, EndPos  int64 // which bytes of the read it is: see Slice
	// Void says that it holds nothing for clients: it is a control batch or, of a Committed read,
	// one of an aborted transaction.
	Void bool
}

// Batches calls visit for the batches of the read, in order, until it returns false. A batch is
// valid during the call.
func (r *Read) Batches(visit func(Batch) bool) error {
	h := batches.NewHeaders(ranges(r.Ranges), int64(r.Size), batches.MostHeaders)
	defer h.Close()
	for pos := int64(0); pos < h.End(); {
		header, end, err := h.At(pos)
		if err != nil {
			return fmt.Errorf("read the header of a batch: %w", err)
		}
		b := Batch{Batch: header, Pos: pos, EndPos: end}
		b.Void = b.Control() || r.aborted(b.Batch)
		if !visit(b) {
			return nil
		}
		pos = end
	}
	return nil
}

// Slice appends to dst where the bytes [pos, end) of the read lie. Neighbours are merged.
func (r *Read) Slice(dst []log.Range, pos, end int64) []log.Range {
	ranges(r.Ranges).within(pos, end, func(at log.Range) bool {
		if n := len(dst); n > 0 && dst[n-1].File == at.File && dst[n-1].Pos+dst[n-1].Len == at.Pos {
			dst[n-1].Len += at.Len
		} else {
			dst = append(dst, at)
		}
		return true
	})
	return dst
}

// ranges reads as a file, one range after the other. Where one ends and the next begins, a batch
// need not end: the tier has segments in blocks.
type ranges []log.Range

// ReadAt implements io.ReaderAt.
func (rs ranges) ReadAt(b []byte, pos int64) (n int, err error) {
	rs.within(pos, pos+int64(len(b)), func(at log.Range) bool {
		var got int
		got, err = at.File.ReadAt(b[n:n+int(at.Len)], at.Pos)
		n += got
		return int64(got) == at.Len
	})
	if n == len(b) {
		return n, nil
	}
	if err == nil {
		err = io.EOF
	}
	return n, err
}

// within visits, in order, where the bytes [pos, end) lie, until visit returns false.
func (rs ranges) within(pos, end int64, visit func(log.Range) bool) {
	for _, r := range rs {
		if end <= 0 {
			return
		}
		from, to := max(pos, 0), min(end, r.Len)
		if from < to && !visit(log.Range{File: r.File, Pos: r.Pos + from, Len: to - from}) {
			return
		}
		pos, end = pos-r.Len, end-r.Len
	}
}

func (r *Read) aborted(b record.Batch) bool {
	if !b.Transactional() {
		return false
	}
	for _, t := range r.Aborted {
		if t.ProducerID == b.ProducerID() && t.FirstOffset <= b.BaseOffset() && b.BaseOffset() <= t.LastOffset {
			return true
		}
	}
	return false
}

// BatchAt reads the batch that contains an offset, hidden or not, wherever it lies. It returns a
// *log.OutOfRangeError if there is none.
func (p *Partition) BatchAt(ctx context.Context, offset int64) (record.Batch, error) {
	b, err := p.batchAt(ctx, offset, nil)
	if errors.Is(err, delay.ErrGone) {
		o := p.log.Offsets()
		return nil, &log.OutOfRangeError{Offset: offset, Start: o.LogStart, End: o.LogEnd}
	}
	return b, err
}
