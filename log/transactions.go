package log

import (
	"errors"
	"slices"

	"github.com/morrowmq/morrow/log/producer"
	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/log/segment"
)

// Marker ends a transaction.
type Marker = producer.Marker

// ParseMarker reads a control batch.
func ParseMarker(b record.Batch) (Marker, error) { return producer.ParseMarker(b) }

// Verification stands between the first batch of a transaction and the log while the transaction's
// coordinator is asked whether it knows of the partition (KIP-890). The end of the transaction
// voids it. Without it: the coordinator agrees, the transaction ends, its markers are appended, the
// batch is appended, and nobody will ever end what it opened.
type Verification struct {
	producerID int64
	epoch      int16
	fresh      bool
	asking     int // how many ask and have not failed; guarded by Log.mu
}

// Verify begins the verification of a batch that is about to be appended. It returns nil if there
// is nothing to verify: the producer's transaction is open here in this epoch, or the batch is a
// duplicate or will be refused for its epoch or sequence. fresh says that the producer's epoch is
// never older than its transaction, so that, not known here, it must begin with sequence 0.
func (l *Log) Verify(producerID int64, epoch int16, firstSequence, lastSequence int32, fresh bool) *Verification {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, duplicate, err := l.producers.Check(producer.Original{ProducerID: producerID, Epoch: epoch, FirstSequence: firstSequence, LastSequence: lastSequence})
	if l.producers.InTransaction(producerID, epoch) || duplicate || err != nil {
		return nil
	}
	for _, v := range l.verifications[producerID] {
		if v.epoch == epoch && v.fresh == fresh {
			v.asking++
			return v
		}
	}
	v := &Verification{producerID, epoch, fresh, 1}
	if l.verifications == nil {
		l.verifications = make(map[int64][]*Verification)
	}
	l.verifications[producerID] = append(l.verifications[producerID], v)
	return v
}

// Unverify ends a verification that failed. Others who ask the same keep theirs: who fails may be
// somebody else, who claims the producer's id. A nil one is none.
func (l *Log) Unverify(v *Verification) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if v == nil {
		return
	}
	if v.asking--; v.asking <= 0 {
		l.dropVerificationsLocked(v.producerID, func(other *Verification) bool { return other == v })
	}
}

func (l *Log) dropVerificationsLocked(producerID int64, which func(*Verification) bool) {
	left := slices.DeleteFunc(l.verifications[producerID], which)
	if len(left) == 0 {
		delete(l.verifications, producerID)
	} else {
		l.verifications[producerID] = left
	}
}

// voidVerificationLocked ends the verification of a batch of the transaction that a marker ends. A
// marker of KIP-890, where no epoch is older than its transaction, has the epoch after that: the
// one in which the next transaction is being verified.
func (l *Log) voidVerificationLocked(producerID int64, epoch int16) {
	l.dropVerificationsLocked(producerID, func(v *Verification) bool { return v.epoch != epoch || !v.fresh })
}

// admitTransactionLocked judges a batch by its producer's transaction. What a coordinator writes in
// the name of a producer was verified by the coordinator. An open transaction of another epoch has
// yet to be ended by its marker: nothing of the next may be there before.
func (l *Log) admitTransactionLocked(g *Group) error {
	if g.BaseSequence < 0 {
		return nil
	}
	_, open := l.producers.OpenTransaction(g.ProducerID)
	switch transactional := g.Pieces[0].Transactional(); {
	case open && !transactional:
		return ErrInTransaction
	case !transactional, l.producers.InTransaction(g.ProducerID, g.ProducerEpoch):
		return nil
	case open || !slices.Contains(l.verifications[g.ProducerID], g.Verification):
		return ErrUnverified
	case g.Verification.fresh && g.BaseSequence != 0 && !l.producers.Known(g.ProducerID):
		return &OutOfOrderSequenceError{ProducerID: g.ProducerID, Epoch: g.ProducerEpoch, Sequence: g.BaseSequence}
	}
	return nil
}

// aborted lists the aborted transactions that a reader of [from, to) must know: their markers lie
// in the segment of from or in a later one.
func (l *Log) aborted(read *Read, segments []*segment.Segment, from, to int64) error {
	for i := segmentOf(segments, from); i < len(segments); i++ {
		found, complete, err := segments[i].Aborted(read.Aborted, from, to)
		if errors.Is(err, segment.ErrTxnIndex) {
			if err = l.repairAborted(segments, i); err == nil {
				found, complete, err = segments[i].Aborted(read.Aborted, from, to)
			}
		}
		if err != nil {
			return err
		}
		read.Aborted = found
		if complete {
			return nil
		}
	}
	return nil
}

// Aborted lists the aborted transactions whose markers lie in [from, to), by marker, as far as they are local.
func (l *Log) Aborted(from, to int64) ([]AbortedTxn, error) {
	var read Read
	err := l.lookUp(func() error {
		l.mu.Lock()
		segments := l.segments
		l.mu.Unlock()
		read.Aborted = nil
		return l.aborted(&read, segments, from, forever)
	})
	if err != nil {
		return nil, err
	}
	found := read.Aborted[:0]
	for _, a := range read.Aborted {
		if a.LastOffset >= from && a.LastOffset < to {
			found = append(found, a)
		}
	}
	return found, nil
}

// repairAborted makes the index of aborted transactions of a segment anew, by replaying the log from the newest
// snapshot below it.
func (l *Log) repairAborted(segments []*segment.Segment, i int) error {
	l.appendMu.Lock() // no abort marker may be appended between the replay and its result
	defer l.appendMu.Unlock()
	s := segments[i]
	var all []segment.AbortedTxn
	_, err := l.replay(segments, s.Base(), s.End(), 0, func(_ *segment.Segment, done producer.Completed) {
		if done.Last >= s.Base() {
			all = append(all, aborted(done))
		}
	})
	if err != nil {
		return err
	}
	s.ResetAborted(all)
	return nil
}
