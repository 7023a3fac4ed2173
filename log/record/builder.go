package record

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Builder builds batches, one after another, in buffers that it reuses. The zero value is ready for
// [Builder.Reset]. It is not safe for concurrent use.
//
// Offset deltas given to it count from a base of the caller's choosing: the batch of an original
// producer, say. The first one becomes the base offset of the result, the others are stored
// relative to it, and the base sequence moves along, so that taking a batch apart leaves every
// record its offset and its sequence.
type Builder struct {
	// Level is the compression level, in Kafka's numbers; 0 means Kafka's default for the codec.
	Level int

	attributes    Attributes
	baseTimestamp int64
	maxTimestamp  int64
	producerID    int64
	producerEpoch int16
	baseSequence  int32
	leaderEpoch   int32

	count       int32
	first, last int32
	records     []byte
	out         []byte
}

// errEmpty and errOrder are mistakes of the caller.
var (
	errEmpty = errors.New("batch without records")
	errOrder = errors.New("offset deltas do not ascend")
)

// Reset begins a batch with these attributes, which name its codec too, without a producer. Timestamps are
// stored relative to baseTimestamp. What Finish returned before is invalid from now on.
func (w *Builder) Reset(a Attributes, baseTimestamp int64) {
	w.attributes, w.baseTimestamp = a, baseTimestamp
	w.maxTimestamp = -1
	w.leaderEpoch = -1
	w.SetProducer(NoProducerID, -1, -1)
	w.count, w.first, w.last = 0, 0, 0
	w.records = trim(w.records)
	w.out = trim(w.out)
}

// ResetLike begins a piece of b: with its attributes, base timestamp, leader epoch and producer, and,
// if it says LogAppendTime, its max timestamp.
func (w *Builder) ResetLike(b Batch) {
	w.Reset(b.Attributes(), b.BaseTimestamp())
	w.leaderEpoch = b.LeaderEpoch()
	w.SetProducer(b.ProducerID(), b.ProducerEpoch(), b.BaseSequence())
	if b.Attributes().Has(LogAppendTime) {
		w.maxTimestamp = b.MaxTimestamp()
	}
}

// SetAttributes replaces the attributes.
func (w *Builder) SetAttributes(a Attributes) { w.attributes = a }

// SetProducer makes the batch an idempotent producer's. baseSequence belongs to offset delta 0.
func (w *Builder) SetProducer(id int64, epoch int16, baseSequence int32) {
	w.producerID, w.producerEpoch, w.baseSequence = id, epoch, baseSequence
}

// Count is how many records were added.
func (w *Builder) Count() int { return int(w.count) }

// Len is the length of the batch so far, uncompressed, in bytes.
func (w *Builder) Len() int { return HeaderLen + len(w.records) }

// Add appends a record. A nil key, value or header value is null. Everything is copied.
func (w *Builder) Add(offsetDelta int32, timestamp int64, key, value []byte, headers ...Header) {
	tail := fieldLen(key) + fieldLen(value) + varintLen(int64(len(headers))) + headersLen(headers)
	w.begin(0, offsetDelta, timestamp, tail)
	w.records = appendField(w.records, key)
	w.records = appendField(w.records, value)
	w.records = binary.AppendVarint(w.records, int64(len(headers)))
	w.appendHeaders(headers)
}

// AddView appends a record of another batch byte for byte, except for its deltas.
func (w *Builder) AddView(v *View) {
	first, timestamp := w.first, v.CreateTime()
	if w.count == 0 {
		first = v.OffsetDelta
	}
	if first == 0 && timestamp-w.baseTimestamp == v.TimestampDelta {
		w.advance(v.OffsetDelta, timestamp)
		w.records = append(w.records, v.Raw...)
		return
	}
	tail := v.tail()
	w.begin(v.Attributes, v.OffsetDelta, timestamp, len(tail))
	w.records = append(w.records, tail...)
}

// AddEdited appends a record of another batch under a new offset and timestamp, without the headers
// that drop says (nil: none) and with extra ones at the end. Key, value and the other headers are
// kept byte for byte.
func (w *Builder) AddEdited(v *View, offsetDelta int32, timestamp int64, drop func(key []byte) bool, extra ...Header) {
	kept, size := len(extra), headersLen(extra)
	for k, val := range v.Headers {
		if drop == nil || !drop(k) {
			kept++
			size += fieldLen(k) + fieldLen(val)
		}
	}
	size += fieldLen(v.Key) + fieldLen(v.Value) + varintLen(int64(kept))
	w.begin(v.Attributes, offsetDelta, timestamp, size)
	w.records = appendField(w.records, v.Key)
	w.records = appendField(w.records, v.Value)
	w.records = binary.AppendVarint(w.records, int64(kept))
	for k, val := range v.Headers {
		if drop == nil || !drop(k) {
			w.records = appendField(w.records, k)
			w.records = appendField(w.records, val)
		}
	}
	w.appendHeaders(extra)
}

// tail is everything after the deltas: key, value and headers.
func (v *View) tail() []byte {
	b := v.Raw
	_, i := varint(b, 0)
	_, i = varlong(b, i+1)
	_, i = varint(b, i)
	return b[i:]
}

