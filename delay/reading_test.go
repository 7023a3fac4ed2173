package delay

import (
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/morrowmq/morrow/log/record"
)

// TestPartsOfARunByWhenTheyAreRead: the tables and the trailer are always wanted, the records
// around the time they are due.
func TestPartsOfARunByWhenTheyAreRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSpilling(t)
		var rs []record.Record
		for i := range 4 { // each fills more than half of a batch of the run
			rs = append(rs, with(string(make([]byte, runBatchBytes*2/3)), HeaderDelay, fmt.Sprintf("%dh", i+1)))
		}
		p.mustSend(t, rs...)
		p.spill(t, p.end)
		r := p.schedule.runs.list[0]
		at := func(i int) int64 { return r.data[i].offset }
		in := func(d time.Duration) int64 { return time.Now().Add(d).UnixMilli() }
		want := func(got any, want ...Range) {
			t.Helper()
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("got %v, want %v", got, want)
			}
		}
		if len(r.data) != 4 || at(0) == r.from || at(3) == r.trailer {
			t.Fatalf("%+v", r.runInfo)
		}
		want(p.schedule.ReadSoon(in(30 * time.Minute)))
		want(p.schedule.ReadLate(in(30*time.Minute), 0), Range{at(0), r.trailer})
		want(p.schedule.ReadLate(in(30*time.Minute), r.bytes), Range{at(0), r.trailer})
		want(p.schedule.ReadLate(in(30*time.Minute), r.bytes+1))
		want(p.schedule.ReadSoon(in(150*time.Minute)), Range{at(0), at(2)})
		want(p.schedule.ReadLate(in(150*time.Minute), 0), Range{at(2), r.trailer})

		line := dispatching(t, DispatcherConfig{}).Attach("orders-0", p.schedule, p)
		defer line.Detach()
		time.Sleep(130 * time.Minute)
		synctest.Wait()
		// The first two are delivered, the third comes in 50 minutes. Whether that is in the batch
		// that the cursor is in, is not known.
		want(p.schedule.ReadSoon(in(30 * time.Minute)))
		want(p.schedule.ReadSoon(in(time.Hour)), Range{at(1), at(3)})
		want(p.schedule.ReadLate(in(time.Hour), 0), Range{at(0), at(1)}, Range{at(3), r.trailer})
		want(p.schedule.ReadSoon(math.MaxInt64), Range{at(1), r.trailer})
		want(p.schedule.ReadLate(math.MaxInt64, 0), Range{at(0), at(1)})
	})
}
