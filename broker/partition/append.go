package partition

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/morrowmq/morrow/delay"
	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/log/record"
)

// Errors of an append, besides those of packages log, record and delay.
var (
	// ErrTooLarge means the batch is larger than the topic's max.message.bytes.
	ErrTooLarge = errors.New("batch is larger than max.message.bytes")
	// ErrLoading means that the batch concerns the partition's schedule, and that is still being
	// read from the log.
	ErrLoading = errors.New("the partition's schedule is still loading")
	// ErrCrowded means that with the batch more delayed records would be pending, and those in
	// memory take more of it than they may, though it has waited. It passes: they are moved to
	// runs.
	ErrCrowded = errors.New("pending records take more memory than delay.index.memory; they are being moved out of it")
	// ErrStaged is ErrCrowded for a batch in a transaction: those that are not over take too much.
	ErrStaged = errors.New("delayed records in transactions that are not over take more than half of delay.index.memory")
)

// crowdPatience is how long an append waits for memory. A producer that is slowed down need not
// hear of it; but one connection carries the records of many topics, and its client's time runs.
const crowdPatience = time.Second

// Pending is an append that has been written and may not be durable yet.
type Pending struct {
	// BaseOffset is the offset of the batch's first record, EndOffset the one after its last.
	BaseOffset, EndOffset int64
	// AppendTime is the broker's stamp in milliseconds if the topic uses LogAppendTime, else -1.
	AppendTime int64
	// LogStart is the reported log start.
	LogStart int64

	log *log.Log
}

// Wait blocks until the append is committed: on stable storage and below the high watermark. The
// log's failure, or ctx's end, is returned; the append may still be committed then.
func (p *Pending) Wait(ctx context.Context) error { return p.log.Wait(ctx, p.EndOffset) }

// Committed reports whether Wait would return nil at once.
func (p *Pending) Committed() bool { return p.log.Offsets().HighWatermark >= p.EndOffset }

// Append checks a producer's batch, works out what of it is delayed, and appends it to the log. The
// batch is changed in place and may be used again once Append has returned. Nothing is stored if
// there is an error. ctx bounds looking up what a cancel refers to, and waiting for memory. The
// first batch of a transaction needs what [Partition.Verify] returned for it.
func (p *Partition) Append(ctx context.Context, b record.Batch, v *log.Verification, now time.Time) (Pending, error) {
	t := p.topic.Load()
	if int64(len(b)) > t.Config.MaxMessageBytes {
		return Pending{}, fmt.Errorf("%w: %d bytes, the topic allows %d", ErrTooLarge, len(b), t.Config.MaxMessageBytes)
	}
	d := record.ForClient()
	defer d.Release()
	if t.Rules == nil {
		b, err := t.check(b, now, d, nil)
		if err != nil {
			return Pending{}, err
		}
		return p.appendPlain(b, v, now)
	}
	splitter := t.Rules.Splitter(b, now.UnixMilli())
	defer splitter.Release()
	checked, err := t.check(b, now, d, splitter.Visit())
	if err != nil {
		return p.refuse(b, err)
	}
	plan, err := splitter.Plan(checked)
	if err != nil {
		return p.refuse(b, err)
	}
	if plan.Plain() {
		return p.appendPlain(checked, v, now)
	}
	return p.appendDelayed(ctx, checked, plan, v, now)
}

// refuse refuses a batch for what is in it. A retry of one that is stored is told so all the same:
// what is refused may have changed since (delay.max.ms).
func (p *Partition) refuse(b record.Batch, err error) (Pending, error) {
	if _, records := errors.AsType[*record.RecordErrors](err); records {
		if dup, isDup := p.duplicate(b); isDup {
			return dup, nil
		}
	}
	return Pending{}, err
}

// AppendOwn is Append for a batch that the broker has made of records that clients produced:
// headers mean nothing to the schedule, and it may be larger than max.message.bytes, which those
// records have met once.
func (p *Partition) AppendOwn(b record.Batch, now time.Time) (Pending, error) {
	d := record.GetDecompressor()
	defer d.Release()
	b, err := p.topic.Load().check(b, now, d, nil)
	if err != nil {
		return Pending{}, err
	}
	return p.appendPlain(b, nil, now)
}

// check judges a producer's batch and makes it what the topic stores: the true max timestamp, the
// topic's codec. Mostly it is that already.
func (t *Topic) check(b record.Batch, now time.Time, d *record.Decompressor, visit func(*record.View) error) (record.Batch, error) {
	checked, err := record.Check(b, t.checkOptions(now.UnixMilli()), d, visit)
	if err != nil {
		return nil, err
	}
	if b.Attributes() != checked.Attributes || b.MaxTimestamp() != checked.MaxTimestamp {
		b.Stamp(checked.Attributes, checked.MaxTimestamp)
	}
	codec, other := t.codec(b.Attributes().Codec())
	if !other {
		return b, nil
	}
	w := record.Builder{Level: t.Config.CompressionLevel}
	return w.Recompress(b, codec, d)
}

