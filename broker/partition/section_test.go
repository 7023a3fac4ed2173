package partition

import (
	"slices"
	"sync"
	"testing"
)

// Whoever comes into the section in what way, things are applied in the order in which they are
// written, and who locks it sees all of them applied.
func TestSectionAppliesInTheOrderOfWriting(t *testing.T) {
	var (
		s                section
		written, applied []int
		wg               sync.WaitGroup
	)
	for i := range 8 {
		wg.Go(func() {
			for n := range 200 {
				enter := s.enter
				if n%4 == 1 {
					enter = s.enterSettled
				}
				in := enter()
				written = append(written, i<<10+n)
				if n%7 == 0 { // what was refused
					written = written[:len(written)-1]
					in.leave()
					continue
				}
				id := written[len(written)-1]
				in.written()
				if n%2 == 0 {
					applied = append(applied, id)
					in.leave()
					continue
				}
				rest := in.handOver()
				in.leave()
				wg.Go(func() {
					defer rest.leave()
					applied = append(applied, id)
				})
			}
		})
		wg.Go(func() {
			for range 100 {
				s.Lock()
				if len(written) != len(applied) {
					t.Errorf("%d written and %d applied", len(written), len(applied))
				}
				s.Unlock()
			}
		})
	}
	wg.Wait()
	if !slices.Equal(written, applied) || len(written) == 0 {
		t.Errorf("%d written and %d applied, in another order", len(written), len(applied))
	}
}
