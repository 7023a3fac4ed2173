package tier_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/morrowmq/morrow/tier"
	"github.com/morrowmq/morrow/tier/bucket/buckettest"
)

// TestStoredButUncommittedSegmentIsNotReadable: the objects are there, no manifest names them. (Scenario 51)
func TestStoredButUncommittedSegmentIsNotReadable(t *testing.T) {
	inWorld(t, func(w *world) {
		w.log.fill(2)
		w.start()
		w.settle()
		w.bucket.Add(buckettest.Rule{Ops: buckettest.OpPut, Key: "/manifest", Times: buckettest.Forever, Fault: buckettest.Refuse})
		w.log.fill(2)
		w.p.Notify()
		w.settle()
		if n := len(w.segmentKeys()); n != 4 {
			t.Fatalf("%d objects: the test is void", n)
		}
		var outside *tier.OutOfRangeError
		if _, err := w.read(tier.ReadRequest{Offset: 10, MaxBytes: 1000, MinOne: true}); !errors.As(err, &outside) || outside.End != 10 {
			t.Errorf("read: %v", err)
		}
		if _, err := w.p.BatchAt(t.Context(), 12, nil); !errors.As(err, &outside) {
			t.Errorf("batch: %v", err)
		}
		if bound := w.p.Confirmed(); bound != 10 {
			t.Errorf("confirmed up to %d", bound)
		}
		w.bucket.Heal()
		w.settle()
		w.confirmedAll()
	})
}

// TestMissingProducerSnapshotIsNoObstacle: what the log does not know any more is left out. (Scenario 16)
func TestMissingProducerSnapshotIsNoObstacle(t *testing.T) {
	inWorld(t, func(w *world) {
		w.log.noSnapshots = true
		w.uploaded(func(l *fakeLog) { l.fill(3) })
		if got := w.consume(0, 1<<20); !bytes.Equal(got, w.log.bytesOf(0, w.log.end, true)) {
			t.Error("other bytes")
		}
	})
}
