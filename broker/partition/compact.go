package partition

import (
	"context"
	"errors"
	"math"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/morrowmq/morrow/cluster/config"
	"github.com/morrowmq/morrow/internal/pace"
	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/log/compact"
	"github.com/morrowmq/morrow/log/segment"
)

// compaction is how a partition stands with the cleaner.
type compaction struct {
	running  atomic.Bool
	setbacks setbacks              // what failed and is tried again; due is for whoever has seen that it is not running
	failure  atomic.Pointer[error] // why it is not cleaned any more
	told     atomic.Bool           // that the tier is in the way
}

// compact cleans compacted partitions, the dirtiest first and log.cleaner.threads of them at the
// same time, until ctx ends.
func (t *Table) compact(ctx context.Context) error {
	limiter := pace.NewLimiter(0)
	done := make(chan struct{})
	running := 0
	defer func() {
		for ; running > 0; running-- {
			<-done
		}
	}()
	for {
		limits := t.cfg.Store.Image().BrokerConfig()
		limiter.SetLimit(cleanRate(limits))
		for running < int(limits.Int("log.cleaner.threads")) {
			p := t.dirtiest(limits)
			if p == nil {
				break
			}
			running++
			go func() {
				p.clean(ctx, limits, limiter)
				done <- struct{}{}
			}()
		}
		pause := time.NewTimer(time.Duration(limits.Int("log.cleaner.backoff.ms")) * time.Millisecond)
		select {
		case <-ctx.Done():
			pause.Stop()
			return nil
		case <-done:
			running--
		case <-pause.C:
		}
		pause.Stop()
	}
}

// cleanRate is the limit on the bytes a second that cleaners read and write.
func cleanRate(limits *config.Resolved) rate.Limit {
	if r := limits.Float("log.cleaner.io.max.bytes.per.second"); r < math.MaxInt64 {
		return rate.Limit(r)
	}
	return rate.Inf
}

// dirtiest picks the partition to be cleaned next, and marks it as being cleaned; nil if none is due.
func (t *Table) dirtiest(limits *config.Resolved) *Partition {
	if !limits.Bool("log.cleaner.enable") {
		return nil
	}
	var ready []*Partition
	var plans []compact.Plan
	for p := range t.All {
		if now := p.now(); p.compactable(now) {
			ready, plans = append(ready, p), append(plans, p.log.CompactionPlan(now, p.gate()))
		}
	}
	i := compact.Pick(plans)
	if i < 0 {
		return nil
	}
	ready[i].cleaner.running.Store(true)
	return ready[i]
}

// compactable reports whether the partition may be cleaned now.
func (p *Partition) compactable(now time.Time) bool {
	if !p.Topic().Config.Compact || p.log.Failure() != nil || p.cleaner.failure.Load() != nil {
		return false
	}
	return !p.cleaner.running.Load() && !p.cleaner.setbacks.wait(now) && !p.inTier()
}

// inTier reports whether a part of the log lies in the tier, from the time before its topic was
// compacted. That is not cleaned: a tombstone that went here would bring back what it has deleted
// there, and a hole would look like something that the tier has.
func (p *Partition) inTier() bool {
	o := p.log.Offsets()
	in := (o.LocalStart > o.RealStart || o.DeleteBound > o.RealStart) && !p.leaveTier()
	if in && !p.cleaner.told.Swap(true) {
		p.logger.Warn("partition is compacted once nothing of it is left in the tier", "partition", p.String(), "confirmed", o.DeleteBound, "logStart", o.RealStart)
	}
	return in
}

// leaveTier makes the log forget what was confirmed in the tier once nothing is left there, and
// reports whether it has.
func (p *Partition) leaveTier() bool {
	remote := p.remote.Load()
	if remote == nil || !remote.Empty() {
		return false
	}
	p.evicting.Lock() // retention goes by what is confirmed
	defer p.evicting.Unlock()
	if p.Topic().Config.RemoteStorageEnable {
		return false
	}
	whole, err := p.log.ForgetTier()
	if err != nil {
		p.logger.Warn("partition that has left the tier cannot be compacted yet", "partition", p.String(), "err", err)
	}
	return whole
}