// begin accounts for a record and appends all that comes before its key.
func (w *Builder) begin(a int8, offsetDelta int32, timestamp int64, tail int) {
	w.advance(offsetDelta, timestamp)
	ts, off := timestamp-w.baseTimestamp, int64(offsetDelta-w.first)
	w.records = binary.AppendVarint(w.records, int64(1+varintLen(ts)+varintLen(off)+tail))
	w.records = append(w.records, byte(a))
	w.records = binary.AppendVarint(w.records, ts)
	w.records = binary.AppendVarint(w.records, off)
}

func (w *Builder) advance(offsetDelta int32, timestamp int64) {
	if w.count == 0 {
		w.first = offsetDelta
	} else if offsetDelta <= w.last {
		panic(errOrder)
	}
	w.last = offsetDelta
	w.count++
	if !w.attributes.Has(LogAppendTime) {
		w.maxTimestamp = max(w.maxTimestamp, timestamp)
	}
}

func (w *Builder) appendHeaders(hs []Header) {
	for i := range hs {
		w.records = binary.AppendVarint(w.records, int64(len(hs[i].Key)))
		w.records = append(w.records, hs[i].Key...)
		w.records = appendField(w.records, hs[i].Value)
	}
}

// Finish compresses and seals the batch. It is valid until the next Reset, and must not be changed by others
// while it is used; its base offset is the first offset delta added.
func (w *Builder) Finish() (Batch, error) {
	if w.count == 0 {
		return nil, errEmpty
	}
	sequence := w.baseSequence
	if sequence >= 0 {
		sequence = AddSequence(sequence, w.first)
	}
	h := w.out[:0]
	h = binary.BigEndian.AppendUint64(h, uint64(w.first))
	h = binary.BigEndian.AppendUint32(h, 0) // length, by seal
	h = binary.BigEndian.AppendUint32(h, uint32(w.leaderEpoch))
	h = append(h, Magic)
	h = binary.BigEndian.AppendUint32(h, 0) // checksum, by seal
	h = binary.BigEndian.AppendUint16(h, uint16(w.attributes))
	h = binary.BigEndian.AppendUint32(h, uint32(w.last-w.first))
	h = binary.BigEndian.AppendUint64(h, uint64(w.baseTimestamp))
	h = binary.BigEndian.AppendUint64(h, uint64(w.maxTimestamp))
	h = binary.BigEndian.AppendUint64(h, uint64(w.producerID))
	h = binary.BigEndian.AppendUint16(h, uint16(w.producerEpoch))
	h = binary.BigEndian.AppendUint32(h, uint32(sequence))
	h = binary.BigEndian.AppendUint32(h, uint32(w.count))
	return w.finish(h, w.records)
}

// Recompress returns b with its records compressed by another codec and otherwise unchanged, at w.Level. The
// result is w's, as that of Finish. d is as for [Batch.Walk]; errors are those of [Decompressor.Records].
func (w *Builder) Recompress(b Batch, codec Codec, d *Decompressor) (Batch, error) {
	if d == nil {
		d = GetDecompressor()
		defer d.Release()
	}
	records, err := d.Records(b)
	if err != nil {
		return nil, err
	}
	w.Reset(b.Attributes().WithCodec(codec), b.BaseTimestamp())
	h := append(w.out[:0], b[:HeaderLen]...)
	binary.BigEndian.PutUint16(h[attributesPos:], uint16(w.attributes))
	return w.finish(h, records)
}

// finish appends the records to the header h, and seals them.
func (w *Builder) finish(h, records []byte) (Batch, error) {
	out, err := compress(h, records, w.attributes.Codec(), w.Level)
	w.out = out
	if err != nil {
		return nil, fmt.Errorf("compressing with %s: %w", w.attributes.Codec(), err)
	}
	if len(out) > MaxLen {
		return nil, fmt.Errorf("%w: %d bytes are more than a batch can have, %d", ErrInvalid, len(out), MaxLen)
	}
	binary.BigEndian.PutUint32(out[lengthPos:], uint32(len(out)-LengthEnd))
	b := Batch(out[:len(out):len(out)])
	b.seal()
	return b, nil
}

func appendField(b, f []byte) []byte {
	if f == nil {
		return append(b, 1) // -1
	}
	b = binary.AppendVarint(b, int64(len(f)))
	return append(b, f...)
}

func fieldLen(f []byte) int {
	if f == nil {
		return 1
	}
	return varintLen(int64(len(f))) + len(f)
}

func headersLen(hs []Header) (n int) {
	for i := range hs {
		n += varintLen(int64(len(hs[i].Key))) + len(hs[i].Key) + fieldLen(hs[i].Value)
	}
	return n
}

func varintLen(v int64) int {
	n := 1
	for u := uint64(v)<<1 ^ uint64(v>>63); u >= 0x80; u >>= 7 {
		n++
	}
	return n
}

// trim empties a buffer, and lets go of a huge one.
func trim(b []byte) []byte {
	if cap(b) > keepBuffer {
		return nil
	}
	return b[:0]
}
