package partition

import (
	"time"

	"github.com/morrowmq/morrow/delay"
	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/log/record"
)

// Verify begins the verification of a batch that a producer wants to append in a transaction: see
// [log.Log.Verify]. nil means that there is nothing to ask the transaction's coordinator.
func (p *Partition) Verify(b record.Batch, fresh bool) *log.Verification {
	if !b.Transactional() || b.ProducerID() < 0 || b.BaseSequence() < 0 {
		return nil
	}
	return p.log.Verify(b.ProducerID(), b.ProducerEpoch(), b.BaseSequence(), b.LastSequence(), fresh)
}

// Unverify ends a verification that failed.
func (p *Partition) Unverify(v *log.Verification) { p.log.Unverify(v) }

// EndTransaction appends the marker that ends a producer's transaction here: its delayed records
// are scheduled or dropped with it. Without an open transaction the marker raises the producer's
// epoch and ends nothing. newEpoch says that the marker's epoch is newer than the transaction's, so
// that one that comes late ends no later transaction. Errors are those of [log.Log.Append] and
// ErrLoading.
func (p *Partition) EndTransaction(m log.Marker, newEpoch bool, now time.Time) (Pending, error) {
	b := m.Batch(now.UnixMilli())
	g := group(b, b)
	g.Reserved, g.NewEpoch = true, newEpoch
	if !p.delays() {
		a, err := p.log.Append(p.epoch.Load(), now, g)
		return p.pending(a), err
	}
	if !p.loaded.Load() {
		return Pending{}, ErrLoading // the marker may concern the schedule
	}
	in := p.mu.enter()
	defer in.leave()
	a, err := p.log.Append(p.epoch.Load(), now, g)
	if err != nil {
		return Pending{}, err
	}
	in.written()
	changes, err := delay.Read(g.Pieces...)
	return p.pending(a), p.apply(&in, changes, err)
}

// Producers lists the producers that the partition remembers (DescribeProducers).
func (p *Partition) Producers() []log.ProducerInfo { return p.log.ActiveProducers() }
