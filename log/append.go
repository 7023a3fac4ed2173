package log

import (
	"errors"
	"fmt"
	"time"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/producer"
	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/log/segment"
)

// Group is one batch as it is to be stored: in one piece, or in several of which each is wholly visible or
// wholly hidden. It is atomic: after a crash all of it is there or nothing.
type Group struct {
	// Pieces are consecutive. Their base offsets count from the first offset of the group, which is
	// 0; all but the last are marked record.Continued. Append writes base offset, leader epoch and
	// stamps into them in place; they are the caller's again when it returns, with the base offsets
	// they had if it failed.
	Pieces []record.Batch
	// Producer fields and Span, the number of offsets, are those of the original batch.
	ProducerID    int64
	ProducerEpoch int16
	BaseSequence  int32
	LastSequence  int32
	Span          int32
	// Verification is what [Log.Verify] returned before the first batch of a transaction.
	Verification *Verification
	// NewEpoch says of a marker that its epoch is newer than that of the transaction it ends.
	NewEpoch bool
	// Reserved groups may use the disk space that is kept free for them: deliveries, markers, coordinators.
	Reserved bool
}

// Appended is what became of an append.
type Appended struct {
	BaseOffset, EndOffset int64
	LogStart              int64 // reported log start
	// AppendTime is the broker's stamp, ms, if the topic uses LogAppendTime; else -1.
	AppendTime int64
	// ReceiveTime is the stamp of hidden pieces, ms. It never goes back within a log.
	ReceiveTime int64
	// Duplicate means that nothing was stored: the offsets are where the batch was stored before.
	Duplicate bool
}

func (g *Group) original() producer.Original {
	return producer.Original{ProducerID: g.ProducerID, Epoch: g.ProducerEpoch, FirstSequence: g.BaseSequence, LastSequence: g.LastSequence}
}

