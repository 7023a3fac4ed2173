package txn

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// reservations hands out blocks slowly and notes how many were under way at once.
type reservations struct {
	mu         sync.Mutex
	next       int64
	busy, most int
	fail       error
}

func (r *reservations) reserve(ctx context.Context, n int64) (int64, error) {
	r.mu.Lock()
	r.busy++
	r.most = max(r.most, r.busy)
	r.mu.Unlock()
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.busy--
	if err := errors.Join(r.fail, ctx.Err()); err != nil {
		return 0, err
	}
	r.next += n
	return r.next - n, nil
}

func TestProducerIDsAreReservedOnceForAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &reservations{}
		p := producerIDs{reserve: r.reserve}
		var mu sync.Mutex
		seen := map[int64]bool{}
		var wg sync.WaitGroup
		for range 3 * producerIDBlock / 2 {
			wg.Go(func() {
				id, err := p.next(t.Context())
				mu.Lock()
				defer mu.Unlock()
				if err != nil || seen[id] {
					t.Errorf("id %d, %v", id, err)
				}
				seen[id] = true
			})
		}
		wg.Wait()
		if r.most != 1 || r.next != 2*producerIDBlock {
			t.Errorf("%d reservations at once, %d ids reserved", r.most, r.next)
		}
	})
}

func TestProducerIDsWhenOneWhoReservesGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &reservations{}
		p := producerIDs{reserve: r.reserve}
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := p.next(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the one who gave up got %v", err)
			}
		})
		synctest.Wait()
		if id, err := p.next(t.Context()); err != nil || id != 0 {
			t.Errorf("the one who waited got %d, %v", id, err)
		}
		wg.Wait()
	})
}
