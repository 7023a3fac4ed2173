package log

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/morrowmq/morrow/log/producer"
	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/log/segment"
)

var (
	errShort   = errors.New("log ends below what was durable")
	errNoFile  = errors.New("segment is missing")
	errHole    = errors.New("end of the segment is missing")
	errLost    = errors.New("segment is missing, or the end of the one before it")
	errOverlap = errors.New("segment begins before the one before it ends")
)

func newLineage() uint64 { return rand.Uint64() | 1 }

// recover brings a log back from what is on disk.
//
// Segments are opened in order. Up to the synced end everything must be whole; damage there is a
// *CorruptError. What lies above was never acknowledged: the first damage in it is where the log is
// cut, even if whole batches follow, since they were written after what is lost. What remains is
// written again and synced before anything is built on it: that it can be read does not say that it
// is on the disk, after a sync that failed.
func (l *Log) recover() error {
	l.stored = factsFile{fsys: l.set.fsys, dir: l.dir}
	f, err := l.stored.load()
	if err != nil {
		return err
	}
	if err := segment.FinishSwaps(l.segmentOptions()); err != nil {
		return err
	}
	bases, err := l.sweep(f)
	if err != nil {
		return err
	}
	cut, unknown, err := l.openSegments(&f, bases)
	if err != nil {
		return err
	}
	if err := l.finishTail(f, cut, bases); err != nil {
		return err
	}
	l.adopt(f)
	l.loadCleaned()
	if err := l.checkStartSnapshot(); err != nil {
		return err
	}
	if l.producers, err = l.loadProducers(l.segments, unknown, l.hw); err != nil {
		return err
	}
	if err := l.tidySnapshots(); err != nil {
		return err
	}
	if l.visible, err = loadVisible(l.segments, l.visibleBelow, l.hw); err != nil || l.stored.agree {
		return err
	}
	return l.storeFacts(true) // twice again
}

