package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"

	"github.com/morrowmq/morrow/log/batches"
	"github.com/morrowmq/morrow/log/record"
)

// ErrUnused marks zeros that reach to the end of a file: space allocated beforehand, not damage.
var ErrUnused = errors.New("unused space")

// Piece is a stretch of a log file: a whole batch, or bytes that are none.
type Piece struct {
	Pos, EndPos int64
	// Batch is valid during the call that it is handed to. It is nil if Err is not.
	Batch record.Batch
	// Err says why there is no whole batch at Pos: it wraps record.ErrTorn, ErrCRC, ErrMagic or
	// ErrInvalid, or is ErrUnused.
	Err error
	// Next is, after damage, the base offset of the batch at EndPos; None if the file ends there.
	Next int64
}

// Dump takes the first size bytes of a log file apart, from beginning to end, hidden batches
// included. Unlike [Segment.Scan] it goes on after damage, with the next batch that is whole. base
// is the offset the segment begins at, 0 if unknown. It needs the log file only, and may be one
// that is being appended to: a batch under way is damage at the end.
//
// The only errors are those of visit, which end it, and of reading.
func Dump(f io.ReaderAt, base, size int64, visit func(Piece) error) error {
	end := base // the next batch's offset is not below it
	for pos := int64(0); pos < size; {
		var broken error
		var err error
		if pos, broken, err = dumpWhole(f, pos, size, &end, visit); err != nil {
			return err
		}
		if broken == nil {
			continue
		}
		p, err := damage(f, pos, size, end, broken)
		if err == nil {
			err = visit(p)
		}
		if err != nil {
			return err
		}
		pos = p.EndPos
	}
	return nil
}

// dumpWhole visits batches from pos on. It returns how far it came, and what is broken there if
// that is not the end.
func dumpWhole(f io.ReaderAt, pos, size int64, end *int64, visit func(Piece) error) (at int64, broken, err error) {
	sc := batches.NewScanner(f, pos, size)
	defer sc.Close()
	for {
		b, pos, err := sc.Next()
		switch {
		case errors.Is(err, io.EOF):
			return size, nil, nil
		case batches.Damaged(err):
			return pos, err, nil
		case err != nil:
			return pos, nil, err
		}
		if follows(b.BaseOffset(), *end) { // else its offset is damaged, and says nothing about those behind it
			*end = max(*end, b.EndOffset())
		}
		if err := visit(Piece{Pos: pos, EndPos: pos + int64(len(b)), Batch: b, Next: None}); err != nil {
			return pos, nil, err
		}
	}
}

// damage is the piece from pos, where a batch is missing for the reason given, to the next batch that is whole.
func damage(f io.ReaderAt, pos, size, end int64, reason error) (Piece, error) {
	zero, err := zeroRange(f, pos, size)
	if err != nil {
		return Piece{}, err
	}
	if zero {
		return Piece{Pos: pos, EndPos: size, Err: ErrUnused, Next: None}, nil
	}
	next, offset, err := nextFramed(f, pos, size, end)
	if err == nil && next < 0 {
		next, offset, err = nextWhole(f, pos+1, size, end)
	}
	return Piece{Pos: pos, EndPos: next, Err: reason, Next: offset}, err
}

// searchBytes is how much is read at a time to find the next batch behind damage.
const searchBytes = 256 << 10

// nextFramed is nextWhole for a batch at pos that is not whole but says where it ends, if that is
// right: a whole batch follows, or the file ends. It is asked first, because the records of a
// damaged batch may themselves contain what looks like batches. -1: it is not so.
func nextFramed(f io.ReaderAt, pos, size, end int64) (at, offset int64, err error) {
	if size-pos < record.HeaderLen {
		return -1, None, nil
	}
	var head [record.HeaderLen]byte
	if err := readFull(f, head[:], pos); err != nil {
		return 0, 0, err
	}
	n, err := record.FrameLen(head[:])
	at = pos + int64(n)
	switch {
	case err != nil || at > size:
		return -1, None, nil
	case at == size:
		return size, None, nil
	}
	b, err := wholeAt(f, at, size)
	if err != nil || b == nil || !follows(b.BaseOffset(), end) {
		return -1, None, err
	}
	return at, b.BaseOffset(), nil
}

// follows reports whether a batch of an offset may come where the log was at end before damage.
func follows(offset, end int64) bool { return offset >= end && offset-end <= math.MaxInt32 }

// nextWhole looks for a whole batch of an offset not below end, at or after pos. If there is none
// it returns size and None.
func nextWhole(f io.ReaderAt, pos, size, end int64) (at, offset int64, err error) {
	room := make([]byte, searchBytes)
	for size-pos >= record.HeaderLen {
		buf := room[:min(int64(len(room)), size-pos)]
		if err := readFull(f, buf, pos); err != nil {
			return 0, 0, err
		}
		i := 0
		for ; i+record.HeaderLen <= len(buf); i++ {
			if !maybeHeader(buf[i:], end, size-pos-int64(i)) {
				// Every batch has the same byte at the same place: skip to where the next one may be.
				skip := bytes.IndexByte(buf[i+1+magicPos:], record.Magic)
				if skip < 0 {
					i = max(i, len(buf)-record.HeaderLen)
				} else {
					i += skip
				}
				continue
			}
			b, err := wholeAt(f, pos+int64(i), size)
			if err != nil {
				return 0, 0, err
			}
			if b != nil {
				return pos + int64(i), b.BaseOffset(), nil
			}
		}
		pos += int64(i)
	}
	return size, None, nil
}

// magicPos is where a batch has its format version; see log/record.
const magicPos = 16

// maybeHeader reports whether b, which is long enough, may begin a batch of at most room bytes that
// has an offset not below end. It is strict, so that little of what is no batch is read whole.
func maybeHeader(b []byte, end, room int64) bool {
	if b[magicPos] != record.Magic {
		return false
	}
	n, err := record.FrameLen(b)
	return err == nil && int64(n) <= room && follows(int64(binary.BigEndian.Uint64(b)), end)
}

// wholeAt returns the header of the batch at pos, or nil if there is no whole one.
func wholeAt(f io.ReaderAt, pos, size int64) (record.Batch, error) {
	sc := batches.NewScanner(f, pos, size)
	defer sc.Close()
	b, _, err := sc.Next()
	if batches.Damaged(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return bytes.Clone(b[:record.HeaderLen]), nil
}

// zeroRange reports whether [pos, end) holds nothing but zeros.
func zeroRange(f io.ReaderAt, pos, end int64) (bool, error) {
	buf := make([]byte, min(64<<10, end-pos))
	for pos < end {
		chunk := buf[:min(int64(len(buf)), end-pos)]
		if err := readFull(f, chunk, pos); err != nil {
			return false, err
		}
		if len(bytes.Trim(chunk, "\x00")) > 0 {
			return false, nil
		}
		pos += int64(len(chunk))
	}
	return true, nil
}
