package bench

import (
	"os"
	"testing"
	"time"
)

func TestProbesMeasureAndLeaveNothing(t *testing.T) {
	dir := t.TempDir()
	var began []string
	b, err := MeasureBaseline(t.Context(), dir, Probes(), 10*time.Millisecond, 1<<20, func(name string) { began = append(began, name) })
	if err != nil {
		t.Fatal(err)
	}
	if len(b.Rows) != len(Probes()) || len(began) != len(b.Rows) || b.CPUs < 1 {
		t.Errorf("baseline is %+v after %q", b, began)
	}
	for _, r := range b.Rows {
		if r.BytesPerSecond <= 0 || r.Latency.Count == 0 {
			t.Errorf("%s measured nothing: %+v", r.Name, r.Bare)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
