package partition

import (
	"testing"
	"time"
)

func TestLevelsAreHandedOnWithoutFractions(t *testing.T) {
	if got := levels([]time.Duration{1200 * time.Millisecond, time.Hour, time.Millisecond}); got != "1200ms 3600000ms 1ms" {
		t.Errorf("levels are %q", got)
	}
}
