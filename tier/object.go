package tier

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"

	"github.com/morrowmq/morrow/log/batches"
	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/tier/bucket"
)

// A segment object is the .log file byte for byte, and behind it what is needed to read it:
//
//	data      the batches, as they are in the log
//	snapshot  producer state at the segment's end, opaque; may be empty
//	index     an envelope, see Index
//	footer    24 bytes: position of the index uint64, its length uint64, footerMagic
//
// One object per segment, one request to store it, and a dump tool can read it.
const (
	indexMagic   = "MRWINDEX"
	footerMagic  = "MRWSEGMT"
	indexVersion = 1
	footerLen    = 24

	blockBytes = 1 << 20 // the data is checksummed in blocks of this size, so that a ranged read can be verified
	// The offset index has at most one entry per indexInterval bytes and at most maxIndexEntries.
	indexInterval   = 64 << 10
	maxIndexEntries = 16 << 10
)

// Index describes the data of one segment object. Everything in it was computed from the bytes that are
// stored (R3), never copied from the log's own indexes, except Aborted.
type Index struct {
	Cluster   string
	Topic     TopicID
	Partition int32
	Base, End int64
	DataSize  int64

	BlockBytes int64
	Blocks     []uint32 // CRC-32C of each block of the data

	Visible []VisibleRange // in order; what is not in one is hidden from consumers
	Points  []IndexPoint   // in order; the first is the first batch
	Aborted []AbortedTxn   // whose marker is in this segment
	Epochs  []EpochStart   // leader epochs of the batches

	SnapshotSize int64
	SnapshotCRC  uint32
}

// VisibleRange is a run of consecutive visible batches.
type VisibleRange struct {
	Base, End int64 // offsets
	Pos, Len  int64 // bytes of the data
}

// IndexPoint is the place of one batch.
type IndexPoint struct {
	Offset       int64
	Pos          int64
	MaxTimestamp int64 // the largest of the visible batches before Pos in this segment; NoTimestamp if none
}

// EpochStart says that a leader epoch began at an offset.
type EpochStart struct {
	Epoch int32
	Start int64
}

const (
	// NoTimestamp stands for a missing timestamp, NoOffset for a missing offset.
	NoTimestamp = int64(-1)
	NoOffset    = int64(-1)
)

// sealed is what was computed from a segment, and so what makes its object out of its file.
type sealed struct {
	entry  Entry
	epochs []EpochStart
	pos    int64  // the data begins here in the segment's file
	tail   []byte // snapshot, index and footer
}

// body is the object, read from the segment's file.
func (s *sealed) body(f io.ReaderAt) bucket.Body {
	data := io.NewSectionReader(f, s.pos, s.entry.DataSize)
	return bucket.Body{At: &joined{data: data, size: s.entry.DataSize, tail: s.tail}, Size: s.entry.Bytes, Sum: s.entry.Sum}
}

// sealer computes index, statistics and checksum from the bytes of a segment.
type sealer struct {
	ix       Index
	entry    Entry
	interval int64
	next     int64 // offset the next batch may begin at
	hash     hash.Hash
	block    hash.Hash32
	blockLen int64
}

// sealSegment reads size bytes of batches once, checking each, and returns what is to be stored for them.
// Damaged or misplaced batches are ErrCorrupt.
func sealSegment(ctx context.Context, f io.ReaderAt, ix Index, id ObjectID, size int64, snapshot []byte, a bucket.Algorithm) (sealed, error) {
	ix.DataSize, ix.BlockBytes = size, blockBytes
	s := &sealer{
		ix:       ix,
		interval: max(indexInterval, size/maxIndexEntries),
		next:     ix.Base,
		hash:     a.New(),
		block:    crc32.New(castagnoli),
		entry: Entry{
			Epoch: id.Epoch,
			Token: id.Token,
			Span: Span{
				Base: ix.Base, End: ix.End, Segments: 1,
				MaxTimestamp: NoTimestamp, RetentionTime: NoTimestamp,
				VisibleBase: NoOffset, VisibleEnd: NoOffset,
				AbortedFirst: firstAborted(ix.Aborted),
			},
			DataSize: size,
		},
	}
	if err := s.scan(ctx, f, size); err != nil {
		return sealed{}, err
	}
	return s.finish(snapshot, a), nil
}

func (s *sealer) scan(ctx context.Context, f io.ReaderAt, size int64) error {
	in := batches.NewScanner(observed{f, s.see}, 0, size)
	defer in.Close()
	for n := 0; ; n++ {
		if n%256 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		b, pos, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return badBatch(pos, err)
		}
		if err := s.add(b, pos); err != nil {
			return err
		}
	}
}

// observed shows what is read of r to see.
type observed struct {
	r   io.ReaderAt
	see func([]byte)
}

