package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/record"
)

// None is the absence of an offset or a timestamp.
const None = -1

// Segment is one segment, open. Methods that change it (Append, Truncate, Seal, Flush …) are for one
// goroutine at a time; all others are safe for concurrent use with them and with each other.
type Segment struct {
	o    Options
	base int64
	log  handle

	mu      sync.Mutex // guards what follows
	state   state
	offsets table // relative last offset of a batch uint32, its position uint32
	times   table // max timestamp so far int64, relative offset uint32
	txns    table // aborted transactions
	decided int64 // aborted transactions whose markers lie below are in txns
	spans   []Span
	spanGap int64 // bytes of hidden batches that end a span; 0: minSpanGap
	epochs  []Epoch
	written int64 // wall clock of the last append, or when the file was last changed before it was opened, ms

	sealed bool     // no more appends
	writer vfs.File // acquired while some bytes are not durable
}

// state sums up the batches of a segment.
type state struct {
	size int64 // bytes of whole batches; the file may be longer
	end  int64 // offset after the last batch

	maxTimestamp       int64 // of visible batches, ms
	maxTimestampOffset int64 // last offset of the first batch that has it
	maxReceived        int64 // max timestamp of hidden batches: when they were received, ms
	lastVisible        int64 // end of the last visible batch
	hiddenBytes        int64
	firstTimestamp     int64 // max timestamp of the first batch, ms
	created            int64 // wall clock of the first append, ms
	generation         int64 // hash of the batches' checksums, in order

	unindexed   int64 // bytes since the last entry of the offset index
	indexedTime int64 // timestamp of the last entry of the time index
	inGroup     bool  // the last batch is continued
}

// Epoch is the first offset a leader wrote in this segment.
type Epoch struct {
	Epoch int32
	Start int64
}

// Info describes a segment.
type Info struct {
	Base, End    int64 // offsets
	Size         int64 // bytes
	MaxTimestamp int64 // of visible batches, ms; None
	MaxReceived  int64 // receive time of the last hidden batch, ms; None
	LastVisible  int64 // end of the last visible batch; None
	HiddenBytes  int64
	Created      int64 // wall clock of the first append, ms; None if empty
	FirstTime    int64 // max timestamp of the first batch, ms; None if empty
	Written      int64 // wall clock of the last append, ms, or of a later change of the file; None if there was none
	Sealed       bool  // closed: nothing is appended any more
	Generation   int64 // differs if the bytes do
}

// Timestamp is what time retention counts from: the newest record or receive time, or, where no
// record has a time, when the last one was written, as in Kafka. None if the segment is empty.
func (i Info) Timestamp() int64 {
	if t := max(i.MaxTimestamp, i.MaxReceived); t >= 0 || i.Size == 0 {
		return t
	}
	return i.Written
}

// OlderThan reports whether that is more than ms before now, ms; a negative age is never reached.
func (i Info) OlderThan(ms, now int64) bool {
	return ms >= 0 && i.Timestamp() >= 0 && now-i.Timestamp() > ms
}

// Create makes an empty segment. Its name is durable when Create returns.
func Create(o Options, base int64, preallocate int64) (*Segment, error) {
	s := newSegment(o, base)
	f, err := s.log.create()
	if err != nil {
		return nil, err
	}
	defer s.log.release()
	if preallocate > 0 {
		err = f.Truncate(preallocate)
	}
	if err == nil {
		err = o.FS.SyncDir(o.Dir)
	}
	if err != nil {
		return nil, errors.Join(err, s.log.remove())
	}
	return s, nil
}

func newSegment(o Options, base int64) *Segment {
	s := &Segment{o: o, base: base, state: emptyState(base), decided: base, written: None}
	s.log = handle{of: s, suffix: LogSuffix}
	s.offsets.init(s, IndexSuffix, offsetWidth)
	s.times.init(s, TimeSuffix, timeWidth)
	s.txns.init(s, TxnSuffix, abortedWidth)
	return s
}

func emptyState(base int64) state {
	return state{end: base, maxTimestamp: None, maxTimestampOffset: None, maxReceived: None, lastVisible: None, firstTimestamp: None, created: None, indexedTime: None}
}

