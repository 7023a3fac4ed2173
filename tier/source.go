package tier

import (
	"errors"
	"io"
	"time"
)

// Source is the local log of one partition as the tier needs it. All methods are safe for
// concurrent use, and none is called with a lock of this package held.
type Source interface {
	// Offsets returns where the log stands.
	Offsets() LocalOffsets
	// Size is the bytes of all that is here. It takes the longer the more segments there are.
	Size() int64
	// Epochs returns the leader epochs of the log's records, each with its first offset, from the
	// log start or later on. The last may be empty.
	Epochs() []EpochStart
	// Closed returns, in order, the closed segments whose end is above from and all of whose
	// records are decided: End ≤ min(high watermark, real last stable offset). It may return only
	// the first hundred or so.
	Closed(from int64) ([]LocalSegment, error)
	// Outlook tells what the log will do by itself, for those who ask.
	Outlook() LocalOutlook
	// Open gives the bytes of a closed segment, and makes them durable, so that the log never ends
	// below what is in the bucket. It fails with ErrGone if the log no longer has exactly this
	// segment. The bytes do not change while it is open, even if the log deletes or replaces it.
	Open(seg LocalSegment) (SegmentFile, error)
	// Aborted returns the aborted transactions whose marker lies in [from, to), by marker.
	Aborted(from, to int64) ([]AbortedTxn, error)
	// Dropped reports whether [from, to) is missing because it was dropped on record (finished
	// runs of a schedule log), not lost.
	Dropped(from, to int64) bool
	// Since tells since when the log has had records at or above an offset: when the first of them
	// was appended, or an earlier one of its segment. It is zero if there are none.
	Since(offset int64) time.Time
	// Advance makes start the log start, durably, if it is above the present one: from its return
	// on nothing below is read, here or remotely. reported is the end of the last visible batch
	// below start that the tier is about to remove, NoOffset if there is none.
	Advance(start, reported int64) error
}

// LocalSegment is a closed segment of the log: Size bytes holding the offsets [Base, End).
// Two values are equal if and only if they are the same bytes.
type LocalSegment struct {
	Base, End  int64
	Size       int64
	Generation int64 // changes when the segment is rewritten (compaction)
}

// SegmentFile is an open closed segment.
type SegmentFile interface {
	io.ReaderAt
	io.Closer
	// ProducerSnapshot returns the producer state at the end of the segment, opaque to the tier;
	// nil if the log no longer knows it.
	ProducerSnapshot() ([]byte, error)
}

// LocalOffsets is a consistent snapshot. Start ≤ LocalStart ≤ End.
type LocalOffsets struct {
	// Start is the log start: nothing below need be kept. DeleteRecords and retention move it.
	// Reported is what clients are told.
	Start, Reported int64
	// LocalStart is the oldest offset whose bytes are here.
	LocalStart int64
	End        int64
	// SourceEnd is, if this is the log of a schedule, the end of the log whose schedule it is; else NoOffset.
	SourceEnd int64
	// Gate bounds what Start may become: what lies above is still needed (pending schedules).
	// math.MaxInt64: no bound.
	Gate int64
}

// LocalOutlook is what a log will do by itself, as things stand.
type LocalOutlook struct {
	// Start is where the local copies begin after the next look of local retention.
	Start int64
	// Undecided are the closed segments that Closed does not return yet, in order.
	Undecided []LocalSegment
	// Active is the segment that is being written, of no size if there is nothing in it. It closes
	// before it outgrows MaxBytes, and soon after Until at the latest; zero: it need not.
	Active   LocalSegment
	MaxBytes int64
	Until    time.Time
}

// AbortedTxn is an aborted transaction: readers that want committed records only drop the
// producer's records from First up to the marker at Last.
type AbortedTxn struct {
	ProducerID  int64
	First, Last int64
}

// ErrGone is a Source's answer when a segment was truncated, deleted or rewritten.
var ErrGone = errors.New("segment is no longer in the log")
