package log

import (
	"slices"

	"github.com/morrowmq/morrow/log/segment"
)

// TruncateTo takes back everything from offset on, durably; a group that contains it goes as a
// whole. It is for a follower whose leader has another history (KIP-101): what is below the high
// watermark should not be cut. Readers must expect batches they hold to vanish.
func (l *Log) TruncateTo(offset int64) error {
	l.appendMu.Lock()
	defer l.appendMu.Unlock()
	l.cutMu.Lock()
	defer l.cutMu.Unlock()
	if err := l.Failure(); err != nil {
		return err
	}
	l.mu.Lock()
	segments, end, local := l.segments, l.end, l.localStart
	l.mu.Unlock()
	if offset >= end {
		return nil
	}
	offset = max(offset, local)
	i := segmentOf(segments, offset)
	pos, base, err := segments[i].FloorGroup(offset)
	if err != nil {
		return err
	}
	if err := l.newLineage(); err != nil {
		return err
	}
	if err := l.forgetCleaned(base); err != nil {
		return l.fail(err)
	}
	if err := l.cut(segments, i, pos, base); err != nil {
		return l.fail(err)
	}
	return nil
}

// newLineage makes what the journal holds of this log void, after making it durable in the
// segments. It must be done before bytes that may be in the journal are changed or taken back: the
// journal would put them back.
func (l *Log) newLineage() error {
	if _, err := l.syncSegments(); err != nil {
		return err
	}
	l.mu.Lock()
	l.lineage++
	l.mu.Unlock()
	if err := l.storeFacts(true); err != nil {
		return l.fail(err) // the journal would go by the old one
	}
	return nil
}

// cut removes everything from position pos of the i-th segment on, which is offset end, and works
// out the state anew.
func (l *Log) cut(segments []*segment.Segment, i int, pos, end int64) error {
	// Facts first: a synced end above the log end would be corruption.
	l.mu.Lock()
	l.end = end
	l.syncedEnd, l.durableEnd = end, end // newLineage has synced the segments
	l.hw = min(l.hw, end)
	l.reportedStart = min(l.reportedStart, end)
	l.epochs = epochsTo(l.epochs, end)
	l.segments = slices.Clip(segments[:i+1])
	l.removals++
	below := l.visibleBelow
	l.recovery = recovery{at: end, latest: l.recovery.latest, synced: min(l.recovery.synced, end)}
	l.mu.Unlock()
	if err := l.storeFacts(true); err != nil {
		return err
	}
	if err := l.removeSnapshots(end+1, forever); err != nil {
		return err
	}
	for _, s := range slices.Backward(segments[i+1:]) {
		if err := s.Remove(); err != nil {
			return err
		}
	}
	last := segments[i]
	if err := last.Truncate(pos); err != nil {
		return err
	}
	last.ResetAborted(nil)
	kept := segments[: i+1 : i+1]
	hw := l.Offsets().HighWatermark
	state, err := l.loadProducers(kept, last.Base(), hw)
	if err != nil {
		return err
	}
	v, err := loadVisible(kept, below, hw)
	if err != nil {
		return err
	}
	received := int64(0)
	for _, s := range kept {
		received = max(received, s.Info().MaxReceived)
	}
	l.mu.Lock()
	l.producers, l.visible, l.received = state, v, received
	lineage := l.lineage
	l.mu.Unlock()
	l.set.commits.opened(l, lineage, end)
	return nil
}
