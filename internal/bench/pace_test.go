package bench

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestPaceSpacesSends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		p := newPace(100, start)
		for i := range 50 {
			want := start.Add(time.Duration(i) * 10 * time.Millisecond)
			if got := p.next(t.Context()); !got.Equal(want) || !time.Now().Equal(want) {
				t.Fatalf("send %d counts from %v at %v, want %v", i, got, time.Now(), want)
			}
		}
	})
}

func TestAStalledServerIsChargedForWhatWaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		p := newPace(100, start)
		p.next(t.Context())
		time.Sleep(95 * time.Millisecond) // the server
		for i := 1; i <= 9; i++ {
			if got, want := p.next(t.Context()), start.Add(time.Duration(i)*10*time.Millisecond); !got.Equal(want) {
				t.Errorf("send %d counts from %v, want %v", i, got.Sub(start), want.Sub(start))
			}
		}
		if got := time.Since(start); got != 95*time.Millisecond {
			t.Errorf("catching up took until %v", got)
		}
		if got := p.next(t.Context()).Sub(start); got != 100*time.Millisecond {
			t.Errorf("the next counts from %v", got)
		}
	})
}

func TestPaceWithoutRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		p := newPace(0, start)
		for range 1000 {
			p.next(t.Context())
		}
		if !time.Now().Equal(start) {
			t.Error("it waited")
		}
	})
}

func TestPaceEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		p := newPace(0.001, start)
		p.next(ctx)
		p.next(ctx)
		if got := time.Since(start); got != time.Second {
			t.Errorf("it ended after %v", got)
		}
	})
}
