package producer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// A snapshot is the state as of one offset. Numbers are big-endian.
//
//	 0  magic     "MPS1"
//	 4  crc       uint32  CRC-32C of everything after it
//	 8  end       int64   the offset
//	16  visible   int64   end of the last visible batch below it, or -1
//	24  txns      uint32
//	28  producers uint32
//	32  txns:       producer id int64, first int64, visible end int64, marker int64 (-1: open)
//	    producers:  id int64, epoch int16, coordinator epoch int32, last seen int64 (ms),
//	                first offset of open transaction int64 (-1: none), ranges uint8, then
//	                per range: first sequence int32, last sequence int32, base int64, timestamp int64
const (
	magic       = "MPS1"
	headLen     = 32
	txnLen      = 32
	producerLen = 31
	rangeLen    = 24
)

// ErrSnapshot is returned for a snapshot that cannot be used.
var ErrSnapshot = errors.New("producer snapshot is damaged")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Encode writes the state as of [State.End], which must not be inside a group.
func (s *State) Encode() []byte {
	b := make([]byte, 8, headLen+len(s.txns)*txnLen+len(s.entries)*(producerLen+rangeLen))
	copy(b, magic)
	be := binary.BigEndian
	b = be.AppendUint64(b, uint64(s.end))
	b = be.AppendUint64(b, uint64(s.visible))
	b = be.AppendUint32(b, uint32(len(s.txns)))
	b = be.AppendUint32(b, uint32(len(s.entries)))
	for _, t := range s.txns {
		b = be.AppendUint64(b, uint64(t.producerID))
		b = be.AppendUint64(b, uint64(t.first))
		b = be.AppendUint64(b, uint64(t.visible))
		b = be.AppendUint64(b, uint64(t.marker))
	}
	for _, e := range s.sorted() {
		b = e.append(b)
	}
	be.PutUint32(b[4:], crc32.Checksum(b[8:], castagnoli))
	return b
}

func (e *entry) append(b []byte) []byte {
	be := binary.BigEndian
	b = be.AppendUint64(b, uint64(e.id))
	b = be.AppendUint16(b, uint16(e.epoch))
	b = be.AppendUint32(b, uint32(e.coordinatorEpoch))
	b = be.AppendUint64(b, uint64(e.lastSeen))
	b = be.AppendUint64(b, uint64(e.txnFirst))
	b = append(b, byte(e.n))
	for _, r := range e.ranges[:e.n] {
		b = be.AppendUint32(b, uint32(r.FirstSequence))
		b = be.AppendUint32(b, uint32(r.LastSequence))
		b = be.AppendUint64(b, uint64(r.Base))
		b = be.AppendUint64(b, uint64(r.Timestamp))
	}
	return b
}

// Decode reads a snapshot. Any damage is an error wrapping ErrSnapshot.
func Decode(b []byte) (*State, error) {
	if len(b) < headLen || string(b[:4]) != magic {
		return nil, fmt.Errorf("%w: no header", ErrSnapshot)
	}
	d := &decoder{b: b}
	d.skip(4)
	if crc := d.uint32(); crc != crc32.Checksum(b[8:], castagnoli) {
		return nil, fmt.Errorf("%w: checksum does not match", ErrSnapshot)
	}
	s := New(d.int64())
	s.visible = d.int64()
	txns, producers := int64(d.uint32()), int64(d.uint32())
	if txns*txnLen+producers*producerLen > int64(len(b)) {
		return nil, fmt.Errorf("%w: more entries than bytes", ErrSnapshot)
	}
	for range txns {
		s.txns = append(s.txns, txn{producerID: d.int64(), first: d.int64(), visible: d.int64(), marker: d.int64()})
	}
	if producers > 0 {
		s.entries = make(map[int64]*entry, producers)
	}
	for range producers {
		e := d.entry()
		if d.bad {
			break
		}
		s.entries[e.id] = e
	}
	if d.bad || len(d.b) != 0 || int64(len(s.entries)) != producers {
		return nil, fmt.Errorf("%w: wrong length", ErrSnapshot)
	}
	return s, nil
}

// decoder takes numbers off the front; bad once there were too few bytes or a number was impossible.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) skip(n int) []byte {
	if n > len(d.b) {
		d.bad, d.b = true, nil
		return make([]byte, n)
	}
	head := d.b[:n]
	d.b = d.b[n:]
	return head
}

func (d *decoder) uint16() uint16 { return binary.BigEndian.Uint16(d.skip(2)) }
func (d *decoder) uint32() uint32 { return binary.BigEndian.Uint32(d.skip(4)) }
func (d *decoder) int64() int64   { return int64(binary.BigEndian.Uint64(d.skip(8))) }

func (d *decoder) entry() *entry {
	e := &entry{
		id:               d.int64(),
		epoch:            int16(d.uint16()),
		coordinatorEpoch: int32(d.uint32()),
		lastSeen:         d.int64(),
		txnFirst:         d.int64(),
		n:                int(d.skip(1)[0]),
	}
	if e.n > maxRanges {
		d.bad, e.n = true, 0
	}
	for i := range e.n {
		e.ranges[i] = Range{FirstSequence: int32(d.uint32()), LastSequence: int32(d.uint32()), Base: d.int64(), Timestamp: d.int64()}
	}
	return e
}
