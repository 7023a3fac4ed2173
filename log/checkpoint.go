package log

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/producer"
	"github.com/morrowmq/morrow/log/segment"
)

// checkpointBytes is about how much of a log is read again after a crash.
const checkpointBytes = 16 << 20

// recovery is what is prepared to make the next start fast. Guarded by Log.mu.
type recovery struct {
	pending []checkpoint // taken, but not everything below them is durable yet
	at      int64        // offset of the last one taken
	size    int64        // bytes appended since
	latest  int64        // offset of the newest snapshot; -1: there is none
	synced  int64        // synced end in the durable facts
}

// checkpoint is the caches of a log as of one offset: a segment's summary, and the producers.
type checkpoint struct {
	segment   segment.Checkpoint
	producers []byte
}

// checkpoint takes a checkpoint at the log end, of the segment that ends there, under appendMu. It
// is written by storeCheckpoints, since recovery believes only in checkpoints of what was durable.
func (l *Log) checkpoint(s *segment.Segment) {
	c, err := s.Checkpoint()
	if err != nil {
		// A cache that cannot be written costs time at the next start.
		l.set.logger.Warn("checkpoint failed", "log", l.name, "err", err)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.recovery.pending = append(l.recovery.pending, checkpoint{segment: c, producers: l.producers.Encode()})
	l.recovery.at, l.recovery.size = c.End, 0
}

// Checkpoint prepares for a fast start: nothing below the present end will be read again.
func (l *Log) Checkpoint() error {
	if err := l.Failure(); err != nil {
		return err
	}
	l.appendMu.Lock()
	l.mu.Lock()
	active, due := l.activeLocked(), l.recovery.size > 0
	l.mu.Unlock()
	if due {
		l.checkpoint(active)
	}
	l.appendMu.Unlock()
	return l.storeCheckpoints()
}

// storeCheckpoints writes the checkpoints of what has become durable.
func (l *Log) storeCheckpoints() error {
	l.mu.Lock()
	ready := len(l.recovery.pending) > 0 && l.recovery.pending[0].segment.End <= l.durableEnd
	l.mu.Unlock()
	if !ready {
		return nil
	}
	// They are believed only up to the synced end, so that has to be on disk first.
	if err := l.storeFacts(true); err != nil {
		return err
	}
	l.cutMu.Lock() // what is described may not be cut or replaced meanwhile
	defer l.cutMu.Unlock()
	l.mu.Lock()
	n := 0
	for n < len(l.recovery.pending) && l.recovery.pending[n].segment.End <= l.recovery.synced {
		n++
	}
	pending := slices.Clone(l.recovery.pending[:n])
	l.recovery.pending = slices.Delete(l.recovery.pending, 0, n)
	local := l.localStart
	l.mu.Unlock()
	for _, c := range pending {
		if c.segment.End <= local {
			continue // removed; and the snapshot at the local start is no cache, see keepProducers
		}
		if err := l.storeCheckpoint(c); err != nil {
			l.set.logger.Warn("checkpoint failed", "log", l.name, "err", err)
		}
	}
	return nil
}

func (l *Log) storeCheckpoint(c checkpoint) error {
	end := c.segment.End
	if err := segment.WriteCache(l.set.fsys, l.snapshotName(end), c.producers); err != nil {
		return err
	}
	if err := c.segment.Store(); err != nil {
		return err
	}
	l.mu.Lock()
	old := l.recovery.latest
	l.recovery.latest = end
	boundary := slices.ContainsFunc(l.segments, func(s *segment.Segment) bool { return s.Base() == old })
	l.mu.Unlock()
	if old == end || old < 0 || boundary {
		return nil
	}
	return l.removeSnapshot(old)
}

const snapshotSuffix = ".snapshot"

func (l *Log) snapshotName(offset int64) string {
	return vfs.Join(l.dir, segment.FileName(offset, snapshotSuffix))
}

func (l *Log) removeSnapshot(offset int64) error {
	err := l.set.fsys.Remove(l.snapshotName(offset))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// snapshots lists the offsets of the producer snapshots, in order.
func (l *Log) snapshots() ([]int64, error) {
	names, err := l.set.fsys.List(l.dir)
	if err != nil {
		return nil, err
	}
	var offsets []int64
	for _, name := range names {
		if offset, suffix, ok := segment.ParseName(name); ok && suffix == snapshotSuffix {
			offsets = append(offsets, offset)
		}
	}
	return offsets, nil
}

// removeSnapshots removes the snapshots whose offset is in [from, to).
func (l *Log) removeSnapshots(from, to int64) error {
	offsets, err := l.snapshots()
	if err != nil {
		return err
	}
	var errs []error
	for _, o := range offsets {
		if o >= from && o < to {
			errs = append(errs, l.removeSnapshot(o))
		}
	}
	return errors.Join(errs...)
}

// tidySnapshots removes the snapshots that were taken in the middle of a segment, but for the
// newest, those below the local start, and those above the end.
func (l *Log) tidySnapshots() error {
	offsets, err := l.snapshots()
	if err != nil {
		return err
	}
	if n := len(offsets); n > 0 && offsets[n-1] > l.end {
		if err := errors.Join(l.removeSnapshots(l.end+1, forever), l.set.fsys.SyncDir(l.dir)); err != nil {
			return err
		}
	}
	var errs []error
	newest := int64(-1)
	for _, o := range slices.Backward(offsets) {
		if o > l.end {
			continue
		}
		newest = max(newest, o)
		boundary := slices.ContainsFunc(l.segments, func(s *segment.Segment) bool { return s.Base() == o })
		if !boundary && o != newest {
			errs = append(errs, l.removeSnapshot(o))
		}
	}
	l.recovery.latest = newest
	return errors.Join(errs...)
}

// checkStartSnapshot looks at the snapshot at the local start, which is no cache: no batch has what
// that one tells. If it is damaged, the producers are found out from what remains, newer snapshots
// and the batches; what that does not tell is lost, which is said, once.
func (l *Log) checkStartSnapshot() error {
	name := l.snapshotName(l.localStart)
	_, err := l.readSnapshot(l.localStart)
	if !errors.Is(err, producer.ErrSnapshot) {
		return err
	}
	l.set.metrics.damagedSnapshots.Inc()
	l.set.logger.Error("producer snapshot is damaged: a retry of a batch below the local start may be stored twice", "log", l.name, "file", name, "localStart", l.localStart, "err", err)
	return l.removeSnapshot(l.localStart)
}

// readSnapshot reads the snapshot of an offset; nil if there is none. The error wraps
// producer.ErrSnapshot if it is damaged.
func (l *Log) readSnapshot(offset int64) (*producer.State, error) {
	b, err := vfs.ReadFile(l.set.fsys, l.snapshotName(offset))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return decodeSnapshot(b, offset)
}

// decodeSnapshot is [producer.Decode] for the snapshot of an offset.
func decodeSnapshot(b []byte, offset int64) (*producer.State, error) {
	s, err := producer.Decode(b)
	if err == nil && s.End() != offset {
		err = fmt.Errorf("%w: it is of offset %d", producer.ErrSnapshot, s.End())
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// loadSnapshot reads the newest whole snapshot at or below offset; nil if there is none. One that
// is damaged or cannot be read is passed over, but for one at the local start that cannot be read.
func (l *Log) loadSnapshot(offset int64) (*producer.State, error) {
	offsets, err := l.snapshots()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	local := l.localStart
	l.mu.Unlock()
	for _, o := range slices.Backward(offsets) {
		if o > offset {
			continue
		}
		s, err := l.readSnapshot(o)
		if err != nil && o <= local && !errors.Is(err, producer.ErrSnapshot) {
			return nil, err
		}
		if err == nil && s != nil {
			return s, nil
		}
	}
	return nil, nil
}
