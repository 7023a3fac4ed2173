package tier

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sort"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/tier/bucket"
)

// ReadRequest asks for records from an offset on.
type ReadRequest struct {
	Offset   int64
	MaxBytes int64
	// MinOne returns the first batch even if it is larger than MaxBytes (KIP-74).
	MinOne bool
	// Committed adds what a read_committed consumer needs to leave out aborted records.
	Committed bool
}

// Read is a piece of the remote log: whole visible batches, one after the other, as ranges of local
// files, so that they can be sent with sendfile. Release must be called once they have been.
type Read struct {
	Ranges  []Range
	Bytes   int64
	Aborted []AbortedTxn
	// Next is where to go on. If there are no ranges, nothing visible is remote from Offset up to here.
	Next int64

	blocks segmentBlocks // of the ranges; nil: there are none
}

// Range is Len bytes of a file from Pos.
type Range struct {
	File     vfs.File
	Pos, Len int64
}

// Release lets go of the files. The ranges must not be used any more.
func (r *Read) Release() error {
	if r.blocks == nil {
		return nil
	}
	blocks := r.blocks
	r.blocks, r.Ranges = nil, nil
	return blocks.release()
}

// Read returns visible batches from an offset on: the batch that holds it, and as many after it in
// the same segment as MaxBytes allows. What is hidden is skipped without being read.
//
// It waits for the bucket no longer than ctx lasts; what was begun goes on, so that the client's
// next try finds it. *OutOfRangeError: the offset is not remote. ErrCorrupt: the object is damaged;
// nothing of the damaged block is returned. Other errors are the bucket's and may pass.
func (p *Partition) Read(ctx context.Context, r ReadRequest) (*Read, error) {
	m, err := p.manifest(ctx)
	if err != nil {
		return nil, err
	}
	if r.Offset < m.Start || r.Offset >= m.End {
		return nil, &OutOfRangeError{Offset: r.Offset, Start: m.Start, End: m.End}
	}
	out, err := p.read(ctx, m, r)
	if errors.Is(err, bucket.ErrNotFound) {
		return nil, p.missing(ctx, r.Offset, err)
	}
	return out, err
}

func (p *Partition) read(ctx context.Context, m *Manifest, r ReadRequest) (*Read, error) {
	at := r.Offset
	for {
		e, err := p.find(ctx, m, at, func(s Span) bool { return s.VisibleEnd > at })
		if err != nil {
			return nil, err
		}
		if e == nil {
			return &Read{Next: m.End}, nil
		}
		out, err := p.readSegment(ctx, e, at, r)
		if err != nil {
			return nil, err
		}
		if out.Bytes == 0 && out.Next > at && out.Next == e.End {
			at = e.End // only hidden batches were left in it
			continue
		}
		if r.Committed && out.Bytes > 0 {
			if out.Aborted, err = p.aborted(ctx, m, r.Offset, out.Next); err != nil {
				return nil, errors.Join(err, out.Release())
			}
		}
		return out, nil
	}
}

// missing explains an object that is not there: usually it has expired since the manifest was read.
func (p *Partition) missing(ctx context.Context, offset int64, cause error) error {
	m, _, err := readManifest(ctx, p.tier.bucket, p.catalog.dir)
	if err == nil && (offset < m.Start || offset >= m.End) {
		return &OutOfRangeError{Offset: offset, Start: m.Start, End: m.End}
	}
	return fmt.Errorf("%w: %w", ErrLost, cause)
}

// ErrLost says that the manifest names an object that the bucket does not have.
var ErrLost = errors.New("object of a committed segment is missing")

// readSegment reads from one segment.
func (p *Partition) readSegment(ctx context.Context, e *Entry, offset int64, r ReadRequest) (_ *Read, err error) {
	defer func() { p.suspect(e, err) }()
	ix, err := p.tier.decoded.index(ctx, p.tier.bucket, p.catalog.dir, e)
	if err != nil {
		return nil, err
	}
	sr := newSegmentReader(ctx, p, e, ix)
	out, err := sr.collect(offset, r)
	if err != nil {
		return nil, errors.Join(err, sr.blocks.release())
	}
	out.blocks = sr.blocks
	return out, nil
}

// segmentReader reads one segment object. Blocks it has touched stay readable until they are released.
type segmentReader struct {
	ctx    context.Context
	p      *Partition
	e      *Entry
	ix     *Index
	blocks segmentBlocks
}

func newSegmentReader(ctx context.Context, p *Partition, e *Entry, ix *Index) *segmentReader {
	return &segmentReader{ctx: ctx, p: p, e: e, ix: ix, blocks: p.blocksOf(e, ix)}
}

