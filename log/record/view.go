package record

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// View is one record inside a batch, decoded in place: its slices alias the batch, or the
// decompressed payload, and are valid only during the callback they are handed to.
//
//	length          varint   bytes after this field
//	attributes      int8     unused by Kafka
//	timestamp delta varlong  to the batch's base timestamp
//	offset delta    varint   to the batch's base offset
//	key             varint length (-1: null), bytes
//	value           varint length (-1: null), bytes
//	headers         varint count, then per header
//	                varint length, key; varint length (-1: null), value
//
// Varints are zigzag, at most 5 bytes (10 for the varlong).
type View struct {
	// Index is the position in the batch, from 0.
	Index          int32
	Attributes     int8
	OffsetDelta    int32
	TimestampDelta int64
	// Key and Value are nil if null.
	Key, Value []byte
	// HeaderCount is how many headers [View.Headers] yields.
	HeaderCount int32
	// Raw is the whole encoded record, its length included.
	Raw []byte

	base    int64
	headers []byte
}

// Load makes v the view of one encoded record that was kept as its Raw; baseTimestamp is that of the
// batch it came from. The view aliases raw, and its Index is 0. Errors wrap ErrInvalid.
func (v *View) Load(raw []byte, baseTimestamp int64) error {
	*v = View{base: baseTimestamp}
	next, err := v.parse(raw, 0)
	if err == nil && next != len(raw) {
		err = errLength
	}
	if err != nil {
		return malformed(0, err)
	}
	return nil
}

// CreateTime is what the producer stamped, in milliseconds since the epoch, even in a batch
// that says LogAppendTime.
func (v *View) CreateTime() int64 { return v.base + v.TimestampDelta }

// Headers yields the headers in order; value is nil if null. It allocates nothing:
//
//	for key, value := range v.Headers { … }
func (v *View) Headers(yield func(key, value []byte) bool) {
	b, i := v.headers, 0
	for n := v.HeaderCount; n > 0; n-- {
		var key, value []byte
		key, i = field(b, i)
		value, i = field(b, i)
		if !yield(key, value) {
			return
		}
	}
}

var (
	errCut      = errors.New("record reaches beyond the end of the batch")
	errLength   = errors.New("record length does not match its fields")
	errNegative = errors.New("negative record length")
	errHeaders  = errors.New("record headers are malformed")
)

// parse reads the record at b[i:] and returns where the next begins. It checks the whole structure,
// so that the rest of this package need not. Index and base are the caller's.
func (v *View) parse(b []byte, i int) (next int, err error) {
	start := i
	length, i := varint(b, i)
	if length < 0 {
		return 0, errNegative
	}
	end := i + int(length)
	if end > len(b) || length == 0 {
		return 0, errCut
	}
	b = b[:end]
	v.Attributes = int8(b[i])
	v.TimestampDelta, i = varlong(b, i+1)
	v.OffsetDelta, i = varint(b, i)
	v.Key, i = field(b, i)
	v.Value, i = field(b, i)
	v.HeaderCount, i = varint(b, i)
	if i > end {
		return 0, errLength
	}
	v.Raw = b[start:end:end]
	v.headers = b[i:end:end]
	if v.HeaderCount == 0 {
		if i != end {
			return 0, errLength
		}
		return end, nil
	}
	return end, v.checkHeaders()
}

// checkHeaders makes sure that Headers stays within bounds and uses up every byte.
func (v *View) checkHeaders() error {
	b, i := v.headers, 0
	if v.HeaderCount < 0 || int(v.HeaderCount) > len(b)/2 {
		return errHeaders
	}
	for n := v.HeaderCount; n > 0; n-- {
		var length int32
		if length, i = varint(b, i); length < 0 {
			return errHeaders
		}
		if length, i = varint(b, i+int(length)); length < -1 {
			return errHeaders
		}
		i += int(max(length, 0))
		if i > len(b) {
			return errHeaders
		}
	}
	if i != len(b) {
		return errLength
	}
	return nil
}

// beyond is the position returned by the readers below when they would pass the end of the
// slice. It stays beyond whatever is read next, so that one check at the end suffices.
const beyond = 1 << 40

// field reads a length and as many bytes; nil for the length -1.
func field(b []byte, i int) ([]byte, int) {
	length, i := varint(b, i)
	end := i + int(length)
	if length < 0 {
		if length == -1 {
			return nil, i
		}
		return nil, beyond
	}
	if end > len(b) {
		return nil, beyond
	}
	return b[i:end:end], end
}

// varint looks for the single byte first: most lengths and deltas are that short.
func varint(b []byte, i int) (int32, int) {
	if i < len(b) && b[i] < 0x80 {
		return int32(b[i]>>1) ^ -int32(b[i]&1), i + 1
	}
	return longVarint(b, i)
}

func longVarint(b []byte, i int) (int32, int) {
	var u uint32
	for shift := 0; shift < 35; shift += 7 {
		if i >= len(b) {
			return 0, beyond
		}
		c := b[i]
		i++
		u |= uint32(c&0x7f) << shift
		if c < 0x80 {
			return int32(u>>1) ^ -int32(u&1), i
		}
	}
	return 0, beyond
}

func varlong(b []byte, i int) (int64, int) {
	if i < len(b) && b[i] < 0x80 {
		return int64(b[i]>>1) ^ -int64(b[i]&1), i + 1
	}
	if i >= len(b) {
		return 0, beyond
	}
	v, n := binary.Varint(b[i:])
	if n <= 0 {
		return 0, beyond
	}
	return v, i + n
}

// malformed says which record of a batch is malformed.
func malformed(index int32, err error) error {
	return fmt.Errorf("%w: record %d: %w", ErrInvalid, index, err)
}
