package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"

	"github.com/morrowmq/morrow/internal/vfs"
)

// The summary says what the batches up to one position add up to, and how much of the
// index files belongs to them. Numbers are big-endian.
//
//	  0  magic                "MSS1"
//	  4  crc                  uint32   CRC-32C of everything after it, up to the last span
//	  8  base offset          int64
//	 16  size                 int64    position it was taken at
//	 24  end offset           int64
//	 32  max timestamp        int64    of visible batches
//	 40    … at offset        int64
//	 48  max received         int64    max timestamp of hidden batches
//	 56  last visible end     int64
//	 64  hidden bytes         int64
//	 72  first timestamp      int64
//	 80  created              int64
//	 88  unindexed bytes      int64
//	 96  indexed timestamp    int64
//	104  generation           int64    hash of the batches' checksums
//	112  span gap             int64    bytes of hidden batches that end a span; 0: 64 KiB
//	120  index                entries uint32, crc uint32
//	128  timeindex            entries uint32, crc uint32
//	136  txnindex             entries uint32, crc uint32
//	144  epochs               uint32
//	148  spans                uint32
//	152  epochs: epoch int32, start offset int64
//	     spans:  start int64, end int64, position int64, end position int64, pure uint8
const (
	summaryMagic = "MSS1"
	summaryHead  = 152
	epochLen     = 12
	spanLen      = 33
)

var errSummary = errors.New("segment summary is damaged")

// Checkpoint is a summary that was taken and not yet stored.
type Checkpoint struct {
	s *Segment
	// End is the offset it was taken at. It may be stored once everything below is durable,
	// and is believed only if it is not above what is known to be durable.
	End    int64
	bytes  []byte
	sealed bool
}

// Checkpoint flushes the indexes and takes a summary. Nothing in it is synced: it is a cache. It
// must not be called inside a group.
func (s *Segment) Checkpoint() (Checkpoint, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := errors.Join(s.offsets.flush(), s.times.flush(), s.txns.flush()); err != nil {
		return Checkpoint{}, err
	}
	return Checkpoint{s: s, End: s.state.end, bytes: s.encodeLocked(), sealed: s.sealed}, nil
}

// Of is the segment it was taken of.
func (c Checkpoint) Of() *Segment { return c.s }

// Store writes the summary. Files of a segment that was sealed lose what they do not need any more.
func (c Checkpoint) Store() error {
	if c.sealed {
		if err := c.s.trim(); err != nil {
			return err
		}
	}
	return WriteCache(c.s.o.FS, vfs.Join(c.s.o.Dir, FileName(c.s.base, SummarySuffix)), c.bytes)
}

// WriteCache writes a file that carries its own checksum and can be made again: in place and unsynced.
func WriteCache(fsys vfs.FS, name string, b []byte) error {
	f, err := fsys.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = fsys.Create(name)
	}
	if err != nil {
		return err
	}
	size, err := f.Size()
	if err == nil {
		_, err = f.WriteAt(b, 0)
	}
	if err == nil && size > int64(len(b)) {
		err = f.Truncate(int64(len(b)))
	}
	return errors.Join(err, f.Close())
}

func (s *Segment) encodeLocked() []byte {
	be, st := binary.BigEndian, &s.state
	b := make([]byte, 8, summaryHead+len(s.epochs)*epochLen+len(s.spans)*spanLen)
	copy(b, summaryMagic)
	for _, v := range []int64{
		s.base, st.size, st.end, st.maxTimestamp, st.maxTimestampOffset, st.maxReceived, st.lastVisible,
		st.hiddenBytes, st.firstTimestamp, st.created, st.unindexed, st.indexedTime, st.generation, s.spanGap,
	} {
		b = be.AppendUint64(b, uint64(v))
	}
	for _, t := range []*table{&s.offsets, &s.times, &s.txns} {
		b = be.AppendUint32(b, uint32(t.flushed))
		b = be.AppendUint32(b, t.sum)
	}
	b = be.AppendUint32(b, uint32(len(s.epochs)))
	b = be.AppendUint32(b, uint32(len(s.spans)))
	for _, e := range s.epochs {
		b = be.AppendUint32(b, uint32(e.Epoch))
		b = be.AppendUint64(b, uint64(e.Start))
	}
	for _, p := range s.spans {
		b = be.AppendUint64(b, uint64(p.Start))
		b = be.AppendUint64(b, uint64(p.End))
		b = be.AppendUint64(b, uint64(p.Pos))
		b = be.AppendUint64(b, uint64(p.EndPos))
		pure := byte(0)
		if p.Pure {
			pure = 1
		}
		b = append(b, pure)
	}
	be.PutUint32(b[4:], crc32.Checksum(b[8:], castagnoli))
	return b
}

// decode makes s what the summary says. s is untouched if the summary is not to be believed.
func (s *Segment) decode(b []byte) error {
	be := binary.BigEndian
	if len(b) < summaryHead || string(b[:4]) != summaryMagic {
		return errSummary
	}
	epochs, spans := int64(be.Uint32(b[144:])), int64(be.Uint32(b[148:]))
	size := summaryHead + epochs*epochLen + spans*spanLen
	if int64(len(b)) < size {
		return fmt.Errorf("%w: cut short", errSummary)
	}
	b = b[:size] // what follows is left over from a longer one
	if be.Uint32(b[4:]) != crc32.Checksum(b[8:], castagnoli) {
		return fmt.Errorf("%w: checksum does not match", errSummary)
	}
	at := func(pos int) int64 { return int64(be.Uint64(b[pos:])) }
	if at(8) != s.base {
		return fmt.Errorf("%w: it is of segment %d", errSummary, at(8))
	}
	s.state = state{
		size: at(16), end: at(24), maxTimestamp: at(32), maxTimestampOffset: at(40), maxReceived: at(48), lastVisible: at(56),
		hiddenBytes: at(64), firstTimestamp: at(72), created: at(80), unindexed: at(88), indexedTime: at(96), generation: at(104),
	}
	s.spanGap, s.decided = at(112), s.state.end
	for i, t := range []*table{&s.offsets, &s.times, &s.txns} {
		t.restore(int(be.Uint32(b[120+8*i:])), be.Uint32(b[124+8*i:]))
	}
	s.epochs, s.spans = make([]Epoch, epochs), make([]Span, spans)
	b = b[summaryHead:]
	for i := range s.epochs {
		s.epochs[i] = Epoch{Epoch: int32(be.Uint32(b)), Start: int64(be.Uint64(b[4:]))}
		b = b[epochLen:]
	}
	for i := range s.spans {
		s.spans[i] = Span{
			Start: int64(be.Uint64(b)), End: int64(be.Uint64(b[8:])),
			Pos: int64(be.Uint64(b[16:])), EndPos: int64(be.Uint64(b[24:])), Pure: b[32] == 1,
		}
		b = b[spanLen:]
	}
	return nil
}

// reset forgets everything but what is in the log file.
func (s *Segment) reset() {
	s.state = emptyState(s.base)
	s.spans, s.spanGap, s.epochs, s.decided = nil, 0, nil, s.base
	for _, t := range []*table{&s.offsets, &s.times, &s.txns} {
		t.reset()
	}
}
