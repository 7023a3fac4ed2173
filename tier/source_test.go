package tier

import (
	"bytes"
	"encoding/binary"
	"math"
	"sync"

	"github.com/morrowmq/morrow/log/record"
)

// fakeLog is a Source in memory: segments of hand-made batches.
type fakeLog struct {
	mu       sync.Mutex
	segments []fakeSegment
	start    int64
	reported int64
	gate     *int64
	aborted  []AbortedTxn
	dropped  [][2]int64
}

type fakeSegment struct {
	LocalSegment
	data []byte
}

// batchSpec describes a batch of a test.
type batchSpec struct {
	records   int32
	payload   int // bytes
	timestamp int64
	hidden    bool
	epoch     int32
}

// makeBatch builds a batch whose payload is not records; nothing in this package looks at them but timestamp look-up.
func makeBatch(base int64, s batchSpec) record.Batch {
	b := record.Batch(make([]byte, record.HeaderLen+s.payload))
	for i := range b[record.HeaderLen:] {
		b[record.HeaderLen+i] = byte(int(base)*31 + i)
	}
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-record.LengthEnd))
	b[16] = record.Magic
	binary.BigEndian.PutUint32(b[23:], uint32(s.records-1))
	binary.BigEndian.PutUint64(b[27:], uint64(s.timestamp))
	binary.BigEndian.PutUint64(b[43:], ^uint64(0))
	binary.BigEndian.PutUint16(b[51:], ^uint16(0))
	binary.BigEndian.PutUint32(b[53:], ^uint32(0))
	binary.BigEndian.PutUint32(b[57:], uint32(s.records))
	b.SetBaseOffset(base)
	b.SetLeaderEpoch(s.epoch)
	var a record.Attributes
	if s.hidden {
		a |= record.Hidden
	}
	b.Stamp(a, s.timestamp)
	return b
}

func (l *fakeLog) end() int64 {
	if n := len(l.segments); n > 0 {
		return l.segments[n-1].End
	}
	return l.start
}

// closeSegment appends a closed segment of these batches and returns it.
func (l *fakeLog) closeSegment(specs ...batchSpec) LocalSegment {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := fakeSegment{LocalSegment: LocalSegment{Base: l.end(), End: l.end()}}
	for _, spec := range specs {
		b := makeBatch(s.End, spec)
		s.data = append(s.data, b...)
		s.End = b.EndOffset()
	}
	s.Size = int64(len(s.data))
	l.segments = append(l.segments, s)
	return s.LocalSegment
}

// fill closes n ordinary segments.
func (l *fakeLog) fill(n int) {
	for range n {
		at := l.end()
		l.closeSegment(
			batchSpec{records: 3, payload: 100, timestamp: 1000 + at},
			batchSpec{records: 2, payload: 2000, timestamp: 1001 + at},
		)
	}
}

// evict removes local segments below end, as local retention does.
func (l *fakeLog) evict(end int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.segments) > 0 && l.segments[0].End <= end {
		l.segments = l.segments[1:]
	}
}

func (l *fakeLog) Closed(from int64) ([]LocalSegment, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []LocalSegment
	for _, s := range l.segments {
		if s.End > from {
			out = append(out, s.LocalSegment)
		}
	}
	return out, nil
}

func (l *fakeLog) Open(seg LocalSegment) (SegmentFile, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.segments {
		if s.LocalSegment == seg {
			return memFile{bytes.NewReader(s.data), s.End}, nil
		}
	}
	return nil, ErrGone
}

func (l *fakeLog) Aborted(from, to int64) ([]AbortedTxn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []AbortedTxn
	for _, t := range l.aborted {
		if from <= t.Last && t.Last < to {
			out = append(out, t)
		}
	}
	return out, nil
}

func (f memFile) ProducerSnapshot() ([]byte, error) {
	return binary.BigEndian.AppendUint64([]byte("snapshot"), uint64(f.end)), nil
}

func (l *fakeLog) Advance(start, reported int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.start = max(l.start, start)
	l.reported = max(l.reported, reported)
	return nil
}

func (l *fakeLog) Offsets() LocalOffsets {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := LocalOffsets{Start: l.start, LocalStart: l.end(), End: l.end(), Gate: math.MaxInt64}
	if len(l.segments) > 0 {
		o.LocalStart = l.segments[0].Base
	}
	for _, s := range l.segments {
		o.LocalBytes += s.Size
	}
	if l.gate != nil {
		o.Gate = *l.gate
	}
	return o
}

func (l *fakeLog) Dropped(from, to int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range l.dropped {
		if d[0] <= from && to <= d[1] {
			return true
		}
	}
	return false
}

type memFile struct {
	*bytes.Reader
	end int64
}

func (memFile) Close() error { return nil }
