package delay

import (
	"testing"

	"github.com/morrowmq/morrow/delay/index"
)

func TestNothingIsOverdueBeforeTheFirstPendingRecordOfARunIsDue(t *testing.T) {
	const count = 6
	r := newRun(runInfo{
		count: count, bytes: 60 * count, low: 0, high: count, data: []dataFence{{due: 100, ticket: 0}},
		first: Entry{Due: 100, Ticket: 0}, last: Entry{Due: 1000, Ticket: count - 1},
	})
	r.finish(Entry{Due: 100, Ticket: 0})
	r.pending--
	r.next = 800 // as its reader has seen
	for _, c := range []struct{ now, atLeast, atMost int64 }{{500, 0, 0}, {799, 0, 0}, {800, 1, 5}, {1000, 5, 5}} {
		if got := r.overdue(c.now); got < c.atLeast || got > c.atMost {
			t.Errorf("at %d %d are overdue, want %d to %d", c.now, got, c.atLeast, c.atMost)
		}
	}
	r.next = index.Last.Due // it cannot be read
	if r.overdue(500) == 0 {
		t.Error("what cannot be read is not overdue")
	}
}
