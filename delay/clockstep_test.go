package delay

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestDispatcherTellsOfTheLastStepOfTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ahead atomic.Int64
		wall := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
		d := NewDispatcher(DispatcherConfig{Now: wall})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- d.Run(ctx) }()
		for _, to := range []time.Duration{0, time.Hour, time.Hour, -time.Minute} {
			before := time.Duration(ahead.Swap(int64(to)))
			d.poked <- struct{}{}
			synctest.Wait()
			if to == before {
				continue
			}
			if at, by := d.ClockStep(); by != to-before || !at.Equal(wall()) {
				t.Errorf("from %v to %v: told of %v at %v", before, to, by, at)
			}
			time.Sleep(time.Second)
		}
		stop()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestDispatcherTellsOfNoStepThatWasNot(t *testing.T) {
	if at, by := NewDispatcher(DispatcherConfig{}).ClockStep(); !at.IsZero() || by != 0 {
		t.Errorf("%v at %v", by, at)
	}
}