// Base is the segment's first offset.
func (s *Segment) Base() int64 { return s.base }

// Name is the path of the log file.
func (s *Segment) Name() string { return vfs.Join(s.o.Dir, FileName(s.base, LogSuffix)) }

// End is the offset after the last batch.
func (s *Segment) End() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.end
}

// Size is the bytes of all batches.
func (s *Segment) Size() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.size
}

// Info describes the segment as it is now.
func (s *Segment) Info() Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := &s.state
	return Info{
		Base: s.base, End: st.end, Size: st.size,
		MaxTimestamp: st.maxTimestamp, MaxReceived: st.maxReceived,
		LastVisible: st.lastVisible, HiddenBytes: st.hiddenBytes,
		Created: st.created, FirstTime: st.firstTimestamp, Written: s.written, Sealed: s.sealed, Generation: st.generation,
	}
}

// Epochs are the leader epochs that begin in the segment, in order.
func (s *Segment) Epochs() []Epoch {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.epochs)
}

// FirstTimestamp is the max timestamp of the first batch, ms; None if the segment is empty.
func (s *Segment) FirstTimestamp() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.firstTimestamp
}

// Room reports whether batches that end at end fit, with an offset index of at most indexBytes.
func (s *Segment) Room(bytes, end int64, indexBytes int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.size+bytes <= MaxBytes && end-s.base <= MaxBytes &&
		(s.offsets.len()+1)*offsetWidth <= indexBytes && (s.times.len()+2)*timeWidth <= indexBytes
}

// WriteError is a write that failed. If Undone, the segment is as it was before.
type WriteError struct {
	Err    error
	Undone bool
}

func (e *WriteError) Error() string { return e.Err.Error() }
func (e *WriteError) Unwrap() error { return e.Err }

// gatherMax is up to how many bytes several batches are copied together to be written in one call.
const gatherMax = 256 << 10

var gatherPool = sync.Pool{New: func() any { b := make([]byte, 0, 64<<10); return &b }}

// Append writes batches at the end and returns the position of the first. They are readable, not
// durable, when it returns. Offsets must ascend from [Segment.End] and be set already. now is the wall clock,
// ms. The only error is a *WriteError.
func (s *Segment) Append(batches []record.Batch, now int64) (pos int64, err error) {
	f, err := s.log.acquire()
	if err != nil {
		return 0, &WriteError{Err: err, Undone: true}
	}
	pos = s.Size()
	if err := write(f, batches, pos); err != nil {
		undo := f.Truncate(pos)
		s.log.release()
		return 0, &WriteError{Err: errors.Join(err, undo), Undone: undo == nil}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.adoptLocked(f)
	for _, b := range batches {
		s.observeLocked(b)
	}
	if s.state.created == None {
		s.state.created = now
	}
	s.written = max(s.written, now)
	return pos, nil
}

// adoptLocked keeps the file acquired until what was written to it is durable: a failed
// sync is only reported to a file that was open since the write.
func (s *Segment) adoptLocked(f vfs.File) {
	if s.writer == nil {
		s.writer = f
	} else {
		s.log.release()
	}
}

func write(f vfs.File, batches []record.Batch, pos int64) error {
	if len(batches) == 1 {
		_, err := f.WriteAt(batches[0], pos)
		return err
	}
	bp := gatherPool.Get().(*[]byte)
	defer gatherPool.Put(bp)
	buf := (*bp)[:0]
	for _, b := range batches {
		if len(buf) > 0 && len(buf)+len(b) > gatherMax {
			if _, err := f.WriteAt(buf, pos); err != nil {
				return err
			}
			pos += int64(len(buf))
			buf = buf[:0]
		}
		if len(b) > gatherMax {
			if _, err := f.WriteAt(b, pos); err != nil {
				return err
			}
			pos += int64(len(b))
			continue
		}
		buf = append(buf, b...)
	}
	*bp = buf
	_, err := f.WriteAt(buf, pos)
	return err
}

// observeLocked takes the next batch into the indexes.
func (s *Segment) observeLocked(b record.Batch) {
	st := &s.state
	pos, size := st.size, int64(len(b))
	if st.firstTimestamp == None {
		st.firstTimestamp = b.MaxTimestamp()
	}
	if n := len(s.epochs); n == 0 || s.epochs[n-1].Epoch < b.LeaderEpoch() {
		s.epochs = append(s.epochs, Epoch{Epoch: b.LeaderEpoch(), Start: b.BaseOffset()})
	}
	st.size, st.end = pos+size, b.EndOffset()
	st.generation = st.generation*1099511628211 ^ int64(b.CRC())
	if b.Hidden() {
		st.maxReceived = max(st.maxReceived, b.MaxTimestamp())
		st.hiddenBytes += size
	} else {
		if b.MaxTimestamp() > st.maxTimestamp {
			st.maxTimestamp, st.maxTimestampOffset = b.MaxTimestamp(), b.LastOffset()
		}
		st.lastVisible = st.end
		s.addSpanLocked(Span{Start: b.BaseOffset(), End: st.end, Pos: pos, EndPos: st.size, Pure: true})
	}
	// Invariant: an index entry points to the first batch of a group, so that a reader
	// that starts there knows where the group it lands in begins.
	if st.unindexed > int64(s.o.IndexIntervalBytes) && !st.inGroup {
		s.offsets.tail = appendOffset(s.offsets.tail, uint32(b.LastOffset()-s.base), uint32(pos))
		s.indexTimeLocked()
		st.unindexed = 0
	}
	st.unindexed += size
	st.inGroup = b.Continued()
}

// indexTimeLocked records the largest timestamp so far, if it grew since the last entry.
func (s *Segment) indexTimeLocked() {
	st := &s.state
	if st.maxTimestamp <= st.indexedTime {
		return
	}
	b := binary.BigEndian.AppendUint64(s.times.tail, uint64(st.maxTimestamp))
	s.times.tail = binary.BigEndian.AppendUint32(b, uint32(st.maxTimestampOffset-s.base))
	st.indexedTime = st.maxTimestamp
}

// Dirty reports whether some bytes are not durable.
func (s *Segment) Dirty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writer != nil
}

