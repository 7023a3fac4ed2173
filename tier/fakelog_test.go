package tier_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/tier"
)

// fakeLog is a Source in memory.
type fakeLog struct {
	t  *testing.T
	mu sync.Mutex // guards everything

	all      []record.Batch // every batch that was ever in it, for comparison
	segments []fakeSegment  // closed ones that are still here
	end      int64
	start    int64
	reported int64
	gate     int64
	outlook  tier.LocalOutlook
	aborted  []tier.AbortedTxn
	dropped  [][2]int64
	opened   func(tier.LocalSegment) // if set, called by Open without the lock
	// noSnapshots: nothing is known of producers.
	noSnapshots bool
	read        func() // if set, called when a segment is read
}

type fakeSegment struct {
	tier.LocalSegment
	data []byte
}

// batch describes a batch of a test.
type batch struct {
	records    int
	size       int // of each value; default 100
	timestamps []int64
	hidden     bool
	epoch      int32
	attributes record.Attributes
}

func newFakeLog(t *testing.T) *fakeLog {
	return &fakeLog{t: t, gate: math.MaxInt64, reported: tier.NoOffset}
}

// add closes a segment of these batches.
func (l *fakeLog) add(specs ...batch) tier.LocalSegment {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	s := fakeSegment{LocalSegment: tier.LocalSegment{Base: l.end}}
	for _, spec := range specs {
		b := l.build(spec)
		l.all = append(l.all, b)
		s.data = append(s.data, b...)
		l.end = b.EndOffset()
	}
	s.End, s.Size = l.end, int64(len(s.data))
	l.segments = append(l.segments, s)
	return s.LocalSegment
}

func (l *fakeLog) build(spec batch) record.Batch {
	var w record.Builder
	a := spec.attributes
	if spec.hidden {
		a |= record.Hidden
	}
	w.Reset(a, 0)
	size := spec.size
	if size == 0 {
		size = 100
	}
	for i := range max(spec.records, 1) {
		ts := 1000 + l.end + int64(i)
		if i < len(spec.timestamps) {
			ts = spec.timestamps[i]
		}
		w.Add(int32(i), ts, nil, bytes.Repeat(fmt.Appendf(nil, "%d ", l.end+int64(i)), size/2+1)[:size])
	}
	b, err := w.Finish()
	if err != nil {
		l.t.Fatal(err)
	}
	b = slices.Clone(b)
	b.SetBaseOffset(l.end)
	b.SetLeaderEpoch(spec.epoch)
	return b
}

// fill closes n ordinary segments of two batches.
func (l *fakeLog) fill(n int) {
	for range n {
		l.add(batch{records: 3}, batch{records: 2, size: 700})
	}
}

// evict removes closed segments up to end from local storage, as local retention does.
func (l *fakeLog) evict(end int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.segments = slices.DeleteFunc(l.segments, func(s fakeSegment) bool { return s.End <= end })
}

// deleteRecords moves the log start.
func (l *fakeLog) deleteRecords(start int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.start = max(l.start, start)
}

// bytesOf returns the batches that begin in [from, to), visible ones only if asked for.
func (l *fakeLog) bytesOf(from, to int64, visible bool) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []byte
	for _, b := range l.all {
		if from <= b.BaseOffset() && b.BaseOffset() < to && !(visible && b.Hidden()) {
			out = append(out, b...)
		}
	}
	return out
}

func (l *fakeLog) Offsets() tier.LocalOffsets {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := tier.LocalOffsets{Start: l.start, LocalStart: l.end, End: l.end, Gate: l.gate, Reported: max(0, l.reported), SourceEnd: tier.NoOffset}
	for i, s := range l.segments {
		if i == 0 {
			o.LocalStart = s.Base
		}
	}
	return o
}

func (l *fakeLog) Size() (bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.segments {
		bytes += s.LocalSegment.Size
	}
	return bytes
}

func (l *fakeLog) Epochs() (epochs []tier.EpochStart) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.all {
		if n := len(epochs); n == 0 || epochs[n-1].Epoch < b.LeaderEpoch() {
			epochs = append(epochs, tier.EpochStart{Epoch: b.LeaderEpoch(), Start: b.BaseOffset()})
		}
	}
	return epochs
}

func (l *fakeLog) Closed(from int64) ([]tier.LocalSegment, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []tier.LocalSegment
	for _, s := range l.segments {
		if s.End > from && len(out) < 10 {
			out = append(out, s.LocalSegment)
		}
	}
	return out, nil
}

func (l *fakeLog) Outlook() tier.LocalOutlook {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.outlook
}

func (l *fakeLog) Open(seg tier.LocalSegment) (tier.SegmentFile, error) {
	if l.opened != nil {
		l.opened(seg)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.segments {
		if s.LocalSegment == seg {
			return openSegment{bytes.NewReader(s.data), s.End, l.read, l.noSnapshots}, nil
		}
	}
	return nil, tier.ErrGone
}

func (l *fakeLog) Aborted(from, to int64) ([]tier.AbortedTxn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []tier.AbortedTxn
	for _, t := range l.aborted {
		if from <= t.Last && t.Last < to {
			out = append(out, t)
		}
	}
	return out, nil
}

func (l *fakeLog) Dropped(from, to int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.dropped, func(d [2]int64) bool { return d[0] <= from && to <= d[1] })
}

func (l *fakeLog) Since(offset int64) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.all {
		if b.EndOffset() > offset {
			return time.UnixMilli(b.MaxTimestamp())
		}
	}
	return time.Time{}
}

func (l *fakeLog) Advance(start, reported int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.start = max(l.start, start)
	l.reported = max(l.reported, reported)
	return nil
}

type openSegment struct {
	*bytes.Reader
	end         int64
	read        func() // if set, called by ReadAt
	noSnapshots bool
}

func (s openSegment) ReadAt(b []byte, pos int64) (int, error) {
	if s.read != nil {
		s.read()
	}
	return s.Reader.ReadAt(b, pos)
}

func (openSegment) Close() error { return nil }

func (s openSegment) ProducerSnapshot() ([]byte, error) {
	if s.noSnapshots {
		return nil, nil
	}
	return snapshotAt(s.end), nil
}

func snapshotAt(end int64) []byte {
	return binary.BigEndian.AppendUint64([]byte("producers"), uint64(end))
}
