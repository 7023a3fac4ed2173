package tier_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket"
	"github.com/morrowmq/morrow/tier/bucket/buckettest"
)

// scanned returns the bytes of all batches of a range, hidden ones included.
func (w *world) scanned(from, to int64) (all []byte) {
	w.t.Helper()
	err := w.p.Scan(w.t.Context(), from, to, func(b record.Batch) error {
		all = append(all, b...)
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

func TestEveryBatchIsFoundHiddenOnesIncluded(t *testing.T) {
	inWorld(t, func(w *world) {
		rnd := rand.New(rand.NewPCG(1, 2))
		w.uploaded(mixed(rnd))
		var buf []byte
		for _, want := range w.log.all {
			offset := want.BaseOffset() + rnd.Int64N(want.EndOffset()-want.BaseOffset())
			got, err := w.p.BatchAt(w.t.Context(), offset, buf)
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("offset %d: %v", offset, err)
			}
			buf = got[:0]
		}
		if !bytes.Equal(w.scanned(0, w.log.end), w.log.bytesOf(0, w.log.end, false)) {
			t.Fatal("a scan of everything returns other bytes")
		}
		first, last := w.log.all[len(w.log.all)/3], w.log.all[len(w.log.all)/2]
		if !bytes.Equal(w.scanned(first.EndOffset()-1, last.BaseOffset()+1), w.log.bytesOf(first.BaseOffset(), last.EndOffset(), false)) {
			t.Fatal("a scan of a part returns other bytes")
		}
		var outside *tier.OutOfRangeError
		if _, err := w.p.BatchAt(w.t.Context(), w.log.end, nil); !errors.As(err, &outside) {
			t.Fatal(err)
		}
		stop := errors.New("enough")
		if err := w.p.Scan(w.t.Context(), 0, w.log.end, func(record.Batch) error { return stop }); !errors.Is(err, stop) {
			t.Fatal(err)
		}
	})
}

func TestDroppedOffsetsAreToldApart(t *testing.T) {
	inWorld(t, func(w *world) {
		w.uploaded(func(l *fakeLog) {
			l.fill(6)
			l.dropped = [][2]int64{{5, 15}}
		})
		if err := w.p.Drop(w.t.Context(), 5, 15, nothing); err != nil {
			w.t.Fatal(err)
		}
		w.settle()
		if _, err := w.p.BatchAt(w.t.Context(), 7, nil); !errors.Is(err, tier.ErrDropped) {
			t.Fatal(err)
		}
		if want := append(w.log.bytesOf(0, 5, false), w.log.bytesOf(15, 30, false)...); !bytes.Equal(w.scanned(0, 30), want) {
			t.Fatal("other bytes")
		}
		segments, err := w.p.Segments(w.t.Context())
		if err != nil || len(segments) != 4 || segments[1].Base != 15 {
			t.Fatalf("%v, %v", segments, err)
		}
	})
}

// TestMissingObjectIsAnErrorUntilItIsBack: whoever waits for a batch gets it once the store has it again.
func TestMissingObjectIsAnErrorUntilItIsBack(t *testing.T) {
	inWorld(t, func(w *world) {
		w.uploaded(func(l *fakeLog) { l.fill(2) })
		w.bucket.Add(buckettest.Rule{Ops: buckettest.OpGet, Key: ".segment", Times: buckettest.Forever, Fault: buckettest.Refuse, Err: bucket.ErrNotFound})
		for range 2 {
			if _, err := w.p.BatchAt(w.t.Context(), 3, nil); !errors.Is(err, tier.ErrLost) {
				t.Fatal(err)
			}
		}
		w.bucket.Heal()
		if _, err := w.p.BatchAt(w.t.Context(), 3, nil); err != nil {
			t.Fatal(err)
		}
	})
}

func TestPrefetchedBatchesNeedNoStore(t *testing.T) {
	inWorld(t, func(w *world) {
		w.uploaded(func(l *fakeLog) { l.fill(10) })
		w.p.Prefetch(1<<20, 0)
		w.settle()
		w.bucket.Add(buckettest.Rule{Ops: buckettest.OpGet, Times: buckettest.Forever, Fault: buckettest.Refuse})
		if _, err := w.p.BatchAt(w.t.Context(), 0, nil); err != nil {
			t.Fatal(err)
		}
		w.bucket.Heal()
	})
}

// TestWantedSaysWhatTheGateHolds: whoever can open the gate learns that retention is waiting for it.
func TestWantedSaysWhatTheGateHolds(t *testing.T) {
	inWorld(t, func(w *world) {
		w.log.gate = 10
		w.configure(tier.Config{Copy: true, RetentionMs: 1, RetentionBytes: -1})
		w.uploaded(func(l *fakeLog) { l.fill(4) })
		start := w.p.Status().Start
		if start != 10 || w.p.Wanted() != 20 {
			t.Fatalf("starts at %d, wanted up to %d", start, w.p.Wanted())
		}
	})
}

// nothing spares nothing.
func nothing(tier.Span) bool { return false }
