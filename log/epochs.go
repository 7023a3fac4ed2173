package log

import (
	"slices"
	"sort"

	"github.com/morrowmq/morrow/log/segment"
)

// startEpoch notes that a leader epoch begins at the log end, durably, under appendMu: before its first batch.
func (l *Log) startEpoch(epoch int32) error {
	l.mu.Lock()
	if n := len(l.epochs); n > 0 {
		if last := l.epochs[n-1]; last.Epoch >= epoch {
			l.mu.Unlock()
			if last.Epoch > epoch {
				return &FencedEpochError{Epoch: epoch, Current: last.Epoch}
			}
			return nil
		}
	}
	before := l.epochs
	l.epochs = begun(before, epoch, l.end)
	l.mu.Unlock()
	err := l.storeFacts(true)
	if err != nil {
		l.mu.Lock()
		l.epochs = epochsFrom(before, l.start) // which may have moved meanwhile
		l.mu.Unlock()
	}
	return err
}

// begun is what epochs become when another begins at the log end. One in which nothing was written
// leaves no trace.
func begun(epochs []segment.Epoch, epoch int32, logEnd int64) []segment.Epoch {
	for len(epochs) > 0 && epochs[len(epochs)-1].Start == logEnd {
		epochs = epochs[:len(epochs)-1]
	}
	return append(slices.Clip(epochs), segment.Epoch{Epoch: epoch, Start: logEnd})
}

// EpochsIn are the epochs of the log, and the current one, which begins at the log end if nothing
// was written in it yet. The caller must not change them.
func (l *Log) EpochsIn(current int32) []segment.Epoch {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.epochsInLocked(current)
}

func (l *Log) epochsInLocked(current int32) []segment.Epoch {
	if n := len(l.epochs); current < 0 || n > 0 && l.epochs[n-1].Epoch >= current {
		return l.epochs
	}
	return begun(l.epochs, current, l.end)
}

// EpochEnd answers OffsetForLeaderEpoch (KIP-101, 279, 320) in the current epoch: the largest epoch
// of this log that is not above the one asked for, and the end of its batches, hidden ones
// included. Both are -1 if the epoch asked for is above all, or undefined.
func (l *Log) EpochEnd(epoch, current int32) (found int32, end int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return epochEnd(l.epochsInLocked(current), epoch, l.end)
}

func epochEnd(epochs []segment.Epoch, epoch int32, logEnd int64) (int32, int64) {
	n := len(epochs)
	if epoch < 0 || n == 0 || epoch > epochs[n-1].Epoch {
		return -1, -1
	}
	i := sort.Search(n, func(i int) bool { return epochs[i].Epoch > epoch })
	if i == n {
		return epoch, logEnd
	}
	if i == 0 {
		return epoch, epochs[0].Start
	}
	return epochs[i-1].Epoch, epochs[i].Start
}

// epochsFrom drops the epochs that end below start. The one start lies in begins there.
func epochsFrom(epochs []segment.Epoch, start int64) []segment.Epoch {
	i := sort.Search(len(epochs), func(i int) bool { return epochs[i].Start > start })
	if i == 0 {
		return epochs
	}
	kept := slices.Clone(epochs[i-1:])
	kept[0].Start = start
	return kept
}

// epochsTo drops the epochs that begin at or above end.
func epochsTo(epochs []segment.Epoch, end int64) []segment.Epoch {
	i := sort.Search(len(epochs), func(i int) bool { return epochs[i].Start >= end })
	return slices.Clip(epochs[:i])
}
