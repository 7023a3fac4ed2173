package partition

import (
	"testing"
	"time"

	"github.com/morrowmq/morrow/tier/bucket/buckettest"
)

// TestPowerLossSparesWhatWasSpilledOfALooseTopic: of a topic whose records are acknowledged before
// they are durable, what was moved to a run is durable, and no ticket in it is given to another
// record.
func TestPowerLossSparesWhatWasSpilledOfALooseTopic(t *testing.T) {
	living(t, func(t *testing.T, w *world) {
		w.create("orders", 1, "flush.messages", "1000000", "segment.bytes", "4096", "segment.ms", "60000", "retention.ms", "600000")
		stop := w.start()
		w.awaitLoaded("orders")
		l := w.ledger("orders")
		l.schedule(100, 4*time.Hour)
		l.run(time.Hour)
		if o, st := w.partition("orders").log.Offsets(), w.stats(w.partition("orders")); o.RealStart < 100 || st.Spilled != 100 {
			t.Fatalf("%+v, %+v: the test is void", o, st)
		}
		left := w.mem.Crash(nil)
		stop()
		w.reopen(left)
		w.start()
		w.awaitLoaded("orders")
		l.schedule(100, 2*time.Hour)
		if st := w.stats(w.partition("orders")); st.Pending != 200 {
			t.Errorf("%+v after the power was lost, and 100 more were scheduled", st)
		}
		l.next = w.partition("orders").log.Offsets().LogStart
		l.run(3*time.Hour + time.Minute)
		l.settled()
		if l.waiting() > 0 {
			t.Errorf("%d wait", l.waiting())
		}
	})
}

// TestPowerLossSparesWhatWasUploadedOfALooseTopic: a closed segment is durable before it is
// uploaded, so that the log never ends below what the bucket has, and no offset of it is given to
// another record.
func TestPowerLossSparesWhatWasUploadedOfALooseTopic(t *testing.T) {
	living(t, func(t *testing.T, w *world) {
		w.bucket = buckettest.New()
		w.open()
		w.create("cold", 1, "flush.messages", "1000000", "flush.ms", "360000000", "remote.storage.enable", "true", "retention.ms", "-1", "delay.enable", "false")
		stop := w.start()
		w.awaitLoaded("cold")
		w.rolled(w.partition("cold"), plain("a"), plain("b"))
		w.append(w.partition("cold"), plain("c"))
		sleepMinutes(2)
		if got := w.partition("cold").confirmed(); got != 2 {
			t.Fatalf("confirmed %d: the test is void", got)
		}
		left := w.mem.Crash(nil)
		stop()
		w.reopen(left)
		w.start()
		w.awaitLoaded("cold")
		if o := w.partition("cold").log.Offsets(); o.LogEnd < 2 {
			t.Errorf("%+v after the power was lost, and 0 and 1 are in the bucket", o)
		}
	})
}
