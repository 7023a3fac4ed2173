package tier

import (
	"errors"
	"testing"
	"time"
)

func TestAnErrorThatStaysIsSaidOnceAnHour(t *testing.T) {
	var said saidError
	now := time.Unix(1_800_000_000, 0)
	for _, step := range []struct {
		err   string
		after time.Duration
		want  bool
	}{
		{"away", 0, true}, {"away", time.Second, false}, {"away", 3598 * time.Second, false}, {"away", time.Second, true},
		{"in use", time.Second, true}, {"in use", time.Second, false}, {"away", time.Second, true},
	} {
		now = now.Add(step.after)
		if got := said.isNews(errors.New(step.err), now); got != step.want {
			t.Errorf("%s at %s: %v", step.err, now.Format(time.TimeOnly), got)
		}
	}
	owned := &OwnedError{Owner: Owner{Name: "b", Seen: now.UnixMilli()}}
	renewed := &OwnedError{Owner: Owner{Name: "b", Seen: now.UnixMilli() + 60_000}}
	if !said.isNews(owned, now) || said.isNews(renewed, now) {
		t.Error("another sign of life of the same owner is news")
	}
}
