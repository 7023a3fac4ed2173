package log

import (
	"errors"
	"io/fs"
	"sort"

	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/log/segment"
)

// Range is bytes of a segment's file: whole batches.
type Range = segment.Range

// AbortedTxn is a transaction whose records a reader of committed ones skips.
type AbortedTxn = segment.AbortedTxn

// ReadRequest says what is to be read.
type ReadRequest struct {
	Offset   int64
	MaxBytes int
	// MinOne asks for one batch even if it is larger than MaxBytes.
	MinOne bool
	// Committed stops at the last stable offset and lists aborted transactions (KIP-98).
	Committed bool
}

// Read is visible batches: the one that contains the offset, or the next one, and what follows.
type Read struct {
	Ranges  []Range
	Size    int          // bytes in Ranges
	Aborted []AbortedTxn // of a Committed read: those that concern its range, by marker
	Offsets Offsets      // as of the read

	release []func()
}

// Release gives the files of Ranges back. More than one call is one.
func (r *Read) Release() {
	for _, release := range r.release {
		release()
	}
	r.release = nil
}

// Read finds the visible batches from an offset on, below the visible end or, if Committed, the
// last stable offset. Only their places are returned; the files stay open, even if the segments are
// removed, until Release. An offset between the visible end and the log end is in range and finds
// nothing.
//
// Errors: *OutOfRangeError; *TieredError if the offset is in range but not local any more;
// *CorruptError; *OfflineError.
func (l *Log) Read(r ReadRequest) (*Read, error) {
	if err := l.Failure(); err != nil {
		return nil, err
	}
	var read *Read
	err := l.lookUp(func() (err error) {
		read, err = l.read(r)
		return err
	})
	if removed(err) {
		err = l.wrap("read", err)
	}
	return read, err
}

// lookUp calls f, which looks for something in segments, again if one of them was removed or
// replaced after f had found it. If none was, and the error says so, a file is missing.
func (l *Log) lookUp(f func() error) error {
	for {
		l.mu.Lock()
		removals := l.removals
		l.mu.Unlock()
		err := f()
		if !removed(err) {
			return err
		}
		l.mu.Lock()
		same := removals == l.removals
		l.mu.Unlock()
		if same {
			return err
		}
	}
}

func (l *Log) read(r ReadRequest) (*Read, error) {
	l.mu.Lock()
	o := l.offsetsLocked()
	segments := l.segments
	l.mu.Unlock()
	if r.Offset < o.LogStart || r.Offset > o.LogEnd {
		return nil, &OutOfRangeError{Offset: r.Offset, Start: o.LogStart, End: o.LogEnd}
	}
	read := &Read{Offsets: o}
	q := segment.Query{Offset: r.Offset, End: o.VisibleEnd, MaxBytes: int64(r.MaxBytes), MinOne: r.MinOne}
	if r.Committed {
		q.End = o.LastStable
	}
	if q.Offset >= q.End {
		return read, nil
	}
	// Hidden batches may have gone between the reported start and the real one.
	if q.Offset = max(q.Offset, o.RealStart); q.Offset < o.LocalStart {
		return nil, &TieredError{Offset: q.Offset, LocalStart: o.LocalStart}
	}
	if err := l.slice(read, segments, q, o.DeleteBound); err != nil {
		read.Release()
		return nil, err
	}
	if r.Committed {
		if err := l.aborted(read, segments, q.Offset, q.End); err != nil {
			read.Release()
			return nil, err
		}
	}
	return read, nil
}

// slice collects ranges from one segment after the other, up to a hole that the tier fills.
func (l *Log) slice(read *Read, segments []*segment.Segment, q segment.Query, deleteBound int64) error {
	for i := segmentOf(segments, q.Offset); i < len(segments); i++ {
		s := segments[i]
		if s.Base() >= q.End {
			return nil
		}
		f, release, err := s.Hold()
		if err != nil {
			return err
		}
		before := len(read.Ranges)
		ranges, bytes, full, err := s.Slice(read.Ranges, f, q)
		if err != nil || len(ranges) == before {
			release()
		} else {
			read.release = append(read.release, release)
		}
		if err != nil {
			return err
		}
		read.Ranges = ranges
		read.Size += int(bytes)
		q.MaxBytes -= bytes
		q.MinOne = q.MinOne && bytes == 0
		if full {
			return nil
		}
		if end := holeAt(segments, i, deleteBound); end > 0 && s.End() < q.End {
			if read.Size == 0 {
				return &TieredError{Offset: max(q.Offset, s.End()), LocalStart: end}
			}
			return nil
		}
	}
	return nil
}