// collect gathers batches from offset on, MaxBytes at most.
func (s *segmentReader) collect(offset int64, r ReadRequest) (*Read, error) {
	out := &Read{Next: s.e.End}
	for i := s.ix.visibleAt(offset); i < len(s.ix.Visible); i++ {
		v := s.ix.Visible[i]
		pos, err := s.start(v, offset)
		if err != nil {
			return nil, err
		}
		end, next, err := s.cut(v, pos, r.MaxBytes-out.Bytes, r.MinOne && out.Bytes == 0)
		if err != nil {
			return nil, err
		}
		if end > pos {
			if err := s.take(out, pos, end); err != nil {
				return nil, err
			}
		}
		if end < v.Pos+v.Len {
			if out.Next = next; end == pos && out.Bytes == 0 {
				out.Next = offset // not even one batch fits
			}
			break
		}
		if out.Bytes >= r.MaxBytes {
			if i+1 < len(s.ix.Visible) {
				out.Next = s.ix.Visible[i+1].Base
			}
			break
		}
	}
	s.readAhead(offset, out.Next)
	return out, nil
}

// start is the position of the batch of v that holds offset, or of the first one above it.
func (s *segmentReader) start(v VisibleRange, offset int64) (int64, error) {
	if offset <= v.Base {
		return v.Pos, nil
	}
	end := v.Pos + v.Len
	h := s.headers(end)
	defer h.Close()
	for pos := max(v.Pos, s.ix.pointPos(offset)); pos < end; {
		header, next, err := h.at(pos)
		if err != nil {
			return 0, err
		}
		if header.EndOffset() > offset {
			return pos, nil
		}
		pos = next
	}
	return end, nil
}

// cut decides how much of v from pos on fits into room bytes: the position where it ends, and the
// offset to go on with if that is not the end of v. With one, the first batch fits whatever its
// size.
func (s *segmentReader) cut(v VisibleRange, pos, room int64, one bool) (end, next int64, err error) {
	if v.Pos+v.Len-pos <= room {
		return v.Pos + v.Len, v.End, nil
	}
	limit := pos + room
	points := s.ix.Points
	k := sort.Search(len(points), func(k int) bool { return points[k].Pos > limit }) - 1
	if k >= 0 && points[k].Pos > pos {
		return points[k].Pos, points[k].Offset, nil // a batch ends there, which saves looking at every header
	}
	h := s.headers(v.Pos + v.Len)
	defer h.Close()
	for end = pos; end < v.Pos+v.Len; {
		header, stop, err := h.at(end)
		if err != nil {
			return 0, 0, err
		}
		if stop > limit && !(one && end == pos) {
			return end, header.BaseOffset(), nil
		}
		end = stop
	}
	return end, v.End, nil
}

// take adds the bytes [pos, end) of the segment to out. All blocks are asked for at once.
func (s *segmentReader) take(out *Read, pos, end int64) error {
	size := s.ix.BlockBytes
	s.blocks.prefetch(int(pos/size), int((end+size-1)/size))
	for pos < end {
		n := int(pos / size)
		stop := min(end, int64(n+1)*size)
		from, to := pos-int64(n)*size, stop-int64(n)*size
		f, at, err := s.blocks.block(s.ctx, n)
		if err != nil {
			return err
		}
		s.blocks.used(n, from, to)
		out.add(Range{File: f, Pos: at + from, Len: to - from})
		pos = stop
	}
	return nil
}

func (r *Read) add(x Range) {
	r.Bytes += x.Len
	if n := len(r.Ranges) - 1; n >= 0 && r.Ranges[n].File == x.File && r.Ranges[n].Pos+r.Ranges[n].Len == x.Pos {
		r.Ranges[n].Len += x.Len
		return
	}
	r.Ranges = append(r.Ranges, x)
}

// ReadAt reads bytes of the segment's data, for looking at headers.
func (s *segmentReader) ReadAt(b []byte, pos int64) (n int, err error) {
	size := s.ix.BlockBytes
	for n < len(b) {
		at := pos + int64(n)
		if at >= s.ix.DataSize {
			return n, io.EOF
		}
		block := int(at / size)
		from := at - int64(block)*size
		want := min(int64(len(b)-n), size-from, s.ix.DataSize-at)
		f, begin, err := s.blocks.block(s.ctx, block)
		if err != nil {
			return n, err
		}
		got, err := f.ReadAt(b[n:n+int(want)], begin+from)
		n += got
		if int64(got) < want {
			return n, errors.Join(io.ErrUnexpectedEOF, err)
		}
	}
	return n, nil
}
