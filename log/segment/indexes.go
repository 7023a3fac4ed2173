package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Widths of the entries, in Kafka's format; numbers are big-endian.
//
//	.index      relative last offset of a batch uint32, position of the batch uint32
//	.timeindex  max timestamp so far int64, relative offset uint32 of the batch that has it
//	.txnindex   version int16 (0), producer id int64, first offset int64, last offset int64, last stable offset int64
const (
	offsetWidth  = 8
	timeWidth    = 12
	abortedWidth = 34
)

func appendOffset(b []byte, rel, pos uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, rel), pos)
}

func offsetEntry(e []byte) (rel, pos uint32) {
	return binary.BigEndian.Uint32(e), binary.BigEndian.Uint32(e[4:])
}

func timeEntry(e []byte) (timestamp int64, rel uint32) {
	return int64(binary.BigEndian.Uint64(e)), binary.BigEndian.Uint32(e[8:])
}

// AbortedTxn is a transaction whose abort marker lies in the segment.
type AbortedTxn struct {
	ProducerID              int64
	FirstOffset, LastOffset int64 // LastOffset is the marker's
	LastStable              int64 // last stable offset once the marker was appended
}

func (a AbortedTxn) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, 0)
	b = binary.BigEndian.AppendUint64(b, uint64(a.ProducerID))
	b = binary.BigEndian.AppendUint64(b, uint64(a.FirstOffset))
	b = binary.BigEndian.AppendUint64(b, uint64(a.LastOffset))
	return binary.BigEndian.AppendUint64(b, uint64(a.LastStable))
}

func parseAborted(e []byte) (AbortedTxn, error) {
	if v := binary.BigEndian.Uint16(e); v != 0 {
		return AbortedTxn{}, fmt.Errorf("aborted transaction of version %d", v)
	}
	return AbortedTxn{
		ProducerID:  int64(binary.BigEndian.Uint64(e[2:])),
		FirstOffset: int64(binary.BigEndian.Uint64(e[10:])),
		LastOffset:  int64(binary.BigEndian.Uint64(e[18:])),
		LastStable:  int64(binary.BigEndian.Uint64(e[26:])),
	}, nil
}

// floorOffset is the position of an indexed batch at or before the one that contains offset, 0 if
// there is none.
func (s *Segment) floorOffset(offset int64) (int64, error) {
	return s.floor(func(e []byte) bool { rel, _ := offsetEntry(e); return s.base+int64(rel) > offset })
}

// floorPos is the position of the last indexed batch at or before pos, 0 if there is none.
func (s *Segment) floorPos(pos int64) (int64, error) {
	return s.floor(func(e []byte) bool { _, p := offsetEntry(e); return int64(p) > pos })
}

// floor is the position in the last entry of the offset index for which above is false.
func (s *Segment) floor(above func(e []byte) bool) (int64, error) {
	s.mu.Lock()
	v := s.offsets.view()
	s.mu.Unlock()
	i, err := v.search(above)
	if err != nil || i == 0 {
		return 0, err
	}
	var e [offsetWidth]byte
	if err := v.entry(i-1, e[:]); err != nil {
		return 0, err
	}
	_, pos := offsetEntry(e[:])
	return int64(pos), nil
}

// floorTime is an offset at or before the first batch whose max timestamp is at least timestamp.
func (s *Segment) floorTime(timestamp int64) (int64, error) {
	s.mu.Lock()
	v := s.times.view()
	s.mu.Unlock()
	i, err := v.search(func(e []byte) bool { t, _ := timeEntry(e); return t > timestamp })
	if err != nil || i == 0 {
		return s.base, err
	}
	var e [timeWidth]byte
	if err := v.entry(i-1, e[:]); err != nil {
		return 0, err
	}
	_, rel := timeEntry(e[:])
	return s.base + int64(rel), nil
}

// Aborted appends to dst the aborted transactions that a reader of the offsets [from, to) must know, and
// reports whether later segments cannot have more. ErrTxnIndex means that the index has to
// be rebuilt (see [Segment.ResetAborted]).
func (s *Segment) Aborted(dst []AbortedTxn, from, to int64) (_ []AbortedTxn, complete bool, err error) {
	s.mu.Lock()
	v := s.txns.view()
	s.mu.Unlock()
	all, err := v.bytes()
	if err != nil {
		return dst, false, txnError(err)
	}
	for ; len(all) > 0; all = all[abortedWidth:] {
		a, err := parseAborted(all)
		if err != nil {
			return dst, false, txnError(err)
		}
		if a.LastOffset >= from && a.FirstOffset < to {
			dst = append(dst, a)
		}
		if a.LastStable >= to {
			return dst, true, nil
		}
	}
	return dst, false, nil
}

// ErrTxnIndex says that the index of aborted transactions is damaged. Only the
// whole log can rebuild it, since a transaction may begin in an earlier segment.
var ErrTxnIndex = errors.New("index of aborted transactions is damaged")

func txnError(err error) error {
	if errors.Is(err, ErrGone) {
		return ErrGone
	}
	return fmt.Errorf("%w: %w", ErrTxnIndex, err)
}

// AddAborted records a transaction whose abort marker lies in the segment. They are recorded in the
// order of their markers; one that is known already is ignored.
func (s *Segment) AddAborted(a AbortedTxn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addAbortedLocked(a)
}

func (s *Segment) addAbortedLocked(a AbortedTxn) {
	if a.LastOffset >= s.decided {
		s.txns.tail = a.append(s.txns.tail)
		s.decided = a.LastOffset + 1
	}
}

// ResetAborted replaces the aborted transactions.
func (s *Segment) ResetAborted(all []AbortedTxn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.txns.reset()
	s.decided = s.base
	for _, a := range all {
		s.addAbortedLocked(a)
	}
}
