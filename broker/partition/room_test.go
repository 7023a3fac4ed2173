package partition

import (
	"sync"
	"testing"
)

// TestRoomIsSetByMany is the watch over memory and a spill that has freed some, at one time.
func TestRoomIsSetByMany(t *testing.T) {
	var r room
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 10_000 {
				r.set(i%2 == 0)
			}
		})
	}
	all.Wait()
	if r.set(false); r.crowded() {
		t.Error("there is no room")
	}
}
