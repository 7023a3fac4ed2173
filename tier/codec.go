package tier

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/morrowmq/morrow/tier/bucket"
)

// Everything the package stores beside record batches is an envelope:
//
//	 0  magic    8 bytes  what it is, see the magic… constants
//	 8  version  uint32   big-endian, as all numbers
//	12  length   uint32   bytes of body
//	16  body
//	 …  crc      uint32   CRC-32C of all before it
//
// Bodies are varints, length-prefixed strings and length-prefixed structures. A reader ignores what
// follows the fields it knows inside a length-prefixed structure, so a field can be added at the end without
// a new version; a new version means that old readers must not read it.
const (
	envelopeHead = 16
	envelopeLen  = envelopeHead + 4
)

// ErrCorrupt marks bytes that are not what was written: a checksum, a length or a structure is wrong.
var ErrCorrupt = bucket.ErrCorrupt

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func seal(magic string, version uint32, body []byte) []byte {
	b := make([]byte, 0, len(body)+envelopeLen)
	b = append(b, magic...)
	b = binary.BigEndian.AppendUint32(b, version)
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	b = append(b, body...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// unseal returns the body of the envelope that b begins with and the bytes after it. The body aliases b.
//
//nolint:unparam // every format has a version of its own, even while all are the first
func unseal(magic string, maxVersion uint32, b []byte) (body, rest []byte, err error) {
	if len(b) < envelopeLen {
		return nil, nil, fmt.Errorf("%w: %d bytes are too few", ErrCorrupt, len(b))
	}
	if string(b[:8]) != magic {
		return nil, nil, fmt.Errorf("%w: begins with %q instead of %q", ErrCorrupt, b[:8], magic)
	}
	n := int64(binary.BigEndian.Uint32(b[12:]))
	if int64(len(b)) < n+envelopeLen {
		return nil, nil, fmt.Errorf("%w: %d bytes instead of %d", ErrCorrupt, len(b), n+envelopeLen)
	}
	end := envelopeHead + int(n)
	if got, want := crc32.Checksum(b[:end], castagnoli), binary.BigEndian.Uint32(b[end:]); got != want {
		return nil, nil, fmt.Errorf("%w: crc %08x instead of %08x", ErrCorrupt, got, want)
	}
	if v := binary.BigEndian.Uint32(b[8:]); v == 0 || v > maxVersion {
		return nil, nil, fmt.Errorf("%w: version %d; this Morrow reads up to %d", ErrVersion, v, maxVersion)
	}
	return b[envelopeHead:end], b[end+4:], nil
}

// encoder appends to b.
type encoder struct{ b []byte }

func (e *encoder) uint(v uint64)         { e.b = binary.AppendUvarint(e.b, v) }
func (e *encoder) int(v int64)           { e.b = binary.AppendVarint(e.b, v) }
func (e *encoder) byte(v byte)           { e.b = append(e.b, v) }
func (e *encoder) raw(v []byte)          { e.b = append(e.b, v...) }
func (e *encoder) string(v string)       { e.uint(uint64(len(v))); e.b = append(e.b, v...) }
func (e *encoder) uint32(v uint32)       { e.b = binary.BigEndian.AppendUint32(e.b, v) }
func (e *encoder) sum(c bucket.Checksum) { e.byte(byte(c.Algorithm)); e.b = append(e.b, c.Sum...) }
func (e *encoder) bool(v bool) {
	if v {
		e.byte(1)
	} else {
		e.byte(0)
	}
}

// nested appends what fill writes, preceded by its length.
func (e *encoder) nested(fill func(*encoder)) {
	start := len(e.b)
	fill(e)
	var prefix [binary.MaxVarintLen64]byte
	n := binary.PutUvarint(prefix[:], uint64(len(e.b)-start))
	e.b = slices.Insert(e.b, start, prefix[:n]...)
}

// decoder reads b from the front. After the first error every method returns zero values.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail() {
	if d.err == nil {
		d.err = fmt.Errorf("%w: ends within a field", ErrCorrupt)
	}
	d.b = nil
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) int() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) raw(n int) []byte {
	if n < 0 || n > len(d.b) {
		d.fail()
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) byte() byte {
	if v := d.raw(1); v != nil {
		return v[0]
	}
	return 0
}

func (d *decoder) bool() bool { return d.byte() != 0 }

func (d *decoder) uint32() uint32 {
	if v := d.raw(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

// count reads the number of items that follow, each at least minBytes long, and so bounds what is
// allocated for them.
func (d *decoder) count(minBytes int) int {
	v := d.uint()
	if v > uint64(len(d.b)/max(minBytes, 1)) {
		d.fail()
		return 0
	}
	return int(v)
}

func (d *decoder) string() string { return string(d.raw(d.count(1))) }

func (d *decoder) sum() bucket.Checksum {
	a := bucket.Algorithm(d.byte())
	if a > bucket.SHA256 {
		d.fail()
	}
	return bucket.Checksum{Algorithm: a, Sum: string(d.raw(a.Size()))}
}

// nested reads a length-prefixed structure; what read leaves unread is skipped.
func (d *decoder) nested(read func(*decoder)) {
	in := decoder{b: d.raw(d.count(1))}
	if d.err != nil {
		return
	}
	read(&in)
	if in.err != nil {
		d.err = in.err
		d.b = nil
	}
}
