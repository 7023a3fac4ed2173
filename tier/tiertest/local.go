// Package tiertest holds a log as a tier sees it.
package tiertest

import (
	"errors"
	"math"
	"time"

	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/tier"
)

// Local is a log as a tier sees it: a [tier.Source] of which nothing is pending. Unlike a broker's
// it does not wait for the end of transactions, so that a bucket can be made from which that is
// missing.
type Local struct{ Log *log.Log }

var _ tier.Source = Local{}

// Offsets implements tier.Source.
func (s Local) Offsets() tier.LocalOffsets {
	o := s.Log.Offsets()
	return tier.LocalOffsets{Start: o.RealStart, Reported: o.LogStart, LocalStart: o.LocalStart, End: o.LogEnd, SourceEnd: tier.NoOffset, Gate: math.MaxInt64}
}

// Size implements tier.Source.
func (s Local) Size() int64 { return s.Log.Size() }

// Epochs implements tier.Source.
func (s Local) Epochs() (epochs []tier.EpochStart) {
	for _, e := range s.Log.EpochsIn(-1) {
		epochs = append(epochs, tier.EpochStart(e))
	}
	return epochs
}

// Closed implements tier.Source.
func (s Local) Closed(from int64) (closed []tier.LocalSegment, err error) {
	o := s.Log.Offsets()
	for _, i := range s.Log.Segments() {
		if i.Sealed && i.End > from && i.End <= o.HighWatermark {
			closed = append(closed, tier.LocalSegment{Base: i.Base, End: i.End, Size: i.Size, Generation: i.Generation})
		}
	}
	return closed, nil
}

// Open implements tier.Source.
func (s Local) Open(seg tier.LocalSegment) (tier.SegmentFile, error) {
	f, err := s.Log.OpenSegment(seg.Base)
	if errors.Is(err, log.ErrSegmentGone) {
		err = tier.ErrGone
	}
	if err != nil {
		return nil, err
	}
	return localFile{f, s.Log}, nil
}

type localFile struct {
	*log.SegmentFile
	log *log.Log
}

func (f localFile) ProducerSnapshot() ([]byte, error) { return f.log.ProducerSnapshot(f.Info().End) }

// Outlook implements tier.Source.
func (Local) Outlook() tier.LocalOutlook { return tier.LocalOutlook{} }

// Since implements tier.Source.
func (Local) Since(int64) time.Time { return time.Time{} }

// Aborted implements tier.Source.
func (Local) Aborted(int64, int64) ([]tier.AbortedTxn, error) { return nil, nil }

// Dropped implements tier.Source.
func (Local) Dropped(int64, int64) bool { return false }

// Advance implements tier.Source.
func (s Local) Advance(start, reported int64) error { return s.Log.AdvanceStart(start, reported) }
