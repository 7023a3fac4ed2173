package partition

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/morrowmq/morrow/delay"
	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/log/segment"
	"github.com/morrowmq/morrow/tier"
)

// retain applies retention to all partitions, every log.retention.check.interval.ms.
func (t *Table) retain(ctx context.Context) error {
	timer := time.NewTimer(t.retentionInterval())
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		for p := range t.All {
			if ctx.Err() != nil {
				return nil
			}
			p.retain(t.cfg.Now())
		}
		timer.Reset(t.retentionInterval())
	}
}

func (t *Table) retentionInterval() time.Duration {
	return time.Duration(t.cfg.Store.Image().BrokerConfig().Int("log.retention.check.interval.ms")) * time.Millisecond
}

// retain deletes what the topic's retention allows, the schedule does not need, and, for a tiered
// topic, the tier has.
func (p *Partition) retain(now time.Time) {
	remove := p.retainLog
	if p.Topic().Schedule {
		remove = p.evictRuns
	}
	removed, err := remove(now)
	if errors.Is(err, log.ErrClosed) {
		return // its topic was deleted meanwhile
	}
	if err != nil {
		p.logger.Error("retention failed", "partition", p, "err", err)
		return
	}
	if removed > 0 {
		p.logger.Info("retention removed segments", "partition", p, "segments", removed, "logStart", p.log.Offsets().LogStart)
	}
}

func (p *Partition) retainLog(now time.Time) (removed int, err error) {
	p.evicting.Lock()
	defer p.evicting.Unlock()
	return p.log.Retain(now, p.floor())
}

// smallRun is what a run must at least hold to be evicted; of smaller ones a partition has a few
// dozen at most, see delay.Keeper.Merge.
const smallRun = 1 << 20

// evictRuns removes local copies from a schedule log, by the local retention of the topic it
// belongs to: of records that are not delivered soon. The tables of a run stay, so that cancels
// need no store, and so does what a start reads. Small runs stay as a whole until a merge has made
// a larger one of them: there are never many, and fetching them back would cost more than they
// take.
func (p *Partition) evictRuns(now time.Time) (removed int, err error) {
	c, schedule := p.Topic().Config, localSource{p}.schedule()
	if p.remote.Load() == nil || !c.RemoteStorageEnable || schedule == nil {
		return 0, nil
	}
	late := schedule.ReadLate(now.Add(2*prefetchAhead).UnixMilli(), min(c.SegmentBytes/2, smallRun))
	size := p.log.Size()
	p.evicting.Lock()
	defer p.evicting.Unlock()
	return p.log.Evict(p.confirmed(), func(s segment.Info) bool {
		old := s.OlderThan(c.LocalRetentionMs, now.UnixMilli())
		large := c.LocalRetentionBytes >= 0 && size-s.Size >= c.LocalRetentionBytes
		if !old && !large || !slices.ContainsFunc(late, func(r delay.Range) bool { return r.From <= s.Base && s.End <= r.To }) {
			return false
		}
		size -= s.Size
		return true
	})
}

// floor is how far deletion may go. In a tiered topic local bytes go only once the tier has
// confirmed them, and those of records that are pending in memory stay here, where they are
// delivered from.
func (p *Partition) floor() log.Floor {
	f := p.wishes()
	f.Gate = p.gate()
	if f.Tiered {
		f.Confirmed = min(f.Confirmed, f.Gate)
	}
	return f
}

// wishes is floor without regard to what is pending.
func (p *Partition) wishes() log.Floor {
	f := log.Floor{Gate: math.MaxInt64, Remote: tier.NoTimestamp} // without a tier nobody can read what is there
	remote := p.remote.Load()
	if remote != nil {
		f.Remote = remote.RetentionTime(p.log.Offsets().LocalStart)
	}
	if remote != nil && p.Topic().Config.RemoteStorageEnable {
		f.Tiered, f.Confirmed = true, remote.Confirmed()
	}
	return f
}

// gate is the offset that the log start may not pass: what lies above is pending and nowhere else,
// or proves what is finished.
func (p *Partition) gate() int64 {
	switch {
	case !p.delays():
		return math.MaxInt64
	case !p.loaded.Load():
		return 0
	}
	p.mu.Lock() // the schedule knows of everything below the end
	defer p.mu.Unlock()
	return min(p.schedule.Gate(), p.held.Load(), p.log.Offsets().LogEnd)
}

// remoteGate is what gate is for removals from the tier: there, what is above suffices together
// with what has come up of the schedule log.
func (p *Partition) remoteGate() int64 {
	if p.Topic().Schedule {
		return p.remoteScheduleGate()
	}
	gate := p.gate()
	if journal := p.scheduleLog(); p.delays() && journal != nil && p.loaded.Load() {
		if at := p.copied(scheduleLog{journal}); at != delay.NoCopy {
			gate = min(gate, p.schedule.CopyGate(at))
		}
	}
	return gate
}

// remoteScheduleGate is the first offset of a schedule log that is needed in the tier.
func (p *Partition) remoteScheduleGate() int64 {
	owner := p.owner()
	if owner == nil || !owner.loaded.Load() {
		return 0
	}
	needs, all := owner.schedule.CopyNeeds(owner.copied(scheduleLog{p}))
	if all {
		return 0
	}
	gate := int64(math.MaxInt64)
	for _, n := range needs {
		gate = min(gate, n.From)
	}
	return gate
}
