package log

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/record"
)

// A frame begins at a multiple of frameAlign, so that no block that was acknowledged is written to
// again. Numbers are big-endian.
//
//	 0  magic       "MJF1"
//	 4  crc         uint32  CRC-32C of everything after it
//	 8  length      uint32  of the frame, without the zeros that fill its last block
//	12  entries     uint32
//	16  generation  uint64  counts the uses of files: ascending in the order of writing
//	24  salt        uint64  random per generation: no payload can look like a frame of it
//	32  sequence    uint64  of the frame within the generation, from 0
//	40  floor       uint64  generations below hold nothing that is needed
//	48  entries:    topic 16 bytes, partition int32, lineage uint64, segment base int64, position int64,
//	                length uint32, bytes
//
// Lineage is a fact of the log (facts.go). An entry with another one than the log has now is void:
// bytes were taken back since. A segment that does not exist any more was deleted, and its entries
// are void as well.
const (
	frameMagic = "MJF1"
	frameHead  = 48
	entryHead  = 48
	frameAlign = 4096
)

var errBadFrame = errors.New("not a frame")

// stage is a frame being collected.
type stage struct {
	buf     []byte // frame, the head not filled in
	entries uint32
	logs    []staged
	end     entryEnd // of the last entry
}

func newStage() *stage {
	s := new(stage)
	s.reset()
	return s
}

// entryEnd is where an entry ends, so that the next append can prolong it.
type entryEnd struct {
	log     *Log
	lineage uint64
	base    int64
	pos     int64
	at      int // position of its head in the stage
}

func (s *stage) reset() {
	if cap(s.buf) < frameHead {
		s.buf = make([]byte, frameHead, 64<<10)
	}
	s.buf = s.buf[:frameHead]
	s.entries = 0
	clear(s.logs)
	s.logs = s.logs[:0]
	s.end = entryEnd{}
}

// has reports whether a slot is that of the log of e, in the same lineage.
func (s *stage) has(slot int, e staged) bool {
	return slot < len(s.logs) && s.logs[slot].log == e.log && s.logs[slot].lineage == e.lineage
}

// add collects batches that were written at pos of a segment of l.
func (s *stage) add(l *Log, lineage uint64, base, pos int64, batches []record.Batch) {
	be := binary.BigEndian
	if s.end.log != l || s.end.lineage != lineage || s.end.base != base || s.end.pos != pos {
		s.end = entryEnd{log: l, lineage: lineage, base: base, pos: pos, at: len(s.buf)}
		s.buf = append(s.buf, l.id.Topic[:]...)
		s.buf = be.AppendUint32(s.buf, uint32(l.id.Partition))
		s.buf = be.AppendUint64(s.buf, lineage)
		s.buf = be.AppendUint64(s.buf, uint64(base))
		s.buf = be.AppendUint64(s.buf, uint64(pos))
		s.buf = be.AppendUint32(s.buf, 0)
		s.entries++
	}
	for _, b := range batches {
		s.buf = append(s.buf, b...)
		s.end.pos += int64(len(b))
	}
	be.PutUint32(s.buf[s.end.at+entryHead-4:], uint32(len(s.buf)-s.end.at-entryHead))
}

// seal fills in the head, and zeros up to the end of the last block.
func (s *stage) seal(f *journalFile, floor uint64) {
	be := binary.BigEndian
	n := len(s.buf)
	if pad := -n & (frameAlign - 1); pad > 0 {
		s.buf = append(s.buf, zeros[:pad]...)
	}
	b := s.buf
	copy(b, frameMagic)
	be.PutUint32(b[8:], uint32(n))
	be.PutUint32(b[12:], s.entries)
	be.PutUint64(b[16:], f.generation)
	be.PutUint64(b[24:], f.salt)
	be.PutUint64(b[32:], f.sequence)
	be.PutUint64(b[40:], floor)
	be.PutUint32(b[4:], crc32.Checksum(b[8:n], castagnoli))
}

var zeros [frameAlign]byte

// padded is the length of a frame of n bytes in the file.
func padded(n int) int64 { return int64(n+frameAlign-1) &^ (frameAlign - 1) }

// frame is a frame's head.
type frame struct {
	length, entries                   int
	generation, salt, sequence, floor uint64
	body                              []byte
}

// parseFrame reads the frame that b begins with, and checks it.
func parseFrame(b []byte) (f frame, err error) {
	be := binary.BigEndian
	if len(b) < frameHead || string(b[:4]) != frameMagic {
		return f, errBadFrame
	}
	f = frame{
		length: int(be.Uint32(b[8:])), entries: int(be.Uint32(b[12:])),
		generation: be.Uint64(b[16:]), salt: be.Uint64(b[24:]), sequence: be.Uint64(b[32:]), floor: be.Uint64(b[40:]),
	}
	if f.length < frameHead || f.length > len(b) || be.Uint32(b[4:]) != crc32.Checksum(b[8:f.length], castagnoli) {
		return f, errBadFrame
	}
	f.body = b[frameHead:f.length]
	return f, nil
}

// entry is the bytes of appends to a segment.
type entry struct {
	id        ID
	lineage   uint64
	base, pos int64
	bytes     []byte
}

// next takes an entry off a frame's body.
func nextEntry(b []byte) (e entry, rest []byte, err error) {
	be := binary.BigEndian
	if len(b) < entryHead {
		return e, nil, errBadFrame
	}
	copy(e.id.Topic[:], b)
	e.id.Partition = int32(be.Uint32(b[16:]))
	e.lineage, e.base, e.pos = be.Uint64(b[20:]), int64(be.Uint64(b[28:])), int64(be.Uint64(b[36:]))
	n := int(be.Uint32(b[44:]))
	if b = b[entryHead:]; n > len(b) || e.pos < 0 || e.base < 0 {
		return e, nil, errBadFrame
	}
	e.bytes = b[:n]
	return e, b[n:], nil
}

// frames reads a file of the journal a window at a time, so that a start does not need the memory of all of it.
type frames struct {
	f    vfs.File
	size int64
	at   int64  // where in the file buf begins
	buf  []byte // the window
}

// frameWindow is how much is read at once, unless a frame is longer.
const frameWindow = 1 << 20

func openFrames(fsys vfs.FS, name string) (*frames, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &frames{f: f, size: size}, nil
}

// close ends reading. Nothing was written.
func (w *frames) close() { _ = w.f.Close() }

// from returns what lies at pos: at least a whole frame, if there is one. It is valid until the next call.
func (w *frames) from(pos int64) ([]byte, error) {
	if err := w.hold(pos, min(frameHead, w.size-pos)); err != nil {
		return nil, err
	}
	b := w.buf[pos-w.at:]
	if len(b) < frameHead || string(b[:4]) != frameMagic {
		return b, nil
	}
	length := int64(binary.BigEndian.Uint32(b[8:]))
	if err := w.hold(pos, min(length, w.size-pos)); err != nil {
		return nil, err
	}
	return w.buf[pos-w.at:], nil
}

// hold makes sure that n bytes from pos on are in the window.
func (w *frames) hold(pos, n int64) error {
	if pos >= w.at && pos+n <= w.at+int64(len(w.buf)) {
		return nil
	}
	n = min(max(n, frameWindow), w.size-pos)
	if int64(cap(w.buf)) < n {
		w.buf = make([]byte, n)
	}
	w.at, w.buf = pos, w.buf[:n]
	if _, err := w.f.ReadAt(w.buf, pos); err != nil && !errors.Is(err, io.EOF) {
		w.buf = w.buf[:0]
		return err
	}
	return nil
}
