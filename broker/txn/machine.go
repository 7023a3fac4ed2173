package txn

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/morrowmq/morrow/broker/coord"
)

// machine is the state of one shard: every transactional id that hashes to it.
// It implements [coord.State]: it has no goroutine, lock or clock, and changes
// what must survive only in Replay. Requests that wait for a transaction to be
// complete do not survive.
type machine struct {
	cfg     func() Config
	epoch   int32 // of the term, for markers
	log     *slog.Logger
	metrics *metrics
	// decide is told of every transaction that is decided, which may not be committed yet.
	decide func(id string)
	loaded bool

	transactions map[string]*transaction
	open         map[string]*transaction // those that are ongoing
	timers       coord.Timers[timerKey]
	sweep        []string // ids the running expiry pass has yet to look at
}

// timerKey names a deadline.
type timerKey struct {
	kind timerKind
	id   string // of the transaction, for timerWait
}

type timerKind uint8

const (
	timerAbort  timerKind = iota // next look for transactions that have timed out
	timerExpire                  // next step of a pass over ids nobody uses
	timerWait                    // requests have waited long enough
)

func newMachine(cfg func() Config, epoch int32, log *slog.Logger, m *metrics, decide func(id string)) *machine {
	return &machine{
		cfg: cfg, epoch: epoch, log: log, metrics: m, decide: decide,
		transactions: map[string]*transaction{}, open: map[string]*transaction{},
	}
}

// Replay implements [coord.State].
func (m *machine) Replay(r coord.Record) error {
	if err := m.replay(r); err != nil {
		return fmt.Errorf("transaction record with key %x: %w", r.Key, err)
	}
	return nil
}

// set makes t what is known of its id.
func (m *machine) set(t *transaction) {
	if old := m.transactions[t.id]; old != nil {
		t.waiting = old.waiting
	}
	m.transactions[t.id] = t
	delete(m.open, t.id)
	switch {
	case t.state == ongoing:
		m.open[t.id] = t
	case t.state.decided() && m.loaded:
		m.decide(t.id)
	}
}

func (m *machine) forget(id string) {
	delete(m.transactions, id)
	delete(m.open, id)
}

// Loaded takes up what was decided and is not complete.
func (m *machine) Loaded(tx *coord.Tx) {
	m.loaded = true
	for id, t := range m.transactions {
		if t.state.decided() {
			m.decide(id)
		}
	}
	m.setTimer(tx, timerKey{kind: timerAbort}, m.cfg().AbortInterval)
	m.setTimer(tx, timerKey{kind: timerExpire}, m.cfg().ExpireInterval)
}

// Unloaded fails every request that waits.
func (m *machine) Unloaded(err error) {
	for _, t := range m.transactions {
		for _, w := range t.waiting {
			w.fail(err)
		}
	}
}

// Deadline implements [coord.State].
func (m *machine) Deadline() time.Time { return m.timers.Next() }

// Expire implements [coord.State].
func (m *machine) Expire(tx *coord.Tx) {
	key, ok := m.timers.Pop(tx.Now())
	if !ok {
		return
	}
	switch key.kind {
	case timerAbort:
		m.abortTimedOut(tx)
	case timerExpire:
		m.expireIDs(tx)
	case timerWait:
		if t := m.transactions[key.id]; t != nil {
			m.resume(tx, t)
		}
	}
}

func (m *machine) setTimer(tx *coord.Tx, key timerKey, after time.Duration) {
	m.timers.Set(key, tx.Now().Add(after))
}

const (
	// abortsPerLook, of those that are written as of those that cannot be, and idsPerStep bound one
	// step, so that the shard answers requests in between.
	abortsPerLook = 100
	idsPerStep    = 500
)

// abortTimedOut aborts transactions that have lasted longer than their producers asked for. The new
// epoch keeps what the producer still sends out of the log. What cannot be written now is tried
// again at the next look, and keeps no other waiting.
func (m *machine) abortTimedOut(tx *coord.Tx) {
	late := make([]*transaction, 0)
	for _, t := range m.open {
		if t.timedOut(tx.Now()) {
			late = append(late, t)
		}
	}
	slices.SortFunc(late, func(a, b *transaction) int { return int(a.startMs - b.startMs) })
	wait, aborted, failed := m.cfg().AbortInterval, 0, 0
	for _, t := range late {
		if aborted == abortsPerLook {
			wait = 0
			break
		}
		if err := m.fence(tx, t); err != nil {
			if failed++; failed == 1 { // one line is enough: mostly it is the same for all
				m.log.Warn("transaction that has timed out not aborted, will try again", "transactional_id", t.id, "timed_out", len(late), "err", err)
			}
			if failed == abortsPerLook {
				break
			}
			continue
		}
		aborted++
		m.metrics.timedOut.Inc()
		m.log.Info("transaction aborted: it has timed out", "transactional_id", t.id, "producer", t.producerID, "timeout_ms", t.timeoutMs)
	}
	m.setTimer(tx, timerKey{kind: timerAbort}, wait)
}

// expireIDs is one step of a pass over all transactional ids that forgets those not used for long.
func (m *machine) expireIDs(tx *coord.Tx) {
	if m.sweep == nil {
		m.sweep = slices.Sorted(maps.Keys(m.transactions))
	}
	n := min(idsPerStep, len(m.sweep))
	before := tx.Now().Add(-m.cfg().IDExpiration).UnixMilli()
	var records []coord.Record
	for _, id := range m.sweep[:n] {
		if t := m.transactions[id]; t != nil && t.state != ongoing && !t.state.decided() && t.updateMs <= before {
			records = append(records, tombstone(id))
		}
	}
	for batch := range coord.Batches(records) {
		if err := tx.Append(batch...); err != nil {
			m.log.Warn("expired transactional ids not removed", "ids", len(batch), "err", err)
			continue
		}
		m.log.Info("transactional ids expired", "ids", len(batch))
	}
	m.sweep = m.sweep[n:]
	wait := time.Duration(0)
	if len(m.sweep) == 0 {
		m.sweep, wait = nil, m.cfg().ExpireInterval
	}
	m.setTimer(tx, timerKey{kind: timerExpire}, wait)
}
