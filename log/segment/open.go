package segment

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/batches"
	"github.com/morrowmq/morrow/log/record"
)

// Tail is what [Open] found after the last good group of a segment.
type Tail struct {
	// Pos and Offset are the end of the last whole group.
	Pos, Offset int64
	// Covered is the offset from which batches were read one by one; below it the summary was believed.
	// The aborted transactions at and above it are unknown.
	Covered int64
	// Damage says what is wrong with what follows: nil if nothing follows.
	Damage error
	// DamagePos is where.
	DamagePos int64
}

// errGroup is half of a group at the end of a file.
var errGroup = errors.New("group of batches is incomplete")

// errOffsets are batches that do not ascend.
var errOffsets = errors.New("offset is out of order")

// Open opens a segment. What its summary says is believed if it does not
// go beyond the offset trusted, which is known to be durable; what comes after it is read
// and checked batch by batch, up to the end of the file or the first that is not whole. What to make of that
// tail (cut it with [Segment.Truncate], or refuse the log) is for the caller to decide: until then
// the segment ends before it.
func Open(o Options, base, trusted int64) (*Segment, Tail, error) {
	s := newSegment(o, base)
	st, err := o.FS.Stat(s.Name())
	if err != nil {
		return nil, Tail{}, err
	}
	s.loadSummary(trusted, st.Size)
	tail := Tail{Covered: s.state.end}
	if err := s.walk(&tail, st.Size); err != nil {
		return nil, Tail{}, err
	}
	if s.state.size > 0 {
		s.written = st.ModTime.UnixMilli()
	}
	return s, tail, nil
}

// loadSummary believes the summary, if there is one that can be.
func (s *Segment) loadSummary(trusted, fileSize int64) {
	b, err := vfs.ReadFile(s.o.FS, vfs.Join(s.o.Dir, FileName(s.base, SummarySuffix)))
	if err != nil || s.decode(b) != nil || s.state.end > trusted || s.state.size > fileSize {
		s.reset()
	}
}

// walk takes in the batches after s.state.size.
func (s *Segment) walk(tail *Tail, fileSize int64) error {
	tail.Pos, tail.Offset = s.state.size, s.state.end
	if s.state.size == fileSize {
		return nil
	}
	f, err := s.log.acquire()
	if err != nil {
		return err
	}
	defer s.log.release()
	sc := batches.NewScanner(f, s.state.size, fileSize)
	defer sc.Close()
	good := s.mark()
	for {
		b, pos, err := sc.Next()
		if errors.Is(err, io.EOF) {
			err = nil
			if s.state.inGroup {
				err = errGroup
			}
		} else if err == nil {
			if err = s.plausible(b); err == nil {
				s.observeLocked(b)
				if !s.state.inGroup {
					good = s.mark()
				}
				continue
			}
		} else if !batches.Damaged(err) {
			return s.badBatch(pos, err)
		}
		s.rewind(good)
		tail.Pos, tail.Offset, tail.Damage, tail.DamagePos = good.state.size, good.state.end, err, pos
		return nil
	}
}

func (s *Segment) plausible(b record.Batch) error {
	if b.BaseOffset() < s.state.end || b.LastOffsetDelta() < 0 || b.EndOffset()-s.base > MaxBytes {
		return fmt.Errorf("%w: batch of offset %d where the log is at %d", errOffsets, b.BaseOffset(), s.state.end)
	}
	return nil
}

// mark is a place to which a walk can go back.
type mark struct {
	state                  state
	offsets, times, epochs int
	spans                  []Span
	spanGap                int64
	lastSpan               Span
}

func (s *Segment) mark() mark {
	m := mark{state: s.state, offsets: len(s.offsets.tail), times: len(s.times.tail), epochs: len(s.epochs), spans: s.spans, spanGap: s.spanGap}
	if n := len(m.spans); n > 0 {
		m.lastSpan = m.spans[n-1]
	}
	return m
}

func (s *Segment) rewind(m mark) {
	s.state = m.state
	s.offsets.tail, s.times.tail = slices.Clip(s.offsets.tail[:m.offsets]), slices.Clip(s.times.tail[:m.times])
	s.epochs = slices.Clip(s.epochs[:m.epochs])
	s.spans, s.spanGap = slices.Clip(m.spans), m.spanGap
	if n := len(m.spans); n > 0 {
		s.spans[n-1] = m.lastSpan
	}
}

