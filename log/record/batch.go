// Package record is Kafka's record batch format, version 2 ("magic 2"): reading
// it in place, checking it, taking it apart and building it.
//
// A [Batch] is the encoded bytes, never a decoded copy: what a producer sent is stored and
// served byte for byte. Nothing here does I/O, keeps state or starts goroutines.
package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// The header of a batch. All numbers are big-endian.
//
//	 0  base offset           int64
//	 8  length                int32   bytes after this field; at most MaxLen in all
//	12  leader epoch          int32
//	16  magic                 int8    2
//	17  crc                   uint32  CRC-32C of everything from byte 21 on
//	21  attributes            int16
//	23  last offset delta     int32
//	27  base timestamp        int64   ms since the epoch
//	35  max timestamp         int64
//	43  producer id           int64   -1: none
//	51  producer epoch        int16
//	53  base sequence         int32
//	57  record count          int32
//	61  records, compressed as the attributes say
const (
	lengthPos          = 8
	leaderEpochPos     = 12
	magicPos           = 16
	crcPos             = 17
	attributesPos      = 21
	lastOffsetDeltaPos = 23
	baseTimestampPos   = 27
	maxTimestampPos    = 35
	producerIDPos      = 43
	producerEpochPos   = 51
	baseSequencePos    = 53
	countPos           = 57

	// stampedEnd is the end of what [Batch.Stamp] changes.
	stampedEnd = producerIDPos

	// HeaderLen is the length of a batch without records.
	HeaderLen = 61
	// LengthEnd is how many leading bytes of a batch suffice for [FrameLen].
	LengthEnd = 12
	// MaxLen is the length of the longest batch there can be: it has room for DefaultLimit bytes of
	// records that no compression makes smaller. Whoever reads a length believes no more, as it may
	// be damaged, and a log is a gigabyte long.
	MaxLen = 2 * DefaultLimit

	// Magic is the only format version stored.
	Magic = 2
)

// NoProducerID marks a batch of a producer that is not idempotent.
const NoProducerID = int64(-1)

// Attributes are the flags of a batch. The low byte is Kafka's; the high byte, which
// Java does not read and other clients mask, holds Morrow's own marks, set by the broker only.
type Attributes int16

const (
	codecMask Attributes = 0x07
	// LogAppendTime: every record's timestamp is the batch's max timestamp.
	LogAppendTime Attributes = 1 << 3
	Transactional Attributes = 1 << 4
	Control       Attributes = 1 << 5
	DeleteHorizon Attributes = 1 << 6

	// Hidden batches are never served to consumers: delayed records and cancels.
	Hidden Attributes = 1 << 8
	// Continued marks all but the last sub-batch of an atomic group.
	Continued Attributes = 1 << 9
	// Delivery marks a batch that finishes the schedules its records' tickets name.
	Delivery Attributes = 1 << 10

	// Own are the marks only the broker may set.
	Own = Hidden | Continued | Delivery
	// KnownFromClients are the bits a producer may set.
	KnownFromClients = codecMask | LogAppendTime | Transactional | Control
)

// Codec is the compression of a batch.
type Codec uint8

const (
	None Codec = iota
	Gzip
	Snappy
	LZ4
	Zstd
)

// Codec returns the compression named by the attributes; it may be unknown (> Zstd).
func (a Attributes) Codec() Codec { return Codec(a & codecMask) }

// WithCodec returns a with its compression replaced.
func (a Attributes) WithCodec(c Codec) Attributes { return a&^codecMask | Attributes(c) }

// Has reports whether all of bits are set.
func (a Attributes) Has(bits Attributes) bool { return a&bits == bits }

// Errors of malformed batches. [ErrTorn] is what a cut file looks like; the others say the bytes are wrong.
var (
	ErrTorn    = errors.New("batch cut short")
	ErrCRC     = errors.New("batch checksum does not match")
	ErrMagic   = errors.New("unsupported batch format version")
	ErrInvalid = errors.New("invalid batch")
)

// Batch is one whole encoded batch, header included: len(b) is its length on disk.
// Made by [Next] or a [Builder]. The getters do not check anything again.
type Batch []byte

// FrameLen returns the encoded length of the batch that b begins with, or an error: ErrTorn if b
// is shorter than LengthEnd, ErrInvalid if the length cannot be one.
func FrameLen(b []byte) (int, error) {
	if len(b) < LengthEnd {
		return 0, ErrTorn
	}
	n := int64(int32(binary.BigEndian.Uint32(b[lengthPos:]))) + LengthEnd
	switch {
	case n < HeaderLen:
		return 0, fmt.Errorf("%w: length %d is less than a header", ErrInvalid, n)
	case n > MaxLen:
		return 0, fmt.Errorf("%w: length %d is more than a batch can have, %d", ErrInvalid, n, MaxLen)
	}
	return int(n), nil
}

// Next splits the first batch off b. It checks framing and magic, not the checksum;
// the results alias b. It returns ErrTorn if b ends within the batch.
func Next(b []byte) (first Batch, rest []byte, err error) {
	if len(b) > magicPos && b[magicPos] != Magic {
		return nil, nil, errMagic(b)
	}
	n, err := FrameLen(b)
	if err != nil {
		return nil, nil, err
	}
	if len(b) < n {
		return nil, nil, ErrTorn
	}
	return Batch(b[:n:n]), b[n:], nil
}

