package share

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/morrowmq/morrow/broker/coord"
)

// Letters writes records that a group has given up on to its dead-letter topic.
// It is called by one goroutine.
type Letters interface {
	// Bury makes the given records of a share-partition durable in a topic, in
	// order. After an error some of them may be there: they are given to it again,
	// so that the topic has every record at least once.
	Bury(ctx context.Context, k Key, topic string, dead []Dead) error
}

// Dead is a record that a group has given up on.
type Dead struct {
	Offset   int64
	Count    int16 // how often it was delivered
	Rejected bool  // a member refused it; otherwise it was delivered too often
}

const (
	burialRecords  = 500              // given to Letters at once
	burialTimeout  = 30 * time.Second // of one call of it
	minBurialPause = time.Second      // after a failure; doubles up to
	maxBurialPause = time.Minute
	burialReminder = 10 * time.Minute // between warnings of one failure that lasts
)

// graveyard is what the goroutine that buries remembers of failures.
type graveyard struct {
	pauses map[Key]burialPause
	unseen bool // a shard did not say in time what there is to bury, or not at all
}

type burialPause struct {
	after  time.Duration
	until  time.Time
	cause  string    // as it was last told
	toldAt time.Time // zero: not yet
}

// tell reports whether a failure is worth a line: it is another one, or was told long ago.
func (p *burialPause) tell(err error, now time.Time) bool {
	if !p.toldAt.IsZero() && err.Error() == p.cause && now.Sub(p.toldAt) < burialReminder {
		return false
	}
	p.cause, p.toldAt = err.Error(), now
	return true
}

// burial is a share-partition with records for the dead-letter topic.
type burial struct {
	key   Key
	topic string // "": the group has none any more
	dead  []Dead
}

// runBurials writes to the dead-letter topics until ctx ends. What fails is tried
// again for ever: a record stays with its group until it is in the topic.
func (c *Coordinator) runBurials(ctx context.Context) error {
	g := graveyard{pauses: map[Key]burialPause{}}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.dying:
		case <-timer.C:
		}
		for c.buryAll(ctx, &g) {
		}
		timer.Stop()
		if len(g.pauses) > 0 || g.unseen {
			timer.Reset(minBurialPause)
		}
	}
}

// buryAll gives every share-partition that has something to bury a turn, and
// reports whether there may be more to do at once.
func (c *Coordinator) buryAll(ctx context.Context, g *graveyard) (more bool) {
	dying := map[Key]bool{}
	g.unseen = false
	for _, shard := range c.table.Led() {
		// Not before it is committed that they are given up: see coord.Do.
		list, err := coord.Do(ctx, shard, func(m *machine, _ *coord.Tx) ([]burial, error) { return m.burials(), nil })
		if err != nil {
			g.unseen = true
			continue
		}
		for _, b := range list {
			dying[b.key] = true
			if c.opts.Now().Before(g.pauses[b.key].until) {
				continue
			}
			if c.buryOne(ctx, g, b) && len(b.dead) == burialRecords {
				more = true
			}
		}
	}
	if !g.unseen {
		c.forget(g, dying)
	}
	return more && ctx.Err() == nil
}

// forget drops the failures of share-partitions that have nothing to bury any more:
// they were deleted, or began anew.
func (c *Coordinator) forget(g *graveyard, dying map[Key]bool) {
	maps.DeleteFunc(g.pauses, func(k Key, _ burialPause) bool { return !dying[k] })
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.stuck, func(k Key, _ error) bool { return !dying[k] })
}

func (c *Coordinator) buryOne(ctx context.Context, g *graveyard, b burial) (ok bool) {
	err := c.write(ctx, b)
	if err == nil {
		err = c.do(ctx, b.key, func(m *machine, tx *coord.Tx) error { return m.buried(tx, b) })
	}
	if ctx.Err() != nil {
		return false
	}
	if err == nil {
		delete(g.pauses, b.key)
		c.note(b.key, nil)
		return true
	}
	p := g.pauses[b.key]
	p.after = min(max(2*p.after, minBurialPause), maxBurialPause)
	now := c.opts.Now()
	p.until = now.Add(p.after)
	tell := p.tell(err, now)
	g.pauses[b.key] = p
	c.note(b.key, err)
	if !tell {
		return false
	}
	c.opts.Logger.Warn("records not written to the dead-letter topic, will try again", "group", b.key.Group, "topic", b.topic,
		"partition", b.key.Partition, "records", len(b.dead), "in", p.after, "err", err)
	return false
}

func (c *Coordinator) write(ctx context.Context, b burial) error {
	if b.topic == "" {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, burialTimeout, errBurialTimeout)
	defer cancel()
	return c.opts.Letters.Bury(ctx, b.key, b.topic, b.dead)
}

var errBurialTimeout = errors.New("the dead-letter topic did not take the records in time")

// note remembers why a share-partition's records cannot be buried, for those who ask.
func (c *Coordinator) note(k Key, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		delete(c.stuck, k)
	} else {
		c.stuck[k] = err
	}
}

// burials lists what there is to bury, a bounded part of each share-partition.
func (s *machine) burials() []burial {
	var list []burial
	for k, p := range s.parts {
		if p.count[exhausted]+p.count[rejected] == 0 {
			continue
		}
		b := burial{key: k, topic: s.cfg(k.Group).DeadLetters}
		for _, x := range p.all(func(f fate) bool { return f.state.dying() }) {
			for o := x.first; o < x.end && len(b.dead) < burialRecords; o++ {
				b.dead = append(b.dead, Dead{o, x.count, x.state == rejected})
			}
		}
		list = append(list, b)
	}
	return list
}

// buried finishes records that are in the dead-letter topic, as far as they are
// still the ones that were to be buried.
func (s *machine) buried(tx *coord.Tx, b burial) error {
	p := s.parts[b.key]
	if p == nil {
		return nil
	}
	end := buried
	if b.topic == "" {
		end = unfinished
	}
	var changes []change
	for _, d := range b.dead {
		for _, x := range p.within(d.Offset, d.Offset+1) {
			if x.state.dying() {
				changes = append(changes, change{run{x.first, x.end, fate{state: done}}, end})
			}
		}
	}
	if err := s.change(tx, b.key, p, changes); err != nil {
		return err
	}
	s.settle(b.key, p)
	return nil
}
