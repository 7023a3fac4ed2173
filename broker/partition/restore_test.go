package partition

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/morrowmq/morrow/cluster"
	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/log/segment"
	"github.com/morrowmq/morrow/tier"
)

// lose is the loss of the broker's disk, and a restore from the bucket. Metadata survives, but for
// the leader epoch.
func (w *world) lose(stop func(), topics ...string) (again func()) {
	w.Helper()
	stop()
	w.mem = vfs.NewMem()
	w.fsys = w.mem
	logs, err := log.Open(log.SetConfig{FS: w.fsys, Dir: "/logs", Logger: slog.New(slog.DiscardHandler), Now: w.clock, JournalMaxBytes: -1})
	if err != nil {
		w.Fatal(err)
	}
	for _, name := range topics {
		t := w.topic(name)
		epoch := w.beginEpoch(t.ID)
		for _, id := range []cluster.TopicID{t.Schedule, t.ID} {
			w.restoreLog(logs, id, epoch)
		}
		w.beginEpoch(t.ID) // a start begins one
	}
	if err := logs.Close(); err != nil {
		w.Fatal(err)
	}
	w.open()
	again = w.start()
	for _, name := range topics {
		w.awaitLoaded(name)
	}
	return again
}

// restoreLog is what package restore does for one log.
func (w *world) restoreLog(logs *log.Set, id cluster.TopicID, epoch int32) {
	w.Helper()
	r, err := tier.Restore(w.Context(), w.bucket, "c", tier.TopicID(id), 0, tier.RestoreOptions{Epoch: epoch, Gap: 1000, Now: w.clock()})
	if err != nil {
		w.Fatal(err)
	}
	before := &log.Before{Start: r.Start, ReportedStart: r.ReportedStart, VisibleEnd: r.VisibleEnd}
	for _, e := range r.Epochs {
		before.Epochs = append(before.Epochs, segment.Epoch(e))
	}
	if _, err := logs.Create(log.ID{Topic: id}, log.Options{Config: log.DefaultConfig(), Start: r.Next, Before: before}); err != nil {
		w.Fatal(err)
	}
}

// TestRestoreDeliversAgainWhatWasNotUploaded: the bucket learns from the schedule log that records
// were delivered, or would forget them by retention, before it has the deliveries. Who has only the
// bucket delivers them again, and keeps at it through one more loss; and nothing waits for ever.
func TestRestoreDeliversAgainWhatWasNotUploaded(t *testing.T) {
	for name, localRetention := range map[string]string{"from memory": "-2", "from a run": "3600000"} {
		t.Run(name, func(t *testing.T) {
			tiered(t, func(t *testing.T, w *world) {
				l, stop := w.underway("local.retention.ms", localRetention, "segment.ms", "86400000", "retention.ms", "21600000")
				tickets := l.schedule(30, 4*time.Hour)
				l.fill()
				time.Sleep(4*time.Hour + time.Minute)
				l.settled()
				p := w.partition("orders")
				said := w.tellTier(p)
				time.Sleep(3 * time.Hour) // the records have expired, their deliveries lie in the active segment
				if end := p.confirmed(); l.waiting() > 0 || end > l.seen[tickets[0]] || p.scheduleLog().confirmed() < said {
					t.Fatalf("%d wait, the tier has the log up to %d, the first delivery is at %d, the schedule log up to %d of %d: the test is void",
						l.waiting(), end, l.seen[tickets[0]], p.scheduleLog().confirmed(), said)
				}
				for range 2 {
					stop = w.lose(stop, "orders")
					if o := w.partition("orders").scheduleLog().log.Offsets(); o.LogEnd == o.LocalStart {
						t.Error("what the schedule log says of lost deliveries stays the last word")
					}
					clear(l.seen)
					l.next = 0
					time.Sleep(time.Minute)
					l.next = w.partition("orders").log.Offsets().LogStart
					l.done()
				}
				l.run(26 * time.Hour)
				if start := w.remoteStart("orders"); start <= tickets[len(tickets)-1] {
					t.Errorf("the tier still holds the log from %d on", start)
				}
				w.scheduleIsTidy("orders")
			})
		})
	}
}

// TestPlainTopicHasNoScheduleLog: the gates of a topic without delayed records need no progress,
// before and after a start.
func TestPlainTopicHasNoScheduleLog(t *testing.T) {
	tiered(t, func(t *testing.T, w *world) {
		l, stop := w.underway()
		l.run(8 * time.Hour)
		w.crash(stop, time.Second)
		w.awaitLoaded("orders")
		before := w.remoteStart("orders")
		l.run(8 * time.Hour)
		if after := w.remoteStart("orders"); before < 10 || after < before+10 {
			t.Errorf("the tier held the log from %d, now from %d", before, after)
		}
		if end := w.partition("orders").scheduleLog().log.Offsets().LogEnd; end > 0 {
			t.Errorf("the schedule log goes up to %d", end)
		}
	})
}

// TestTierForgetsWhatWasDeliveredFromMemory although no run was ever written: the tier waits for
// progress, and gets it.
func TestTierForgetsWhatWasDeliveredFromMemory(t *testing.T) {
	tiered(t, func(t *testing.T, w *world) {
		l, _ := w.underway("local.retention.ms", "-2")
		l.schedule(30, time.Hour)
		l.run(8 * time.Hour)
		l.done()
		if start := w.remoteStart("orders"); start < 40 {
			t.Errorf("the tier still holds the log from %d on", start)
		}
		w.scheduleIsTidy("orders")
	})
}

// tellTier writes progress and closes its segment, so that it comes up to the tier. It returns the
// end of the schedule log.
func (w *world) tellTier(p *Partition) int64 {
	w.Helper()
	journal := p.scheduleLog()
	err := p.turn.briefly(w.Context(), func() error {
		return errors.Join(p.keeper.Progress(w.Context(), 0), journal.log.Roll())
	})
	if err != nil {
		w.Fatal(err)
	}
	return journal.log.Offsets().LogEnd
}

// fill appends ordinary records until a segment has been closed.
func (l *ledger) fill() {
	l.w.Helper()
	p := l.w.partition(l.name)
	for before := len(p.log.Segments()); len(p.log.Segments()) == before; {
		if _, err := p.Append(l.w.Context(), batch(l.w.clock(), plain(strings.Repeat("-", 1000))), nil, l.w.clock()); err != nil && !errors.Is(err, log.ErrNoSpace) {
			l.w.Fatal(err)
		}
	}
}