func (o observed) ReadAt(b []byte, pos int64) (int, error) {
	n, err := o.r.ReadAt(b, pos)
	o.see(b[:n])
	return n, err
}

// see takes the bytes of the data in order.
func (s *sealer) see(b []byte) {
	s.hash.Write(b)
	for len(b) > 0 {
		n := min(int64(len(b)), blockBytes-s.blockLen)
		s.block.Write(b[:n])
		s.blockLen += n
		b = b[n:]
		if s.blockLen == blockBytes {
			s.endBlock()
		}
	}
}

func (s *sealer) endBlock() {
	s.ix.Blocks = append(s.ix.Blocks, s.block.Sum32())
	s.block.Reset()
	s.blockLen = 0
}

func (s *sealer) add(b record.Batch, pos int64) error {
	if b.BaseOffset() < s.next || b.LastOffsetDelta() < 0 || b.EndOffset() > s.ix.End {
		return fmt.Errorf("%w: batch at %d holds offsets %d to %d, expected between %d and %d",
			ErrCorrupt, pos, b.BaseOffset(), b.LastOffset(), s.next, s.ix.End-1)
	}
	s.next = b.EndOffset()
	if k := len(s.ix.Points); k == 0 || pos-s.ix.Points[k-1].Pos >= s.interval {
		s.ix.Points = append(s.ix.Points, IndexPoint{Offset: b.BaseOffset(), Pos: pos, MaxTimestamp: s.entry.MaxTimestamp})
	}
	if k := len(s.ix.Epochs); k == 0 || s.ix.Epochs[k-1].Epoch != b.LeaderEpoch() {
		s.ix.Epochs = append(s.ix.Epochs, EpochStart{Epoch: b.LeaderEpoch(), Start: b.BaseOffset()})
	}
	s.entry.RetentionTime = max(s.entry.RetentionTime, b.MaxTimestamp())
	if !b.Hidden() {
		s.addVisible(b, pos)
	}
	return nil
}

func (s *sealer) addVisible(b record.Batch, pos int64) {
	if s.entry.VisibleBase == NoOffset {
		s.entry.VisibleBase = b.BaseOffset()
	}
	s.entry.VisibleEnd = b.EndOffset()
	s.entry.MaxTimestamp = max(s.entry.MaxTimestamp, b.MaxTimestamp())
	if k := len(s.ix.Visible) - 1; k >= 0 && s.ix.Visible[k].Pos+s.ix.Visible[k].Len == pos {
		s.ix.Visible[k].End = b.EndOffset()
		s.ix.Visible[k].Len += int64(len(b))
		return
	}
	s.ix.Visible = append(s.ix.Visible, VisibleRange{Base: b.BaseOffset(), End: b.EndOffset(), Pos: pos, Len: int64(len(b))})
}

func (s *sealer) finish(snapshot []byte, a bucket.Algorithm) sealed {
	if s.blockLen > 0 {
		s.endBlock()
	}
	s.ix.SnapshotSize = int64(len(snapshot))
	s.ix.SnapshotCRC = crc32.Checksum(snapshot, castagnoli)
	index := s.ix.encode()
	e := &s.entry
	e.IndexPos = e.DataSize + int64(len(snapshot))
	tail := make([]byte, 0, len(snapshot)+len(index)+footerLen)
	tail = append(tail, snapshot...)
	tail = append(tail, index...)
	tail = binary.BigEndian.AppendUint64(tail, uint64(e.IndexPos))
	tail = binary.BigEndian.AppendUint64(tail, uint64(len(index)))
	tail = append(tail, footerMagic...)
	s.hash.Write(tail)
	e.Bytes = e.DataSize + int64(len(tail))
	e.Sum = bucket.Checksum{Algorithm: a, Sum: string(s.hash.Sum(nil))}
	return sealed{entry: s.entry, epochs: s.ix.Epochs, tail: tail}
}

// joined reads as a file followed by bytes in memory.
type joined struct {
	data io.ReaderAt
	size int64
	tail []byte
}

func (j *joined) ReadAt(b []byte, pos int64) (n int, err error) {
	if pos < j.size {
		n, err = j.data.ReadAt(b[:min(int64(len(b)), j.size-pos)], pos)
		if n == len(b) || int64(n) < j.size-pos {
			if n == len(b) {
				err = nil
			} else if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return n, err
		}
		pos = j.size
	}
	at := pos - j.size
	if at >= int64(len(j.tail)) {
		return n, io.EOF
	}
	n += copy(b[n:], j.tail[at:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func firstAborted(txns []AbortedTxn) int64 {
	first := NoOffset
	for _, t := range txns {
		if first == NoOffset || t.First < first {
			first = t.First
		}
	}
	return first
}
