package protocol

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// A shape is the layout of a request body, known well enough to walk over one
// without decoding it.
//
// kmsg believes a length as long as one byte of the body per element is left,
// and allocates: an array of 100-byte structs claimed in a frame of 100 MiB
// would take 10 GB, and a tagged section that claims 2^32 fields keeps it busy
// for minutes. So every body is walked first. The walk allocates nothing,
// accepts only lengths that are there, and bounds the number of elements and of
// tagged fields as Kafka 4.4 does. It bounds strings, as Kafka does, by what a
// string of the older versions can hold: what comes in through one version is
// stored, and goes out to others, through the other.
//
// Shapes are written in a small language, one line per request in shapes:
//
//	1 2 4 8 16   a field of so many bytes
//	s            a string, nullable or not
//	b            bytes, nullable or not
//	{…}          a struct: its fields, then in flexible versions tagged fields
//	?{…}         a struct after a byte that is negative if there is none
//	[x]          an array of x
//	3-7:x        x in versions 3 to 7 only; also 3-:x, -7:x and 3:x
type shape []field

type field struct {
	min, max int16 // versions, inclusive
	kind     byte  // 'n', 's', 'b', '{', '?', '['
	size     int   // of 'n'
	fields   shape // of '{' and '?'; of '[' its element
}

// Bounds on one request.
const (
	maxElements = 1_000_000
	maxTags     = 10_000
	maxString   = 1<<15 - 1 // bytes
)

// parseShape parses the language above. It panics if text is not in it: all
// texts are in shapes.
func parseShape(text string) shape {
	fields, rest := parseFields(text)
	if rest != "" {
		panic("protocol: shape " + strconv.Quote(text) + " has a rest " + strconv.Quote(rest))
	}
	return fields
}

// parseFields parses fields up to the end of text or an unmatched bracket.
func parseFields(text string) (fields shape, rest string) {
	for {
		text = strings.TrimLeft(text, " ")
		if text == "" || text[0] == '}' || text[0] == ']' {
			return fields, text
		}
		var f field
		f, text = parseField(text)
		fields = append(fields, f)
	}
}

func parseField(text string) (field, string) {
	f := field{max: 1<<15 - 1}
	if end := strings.IndexAny(text, " {}[]:"); end > 0 && text[end] == ':' {
		first, last, isRange := strings.Cut(text[:end], "-")
		if !isRange {
			last = first
		}
		f.min, f.max = parseVersion(first, f.min), parseVersion(last, f.max)
		text = text[end+1:]
	}
	if digits := len(text) - len(strings.TrimLeft(text, "0123456789")); digits > 0 {
		f.kind = 'n'
		f.size, _ = strconv.Atoi(text[:digits])
		return f, text[digits:]
	}
	f.kind, text = text[0], text[1:]
	if f.kind == '?' {
		text = text[1:] // its '{'
	}
	if f.kind == '{' || f.kind == '?' || f.kind == '[' {
		f.fields, text = parseFields(text)
		text = text[1:] // the closing bracket
	}
	return f, text
}

func parseVersion(s string, open int16) int16 {
	if s == "" {
		return open
	}
	v, err := strconv.ParseInt(s, 10, 16)
	if err != nil {
		panic("protocol: version " + strconv.Quote(s) + " in a shape")
	}
	return int16(v)
}

// check walks over a request body and returns how many elements its arrays have.
// Bytes after its end are ignored, as Kafka ignores them.
func (s shape) check(body []byte, version int16, flexible bool) (elements int, err error) {
	w := walker{p: body, version: version, flexible: flexible}
	w.structure(s)
	return w.elements, w.err
}

// walker is a position in a body. After an error it stays where it is.
type walker struct {
	p        []byte
	version  int16
	flexible bool
	elements int
	tags     int
	err      error
}

func (w *walker) structure(s shape) {
	for i := range s {
		if w.version >= s[i].min && w.version <= s[i].max {
			w.field(&s[i])
		}
		if w.err != nil {
			return
		}
	}
	if w.flexible {
		w.tagged()
	}
}

func (w *walker) field(f *field) {
	switch f.kind {
	case 'n':
		w.skip(f.size)
	case 's':
		w.text()
	case 'b':
		w.skip(w.length(4))
	case '{':
		w.structure(f.fields)
	case '?':
		if present := w.p; w.skip(1) && int8(present[0]) >= 0 {
			w.structure(f.fields)
		}
	case '[':
		w.array(&f.fields[0])
	}
}

func (w *walker) array(element *field) {
	n := w.length(4)
	w.elements += n
	switch {
	case w.err != nil:
	case w.elements > maxElements:
		w.err = fmt.Errorf("its arrays have more than %d elements", maxElements)
	case element.kind == 'n':
		w.skip(n * element.size)
	default:
		for ; n > 0 && w.err == nil; n-- {
			w.field(element)
		}
	}
}

func (w *walker) tagged() {
	n := w.uvarint()
	if w.tags += int(n); w.tags > maxTags && w.err == nil {
		w.err = fmt.Errorf("it has more than %d tagged fields", maxTags)
	}
	for ; n > 0 && w.err == nil; n-- {
		w.uvarint()
		w.skip(int(w.uvarint()))
	}
}

func (w *walker) text() {
	n := w.length(2)
	if n > maxString && w.err == nil {
		w.err = fmt.Errorf("it has a string of %d bytes, more than %d", n, maxString)
	}
	w.skip(n)
}

// length reads a length: a signed number of so many bytes or, in flexible
// versions, an unsigned varint of the length plus one. Null is 0.
func (w *walker) length(bytes int) int {
	n := 0
	switch p := w.p; {
	case w.flexible:
		n = int(w.uvarint()) - 1
	case !w.skip(bytes):
	case bytes == 2:
		n = int(int16(binary.BigEndian.Uint16(p)))
	default:
		n = int(int32(binary.BigEndian.Uint32(p)))
	}
	return max(n, 0)
}

func (w *walker) uvarint() uint32 {
	if w.err != nil {
		return 0
	}
	var v uint32
	v, w.p, w.err = uvarint(w.p)
	return v
}

func (w *walker) skip(n int) bool {
	if w.err == nil && n > len(w.p) {
		w.err = errCutShort
	}
	if w.err != nil {
		return false
	}
	w.p = w.p[n:]
	return true
}
