package tier

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"time"

	"github.com/morrowmq/morrow/tier/bucket"
	"github.com/morrowmq/morrow/tier/flight"
)

const (
	// How often a partition with nothing to upload is looked at for retention (Kafka:
	// remote.log.manager.task.interval.ms).
	stepInterval = 30 * time.Second

	firstBackOff = 100 * time.Millisecond
	maxBackOff   = 30 * time.Second
)

// work does one step of the partition and returns after how long the next one is due.
func (p *Partition) work(ctx context.Context) (delay time.Duration) {
	err := p.inTurn(ctx, func(ctx context.Context) error {
		var more bool
		var due time.Duration
		err := flight.Contain(func() (err error) {
			more, due, err = p.step(ctx)
			return err
		})
		if errors.Is(err, flight.ErrPanic) {
			p.catalog.current = nil // whatever it was doing
		}
		if ctx.Err() != nil {
			return nil
		}
		p.publish(func(v *view) { v.err = err })
		_ = p.lookAtWaiting() // whoever wants to know the lag meets the error too
		switch {
		case err != nil:
			p.failures++
			delay = backOff(p.failures, err)
		case more:
			p.failures = 0
		default:
			p.failures = 0
			delay = due
		}
		p.tell(err, delay)
		return nil
	})
	if err != nil {
		return stepInterval // ctx has ended, or nothing is to be done any more
	}
	return delay
}

// step does the next piece of each kind of work. One kind that fails does not keep the others from
// being tried, unless the manifest is not to be had any more: then the next would only ask the same
// of a store that is down.
func (p *Partition) step(ctx context.Context) (more bool, due time.Duration, err error) {
	due = stepInterval
	over := false
	do := func(work func() error) {
		if over {
			return
		}
		if rerr := p.ready(ctx); rerr != nil {
			over, err = true, errors.Join(err, rerr)
		} else if p.catalog.current != nil {
			err = errors.Join(err, work())
		}
	}
	do(func() error { return p.expireIfDue(ctx) })
	do(func() error { return p.repairStep(ctx) })
	do(func() error {
		again, wait, err := p.collectStep(ctx)
		more = more || again
		if wait > 0 {
			due = min(due, wait)
		}
		return err
	})
	do(func() error {
		again, err := p.uploadStep(ctx)
		more = more || again
		return err
	})
	do(func() error { return p.describeStep(ctx) })
	return more, due, err
}

// describeStep sees to it that the bucket knows the topic as it is, when nothing else is committed:
// a restore would otherwise apply a retention that was raised since, forget partitions, or bring
// back what DeleteRecords has removed.
func (p *Partition) describeStep(ctx context.Context) error {
	m, cfg := p.catalog.current, p.config()
	same := maps.Equal(m.Config, cfg.Topic) && m.Partitions == cfg.Partitions && m.Schedule == cfg.Schedule
	// Some clients delete records all the time. A clock that was ahead puts nothing off.
	passed := p.tier.now().UnixMilli() - m.Time
	started := p.source.Offsets().Reported > m.ReportedStart && (passed < 0 || passed >= stepInterval.Milliseconds())
	if same && !started {
		return nil
	}
	if err := p.commit(ctx, m.clone()); err != nil {
		return err
	}
	return p.settle(nil)
}

// expireIfDue looks at retention now and then, and at once when the log start has moved.
func (p *Partition) expireIfDue(ctx context.Context) error {
	now, m, discard := p.tier.now(), p.catalog.current, p.config().Discard
	if p.withdrawn && !discard { // it was not carried through, and is not wanted any more
		if err := p.settle(nil); err != nil {
			return err
		}
	}
	if now.Before(p.expireDue) && p.source.Offsets().Start <= m.Start && !discard {
		return nil
	}
	if err := p.expireStep(ctx); err != nil {
		return err
	}
	p.expireDue = now.Add(stepInterval)
	return nil
}

// backOff returns how long to wait after so many failures in a row: doubling from firstBackOff to
// maxBackOff, the latter at once if only a person can help, with jitter so that partitions that
// failed together do not come back together.
func backOff(failures int, err error) time.Duration {
	d := min(firstBackOff<<min(failures-1, 20), maxBackOff)
	if bucket.NeedsPerson(err) || errors.Is(err, ErrFenced) || errors.Is(err, ErrDiverged) || errors.Is(err, ErrRolledBack) {
		d = maxBackOff
	}
	return d/2 + rand.N(d/2)
}
