package delay

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestBatchOfARunThatIsNotTheRightOneStopsIt, although it is a sound batch of delayed records: it
// would be delivered early, and what belongs there never.
func TestBatchOfARunThatIsNotTheRightOneStopsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSpilling(t)
		large := string(make([]byte, runBatchBytes*2/3))
		p.mustSend(t, with(large, HeaderDelay, "1h"), with(large, HeaderDelay, "2h"))
		p.spill(t, p.end)
		data := p.schedule.runs.list[0].data
		if len(data) != 2 {
			t.Fatalf("%d batches: the test is void", len(data))
		}
		other, err := p.journal.BatchAt(t.Context(), data[1].offset, nil)
		if err != nil {
			t.Fatal(err)
		}
		other.SetBaseOffset(data[0].offset)
		for i := range p.journal.segments {
			for j, b := range p.journal.segments[i].batches {
				if b.BaseOffset() == data[0].offset {
					p.journal.segments[i].batches[j] = other
				}
			}
		}
		line := dispatching(t, DispatcherConfig{}).Attach("orders-0", p.schedule, p)
		defer line.Detach()
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if got := ticketsOf(t, p.visible()); len(got) > 0 {
			t.Errorf("delivered %v", got)
		}
		if err := line.Sources()[1].Stopped; err == nil || !strings.Contains(err.Error(), "it begins with ticket 1, expected 0") {
			t.Errorf("stopped by %v", err)
		}
	})
}
