package share

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/morrowmq/morrow/broker/coord"
)

// Key names a share-partition: a partition as one group sees it.
type Key struct {
	Group     string
	Topic     [16]byte
	Partition int32
}

// machine is the state of one shard: the share-partitions whose key hashes to it.
// It implements [coord.State].
//
// What Replay does not rebuild, and a restart therefore forgets: locks, the
// deliveries under way with them, and the totals.
type machine struct {
	cfg    func(group string) Config
	log    *slog.Logger
	wake   func(Key) // there may be something to acquire
	loaded func()    // calls are answered from now on
	bury   func()    // there is something for the dead-letter topic
	parts  map[Key]*partition
	timers coord.Timers[timerKey]

	checkpoint checkpoint
}

// timerKey names a deadline: of a share-partition, or of the checkpoint.
type timerKey struct {
	checkpoint bool
	key        Key
}

func newMachine(cfg func(string) Config, log *slog.Logger, wake func(Key), loaded, bury func()) *machine {
	return &machine{cfg: cfg, log: log, wake: wake, loaded: loaded, bury: bury, parts: map[Key]*partition{}}
}

// Loaded sets the deadlines of what waits.
func (s *machine) Loaded(*coord.Tx) {
	for k, p := range s.parts {
		s.rearm(k, p)
	}
	s.loaded()
	s.bury()
}

// Unloaded implements [coord.State]. Nobody waits in the machine.
func (s *machine) Unloaded(error) {}

// Deadline implements [coord.State].
func (s *machine) Deadline() time.Time { return s.timers.Next() }

// Expire implements [coord.State].
func (s *machine) Expire(tx *coord.Tx) {
	key, ok := s.timers.Pop(tx.Now())
	switch {
	case !ok:
	case key.checkpoint:
		s.stepCheckpoint(tx)
	default:
		s.expire(tx, key.key)
	}
}

// retryExpire is when locks that have ended are looked at again if that could not
// be recorded.
const retryExpire = time.Second

// expire takes back what members have held for too long, and wakes those who wait
// for what has waited long enough.
func (s *machine) expire(tx *coord.Tx, k Key) {
	p := s.parts[k]
	if p == nil {
		return
	}
	c, now := s.cfg(k.Group), tx.Now().UnixMilli()
	changes := p.timedOut(c, now)
	if err := s.change(tx, k, p, changes); err != nil {
		s.log.Warn("end of record locks not recorded, will retry", "group", k.Group, "partition", k.Partition, "err", err)
		s.timers.Set(timerKey{key: k}, tx.Now().Add(retryExpire))
		return
	}
	for _, x := range changes {
		p.totals.TimedOut += x.end - x.first
	}
	p.ripen(now)
	s.settle(k, p)
}

// change journals changes, which applies them, and counts what became of the
// records. Renewed locks are not journaled.
func (s *machine) change(tx *coord.Tx, k Key, p *partition, changes []change) error {
	var durable []run
	dying := false
	for _, c := range changes {
		if c.state != acquired {
			durable = append(durable, c.run)
			dying = dying || c.state.dying()
		}
	}
	if len(durable) > 0 {
		if err := s.append(tx, delta(k, p.start, durable)); err != nil {
			return err
		}
	}
	for _, c := range changes {
		p.totals.count(c)
		if c.state == acquired {
			p.set(c.first, c.end, c.fate)
		}
	}
	if dying {
		s.bury()
	}
	return nil
}

// append writes records and sees to it that the journal does not grow for ever.
func (s *machine) append(tx *coord.Tx, records ...coord.Record) error {
	if err := tx.Append(records...); err != nil {
		return err
	}
	s.maybeCheckpoint(tx)
	return nil
}

// settle follows up on a change once it is applied.
func (s *machine) settle(k Key, p *partition) {
	s.rearm(k, p)
	if _, _, ok := p.next(s.cfg(k.Group), 0); ok {
		s.wake(k)
	}
}

func (s *machine) rearm(k Key, p *partition) {
	if at := p.deadline(); at > 0 {
		s.timers.Set(timerKey{key: k}, time.UnixMilli(at))
	} else {
		s.timers.Cancel(timerKey{key: k})
	}
}

// Replay implements [coord.State].
func (s *machine) Replay(r coord.Record) error {
	if err := s.replay(r); err != nil {
		return fmt.Errorf("share group record with key %x: %w", r.Key, err)
	}
	s.checkpoint.records++
	return nil
}

// part returns a share-partition that exists.
func (s *machine) part(k Key) (*partition, error) {
	if p := s.parts[k]; p != nil {
		return p, nil
	}
	return nil, ErrUnknown
}

// open begins a share-partition at an offset, unless it has begun already.
func (s *machine) open(tx *coord.Tx, k Key, start int64) error {
	if s.parts[k] != nil {
		return nil
	}
	r := newRuns(start)
	return s.append(tx, snapshot(k, &r))
}

// reset begins a share-partition anew.
func (s *machine) reset(tx *coord.Tx, k Key, start int64) error {
	r := newRuns(start)
	records := []coord.Record{snapshot(k, &r)}
	if s.parts[k] != nil {
		records = []coord.Record{tombstone(k), records[0]}
	}
	if err := s.append(tx, records...); err != nil {
		return err
	}
	s.timers.Cancel(timerKey{key: k})
	s.wake(k)
	return nil
}

// remove ends share-partitions, in as many batches as it takes.
func (s *machine) remove(tx *coord.Tx, which func(Key) bool) error {
	var gone []coord.Record
	for k := range s.parts {
		if which(k) {
			gone = append(gone, tombstone(k))
		}
	}
	for batch := range coord.Batches(gone) {
		if err := s.append(tx, batch...); err != nil {
			return err
		}
	}
	return nil
}

func (s *machine) acquire(tx *coord.Tx, k Key, f Find) ([]Acquired, error) {
	p, err := s.part(k)
	if err != nil {
		return nil, err
	}
	got := p.acquire(s.cfg(k.Group), f, tx.Now().UnixMilli())
	s.rearm(k, p)
	return got, nil
}

func (s *machine) acknowledge(tx *coord.Tx, k Key, member string, acks []Ack) error {
	p, err := s.part(k)
	if err != nil {
		return err
	}
	changes, err := p.resolve(s.cfg(k.Group), member, acks, tx.Now().UnixMilli())
	if err != nil {
		return err
	}
	if err := s.change(tx, k, p, changes); err != nil {
		return err
	}
	s.settle(k, p)
	return nil
}

// leave gives back what a member holds.
func (s *machine) leave(tx *coord.Tx, k Key, member string) error {
	p := s.parts[k]
	if p == nil {
		return nil
	}
	if err := s.change(tx, k, p, p.left(member)); err != nil {
		return err
	}
	s.settle(k, p)
	return nil
}