// slowestCleaning is how long what could not be cleaned is left alone, at most.
const slowestCleaning = 5 * time.Minute

// errNotCompacted ends a cleaning whose topic is not compacted any more. It may go to the tier from
// then on: see inTier.
var errNotCompacted = errors.New("the topic is not compacted any more")

// clean compacts the partition's log. If it fails for something that will not go away, the
// partition is not cleaned any more until a restart, as in Kafka (KIP-346): what cannot be read
// today must not be dropped tomorrow, and nothing is lost but space, of which a metric warns.
func (p *Partition) clean(ctx context.Context, limits *config.Resolved, limiter *rate.Limiter) {
	defer p.cleaner.running.Store(false)
	done, err := p.log.Compact(ctx, p.now(), log.Compaction{
		Gate:     p.gate(),
		MapBytes: limits.Int("log.cleaner.dedupe.buffer.size") / limits.Int("log.cleaner.threads"),
		Pace: func(ctx context.Context, bytes int) error {
			if !p.Topic().Config.Compact {
				return errNotCompacted
			}
			return pace.Wait(ctx, limiter, bytes)
		},
	})
	switch {
	case err == nil:
		p.cleaner.setbacks.over()
		p.logger.Info("log cleaned", "partition", p.String(), "from", done.From, "to", done.To, "keys", done.Keys,
			"read", done.Read, "written", done.Written, "reclaimed", done.Before-done.After, "took", done.Took)
	case ctx.Err() != nil, p.log.Failure() != nil, errors.Is(err, errNotCompacted):
	case errors.Is(err, log.ErrBusy), errors.Is(err, log.ErrNoSpace):
		first := max(time.Duration(limits.Int("log.cleaner.backoff.ms"))*time.Millisecond, time.Second)
		if wait, tell := p.cleaner.setbacks.failed(p.now(), first, max(first, slowestCleaning)); tell {
			p.logger.Warn("log could not be cleaned, will try again", "partition", p.String(), "failures", p.cleaner.setbacks.count.Load(), "in", wait, "err", err)
		}
	default:
		p.cleaner.failure.Store(&err)
		p.logger.Error("partition is not cleaned any more, because its log cannot be read; others are", "partition", p.String(), "err", err)
	}
}

// Compaction is how a compacted partition stands.
type Compaction struct {
	DirtyRatio  float64   // share of the bytes that could be cleaned and were not
	CleanedAt   time.Time // zero if it never was
	Uncleanable error     // why it is not cleaned any more; nil if it is
	Failures    int64     // how often in a row that has failed, and will be tried again
}

// Compaction tells how the partition stands with the cleaner; ok is false if its topic is not compacted.
func (p *Partition) Compaction() (c Compaction, ok bool) {
	if !p.Topic().Config.Compact {
		return c, false
	}
	c.DirtyRatio = p.log.CompactionPlan(p.now(), p.gate()).Ratio()
	_, c.CleanedAt = p.log.Cleaned()
	c.Failures = p.cleaner.setbacks.count.Load()
	if err := p.cleaner.failure.Load(); err != nil {
		c.Uncleanable = *err
	}
	return c, true
}

// minFreed is how many bytes of finished records must lie between pending ones for these to be
// moved out of the cleaner's way.
const minFreed = 1 << 20

// cleanable is up to where pending records are moved to a run, so that the cleaner can drop what is
// finished between them; 0 if that is not worth while.
func (p *Partition) cleanable(segments []segment.Info) int64 {
	c := p.Topic().Config
	if !c.Compact {
		return 0
	}
	seen, _ := p.log.Cleaned()
	gate, stats := p.schedule.Gate(), p.schedule.Stats(p.now().UnixMilli())
	hidden, size := int64(0), int64(0)
	for _, s := range segments {
		size += s.Size
		if gate < s.End && s.End <= seen {
			hidden += s.HiddenBytes
		}
	}
	held := 2 * (hidden - stats.Bytes) // the deliveries are as large as what they have delivered
	if float64(held) > max(minFreed, c.MinCleanableDirtyRatio*float64(size)) {
		return seen
	}
	return 0
}
