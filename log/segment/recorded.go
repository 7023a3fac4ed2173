package segment

import (
	"errors"
	"io/fs"
	"math"

	"github.com/morrowmq/morrow/internal/vfs"
)

// Recorded is what the caches of a segment say of its batches. It is what is left to know of bytes
// that cannot be read any more.
type Recorded struct {
	// Size and End are the position and offset the caches go to; 0 and the base if there are none
	// to believe in.
	Size, End int64
	// Aborted are the transactions aborted below End, by marker.
	Aborted []AbortedTxn

	spans []Span
}

// ReadRecorded reads the caches of a segment that is not open. They are believed if their checksums
// are right and they do not go beyond the offset trusted, as in [Open]. The error is one of
// reading.
func ReadRecorded(o Options, base, trusted int64) (Recorded, error) {
	none := Recorded{End: base}
	b, err := vfs.ReadFile(o.FS, vfs.Join(o.Dir, FileName(base, SummarySuffix)))
	if errors.Is(err, fs.ErrNotExist) {
		return none, nil
	}
	if err != nil {
		return none, err
	}
	s := newSegment(o, base)
	defer s.Close()
	if s.decode(b) != nil || s.state.end > trusted {
		return none, nil
	}
	r := Recorded{Size: s.state.size, End: s.state.end, spans: s.spans}
	r.Aborted, _, err = s.Aborted(nil, base, math.MaxInt64)
	if errors.Is(err, ErrTxnIndex) && !unread(err) {
		return none, nil
	}
	return r, err
}

// unread reports whether an error comes from reading, and says nothing of what lies there.
func unread(err error) bool {
	_, file := errors.AsType[*fs.PathError](err)
	return file && !errors.Is(err, fs.ErrNotExist)
}

// Hidden reports whether bytes of the log file may have held hidden batches: whether it is not
// known that all of them were visible.
func (r *Recorded) Hidden(pos, end int64) bool {
	for _, p := range r.spans {
		if p.Pure && p.Pos <= pos && end <= p.EndPos {
			return false
		}
	}
	return true
}
