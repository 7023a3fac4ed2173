package log

import (
	"errors"
	"fmt"
	"slices"

	"github.com/morrowmq/morrow/log/segment"
)

// errSuperseded means that segments which were being rewritten are not what they were: retention or
// truncation was faster.
var errSuperseded = errors.New("segments have changed meanwhile")

// voidJournal makes everything appended so far durable in its segments, and what the commit journal
// has of it void: the journal would write it where it once was, into segments that have other
// contents by then.
func (l *Log) voidJournal() error {
	s, err := l.beginLineage()
	if err != nil {
		return err
	}
	l.publish(s, true)
	return nil
}

func (l *Log) beginLineage() (staged, error) {
	l.appendMu.Lock() // nothing is appended in between
	defer l.appendMu.Unlock()
	s, err := l.syncSegments()
	if err != nil {
		return s, err
	}
	l.mu.Lock()
	l.durableEnd = s.end
	l.mu.Unlock()
	if err := l.newLineage(); err != nil {
		return s, err
	}
	l.mu.Lock()
	s.lineage = l.lineage
	l.mu.Unlock()
	l.set.commits.opened(l, s.lineage, s.end)
	return s, nil
}

// swap puts a finished draft in the place of closed segments, whose batches the journal has not got
// any more. A crash at any point leaves the old segments, or the new one. Readers that hold old
// segments go on; others are told to look again.
//
// The draft takes the range it replaces as its name: from then on it counts, and a start finishes
// what follows. The segments it replaces go; it takes the name of the first. Appends are not held
// up.
func (l *Log) swap(lineage uint64, draft *segment.Draft, old []*segment.Segment) error {
	l.cutMu.Lock()
	defer l.cutMu.Unlock()
	end, err := l.replaceable(lineage, old)
	if err == nil {
		err = l.announceHole(draft.Segment().End(), old[len(old)-1].End(), end)
		defer l.endSwap()
	}
	if err == nil {
		err = draft.Commit(end)
	}
	var w *segment.WriteError
	if errors.Is(err, errSuperseded) || errors.Is(err, ErrNoSpace) || errors.As(err, &w) && w.Undone {
		return errors.Join(err, draft.Discard())
	}
	if err != nil {
		return l.failSwap(err)
	}
	base := old[0].Base()
	l.replace(draft.Segment(), old)
	for _, s := range old {
		if err := s.Retire(base); err != nil {
			return l.failSwap(err)
		}
	}
	if err := draft.Install(); err != nil {
		return l.failSwap(err)
	}
	for _, s := range old[1:] {
		if err := l.removeSnapshot(s.Base()); err != nil {
			l.set.logger.Warn("snapshot cannot be removed", "log", l.name, "err", err)
		}
	}
	l.storeSummary(draft.Segment())
	return nil
}

// announceHole notes, durably, the hole that a segment ending at end will leave up to next, where
// the one in its place ended at before.
func (l *Log) announceHole(end, before, next int64) error {
	if end == next || end == before {
		return nil
	}
	l.mu.Lock()
	l.swapping = hole{end, next}
	l.mu.Unlock()
	return l.storeFacts(true)
}

// endSwap ends what announceHole has begun: the segments themselves tell of the hole.
func (l *Log) endSwap() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.swapping = hole{}
}

// failSwap takes the log offline: the next start finds out how far the swap has come.
func (l *Log) failSwap(err error) error {
	return l.fail(fmt.Errorf("replace cleaned segments: %w", err))
}

// replaceable makes sure that segments are still what they were, and returns where the next one begins.
func (l *Log) replaceable(lineage uint64, old []*segment.Segment) (end int64, err error) {
	if err := l.Failure(); err != nil {
		return 0, errors.Join(errSuperseded, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(l.segments, old[0])
	if i < 0 || i+len(old) >= len(l.segments) || !slices.Equal(l.segments[i:i+len(old)], old) || l.lineage != lineage {
		return 0, errSuperseded
	}
	return l.segments[i+len(old)].Base(), nil
}

// replace makes a segment known in the place of others.
func (l *Log) replace(s *segment.Segment, old []*segment.Segment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(l.segments, old[0])
	l.segments = slices.Concat(l.segments[:i], []*segment.Segment{s}, l.segments[i+len(old):])
	l.removals++
	is := func(s *segment.Segment) bool { return slices.Contains(old, s) }
	l.dirty = slices.DeleteFunc(l.dirty, is)
	l.recovery.pending = slices.DeleteFunc(l.recovery.pending, func(c checkpoint) bool { return is(c.segment.Of()) })
}

// storeSummary spares the next start from reading a segment. It is a cache.
func (l *Log) storeSummary(s *segment.Segment) {
	c, err := s.Checkpoint()
	if err == nil {
		err = c.Store()
	}
	if err != nil {
		l.set.logger.Warn("checkpoint failed", "log", l.name, "err", err)
	}
}

// Compacted reports whether nothing of [from, to) is in the log any more although it is local:
// compaction has left a hole between two segments.
func (l *Log) Compacted(from, to int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := segmentOf(l.segments, from)
	return from >= l.localStart && from >= l.segments[i].End() && i+1 < len(l.segments) && to <= l.segments[i+1].Base()
}