// Truncate cuts everything from position pos on, where a group begins or the last one ends, and
// makes that durable. The summary goes first, so that it can never describe what a later append
// puts in that place. The aborted transactions of the segment are unknown afterwards (see
// [Segment.ResetAborted]).
func (s *Segment) Truncate(pos int64) error {
	if err := (&handle{of: s, suffix: SummarySuffix}).remove(); err != nil {
		return err
	}
	if err := s.o.FS.SyncDir(s.o.Dir); err != nil {
		return err
	}
	f, err := s.log.acquire()
	if err != nil {
		return err
	}
	defer s.log.release()
	if err := f.Truncate(pos); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", s.Name(), err)
	}
	if pos == s.Size() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reset()
	s.sealed = false
	var tail Tail
	if err := s.walk(&tail, pos); err != nil {
		return err
	}
	if tail.Damage != nil {
		return &CorruptError{File: s.Name(), Pos: tail.DamagePos, Err: tail.Damage}
	}
	return nil
}

// repairing runs f, which uses the offset or time index, and if that is damaged runs
// it once more with a new one.
func (s *Segment) repairing(f func() error) error {
	err := f()
	if !errors.Is(err, errTable) {
		return err
	}
	if errors.Is(err, ErrGone) {
		return ErrGone
	}
	if err := s.rebuild(); err != nil {
		return err
	}
	return f()
}

// rebuild makes offset and time index anew from the log file. Appends may go on meanwhile: what they
// put into the tails is kept.
func (s *Segment) rebuild() error {
	size := s.Size()
	r := newSegment(s.o, s.base)
	defer r.Close()
	var tail Tail
	if err := r.walk(&tail, size); err != nil {
		return err
	}
	if tail.Damage != nil {
		return &CorruptError{File: s.Name(), Pos: tail.DamagePos, Err: tail.Damage}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offsets.replace(r.offsets.tail, func(a, b []byte) bool { x, _ := offsetEntry(a); y, _ := offsetEntry(b); return x < y })
	s.times.replace(r.times.tail, func(a, b []byte) bool { x, _ := timeEntry(a); y, _ := timeEntry(b); return x < y })
	return nil
}

// replace puts entries before the tail, in place of those in the file.
func (t *table) replace(entries []byte, less func(a, b []byte) bool) {
	tail := t.tail
	t.reset()
	for len(tail) > 0 && len(entries) > 0 && !less(entries[len(entries)-t.width:], tail[:t.width]) {
		entries = entries[:len(entries)-t.width]
	}
	t.tail = append(slices.Clip(entries), tail...)
}

// ZeroFrom reports whether the file holds nothing but zeros from pos on: space that was preallocated.
func (s *Segment) ZeroFrom(pos int64) (bool, error) {
	f, err := s.log.acquire()
	if err != nil {
		return false, err
	}
	defer s.log.release()
	size, err := f.Size()
	if err != nil {
		return false, err
	}
	return zeroRange(f, pos, size)
}

// Rewrite makes everything durable that lies at and above an offset, whoever wrote it, perhaps
// before a crash. The bytes are written once more: if a sync had failed, they may be in the page
// cache, pass for written, and not be on the disk. If there is no space for that they are only
// synced.
func (s *Segment) Rewrite(offset int64) error {
	pos, _, err := s.FloorGroup(offset)
	if err != nil {
		return err
	}
	f, err := s.log.acquire()
	if err != nil {
		return err
	}
	defer s.log.release()
	if err := copyOver(f, pos, s.Size()); err != nil && !vfs.IsFull(err) {
		return fmt.Errorf("rewrite %s: %w", s.Name(), err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", s.Name(), err)
	}
	return nil
}

// copyOver writes what there is in [pos, end) of a file to where it is.
func copyOver(f vfs.File, pos, end int64) error {
	buf := make([]byte, min(end-pos, 1<<20))
	for pos < end {
		b := buf[:min(end-pos, int64(len(buf)))]
		if _, err := f.ReadAt(b, pos); err != nil {
			return err
		}
		if _, err := f.WriteAt(b, pos); err != nil {
			return err
		}
		pos += int64(len(b))
	}
	return nil
}

// Remove removes the files of a segment that is not open.
func Remove(o Options, base int64) error { return removeFiles(o, base, suffixes) }

func removeFiles(o Options, base int64, suffixes []string) error {
	var errs []error
	for _, suffix := range suffixes {
		err := o.FS.Remove(vfs.Join(o.Dir, FileName(base, suffix)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
