package txn

import "testing"

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