// Sync makes what was appended before it durable. After an error the segment must not be written again.
func (s *Segment) Sync() error {
	f, err := s.log.acquire()
	if err != nil {
		if errors.Is(err, ErrGone) {
			return nil
		}
		return err
	}
	defer s.log.release()
	s.mu.Lock()
	dirty, size := s.writer != nil, s.state.size
	s.mu.Unlock()
	if !dirty {
		return nil
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", s.Name(), err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writer != nil && size == s.state.size {
		s.writer = nil
		s.log.release()
	}
	return nil
}

// Seal ends the segment: nothing can be appended any more. Its caches are complete but for the summary.
func (s *Segment) Seal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sealed = true
	s.indexTimeLocked()
}

// trim cuts preallocated space and stale index entries off a sealed segment's files.
func (s *Segment) trim() error {
	f, err := s.log.acquire()
	if err != nil {
		return err
	}
	defer s.log.release()
	size := s.Size()
	if have, err := f.Size(); err != nil {
		return err
	} else if have > size {
		if err := f.Truncate(size); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.offsets.trim(), s.times.trim(), s.txns.trim())
}

// Hold keeps the log file open until release is called, even if the segment is removed meanwhile.
func (s *Segment) Hold() (f vfs.File, release func(), err error) {
	f, err = s.log.acquire()
	if err != nil {
		return nil, nil, err
	}
	return f, s.log.release, nil
}

// Remove unlinks the files. Readers that hold the segment go on.
func (s *Segment) Remove() error {
	s.dropWriter()
	summary := handle{of: s, suffix: SummarySuffix}
	return errors.Join(s.log.remove(), s.offsets.remove(), s.times.remove(), s.txns.remove(), summary.remove())
}

// Close closes the files once nobody holds them. It does not sync.
func (s *Segment) Close() {
	s.dropWriter()
	for _, h := range []*handle{&s.log, &s.offsets.handle, &s.times.handle, &s.txns.handle} {
		h.forget()
	}
}

// dropWriter gives back the file that was kept for a sync, which will not come.
func (s *Segment) dropWriter() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writer != nil {
		s.writer = nil
		s.log.release()
	}
}
