package partition

import (
	"context"
	"math"
	"time"

	"github.com/morrowmq/morrow/log"
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

// retain deletes what the topic's retention allows, the schedule does not need, and, for a tiered topic, the tier has.
func (p *Partition) retain(now time.Time) {
	removed, err := p.log.Retain(now, p.floor())
	if err != nil {
		p.logger.Error("retention failed", "partition", p, "err", err)
		return
	}
	if removed > 0 {
		p.logger.Info("retention removed segments", "partition", p, "segments", removed, "logStart", p.log.Offsets().LogStart)
	}
}

// floor is how far deletion may go. In a tiered topic local bytes go only once the tier has confirmed them, and those of pending
// records stay here, where they are delivered from.
func (p *Partition) floor() log.Floor {
	f := log.Floor{Gate: p.gate()}
	if p.remote.Load() != nil && p.Topic().Config.RemoteStorageEnable {
		f.Tiered, f.Confirmed = true, min(p.confirmed(), f.Gate)
	}
	return f
}

// gate is the offset that the log start may not pass: what lies above is pending and nowhere else, or proves what is finished.
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