// errMagic explains what b, which is long enough to have a magic, is instead of a batch. Versions 0 and 1
// have their magic at the same place, but may be shorter than a batch's header.
func errMagic(b []byte) error {
	magic := int8(b[magicPos])
	if magic == 0 || magic == 1 {
		return fmt.Errorf("%w: %d, a message set of Kafka before 0.11; only version %d is accepted", ErrMagic, magic, Magic)
	}
	return fmt.Errorf("%w: %d", ErrMagic, magic)
}

func (b Batch) int16At(pos int) int16 { return int16(binary.BigEndian.Uint16(b[pos:])) }
func (b Batch) int32At(pos int) int32 { return int32(binary.BigEndian.Uint32(b[pos:])) }
func (b Batch) int64At(pos int) int64 { return int64(binary.BigEndian.Uint64(b[pos:])) }

func (b Batch) BaseOffset() int64      { return b.int64At(0) }
func (b Batch) LeaderEpoch() int32     { return b.int32At(leaderEpochPos) }
func (b Batch) CRC() uint32            { return binary.BigEndian.Uint32(b[crcPos:]) }
func (b Batch) Attributes() Attributes { return Attributes(b.int16At(attributesPos)) }
func (b Batch) LastOffsetDelta() int32 { return b.int32At(lastOffsetDeltaPos) }
func (b Batch) BaseTimestamp() int64   { return b.int64At(baseTimestampPos) }
func (b Batch) MaxTimestamp() int64    { return b.int64At(maxTimestampPos) }
func (b Batch) ProducerID() int64      { return b.int64At(producerIDPos) }
func (b Batch) ProducerEpoch() int16   { return b.int16At(producerEpochPos) }
func (b Batch) BaseSequence() int32    { return b.int32At(baseSequencePos) }
func (b Batch) Count() int32           { return b.int32At(countPos) }

// LastOffset is the offset of the last record (inclusive); after compaction the record itself may be gone.
func (b Batch) LastOffset() int64 { return b.BaseOffset() + int64(b.LastOffsetDelta()) }

// EndOffset is the offset after the last record.
func (b Batch) EndOffset() int64 { return b.LastOffset() + 1 }

// LastSequence is the sequence of the last record, which wraps from 2^31-1 to 0. It is -1 without a producer.
func (b Batch) LastSequence() int32 {
	if b.BaseSequence() < 0 {
		return -1
	}
	return AddSequence(b.BaseSequence(), b.LastOffsetDelta())
}

// AddSequence adds to a sequence number, which wraps from 2^31-1 to 0.
func AddSequence(seq, delta int32) int32 {
	return int32((uint32(seq) + uint32(delta)) & 0x7fffffff)
}

func (b Batch) Hidden() bool        { return b.Attributes().Has(Hidden) }
func (b Batch) Continued() bool     { return b.Attributes().Has(Continued) }
func (b Batch) Delivery() bool      { return b.Attributes().Has(Delivery) }
func (b Batch) Control() bool       { return b.Attributes().Has(Control) }
func (b Batch) Transactional() bool { return b.Attributes().Has(Transactional) }

// Payload is the records, compressed as they are. It aliases b.
func (b Batch) Payload() []byte { return b[HeaderLen:] }

// SetBaseOffset places the batch. The checksum does not cover it.
func (b Batch) SetBaseOffset(offset int64) { binary.BigEndian.PutUint64(b, uint64(offset)) }

// SetLeaderEpoch stamps the leader's epoch. The checksum does not cover it.
func (b Batch) SetLeaderEpoch(epoch int32) {
	binary.BigEndian.PutUint32(b[leaderEpochPos:], uint32(epoch))
}

// Stamp replaces attributes and max timestamp, and changes the checksum by what that means to it:
// one that did not match the contents still does not. Its cost hardly depends on the size of the
// batch.
func (b Batch) Stamp(a Attributes, maxTimestamp int64) {
	stamped := b[attributesPos:stampedEnd]
	before := crc32.Checksum(stamped, castagnoli)
	binary.BigEndian.PutUint16(b[attributesPos:], uint16(a))
	binary.BigEndian.PutUint64(b[maxTimestampPos:], uint64(maxTimestamp))
	difference := before ^ crc32.Checksum(stamped, castagnoli)
	binary.BigEndian.PutUint32(b[crcPos:], b.CRC()^shiftCRC(difference, len(b)-stampedEnd))
}

func (b Batch) seal() {
	binary.BigEndian.PutUint32(b[crcPos:], crc32.Checksum(b[attributesPos:], castagnoli))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// CheckCRC returns ErrCRC if the checksum does not match the contents.
func (b Batch) CheckCRC() error {
	if got := crc32.Checksum(b[attributesPos:], castagnoli); got != b.CRC() {
		return fmt.Errorf("%w: stored %08x, computed %08x", ErrCRC, b.CRC(), got)
	}
	return nil
}
