package partition

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

func TestTurnIsGivenBackWhenItIsNeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turn := newTurn()
		lent, ok := turn.lend(t.Context())
		if !ok {
			t.Fatal("nobody has it")
		}
		if turn.take(t.Context(), false) || lent.Err() != nil {
			t.Fatal("taken from who borrowed it, though it is not urgent")
		}
		if _, ok := turn.lend(t.Context()); ok {
			t.Fatal("lent twice")
		}
		taken := make(chan bool)
		go func() { taken <- turn.take(t.Context(), true) }()
		synctest.Wait()
		select {
		case <-lent.Done():
		default:
			t.Fatal("who borrowed it does not hear that it is needed")
		}
		turn.end()
		if _, ok := turn.lend(t.Context()); ok {
			t.Fatal("lent again before who waited for it")
		}
		if !<-taken {
			t.Fatal("not taken")
		}
		over, cancel := context.WithCancel(t.Context())
		cancel()
		if turn.take(over, true) {
			t.Fatal("taken from who did not end")
		}
		turn.end()
		if lent, ok = turn.lend(t.Context()); !ok {
			t.Fatal("nobody has it")
		}
		turn.end()
		if lent.Err() == nil {
			t.Error("what was begun with it goes on after its end")
		}
	})
}

func TestTurnThatIsTakenForAMomentIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turn := newTurn()
		urgent, taken := make(chan bool), make(chan bool)
		failed := errors.New("failed")
		err := turn.briefly(t.Context(), func() error {
			go func() { urgent <- turn.take(t.Context(), true) }()
			synctest.Wait()
			go func() { taken <- turn.take(t.Context(), false) }()
			synctest.Wait()
			if _, ok := turn.lend(t.Context()); ok {
				t.Error("lent although somebody has it")
			}
			return failed
		})
		if !errors.Is(err, failed) {
			t.Errorf("got %v", err)
		}
		if !<-urgent {
			t.Error("not taken by who needs it urgently")
		}
		again := make(chan error)
		go func() { again <- turn.briefly(t.Context(), func() error { return nil }) }()
		synctest.Wait()
		select {
		case err := <-again:
			t.Error("taken from who has it", err)
		case <-taken:
			t.Error("taken by two")
		default:
		}
		turn.end()
		if !<-taken {
			t.Error("who waited a moment has not got it")
		}
		turn.end()
		if err := <-again; err != nil {
			t.Error(err)
		}
		over, cancel := context.WithCancel(t.Context())
		cancel()
		if !turn.take(t.Context(), false) {
			t.Fatal("nobody has it")
		}
		if err := turn.briefly(over, func() error { return nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}
