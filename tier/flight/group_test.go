package flight

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
)

var errOver = errors.New("it is over")

// TestWhatManyWantIsLoadedOnce, and is loaded to its end though one of them has given up.
func TestWhatManyWantIsLoadedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		life := NewLifetime(errOver)
		defer life.End()
		g := NewGroup[string, int](life)
		loads, goOn := 0, make(chan struct{})
		load := func(context.Context) (int, error) {
			loads++
			<-goOn
			return 7, nil
		}
		impatient, leave := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := g.Get(impatient, "a", load); !errors.Is(err, context.Canceled) {
				t.Errorf("who has left gets %v", err)
			}
		})
		synctest.Wait()
		for range 3 {
			wg.Go(func() {
				if v, err := g.Get(t.Context(), "a", load); v != 7 || err != nil {
					t.Errorf("%d, %v", v, err)
				}
			})
		}
		leave()
		synctest.Wait()
		close(goOn)
		wg.Wait()
		if loads != 1 {
			t.Errorf("%d loads", loads)
		}
	})
}

// TestRunIsOfWhatNobodyLoads: a run takes the keys before the first that is under way, and what it
// leaves in the air lands with its error.
func TestRunIsOfWhatNobodyLoads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		life := NewLifetime(errOver)
		defer life.End()
		g := NewGroup[int, int](life)
		goOn := make(chan struct{})
		g.BeginRun([]int{3}, func(context.Context, int, func(int, error)) error {
			<-goOn
			return ErrBrokenOff
		})
		g.BeginRun([]int{1, 2, 3, 4}, func(_ context.Context, n int, land func(int, error)) error {
			<-goOn
			if n != 2 {
				t.Errorf("a run of %d", n)
			}
			land(10, nil)
			return ErrBrokenOff
		})
		var wg sync.WaitGroup
		alone := make([]bool, 5)
		errs := make([]error, 5)
		for key := 1; key <= 4; key++ {
			wg.Go(func() {
				_, errs[key] = g.Get(t.Context(), key, func(context.Context) (int, error) {
					alone[key] = true
					return 0, nil
				})
			})
		}
		synctest.Wait()
		close(goOn)
		wg.Wait()
		if !slices.Equal(alone, []bool{false, false, false, false, true}) {
			t.Errorf("loaded alone: %v", alone)
		}
		if errs[1] != nil || !errors.Is(errs[2], ErrBrokenOff) || !errors.Is(errs[3], ErrBrokenOff) || errs[4] != nil {
			t.Errorf("%v", errs)
		}
	})
}

func TestNothingIsLoadedWhenTheLifetimeIsOver(t *testing.T) {
	life := NewLifetime(errOver)
	g := NewGroup[int, int](life)
	life.End()
	load := func(context.Context) (int, error) { panic("not to be called") }
	if _, err := g.Get(t.Context(), 1, load); !errors.Is(err, errOver) {
		t.Errorf("get: %v", err)
	}
	g.BeginRun([]int{1, 2}, func(context.Context, int, func(int, error)) error { panic("not to be called") })
	if _, err := g.Get(t.Context(), 1, load); !errors.Is(err, errOver) {
		t.Errorf("get after a run: %v", err)
	}
	if life.Start(func(context.Context) {}) {
		t.Error("something was started")
	}
}

func TestPanicIsAnErrorOfItsLoad(t *testing.T) {
	life := NewLifetime(errOver)
	defer life.End()
	_, err := NewGroup[int, int](life).Get(t.Context(), 1, func(context.Context) (int, error) { panic("a bug") })
	if !errors.Is(err, ErrPanic) {
		t.Errorf("%v", err)
	}
}