// sweep removes what a crash left half done, and lists the bases of the segments.
func (l *Log) sweep(f facts) ([]int64, error) {
	names, err := l.set.fsys.List(l.dir)
	if err != nil {
		return nil, err
	}
	var bases []int64
	for _, name := range names {
		if strings.HasSuffix(name, ".tmp") {
			if err := l.set.fsys.Remove(l.path(name)); err != nil {
				return nil, err
			}
		}
		if base, suffix, ok := segment.ParseName(name); ok && suffix == segment.LogSuffix {
			bases = append(bases, base)
		}
	}
	// Segments that were deleted and came back: the local start was durable before.
	keep := 0
	for keep+1 < len(bases) && bases[keep+1] <= f.localStart {
		keep++
	}
	for _, base := range bases[:keep] {
		if err := segment.Remove(l.segmentOptions(), base); err != nil {
			return nil, err
		}
	}
	bases = bases[keep:]
	for _, name := range names {
		base, suffix, ok := segment.ParseName(name)
		if ok && suffix != segment.LogSuffix && suffix != snapshotSuffix && !slices.Contains(bases, base) {
			if err := l.set.fsys.Remove(l.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
	}
	if len(bases) == 0 || bases[0] > f.localStart {
		return nil, &CorruptError{File: l.path(segment.FileName(f.localStart, segment.LogSuffix)), Err: errNoFile}
	}
	return bases, nil
}

// openSegments opens segments up to the first damage that may be cut. It returns the tail of the
// last one opened and from where on aborted transactions are unknown.
func (l *Log) openSegments(f *facts, bases []int64) (cut segment.Tail, unknown int64, err error) {
	unknown = forever
	for i, base := range bases {
		if i > 0 && base != cut.Offset && !f.knowsHole(cut.Offset, base) {
			if cut.Offset >= f.synced {
				// Nothing there is known to be durable: it is the end of the segment before that was lost.
				cut.Damage = fmt.Errorf("%w: the next segment begins at offset %d", errHole, base)
				break
			}
			return cut, 0, l.notJoined(cut.Offset, base)
		}
		s, tail, err := segment.Open(l.segmentOptions(), base, f.synced)
		if err != nil {
			return cut, 0, err
		}
		l.segments = append(l.segments, s)
		cut = tail
		if tail.Covered < tail.Offset {
			unknown = min(unknown, tail.Covered)
		}
		if tail.Damage != nil {
			unused, err := restUnused(f, s, tail, bases[i+1:])
			if err != nil {
				return cut, 0, err
			}
			if !unused {
				break
			}
		}
		cut.Damage = nil
	}
	last := l.activeLocked()
	if cut.Offset < max(f.synced, f.highWatermark) {
		if cut.Damage == nil {
			cut.Damage, cut.DamagePos = fmt.Errorf("%w: at offset %d, durable were %d", errShort, cut.Offset, f.synced), last.Size()
		}
		return cut, 0, &CorruptError{File: last.Name(), Pos: cut.DamagePos, Err: cut.Damage}
	}
	return cut, unknown, nil
}

// notJoined is the error of a segment that begins at base, where the one before it ends at end,
// although all of that was durable.
func (l *Log) notJoined(end, base int64) error {
	missing := &CorruptError{File: l.path(segment.FileName(min(end, base), segment.LogSuffix))}
	if base < end {
		missing.Err = fmt.Errorf("%w: the segment before ends at %d", errOverlap, end)
	} else {
		missing.Err = fmt.Errorf("%w: nothing has offsets [%d, %d)", errLost, end, base)
	}
	return missing
}

// restUnused reports whether a segment's damage is only space that was not used before the next one
// began. What came between the two may have been taken out since.
func restUnused(f *facts, s *segment.Segment, tail segment.Tail, later []int64) (bool, error) {
	if len(later) == 0 || later[0] != tail.Offset && !f.knowsHole(tail.Offset, later[0]) {
		return false, nil
	}
	return s.ZeroFrom(tail.Pos)
}

// finishTail cuts what is damaged and everything after it, and makes the rest durable.
func (l *Log) finishTail(f facts, cut segment.Tail, bases []int64) error {
	last := l.activeLocked()
	later := bases[len(l.segments):]
	if cut.Damage != nil || len(later) > 0 {
		l.set.logger.Warn("cutting what was not acknowledged", "log", l.name, "file", last.Name(), "pos", cut.Pos, "offset", cut.Offset, "err", cut.Damage, "laterSegments", len(later))
		// Snapshots of what is cut must not meet what will be written in its place.
		if err := l.removeSnapshots(cut.Offset+1, forever); err != nil {
			return err
		}
		for _, base := range slices.Backward(later) {
			if err := segment.Remove(l.segmentOptions(), base); err != nil {
				return err
			}
		}
		if err := last.Truncate(cut.Pos); err != nil {
			return err
		}
	}
	for i, s := range l.segments {
		if i < len(l.segments)-1 {
			s.Seal()
		}
		if s.End() > f.synced {
			if err := s.Rewrite(f.synced); err != nil {
				return err
			}
		}
	}
	return nil
}

// adopt makes the facts, as far as they outlive the cut, the log's.
func (l *Log) adopt(f facts) {
	l.end = l.activeLocked().End()
	l.syncedEnd, l.durableEnd = l.end, l.end
	l.hw = f.highWatermark
	l.start, l.reportedStart, l.localStart = f.start, f.reportedStart, l.segments[0].Base()
	l.deleteBound, l.visibleBelow, l.lineage = f.deleteBound, f.visibleBelow, f.lineage
	l.epochs = epochsTo(f.epochs, l.end+1)
	for _, s := range l.segments {
		for _, e := range s.Epochs() {
			if n := len(l.epochs); n == 0 || l.epochs[n-1].Epoch < e.Epoch {
				l.epochs = append(slices.Clip(l.epochs), e)
			}
		}
		l.received = max(l.received, s.Info().MaxReceived)
	}
	l.recovery.at, l.recovery.synced = l.end, f.synced
	l.factsDirty = l.end > f.synced
	l.set.commits.opened(l, l.lineage, l.end)
	l.openedAt = l.set.now().UnixMilli()
	l.flushedAt = l.openedAt
	l.jitterMs = jitter(l.config.Load())
}

// loadProducers rebuilds what is known of producers at the end of segments, and the index of
// aborted transactions from the offset unknown on.
func (l *Log) loadProducers(segments []*segment.Segment, unknown, hw int64) (*producer.State, error) {
	end := segments[len(segments)-1].End()
	state, err := l.replay(segments, unknown, end, l.set.now().UnixMilli(), func(s *segment.Segment, done producer.Completed) {
		s.AddAborted(aborted(done))
	})
	if err != nil {
		return nil, err
	}
	state.AdvanceHighWatermark(hw)
	return state, nil
}

// replay is the producers at the offset end, as of the wall clock now (ms): from the newest
// snapshot at or below the offset snapshot, or else from the first segment on. visit, if not nil,
// sees the transactions that were aborted on the way.
func (l *Log) replay(segments []*segment.Segment, snapshot, end, now int64, visit func(*segment.Segment, producer.Completed)) (*producer.State, error) {
	state, err := l.loadSnapshot(min(snapshot, end))
	if err != nil {
		return nil, err
	}
	if state == nil || state.End() < segments[0].Base() {
		state = producer.New(segments[0].Base())
	}
	err = l.scan(segments, state.End(), end, func(s *segment.Segment, b record.Batch) error {
		done, ended, err := state.Apply(b, now)
		if ended && done.Aborted && visit != nil {
			visit(s, done)
		}
		return err
	})
	state.Skip(end) // there may be a hole before it
	return state, err
}

// loadVisible finds the visible batches around and above a high watermark. Those that are not local
// any more end at below.
func loadVisible(segments []*segment.Segment, below, hw int64) (visibility, error) {
	v := visibility{end: below}
	for _, s := range segments {
		if s.Base() < hw {
			end, err := s.LastVisible(hw)
			if err != nil {
				return v, err
			}
			v.end = max(v.end, end)
		}
		if s.End() > hw {
			err := s.Visible(hw, func(b record.Batch, _ int64) bool {
				v.add(b)
				return true
			})
			if err != nil {
				return v, err
			}
		}
	}
	return v, nil
}
