package delay

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/morrowmq/morrow/log/record"
)

// TestProgressAfterAFailedOneIsWhole: nobody knows what became of the record that could not be
// written, and what it was to say may be nowhere else.
func TestProgressAfterAFailedOneIsWhole(t *testing.T) {
	p := newSpilling(t)
	p.scheduleAll(t, record.None, time.Hour, time.Hour, time.Hour)
	p.spill(t, p.end)
	p.mustSend(t, cancelOf(0))
	p.journal.before = func() error { return errInjected }
	if err := p.keeper.Progress(t.Context(), 0); !errors.Is(err, errInjected) {
		t.Fatal(err)
	}
	p.journal.before = nil
	p.mustSend(t, cancelOf(1))
	if err := p.keeper.Progress(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	gate := p.schedule.Gate()
	if p.batches = slices.DeleteFunc(p.batches, func(b record.Batch) bool { return b.EndOffset() <= gate }); len(p.batches) > 0 {
		t.Fatalf("the gate is at %d: the test is void", gate)
	}
	p.restart(t)
	if all := p.all(t); len(all) != 1 || all[0].Ticket != 2 {
		t.Errorf("pending after a start: %+v", all)
	}
}

// TestProgressSpeaksOfWhatIsDurable: a log that has lost what a progress record knows would give
// those offsets to other records.
func TestProgressSpeaksOfWhatIsDurable(t *testing.T) {
	p := newSpilling(t)
	p.mustSend(t, with("a", HeaderDelay, "1h"))
	p.spill(t, p.end)
	p.mustSend(t, cancelOf(0))
	var flushed int64
	written := p.journal.end
	p.keeper.c.Flush = func(end int64) error {
		if flushed = end; p.journal.end > written {
			t.Error("progress was written before")
		}
		return errInjected
	}
	if err := p.keeper.Progress(t.Context(), 0); !errors.Is(err, errInjected) || p.journal.end > written || flushed < p.end {
		t.Errorf("%v; of %d the log is durable to %d, the journal has grown by %d", err, p.end, flushed, p.journal.end-written)
	}
	if gate := p.schedule.Gate(); gate > p.end-1 {
		t.Errorf("the gate is at %d, and the cancel lies at %d", gate, p.end-1)
	}
	p.keeper.c.Flush = func(int64) error { return nil }
	if err := p.keeper.Progress(t.Context(), 0); err != nil || p.journal.end == written {
		t.Errorf("%v, and the journal has grown by %d", err, p.journal.end-written)
	}
}