// segmentOf is the index of the segment that contains an offset.
func segmentOf(segments []*segment.Segment, offset int64) int {
	i := sort.Search(len(segments), func(i int) bool { return segments[i].Base() > offset })
	return max(i-1, 0)
}

// removed reports whether err says that a segment was removed after it was looked up.
func removed(err error) bool {
	return errors.Is(err, segment.ErrGone) || errors.Is(err, fs.ErrNotExist)
}

// Scan calls fn for every batch, hidden ones included, that ends above from and begins below to,
// which is at most the log end. Batches are read sequentially and checked; one is valid during the
// call. An error of fn ends the scan and is returned. Where it comes to what is not local any more
// it ends with a *TieredError.
func (l *Log) Scan(from, to int64, fn func(record.Batch) error) error {
	if err := l.Failure(); err != nil {
		return err
	}
	l.mu.Lock()
	to = min(to, l.end)
	l.mu.Unlock()
	err := l.lookUp(func() error {
		l.mu.Lock()
		segments, local, deleteBound := l.segments, l.localStart, l.deleteBound
		l.mu.Unlock()
		if from < local && from < to {
			return &TieredError{Offset: from, LocalStart: local}
		}
		for from < to {
			first := segmentOf(segments, from)
			last := first
			for last+1 < len(segments) && holeAt(segments, last, deleteBound) == 0 {
				last++
			}
			end := to
			if last+1 < len(segments) {
				end = min(to, segments[last].End())
			}
			err := l.scan(segments[first:last+1], from, end, func(_ *segment.Segment, b record.Batch) error {
				if err := fn(b); err != nil {
					return err
				}
				from = b.EndOffset() // if the next segment is replaced meanwhile, from here on
				return nil
			})
			if err != nil {
				return err
			}
			if from = max(from, end); from < to {
				return &TieredError{Offset: from, LocalStart: holeAt(segments, last, deleteBound)}
			}
		}
		return nil
	})
	return l.orTiered(err, from)
}

// orTiered replaces the error of a segment that was removed after it was looked up.
func (l *Log) orTiered(err error, offset int64) error {
	if !removed(err) {
		return err
	}
	l.mu.Lock()
	segments, local, deleteBound := l.segments, l.localStart, l.deleteBound
	l.mu.Unlock()
	if offset < local {
		return &TieredError{Offset: offset, LocalStart: local}
	}
	if i := segmentOf(segments, offset); offset >= segments[i].End() && holeAt(segments, i, deleteBound) > 0 {
		return &TieredError{Offset: offset, LocalStart: segments[i+1].Base()}
	}
	return err
}

func (l *Log) scan(segments []*segment.Segment, from, to int64, fn func(*segment.Segment, record.Batch) error) error {
	if from >= to {
		return nil
	}
	for _, s := range segments[segmentOf(segments, from):] {
		if s.Base() >= to {
			return nil
		}
		if err := s.Scan(from, to, func(b record.Batch, _ int64) error { return fn(s, b) }); err != nil {
			return err
		}
	}
	return nil
}

// BatchAt reads the batch that contains an offset, hidden or not, into buf, which is grown if needed. It
// returns a *OutOfRangeError if there is none, a *TieredError if it is not local.
func (l *Log) BatchAt(offset int64, buf []byte) (record.Batch, error) {
	if err := l.Failure(); err != nil {
		return nil, err
	}
	var b record.Batch
	err := l.lookUp(func() (err error) {
		b, err = l.batchAt(offset, buf)
		return err
	})
	if err != nil {
		return nil, l.orTiered(err, offset)
	}
	return b, nil
}

func (l *Log) batchAt(offset int64, buf []byte) (record.Batch, error) {
	l.mu.Lock()
	segments, start, local, end, deleteBound := l.segments, l.start, l.localStart, l.end, l.deleteBound
	l.mu.Unlock()
	switch {
	case offset < start || offset >= end:
		return nil, &OutOfRangeError{Offset: offset, Start: start, End: end}
	case offset < local:
		return nil, &TieredError{Offset: offset, LocalStart: local}
	}
	i := segmentOf(segments, offset)
	if hole := holeAt(segments, i, deleteBound); hole > 0 && offset >= segments[i].End() {
		return nil, &TieredError{Offset: offset, LocalStart: hole}
	}
	b, err := segments[i].BatchAt(offset, buf)
	if err == nil && (b == nil || b.BaseOffset() > offset) {
		err = &OutOfRangeError{Offset: offset, Start: start, End: end}
	}
	return b, err
}
