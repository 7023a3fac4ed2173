package partition

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"

	"github.com/morrowmq/morrow/cluster/config"
	"github.com/morrowmq/morrow/log"
)

const (
	// crowdInterval is how often it is seen whether pending records take too much memory.
	crowdInterval = 250 * time.Millisecond
	// nearBytes is about what a pending record costs in the near index.
	nearBytes = 24
	// reliefBytes is the most of pending records that is moved to one run. What lies in it is freed at
	// its end, and others may be waiting.
	reliefBytes = 512 << 20
	// recallPatience is how long who has the turn has to give it back when memory is needed, before
	// another partition is relieved: it may be stuck.
	recallPatience = time.Second
	// worthSpilling is the part of delay.spill.distance.bytes that must lie beyond the distance:
	// fewer runs are larger.
	worthSpilling = 4
	// maxSpillWait is how long after failures, at most, a spill is tried again: it reads the log anew.
	maxSpillWait = 16 * time.Second
)

// crowd makes delayed records wait while the near indexes take a quarter more memory than they may,
// until ctx ends: producers may be faster than spills.
func (t *Table) crowd(ctx context.Context) error {
	ticker := time.NewTicker(crowdInterval)
	defer ticker.Stop()
	for over := false; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		before := over
		if over = t.judgeRoom(); over && !before {
			t.wantRelief()
		}
	}
}

// judgeRoom tells appends whether there is room, and returns whether the near indexes take more
// memory than they may.
func (t *Table) judgeRoom() (over bool) {
	limit := t.cfg.Store.Image().BrokerConfig().Int("delay.index.memory")
	near, staged := int64(0), int64(0)
	for p := range t.All {
		n, s := p.near()
		near, staged = near+n, staged+s
	}
	full := t.room.staged.set(staged > mayStage(limit))
	near += min(staged, mayStage(limit)) // of what is more only those hear who add to it
	crowded := near*nearBytes > limit+limit/4
	if crowded || t.room.staged.crowded() {
		t.crowded.Add(int64(crowdInterval))
	}
	if t.room.all.set(crowded) && crowded || full && t.room.staged.crowded() {
		t.crowdNews.Do(func() {
			t.cfg.Logger.Warn("delayed records are produced faster than they are moved out of memory; they have to wait, now and then",
				"pending_in_memory", near, "in_open_transactions", staged, "delay.index.memory", limit)
		})
	}
	return near*nearBytes > limit
}

// mayStage is how many records may be in transactions that are not over, of a memory of limit bytes:
// half of it, so that the rest is left to what can be moved out of it.
func mayStage(limit int64) int64 { return limit / nearBytes / 2 }

// Crowded is for how long, in all, delayed records have had to wait for memory. It is as exact as
// crowdInterval.
func (t *Table) Crowded() time.Duration { return time.Duration(t.crowded.Load()) }

// near counts what is pending and in no run, and what is in transactions that are not over.
func (p *Partition) near() (pending, staged int64) {
	s, ok := p.ScheduleStats(p.now().UnixMilli())
	if !ok {
		return 0, 0
	}
	return s.Pending - s.Spilled, s.Undecided
}

// pieceRecords is how many pending records are moved to one run at most.
func pieceRecords(limits *config.Resolved) int64 {
	return limits.Int("delay.index.memory") / nearBytes / 2
}

// wantRelief makes tend relieve at once.
func (t *Table) wantRelief() {
	select {
	case t.relief <- struct{}{}:
	default:
	}
}

// burden is what one partition's schedule lays on the broker.
type burden struct {
	p *Partition
	// near is how many records are in the near index, staged how many in transactions that are not
	// over, replay how many bytes of its log a start would read again for them.
	near, staged, replay int64
	// far is the offset below which what is pending lies too far behind the end of the log, beyond
	// how many bytes that are.
	far, beyond int64
}

func (p *Partition) burden(distance int64) burden {
	b := burden{p: p}
	b.near, b.staged = p.near()
	segments := p.log.Segments()
	from, _ := p.schedule.Replay()
	b.replay = log.Between(segments, from, math.MaxInt64)
	if b.replay > distance {
		b.far = log.Behind(segments, distance)
		b.beyond = log.Between(segments, from, b.far)
	}
	return b
}

