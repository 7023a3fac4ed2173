package log

import (
	"errors"
	"fmt"

	"github.com/morrowmq/morrow/log/producer"
	"github.com/morrowmq/morrow/log/segment"
)

// CorruptError is damage in data that was durable: it names file and position.
type CorruptError = segment.CorruptError

type (
	// OutOfOrderSequenceError is a gap in a producer's sequence, or a step back.
	OutOfOrderSequenceError = producer.OutOfOrderError
	// ProducerFencedError is a producer whose id was given to a newer instance.
	ProducerFencedError = producer.FencedError
	// CoordinatorFencedError is a marker of a transaction coordinator that was replaced.
	CoordinatorFencedError = producer.CoordinatorFencedError
)

var (
	// ErrNoSpace refuses an append for want of disk space. Nothing of it was stored; it may be tried again.
	ErrNoSpace = errors.New("no space left for appends")
	// ErrTooLarge refuses groups that are larger than any segment can be.
	ErrTooLarge = errors.New("batches are larger than a segment can be")
	// ErrUnverified refuses the first batch of a transaction that was not verified, or whose
	// transaction has ended since.
	ErrUnverified = errors.New("the transaction was not verified to hold this partition")
	// ErrInTransaction refuses a batch outside its producer's open transaction.
	ErrInTransaction = errors.New("the producer has an open transaction, and this batch is not part of it")
	// ErrClosed is returned once the set was closed or the log removed.
	ErrClosed = errors.New("log is closed")
	// ErrExists is returned by Create for a log that is there.
	ErrExists = errors.New("log exists")
	// ErrNotExist is returned by OpenLog for a log that is not there.
	ErrNotExist = errors.New("log does not exist")
	// ErrInvalidGroup is a group whose pieces do not fit together: a bug of the caller.
	ErrInvalidGroup = errors.New("invalid group of batches")
	// ErrSegmentGone is returned for a segment that is not local, or not closed.
	ErrSegmentGone = errors.New("no such closed segment")
)

// OfflineError is returned by every operation on a log that failed before: a write or a sync went
// wrong, or its data is corrupt. It stays so until a restart.
type OfflineError struct {
	Log string
	Err error
}

func (e *OfflineError) Error() string { return fmt.Sprintf("log %s is offline: %v", e.Log, e.Err) }
func (e *OfflineError) Unwrap() error { return e.Err }

// OutOfRangeError is an offset outside what the log reports to clients.
type OutOfRangeError struct {
	Offset, Start, End int64 // [Start, End] is in range
}

func (e *OutOfRangeError) Error() string {
	return fmt.Sprintf("offset %d is outside [%d, %d]", e.Offset, e.Start, e.End)
}

// TieredError is an offset in range that is not local any more, and where the log goes on locally.
type TieredError struct {
	Offset, LocalStart int64
}

func (e *TieredError) Error() string {
	return fmt.Sprintf("offset %d is not local: the local log goes on at %d", e.Offset, e.LocalStart)
}

// FencedEpochError is an append under a leader epoch that was superseded (KIP-101).
type FencedEpochError struct {
	Epoch, Current int32
}

func (e *FencedEpochError) Error() string {
	return fmt.Sprintf("leader epoch %d was superseded by %d", e.Epoch, e.Current)
}
