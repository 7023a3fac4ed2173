package txn

import (
	"testing"
	"time"
)

func TestJobIsNotTakenTwiceAtOnce(t *testing.T) {
	q := newQueue()
	j := job{3, "t"}
	q.put(j, started)
	if got, ok, _ := q.take(started); !ok || got != j {
		t.Fatalf("took %v, %t", got, ok)
	}
	q.put(j, started)
	q.put(job{3, "u"}, started)
	if got, ok, _ := q.take(started); !ok || got.id != "u" {
		t.Fatalf("took %v, %t while the first is under way", got, ok)
	}
	if _, ok, next := q.take(started); ok || !next.IsZero() {
		t.Fatalf("took the first again, or waits for it: next at %s", next)
	}
	q.done(j, started)
	if got, ok, _ := q.take(started); !ok || got != j {
		t.Fatalf("what came meanwhile is lost: %v, %t", got, ok)
	}
	q.done(j, started)
	if _, ok, _ := q.take(started); ok {
		t.Error("taken once too often")
	}
}

func TestRetriesOfAJobBecomeRarerUntilItIsDone(t *testing.T) {
	q := newQueue()
	j := job{3, "t"}
	now := started
	take := func() {
		t.Helper()
		if got, ok, next := q.take(now); !ok || got != j {
			t.Fatalf("took %v, %t at %s; the next is due at %s", got, ok, now, next)
		}
	}
	q.put(j, now)
	for _, want := range []time.Duration{minRetry, 2 * minRetry, 4 * minRetry, 8 * minRetry} {
		take()
		if wait := q.failed(j, written{}, now); wait != want {
			t.Fatalf("waits %s, want %s", wait, want)
		}
		if _, ok, next := q.take(now); ok || !next.Equal(now.Add(want)) {
			t.Fatalf("taken at once (%t), or due at %s", ok, next)
		}
		now = now.Add(want)
	}
	for range 100 {
		take()
		now = now.Add(q.failed(j, written{}, now))
	}
	take()
	if wait := q.failed(j, written{}, now); wait != maxRetry {
		t.Errorf("waits %s after many tries, want %s", wait, maxRetry)
	}
	now = now.Add(maxRetry)
	take()
	q.done(j, now)
	q.put(j, now)
	take()
	if wait := q.failed(j, written{}, now); wait != minRetry {
		t.Errorf("waits %s for the next transaction of the id, want %s", wait, minRetry)
	}
}
