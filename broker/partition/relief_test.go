package partition

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestSpillOnAFullDiskLeavesNothing: what it has written before the disk was full is removed at
// once, it is tried less and less often, and it works soon after there is room again.
func TestSpillOnAFullDiskLeavesNothing(t *testing.T) {
	living(t, func(t *testing.T, w *world) {
		w.create("orders", 1, "retention.ms", "60000", "segment.ms", "1000")
		w.load()
		p := w.partition("orders")
		for i := range 1200 {
			w.append(p, delayed(fmt.Sprintf("%d %s", i, strings.Repeat("x", 300)), fmt.Sprintf("%dm", 600+i*37%1000)))
		}
		usage, err := w.fsys.Usage("/")
		if err != nil {
			t.Fatal(err)
		}
		w.mem.SetCapacity(usage.Total - usage.Free + 100<<10)
		journal := p.scheduleLog()
		w.Cleanup(w.start())
		time.Sleep(5*time.Minute + tendInterval/2) // nothing ticks then
		size, end := journal.log.Size(), journal.log.Offsets().LogEnd
		if size > 4<<10 {
			t.Errorf("%d bytes are left behind", size)
		}
		if end == 0 || end > 200 {
			t.Errorf("the schedule log ends at %d after five minutes", end)
		}
		w.mem.SetCapacity(0)
		time.Sleep(maxSpillWait + 2*tendInterval)
		if s := w.stats(p); s.Spilled == 0 {
			t.Errorf("with room again nothing is spilled: %+v", s)
		}
	})
}
