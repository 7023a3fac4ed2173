package e2e

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"testing"
	"time"
)

// TestBenchSuiteJudgesEveryGoalOfDelays takes the suite's steps about delays, very short, with the
// real broker. A record that is lost, early or delivered twice is an error of the suite.
func TestBenchSuiteJudgesEveryGoalOfDelays(t *testing.T) {
	ctx := deadline(t, 2*time.Minute)
	cmd := exec.CommandContext(ctx, bin, "bench", "suite", "--dir", t.TempDir(), "--only", "delayed", "-o", "json",
		"--quick", "--repetitions", "1", "--step", "50ms", "--due-records", "5000", "--pending-records", "50000")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, &stderr)
	}
	var report struct {
		Rows []struct {
			Name, Verdict string
			Figure        float64
		}
	}
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatal(err)
	}
	var goals []string
	for _, r := range report.Rows {
		if r.Verdict != "" {
			goals = append(goals, r.Name)
		}
	}
	// Inserts; lateness at two rates; deliveries; of a burst the first, the last and the neighbour; start.
	if len(goals) != 8 {
		t.Errorf("%d goals were judged: %q", len(goals), goals)
	}
}
