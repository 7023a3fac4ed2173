package log

import (
	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/producer"
	"github.com/morrowmq/morrow/log/segment"
)

// SegmentFile is the bytes of a closed segment. They stay readable until Close, even if the log
// removes the segment.
type SegmentFile struct {
	file    vfs.File
	info    segment.Info
	release func()
}

// OpenSegment opens the closed segment with the given base offset. It returns ErrSegmentGone if there is none.
func (l *Log) OpenSegment(base int64) (*SegmentFile, error) {
	if err := l.Failure(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	s := l.segments[segmentOf(l.segments, base)]
	active := s == l.activeLocked()
	l.mu.Unlock()
	if s.Base() != base || active {
		return nil, ErrSegmentGone
	}
	f, release, err := s.Hold()
	if err != nil {
		if removed(err) {
			err = ErrSegmentGone
		}
		return nil, err
	}
	return &SegmentFile{file: f, info: s.Info(), release: release}, nil
}

// Info describes the segment.
func (f *SegmentFile) Info() segment.Info { return f.info }

// ReadAt reads the batches of the segment, Info().Size bytes in all.
func (f *SegmentFile) ReadAt(b []byte, pos int64) (int, error) { return f.file.ReadAt(b, pos) }

// Close gives the file back. It is called once.
func (f *SegmentFile) Close() error {
	f.release()
	return nil
}

// ProducerSnapshot returns what was known of producers at an offset where a local segment ends, encoded: see
// [producer.Decode].
func (l *Log) ProducerSnapshot(end int64) ([]byte, error) {
	if b := l.pendingProducers(end); b != nil {
		return b, nil
	}
	var state *producer.State
	err := l.lookUp(func() (err error) {
		l.mu.Lock()
		segments := l.segments
		l.mu.Unlock()
		state, err = l.replay(segments, end, end, 0, nil)
		return err
	})
	if err != nil {
		return nil, err
	}
	return state.Encode(), nil
}

// pendingProducers is the snapshot at an offset that waits to be written, as they do at the end of
// segments that were closed lately; nil if there is none. Without it every segment before that
// would be read.
func (l *Log) pendingProducers(end int64) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.recovery.pending {
		if c := &l.recovery.pending[i]; c.segment.End == end {
			return c.producers
		}
	}
	return nil
}
