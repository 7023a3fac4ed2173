package partition

import (
	"testing"
	"time"

	"github.com/morrowmq/morrow/tier/bucket"
	"github.com/morrowmq/morrow/tier/bucket/buckettest"
)

// This file asks how much is done where there is nothing more to do: what waits for something
// outside waits quietly.

// written is how far the schedule log of a topic has come, and how many segments it has here.
func (w *world) written(name string) (end int64, segments int) {
	w.Helper()
	journal := w.partition(name).scheduleLog()
	return journal.log.Offsets().LogEnd, len(journal.log.Segments())
}

// quiet fails if the schedule log goes on growing for an hour in which nobody produces.
func (w *world) quiet(name string) {
	w.Helper()
	time.Sleep(10 * time.Minute)
	end, segments := w.written(name)
	time.Sleep(time.Hour)
	if again, more := w.written(name); again > end+4 || more > segments+1 {
		w.Errorf("in an hour the schedule log has grown from %d to %d, and from %d to %d segments", end, again, segments, more)
	}
}

func TestScheduleLogIsQuietWhileATransactionIsOpen(t *testing.T) {
	for _, tier := range []string{"false", "true"} {
		t.Run(tier, func(t *testing.T) {
			tiered(t, func(t *testing.T, w *world) {
				w.d1("orders", "remote.storage.enable", tier, "local.retention.ms", "60000", "retention.ms", "600000", "segment.ms", "60000")
				w.start()
				w.awaitLoaded("orders")
				l := w.ledger("orders")
				l.schedule(20, 12*time.Hour)
				l.run(10 * time.Minute)
				w.appendIn(w.partition("orders"), 0, 0, delayed("undecided", "24h"))
				l.schedule(20, 12*time.Hour)
				l.run(30 * time.Minute)
				if st := w.stats(w.partition("orders")); st.Runs == 0 || st.Undecided != 1 {
					t.Fatalf("%+v: the test is void", st)
				}
				w.quiet("orders")
				w.end(w.partition("orders"), 0, true)
				l.run(30 * time.Minute)
				if st, o := w.stats(w.partition("orders")), w.partition("orders").log.Offsets(); st.Spilled != 41 || o.RealStart < 40 {
					t.Errorf("after the transaction %+v, log %+v", st, o)
				}
			})
		})
	}
}

func TestScheduleLogIsQuietWhileTheStoreIsDown(t *testing.T) {
	tiered(t, func(t *testing.T, w *world) {
		w.d1("orders", "local.retention.ms", "60000", "retention.ms", "600000", "segment.ms", "60000")
		w.start()
		w.awaitLoaded("orders")
		l := w.ledger("orders")
		l.schedule(20, 3*time.Hour)
		l.run(30 * time.Minute)
		w.bucket.Add(buckettest.Rule{Times: buckettest.Forever, Fault: buckettest.Refuse, Err: bucket.ErrThrottled})
		l.schedule(20, 3*time.Hour)
		l.run(30 * time.Minute)
		w.quiet("orders")
		w.bucket.Heal()
		l.run(2 * time.Hour)
		l.settled()
	})
}
