package partition

import (
	"context"
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
