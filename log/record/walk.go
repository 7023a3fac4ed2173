package record

import (
	"errors"
	"fmt"
)

var errCount = errors.New("record count does not match the records")

// Walk calls visit for every record, in order. It stops at the first error of visit and returns it
// as it is; it returns an error wrapping ErrInvalid if the records are malformed, ErrTooLarge if
// they would decompress to more than d.Limit, ErrCodec if their compression is unknown. The
// checksum is not looked at.
//
// d may be nil; then one comes from the pool. While visit runs, d must not be used for anything
// else. Walk allocates nothing per record, and nothing at all once d has grown.
func (b Batch) Walk(d *Decompressor, visit func(*View) error) error {
	if d == nil {
		d = GetDecompressor()
		defer d.Release()
	}
	payload, err := d.Records(b)
	if err != nil {
		return err
	}
	v := &d.view
	v.base = b.BaseTimestamp()
	count, i := b.Count(), 0
	for v.Index = 0; v.Index < count; v.Index++ {
		if i, err = v.parse(payload, i); err != nil {
			return malformed(v.Index, err)
		}
		if err := visit(v); err != nil {
			return err
		}
	}
	if i != len(payload) {
		return fmt.Errorf("%w: %w: %d bytes after record %d", ErrInvalid, errCount, len(payload)-i, count-1)
	}
	return nil
}

// errFound ends a walk.
var errFound = errors.New("found")

// FirstSince finds the first record at or above an offset whose timestamp, as consumers see it, is
// at least ts, ms. d and the errors are as for [Batch.Walk].
func (b Batch) FirstSince(d *Decompressor, from, ts int64) (offset, timestamp int64, ok bool, err error) {
	fixed := b.Attributes().Has(LogAppendTime)
	err = b.Walk(d, func(v *View) error {
		offset, timestamp = b.BaseOffset()+int64(v.OffsetDelta), v.CreateTime()
		if fixed {
			timestamp = b.MaxTimestamp()
		}
		if offset >= from && timestamp >= ts {
			return errFound
		}
		return nil
	})
	if errors.Is(err, errFound) {
		return offset, timestamp, true, nil
	}
	return 0, 0, false, err
}

// Header is one header of a record. A nil Value is null.
type Header struct {
	Key   string
	Value []byte
}

// Record is a decoded copy of a record, for coordinators, tools and tests.
type Record struct {
	Offset int64
	// Timestamp is what consumers see, in milliseconds since the epoch: the append
	// time where the batch says LogAppendTime.
	Timestamp int64
	// Key and Value are nil if null.
	Key, Value []byte
	Headers    []Header
}

// Decode copies all records out of the batch. Errors are those of [Batch.Walk].
func (b Batch) Decode() ([]Record, error) {
	var rs []Record
	base, fixed := b.BaseOffset(), b.Attributes().Has(LogAppendTime)
	err := b.Walk(nil, func(v *View) error {
		r := Record{Offset: base + int64(v.OffsetDelta), Timestamp: v.CreateTime(), Key: clone(v.Key), Value: clone(v.Value)}
		if fixed {
			r.Timestamp = b.MaxTimestamp()
		}
		for k, val := range v.Headers {
			r.Headers = append(r.Headers, Header{Key: string(k), Value: clone(val)})
		}
		rs = append(rs, r)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return rs, nil
}

// clone copies b, and keeps null (nil) and empty apart.
func clone(b []byte) []byte {
	if b == nil {
		return nil
	}
	return append(make([]byte, 0, len(b)), b...)
}