// CheckProducer judges a batch before it is taken apart: it tells whether it was stored before and
// where, and returns an *OutOfOrderSequenceError or a *ProducerFencedError if it may not be stored.
func (l *Log) CheckProducer(id int64, epoch int16, firstSequence, lastSequence int32) (stored Appended, duplicate bool, err error) {
	if id < 0 || firstSequence < 0 {
		return Appended{}, false, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	r, duplicate, err := l.producers.Check(producer.Original{ProducerID: id, Epoch: epoch, FirstSequence: firstSequence, LastSequence: lastSequence})
	if !duplicate {
		return Appended{}, false, err
	}
	return l.duplicateLocked(r), true, nil
}

func (l *Log) duplicateLocked(r producer.Range) Appended {
	a := Appended{BaseOffset: r.Base, EndOffset: r.End(), LogStart: l.reportedStart, AppendTime: -1, ReceiveTime: l.received, Duplicate: true}
	if l.config.Load().TimestampType == LogAppendTime {
		a.AppendTime = r.Timestamp
	}
	return a
}

// Append stores groups at the end of the log, all or, with an error, none. When it returns they are
// written, seen by Scan, and on the way to being durable; they are acknowledged by [Log.Wait] for
// Appended.EndOffset.
//
// A single group that its producer sent before is not stored again. The errors of the caller are
// *OutOfOrderSequenceError, *ProducerFencedError, *CoordinatorFencedError, *FencedEpochError,
// ErrUnverified, ErrInTransaction, ErrTooLarge and ErrInvalidGroup; ErrNoSpace may be tried again;
// an *OfflineError means that the log failed, now or before.
func (l *Log) Append(leaderEpoch int32, now time.Time, groups ...Group) (Appended, error) {
	l.appendMu.Lock()
	defer l.appendMu.Unlock()
	if err := l.Failure(); err != nil {
		return Appended{}, err
	}
	a, err := l.admit(leaderEpoch, groups)
	if err != nil || a.Duplicate {
		return a, err
	}
	cfg := l.config.Load()
	bytes := l.stamp(&a, cfg, leaderEpoch, now.UnixMilli(), groups)
	defer clear(l.scratch) // the batches are the caller's again
	err = l.fit(cfg, bytes, a.EndOffset, now)
	if err == nil {
		err = l.write(a.EndOffset, bytes, now.UnixMilli())
	}
	if err != nil {
		unplace(groups, a.BaseOffset)
		return Appended{}, err
	}
	return a, nil
}

// unplace makes the base offsets of pieces relative again, so that a caller may try once more.
func unplace(groups []Group, base int64) {
	for i := range groups {
		for _, b := range groups[i].Pieces {
			b.SetBaseOffset(b.BaseOffset() - base)
		}
		base += int64(groups[i].Span)
	}
}

// admit checks everything that does not need the disk, and says where the groups will lie.
func (l *Log) admit(leaderEpoch int32, groups []Group) (Appended, error) {
	reserved := true
	span, bytes := int64(0), int64(0)
	for i := range groups {
		g := &groups[i]
		if err := g.check(); err != nil {
			return Appended{}, err
		}
		reserved = reserved && g.Reserved
		span += int64(g.Span)
		for _, b := range g.Pieces {
			bytes += int64(len(b))
		}
	}
	a, err := l.admitProducers(groups)
	if err != nil || a.Duplicate {
		return a, err
	}
	if span == 0 {
		return Appended{}, fmt.Errorf("%w: nothing to append", ErrInvalidGroup)
	}
	l.set.spend(bytes)
	if !reserved && l.Full() {
		return Appended{}, fmt.Errorf("%w: less than the reserve is free", ErrNoSpace)
	}
	if err := l.startEpoch(leaderEpoch); err != nil {
		return Appended{}, err
	}
	a.EndOffset = a.BaseOffset + span
	return a, nil
}

func (l *Log) admitProducers(groups []Group) (Appended, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range groups {
		g := &groups[i]
		if g.ProducerID < 0 {
			continue
		}
		if g.Pieces[0].Control() {
			m, err := producer.ParseMarker(g.Pieces[0])
			if err != nil {
				return Appended{}, err
			}
			if err := l.producers.CheckMarker(m, g.NewEpoch); err != nil {
				return Appended{}, err
			}
			continue
		}
		if len(groups) > 1 {
			return Appended{}, fmt.Errorf("%w: batches of producers are appended one at a time", ErrInvalidGroup)
		}
		r, duplicate, err := l.producers.Check(g.original())
		if err != nil {
			return Appended{}, err
		}
		if duplicate {
			return l.duplicateLocked(r), nil
		}
		if err := l.admitTransactionLocked(g); err != nil {
			return Appended{}, err
		}
	}
	return Appended{BaseOffset: l.end, LogStart: l.reportedStart, AppendTime: -1}, nil
}

// check makes sure that recovery will find the group as it is meant.
func (g *Group) check() error {
	next := int64(0)
	for i, b := range g.Pieces {
		if b.BaseOffset() != next || b.LastOffsetDelta() < 0 || b.Continued() != (i < len(g.Pieces)-1) {
			return fmt.Errorf("%w: piece %d of %d at offset %d, %d expected, continued %t", ErrInvalidGroup, i, len(g.Pieces), b.BaseOffset(), next, b.Continued())
		}
		next = b.EndOffset()
	}
	if next != int64(g.Span) || next == 0 {
		return fmt.Errorf("%w: pieces span %d offsets of %d", ErrInvalidGroup, next, g.Span)
	}
	return nil
}

// stamp places the pieces in the log, collects them in l.scratch, and returns their bytes.
func (l *Log) stamp(a *Appended, cfg *Config, leaderEpoch int32, now int64, groups []Group) int64 {
	a.ReceiveTime = max(now, l.received)
	if cfg.TimestampType == LogAppendTime {
		a.AppendTime = now
	}
	l.scratch = l.scratch[:0]
	bytes, base := int64(0), a.BaseOffset
	for i := range groups {
		for _, b := range groups[i].Pieces {
			switch at := b.Attributes(); {
			case b.Hidden() && (b.MaxTimestamp() != a.ReceiveTime || !at.Has(record.LogAppendTime)):
				b.Stamp(at|record.LogAppendTime, a.ReceiveTime)
			case !b.Hidden() && a.AppendTime >= 0 && !b.Control():
				b.Stamp(at|record.LogAppendTime, a.AppendTime)
			}
			b.SetBaseOffset(base + b.BaseOffset())
			b.SetLeaderEpoch(leaderEpoch)
			bytes += int64(len(b))
			l.scratch = append(l.scratch, b)
		}
		base += int64(groups[i].Span)
	}
	return bytes
}

// write appends l.scratch to the active segment and makes it known.
func (l *Log) write(end, bytes, now int64) error {
	l.mu.Lock()
	active := l.activeLocked()
	l.mu.Unlock()
	pos, err := active.Append(l.scratch, now)
	if err != nil {
		return l.writeFailed(err)
	}
	l.mu.Lock()
	for _, b := range l.scratch {
		l.applyLocked(b, active, now)
	}
	l.end = end
	l.recovery.size += bytes
	lineage := l.lineage
	if n := len(l.dirty); n == 0 || l.dirty[n-1] != active {
		l.dirty = append(l.dirty, active)
	}
	l.mu.Unlock()
	l.set.metrics.appendedBytes.Add(bytes)
	l.set.commits.add(l, lineage, active, pos, bytes, l.scratch, end)
	return nil
}

// applyLocked takes a batch that is in the log now into what is known about it.
func (l *Log) applyLocked(b record.Batch, s *segment.Segment, now int64) {
	l.visible.add(b)
	if b.Hidden() {
		l.received = max(l.received, b.MaxTimestamp())
	}
	done, ended, err := l.producers.Apply(b, now)
	if err != nil {
		panic(fmt.Sprintf("log: marker was admitted and cannot be read: %v", err))
	}
	switch {
	case b.Control():
		l.voidVerificationLocked(b.ProducerID(), b.ProducerEpoch())
	case b.Transactional():
		delete(l.verifications, b.ProducerID())
	}
	if ended && done.Aborted {
		s.AddAborted(aborted(done))
	}
}

func aborted(c producer.Completed) segment.AbortedTxn {
	return segment.AbortedTxn{ProducerID: c.ProducerID, FirstOffset: c.First, LastOffset: c.Last, LastStable: c.LastStable}
}

// writeFailed decides what a failed write means: a full disk that left the segment as it was is not
// a failure of the log.
func (l *Log) writeFailed(err error) error {
	var w *segment.WriteError
	if errors.As(err, &w) && w.Undone && vfs.IsFull(err) {
		return l.set.noSpace(err)
	}
	return l.fail(err)
}
