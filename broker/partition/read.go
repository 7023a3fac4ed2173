package partition

import (
	"errors"
	"fmt"

	"github.com/morrowmq/morrow/log"
)

// ReadRequest is what a fetch wants of one partition.
type ReadRequest struct {
	Offset   int64
	MaxBytes int
	// MinOne asks for one batch even if it is larger than MaxBytes.
	MinOne bool
	// Committed hides what open and aborted transactions wrote (read_committed).
	Committed bool
	// LeaderEpoch is the epoch the client believes in, -1 if it does not say (KIP-320).
	LeaderEpoch int32
	// LastFetchedEpoch is the epoch of the last record the client has, -1 if it does not say (KIP-595).
	LastFetchedEpoch int32
}

// Read is what was found. Release must be called once its bytes have been sent.
type Read struct {
	// Ranges hold whole visible batches in order, Size bytes in all: of segments, or of the cache
	// of the tier, where a batch may begin in one range and end in the next.
	Ranges []log.Range
	Size   int
	// HighWatermark and LastStable are the visible ends; LogStart is the reported one.
	HighWatermark, LastStable, LogStart int64
	// Aborted lists aborted transactions in the range of a Committed read.
	Aborted []log.AbortedTxn
	// Diverging is where the client's log leaves ours: its epoch is -1 if it does not.
	Diverging EpochEnd

	release func() // nil once called
}

// EpochEnd is a leader epoch and the offset after its last record.
type EpochEnd struct {
	Epoch     int32
	EndOffset int64
}

// Diverged reports whether the client must truncate before it goes on.
func (r *Read) Diverged() bool { return r.Diverging.Epoch >= 0 }

// Release gives back the files that Ranges lie in. More than one call is one.
func (r *Read) Release() {
	if r.release != nil {
		r.release()
		r.release = nil
	}
}

// Errors of the leader epochs that clients send along.
var (
	// ErrFencedEpoch means the client's epoch is older than the partition's.
	ErrFencedEpoch = errors.New("the leader epoch is older than the partition's")
	// ErrUnknownEpoch means the client knows an epoch this broker has not heard of.
	ErrUnknownEpoch = errors.New("the leader epoch is newer than the partition's")
)

// CheckLeaderEpoch compares the epoch a client believes in with the partition's. -1 is always right.
func (p *Partition) CheckLeaderEpoch(epoch int32) error {
	current := p.epoch.Load()
	switch {
	case epoch < 0 || epoch == current:
		return nil
	case epoch < current:
		return fmt.Errorf("%w: %d, now %d", ErrFencedEpoch, epoch, current)
	default:
		return fmt.Errorf("%w: %d, here %d", ErrUnknownEpoch, epoch, current)
	}
}

// Read finds visible batches in the local log. It returns a *log.TieredError if they lie
// in the tier only: see ReadRemote. It does not wait.
func (p *Partition) Read(r ReadRequest) (*Read, error) {
	r = planted(r)
	if err := p.CheckLeaderEpoch(r.LeaderEpoch); err != nil {
		return nil, err
	}
	d, err := p.diverging(r)
	if err != nil {
		return nil, err
	}
	if d.Epoch >= 0 {
		nothing := p.Nothing()
		nothing.Diverging = d
		return nothing, nil
	}
	if idle := p.idle(r); idle != nil {
		return idle, nil
	}
	found, err := p.log.Read(log.ReadRequest{Offset: r.Offset, MaxBytes: r.MaxBytes, MinOne: r.MinOne, Committed: r.Committed})
	if err != nil {
		return nil, err
	}
	return &Read{
		Ranges: found.Ranges, Size: found.Size, Aborted: found.Aborted,
		HighWatermark: found.Offsets.VisibleEnd, LastStable: found.Offsets.LastStable, LogStart: found.Offsets.LogStart,
		Diverging: EpochEnd{Epoch: -1}, release: found.Release,
	}, nil
}

// idle is the answer for a client that has everything already, which is what most partitions of
// most fetches come to; nil if it has not.
func (p *Partition) idle(r ReadRequest) *Read {
	o := p.log.Offsets()
	end := o.VisibleEnd
	if r.Committed {
		end = o.LastStable
	}
	if r.Offset < end || r.Offset > o.LogEnd || p.log.Failure() != nil {
		return nil
	}
	return nothing(o)
}

// Nothing is a read that found no records, with the offsets of the moment.
func (p *Partition) Nothing() *Read { return nothing(p.log.Offsets()) }

func nothing(o log.Offsets) *Read {
	return &Read{HighWatermark: o.VisibleEnd, LastStable: o.LastStable, LogStart: o.LogStart, Diverging: EpochEnd{Epoch: -1}}
}

// diverging finds where the client's log leaves ours, by the epoch of its last record. An epoch of
// which nothing is known puts the offset out of range, as in Kafka.
func (p *Partition) diverging(r ReadRequest) (EpochEnd, error) {
	none := EpochEnd{Epoch: -1}
	if r.LastFetchedEpoch < 0 {
		return none, nil
	}
	epoch, end := p.EpochEnd(r.LastFetchedEpoch)
	if o := p.log.Offsets(); epoch < 0 || r.Offset < o.LogStart {
		return none, &log.OutOfRangeError{Offset: r.Offset, Start: o.LogStart, End: o.LogEnd}
	}
	if epoch == r.LastFetchedEpoch && end >= r.Offset {
		return none, nil
	}
	return EpochEnd{Epoch: epoch, EndOffset: end}, nil
}

// EpochEnd returns the largest epoch not above the one asked for and the end of its
// records, hidden ones included; -1, -1 if there is none.
func (p *Partition) EpochEnd(epoch int32) (found int32, end int64) {
	return p.log.EpochEnd(epoch, p.epoch.Load())
}

// Subscribe has wake, which should be 1-buffered, receive whenever there may be more to read.
func (p *Partition) Subscribe(wake chan<- struct{}) { p.log.Subscribe(wake) }

// Unsubscribe ends it.
func (p *Partition) Unsubscribe(wake chan<- struct{}) { p.log.Unsubscribe(wake) }
