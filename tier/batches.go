package tier

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/morrowmq/morrow/log/batches"
	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/tier/bucket"
)

// This file reads what no consumer is shown: batches as they lie in the log, hidden ones included,
// for the schedule.

// ErrDropped says that an offset lies in the remote range and was dropped there on record.
var ErrDropped = errors.New("offset was dropped")

// BatchAt returns the batch that holds an offset, hidden or not, read into buf, which is grown if
// needed. Who asks for one batch after the other is read ahead of, as with Read. *OutOfRangeError:
// the offset is not remote; ErrDropped: it is no more. Other errors are those of Read.
func (p *Partition) BatchAt(ctx context.Context, offset int64, buf []byte) (record.Batch, error) {
	m, err := p.manifest(ctx)
	if err != nil {
		return nil, err
	}
	if offset < m.Start || offset >= m.End {
		return nil, &OutOfRangeError{Offset: offset, Start: m.Start, End: m.End}
	}
	e, err := p.find(ctx, m, offset, anySegment)
	if err != nil {
		return nil, err
	}
	if e == nil || e.Base > offset {
		return nil, fmt.Errorf("%w: %d", ErrDropped, offset)
	}
	b, err := p.batchAt(ctx, e, offset, buf)
	if errors.Is(err, bucket.ErrNotFound) {
		return nil, p.missing(ctx, offset, err)
	}
	return b, err
}

func anySegment(s Span) bool { return s.Segments > 0 }

func (p *Partition) batchAt(ctx context.Context, e *Entry, offset int64, buf []byte) (_ record.Batch, err error) {
	defer func() { p.suspect(e, err) }()
	ix, err := p.tier.decoded.index(ctx, p.tier.bucket, p.catalog.dir, e)
	if err != nil {
		return nil, err
	}
	s := newSegmentReader(ctx, p, e, ix)
	defer func() { err = errors.Join(err, s.blocks.release()) }()
	h := s.headers(ix.DataSize)
	defer h.Close()
	for pos := ix.pointPos(offset); pos < ix.DataSize; {
		header, end, err := h.at(pos)
		if err != nil {
			return nil, err
		}
		if header.BaseOffset() > offset {
			break
		}
		if header.EndOffset() > offset {
			b, err := s.batch(pos, end, buf)
			if err != nil {
				return nil, err
			}
			s.readAhead(b.BaseOffset(), b.EndOffset())
			return b, nil
		}
		pos = end
	}
	return nil, fmt.Errorf("%w: %d", ErrDropped, offset)
}

// Scan calls visit for every batch, hidden ones included, that ends above from and begins below to,
// as far as it is remote. A batch is valid during the call. An error of visit ends the scan and is
// returned; the others are those of BatchAt, but for ErrDropped: what was dropped is passed over.
func (p *Partition) Scan(ctx context.Context, from, to int64, visit func(record.Batch) error) error {
	m, err := p.manifest(ctx)
	if err != nil {
		return err
	}
	if from < m.Start {
		return &OutOfRangeError{Offset: from, Start: m.Start, End: m.End}
	}
	for from < to {
		e, err := p.find(ctx, m, from, anySegment)
		if err != nil || e == nil || e.Base >= to {
			return err
		}
		if err := p.scanEntry(ctx, e, from, to, visit); err != nil {
			if errors.Is(err, bucket.ErrNotFound) {
				return p.missing(ctx, max(from, e.Base), err)
			}
			return err
		}
		from = e.End
	}
	return nil
}

// scanAhead is how many blocks are read ahead of a scan, from the first one of a request on: the
// rest of that request and the next.
const scanAhead = 2 * runBlocks

func (p *Partition) scanEntry(ctx context.Context, e *Entry, from, to int64, visit func(record.Batch) error) (err error) {
	defer func() { p.suspect(e, err) }()
	ix, err := p.tier.decoded.index(ctx, p.tier.bucket, p.catalog.dir, e)
	if err != nil {
		return err
	}
	s := newSegmentReader(ctx, p, e, ix)
	defer func() { err = errors.Join(err, s.blocks.release()) }()
	in := batches.NewScanner(s, ix.pointPos(from), ix.DataSize)
	defer in.Close()
	for {
		block := int(in.Unread() / ix.BlockBytes)
		if err := s.blocks.releaseBelow(block); err != nil {
			return err
		}
		s.blocks.prefetch(block+1, min(block-block%runBlocks+scanAhead, len(ix.Blocks)))
		b, pos, err := in.Next()
		switch {
		case errors.Is(err, io.EOF) || err == nil && b.BaseOffset() >= to:
			return nil
		case err != nil:
			return badBatch(pos, err)
		case b.EndOffset() <= from:
			continue
		}
		if err := visit(b); err != nil {
			return err
		}
	}
}

// Segments lists the remote segments, in order. It reads pages of the manifest as needed, but not
// the manifest itself if that is known.
func (p *Partition) Segments(ctx context.Context) ([]Span, error) {
	m, err := p.manifest(ctx)
	if err != nil {
		return nil, err
	}
	var all []Span
	add := func(entries []Entry) {
		for i := range entries {
			if !entries[i].isDrop() {
				all = append(all, entries[i].Span)
			}
		}
	}
	for i := range m.Pages {
		entries, err := p.catalog.page(ctx, &m.Pages[i])
		if err != nil {
			return nil, err
		}
		add(entries)
	}
	add(m.Tail)
	return all, nil
}

// Prefetch begins to load about so many bytes of visible batches from each offset on, into the
// cache, so that who reads them soon need not wait. It does nothing while an earlier one is still
// at it.
func (p *Partition) Prefetch(bytes int64, offsets ...int64) {
	if !p.prefetching.CompareAndSwap(false, true) {
		return
	}
	begun := p.tier.life.Start(func(ctx context.Context) {
		defer p.prefetching.Store(false)
		if _, err := p.manifest(ctx); err != nil {
			return // who reads will meet it
		}
		for _, offset := range offsets {
			p.readAheadFrom(ctx, offset, 1+int(bytes/blockBytes))
		}
	})
	if !begun {
		p.prefetching.Store(false)
	}
}
