package txn

import (
	"time"

	"github.com/morrowmq/morrow/broker/coord"
)

// maxWait is how long a request for a transactional id whose last transaction is
// decided waits for its markers before it is told CONCURRENT_TRANSACTIONS. Markers
// take a sync or two, a client that is told waits longer.
const maxWait = 100 * time.Millisecond

// waiter is a request that waits for a transaction to be complete.
type waiter struct {
	run  func(tx *coord.Tx)
	fail func(error)
}

// whenComplete runs a part of a command, at once or after the id's decided transaction is complete,
// but after maxWait at the latest: it must still look at the state. fail answers if it cannot be
// run any more.
func whenComplete(m *machine, tx *coord.Tx, id string, fail func(error), run func(tx *coord.Tx)) {
	t := m.transactions[id]
	if t == nil || !t.state.decided() {
		run(tx)
		return
	}
	if len(t.waiting) == 0 {
		m.setTimer(tx, timerKey{timerWait, id}, maxWait)
	}
	t.waiting = append(t.waiting, waiter{run, fail})
}

// resume runs what waits for a transaction.
func (m *machine) resume(tx *coord.Tx, t *transaction) {
	waiting := t.waiting
	t.waiting = nil
	m.timers.Cancel(timerKey{timerWait, t.id})
	for _, w := range waiting {
		w.run(tx)
	}
}
