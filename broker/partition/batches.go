package partition

import (
	"context"
	"errors"
	"fmt"

	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/log/record"
)

// Batch is one batch of a read, by its header.
type Batch struct {
	record.Batch           // the header only
	Range        log.Range // where all of it lies
	// Void says that it holds nothing for clients: it is a control batch or, of a Committed read, one of an aborted transaction.
	Void bool
}

// Batches calls visit for the batches of the read, in order, until it returns false. A batch is valid during the call.
func (r *Read) Batches(visit func(Batch) bool) error {
	header := make([]byte, record.HeaderLen)
	for _, part := range r.Ranges {
		for pos := part.Pos; pos < part.Pos+part.Len; {
			if _, err := part.File.ReadAt(header, pos); err != nil {
				return fmt.Errorf("read the header of a batch: %w", err)
			}
			n, err := record.FrameLen(header)
			if err != nil {
				return fmt.Errorf("read the header of a batch: %w", err)
			}
			b := Batch{Batch: record.Batch(header), Range: log.Range{File: part.File, Pos: pos, Len: int64(n)}}
			b.Void = b.Control() || r.aborted(b.Batch)
			pos += int64(n)
			if !visit(b) {
				return nil
			}
		}
	}
	return nil
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

// BatchAt reads the batch that contains an offset, hidden or not, wherever it lies. It returns a *log.OutOfRangeError if there
// is none.
func (p *Partition) BatchAt(ctx context.Context, offset int64) (record.Batch, error) {
	b, err := p.log.BatchAt(offset, nil)
	if _, tiered := errors.AsType[*log.TieredError](err); !tiered {
		return b, err
	}
	read, err := p.ReadRemote(ctx, ReadRequest{Offset: offset, MaxBytes: 1, MinOne: true, LeaderEpoch: -1, LastFetchedEpoch: -1})
	if err != nil {
		return nil, err
	}
	defer read.Release()
	var rerr error
	err = read.Batches(func(found Batch) bool {
		b = make([]byte, found.Range.Len)
		_, rerr = found.Range.File.ReadAt(b, found.Range.Pos)
		return false
	})
	if err = errors.Join(err, rerr); err != nil {
		return nil, fmt.Errorf("read a batch of the tier: %w", err)
	}
	if b == nil || b.BaseOffset() > offset {
		return nil, &log.OutOfRangeError{Offset: offset, Start: p.log.Offsets().LogStart, End: p.log.Offsets().LogEnd}
	}
	return b, nil
}