// relieve moves what is pending of one partition to a run, if the near indexes of all take more
// memory than they may, or if a start would have to read too much of logs again. It returns whether
// it did: then there may be more to do.
func (t *Table) relieve(ctx context.Context) (relieved bool) {
	limits := t.cfg.Store.Image().BrokerConfig()
	distance := limits.Int("delay.spill.distance.bytes")
	var all []burden
	near, staged, replay := int64(0), int64(0), int64(0)
	for p := range t.All {
		if p.loaded.Load() {
			b := p.burden(distance)
			all, near, staged, replay = append(all, b), near+b.near, staged+b.staged, replay+b.replay
		}
	}
	limit := limits.Int("delay.index.memory")
	memory := (near+min(staged, mayStage(limit)))*nearBytes > limit
	switch {
	case memory:
		all = slices.DeleteFunc(all, func(b burden) bool { return b.near == 0 })
		slices.SortFunc(all, func(a, b burden) int { return cmp.Compare(b.near, a.near) })
	case replay > limits.Int("delay.replay.bytes"):
		all = slices.DeleteFunc(all, func(b burden) bool { return b.beyond < max(1, distance/worthSpilling) })
		slices.SortFunc(all, func(a, b burden) int { return cmp.Compare(b.beyond, a.beyond) })
	default:
		return false
	}
	for _, b := range all { // one may have to wait, for its turn or for the end of a transaction
		moved, err := b.p.relieve(ctx, limits, b.far, memory)
		if (moved || err != nil) && ctx.Err() == nil {
			b.p.unrelieved.note(b.p, "relief", err, tendInterval, tendInterval)
		}
		if moved || ctx.Err() != nil {
			t.judgeRoom()
			return moved
		}
	}
	return false
}

// relieve moves the oldest of what is pending to a run: what lies below the offset far or, if
// memory is needed, more. It returns whether anything was moved.
func (p *Partition) relieve(ctx context.Context, limits *config.Resolved, far int64, memory bool) (moved bool, err error) {
	taking, cancel := context.WithTimeout(ctx, recallPatience)
	defer cancel()
	if !p.turn.take(taking, memory) {
		return false, nil
	}
	defer p.turn.end()
	below := p.schedule.Oldest(pieceRecords(limits), reliefBytes)
	if !memory {
		below = min(below, far)
	}
	before := p.schedule.Floor()
	err = p.spill(ctx, below)
	return p.schedule.Floor() > before, err
}

// hold keeps retention from what is pending now, until held is reset.
func (p *Partition) hold() {
	p.mu.Lock() // the schedule knows of everything below the high watermark
	defer p.mu.Unlock()
	p.held.Store(p.schedule.Gate())
}

// spill moves what is pending below an offset to a run. The caller has the turn. errBusy: it is too
// early after one that failed.
func (p *Partition) spill(ctx context.Context, below int64) error {
	o := p.log.Offsets()
	if below = min(below, o.HighWatermark); below <= p.schedule.Floor() {
		return nil
	}
	journal := p.scheduleLog()
	switch {
	case journal == nil:
		return nil // the topic is being deleted
	case p.spills.wait(p.now()):
		return errBusy
	}
	// What a spill forgets in memory it may still have to read from the log: retention waits for it.
	p.hold()
	defer p.held.Store(math.MaxInt64)
	before := journal.log.Offsets().LogEnd
	err := p.keeper.Spill(ctx, spilled{source{p}}, below, o.LogStart)
	switch {
	case ctx.Err() != nil:
		return err
	case err == nil:
		p.spills.over()
		return nil
	}
	p.spills.failed(p.now(), tendInterval, maxSpillWait)
	if journal.log.Offsets().LogEnd > before {
		p.dropUnfinished(ctx, o.LogStart)
	}
	return err
}

// dropUnfinished deletes the part of a run that a spill has written before it failed, mostly because
// the disk is full. What cannot be deleted at once is left to the next tidy.
func (p *Partition) dropUnfinished(ctx context.Context, logStart int64) {
	ctx, cancel := context.WithTimeout(ctx, recallPatience)
	defer cancel()
	if err := p.keeper.Tidy(ctx, logStart); err != nil {
		p.logger.Debug("unfinished run is left for now", "partition", p.String(), "err", err)
	}
}
