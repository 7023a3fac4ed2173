package partition

import (
	"testing"
	"time"
)

// What tier explain says of the local log comes from here: what waits for a transaction, what goes
// at the next look, and when the open segment closes.
func TestOutlookOfATieredLog(t *testing.T) {
	tiered(t, func(t *testing.T, w *world) {
		w.create("orders", 1, "remote.storage.enable", "true", "segment.ms", "3600000", "local.retention.ms", "60000", "retention.ms", "-1")
		p := w.partition("orders")
		w.rolled(p, plain("a"))
		w.appendIn(p, 0, 0, plain("b"))
		w.rolled(p, plain("c")) // offsets 1 and 2, of which the first is undecided
		w.append(p, plain("d"))
		w.commit()
		o := localSource{p}.Outlook()
		if len(o.Undecided) != 1 || o.Undecided[0].Base != 1 || o.Undecided[0].End != 3 || o.Start != 0 {
			t.Errorf("while the transaction is open: %+v", o)
		}
		if o.Active.Base != 3 || o.Active.End != 4 || o.Active.Size == 0 || o.MaxBytes != p.Topic().Config.SegmentBytes || o.Until.Sub(w.clock()) != time.Hour {
			t.Errorf("open segment: %+v", o)
		}
		w.end(p, 0, true)
		w.commit()
		if o = (localSource{p}).Outlook(); len(o.Undecided) != 0 {
			t.Errorf("after its end: %+v", o)
		}
		w.start()
		sleepMinutes(10)
		if o = (localSource{p}).Outlook(); o.Start != p.log.Offsets().LocalStart || o.Start != 3 {
			t.Errorf("beyond local retention: %+v, the local log begins at %d", o, p.log.Offsets().LocalStart)
		}
	})
}
