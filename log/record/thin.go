package record

import (
	"encoding/binary"
)

// Thin returns b with the records that keep wants, and nil if those are none. They keep their
// offsets, sequences and timestamps, and the batch its whole range of offsets and sequences: a hole
// is all that remains of the others. Attributes and base timestamp are replaced. The result is w's,
// as that of Finish. d is as for [Batch.Walk], and so are the errors.
func (w *Builder) Thin(b Batch, a Attributes, baseTimestamp int64, keep func(*View) bool, d *Decompressor) (Batch, error) {
	w.Reset(a, baseTimestamp)
	if a.Has(LogAppendTime) {
		w.maxTimestamp = b.MaxTimestamp()
	}
	err := b.Walk(d, func(v *View) error {
		if keep(v) {
			w.addInPlace(v)
		}
		return nil
	})
	if err != nil || w.count == 0 {
		return nil, err
	}
	return w.finish(w.headerOf(b), w.records)
}

// addInPlace appends a record under the offset delta it has.
func (w *Builder) addInPlace(v *View) {
	timestamp := v.CreateTime()
	w.first = 0
	w.count++
	if !w.attributes.Has(LogAppendTime) {
		w.maxTimestamp = max(w.maxTimestamp, timestamp)
	}
	delta := timestamp - w.baseTimestamp
	if delta == v.TimestampDelta {
		w.records = append(w.records, v.Raw...)
		return
	}
	tail := v.tail()
	w.records = binary.AppendVarint(w.records, int64(1+varintLen(delta)+varintLen(int64(v.OffsetDelta))+len(tail)))
	w.records = append(w.records, byte(v.Attributes))
	w.records = binary.AppendVarint(w.records, delta)
	w.records = binary.AppendVarint(w.records, int64(v.OffsetDelta))
	w.records = append(w.records, tail...)
}

// Empty returns b without any record: hidden, and with nothing but its offsets and sequences, which
// tell what its producer has sent. Of a's marks it has those that are given. Timestamps are
// replaced, and there is no transaction any more. The result is w's, as that of Finish.
func (w *Builder) Empty(b Batch, a Attributes, maxTimestamp int64) Batch {
	w.Reset(a|Hidden|LogAppendTime, maxTimestamp)
	w.maxTimestamp = maxTimestamp
	e, _ := w.finish(w.headerOf(b), nil) // nothing is compressed
	return e
}

// headerOf is the header of b with what w knows better.
func (w *Builder) headerOf(b Batch) []byte {
	h := append(w.out[:0], b[:HeaderLen]...)
	binary.BigEndian.PutUint16(h[attributesPos:], uint16(w.attributes))
	binary.BigEndian.PutUint64(h[baseTimestampPos:], uint64(w.baseTimestamp))
	binary.BigEndian.PutUint64(h[maxTimestampPos:], uint64(w.maxTimestamp))
	binary.BigEndian.PutUint32(h[countPos:], uint32(w.count))
	return h
}

// Copy returns a copy of b. It is w's, as the result of Finish.
func (w *Builder) Copy(b Batch) Batch {
	w.Reset(0, 0)
	w.out = append(w.out[:0], b...)
	return Batch(w.out[:len(b):len(b)])
}