// group is b as the log wants it, stored as pieces.
func group(b record.Batch, pieces ...record.Batch) log.Group {
	return log.Group{
		Pieces:        pieces,
		ProducerID:    b.ProducerID(),
		ProducerEpoch: b.ProducerEpoch(),
		BaseSequence:  b.BaseSequence(),
		LastSequence:  b.LastSequence(),
		Span:          b.LastOffsetDelta() + 1,
	}
}

// appendPlain is the fast path: nothing in the batch is delayed, so the schedule need not hear of it.
func (p *Partition) appendPlain(b record.Batch, v *log.Verification, now time.Time) (Pending, error) {
	b.SetBaseOffset(0)
	if a, lost := p.plantedAppend(b, now); lost {
		return p.pending(a), nil
	}
	g := group(b, b)
	g.Verification = v
	a, err := p.log.Append(p.epoch.Load(), now, g)
	return p.pending(a), err
}

// appendDelayed appends a batch that holds delayed records or cancels. What they refer to is looked
// up first; in the append section it is only made sure that this is still so. If it is not, it is
// looked up again. For memory it waits once.
func (p *Partition) appendDelayed(ctx context.Context, b record.Batch, plan *delay.Plan, v *log.Verification, now time.Time) (Pending, error) {
	if !p.loaded.Load() {
		// What is stored already is told so at once.
		if dup, isDup := p.duplicate(b); isDup {
			return dup, nil
		}
		return Pending{}, ErrLoading
	}
	for waited := false; ; {
		if err := plan.Prepare(ctx, p.schedule, source{p}); err != nil {
			return Pending{}, err
		}
		a, err := p.appendPlan(b, plan, v, now)
		switch {
		case errors.Is(err, delay.ErrChanged):
		case (errors.Is(err, ErrCrowded) || errors.Is(err, ErrStaged)) && !waited:
			waited = true
			// The partitions of one request share its time of arrival: they wait that long together.
			if full := p.room.lacking(b.Transactional()); full != nil {
				full.wait(ctx, min(crowdPatience, now.Add(crowdPatience).Sub(p.now())))
			}
		default:
			return a, err
		}
	}
}

// duplicate reports whether a batch is stored already, and where.
func (p *Partition) duplicate(b record.Batch) (Pending, bool) {
	dup, isDup, err := p.log.CheckProducer(b.ProducerID(), b.ProducerEpoch(), b.BaseSequence(), b.LastSequence())
	return p.pending(dup), err == nil && isDup
}

// appendPlan takes a batch through the append section: duplicates, cancels, receive time, append
// and schedule in one order.
func (p *Partition) appendPlan(b record.Batch, plan *delay.Plan, v *log.Verification, now time.Time) (Pending, error) {
	enter := p.mu.enterSettled
	if plan.Free() {
		enter = p.mu.enter
	}
	in := enter()
	defer in.leave()
	g := group(b)
	g.Verification = v
	dup, isDup, err := p.log.CheckProducer(g.ProducerID, g.ProducerEpoch, g.BaseSequence, g.LastSequence)
	if err != nil || isDup {
		return p.pending(dup), err
	}
	if plan.Grows() {
		switch p.room.lacking(b.Transactional()) {
		case &p.room.all:
			return Pending{}, ErrCrowded
		case &p.room.staged:
			return Pending{}, ErrStaged
		}
	}
	if !plan.Free() {
		if err := p.schedule.Admit(plan); err != nil {
			return Pending{}, err
		}
	}
	receive := p.schedule.Receive(now.UnixMilli())
	g.Pieces = plan.Stamp(receive)
	a, err := p.log.Append(p.epoch.Load(), now, g)
	if err != nil {
		return Pending{}, err
	}
	in.written()
	var changes delay.Changes
	if a.ReceiveTime == receive {
		changes, err = plan.Changes(a.BaseOffset)
	} else {
		// The log remembers a later one, of records that are not applied yet, or that retention has
		// removed since. What it stamped is what counts.
		changes, err = delay.Read(g.Pieces...)
	}
	return p.pending(a), p.apply(&in, changes, err)
}

// manyChanges are worth a goroutine of their own: their producer's next batch, which comes on the
// same connection, need not wait for them.
const manyChanges = 256

// apply tells the schedule what was just written means. What is told while producers are told that
// it is stored can be seen by whoever asks for the loaded schedule.
func (p *Partition) apply(in *passage, c delay.Changes, err error) error {
	switch {
	case err != nil:
		return p.unreadable(err)
	case c.Len() < manyChanges:
		p.schedule.Make(c)
	default:
		rest := in.handOver()
		go func() {
			defer rest.leave()
			p.schedule.Make(c)
		}()
	}
	return nil
}

// unreadable handles what should never be: that the schedule cannot read what was built for it. The
// partition stops rather than go on with a schedule that differs from its log.
func (p *Partition) unreadable(err error) error {
	return p.log.Fail(fmt.Errorf("schedule cannot follow the log: %w", err))
}

func (p *Partition) pending(a log.Appended) Pending {
	return Pending{BaseOffset: a.BaseOffset, EndOffset: a.EndOffset, AppendTime: a.AppendTime, LogStart: a.LogStart, log: p.log}
}
