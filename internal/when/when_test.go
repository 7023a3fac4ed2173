package when

import (
	"testing"
	"time"
)

func TestSpansAreReadAndShown(t *testing.T) {
	for text, want := range map[string]time.Duration{"90s": 90 * time.Second, "2d": 48 * time.Hour, "1d12h": 36 * time.Hour} {
		if got, err := ParseSpan(text); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "d", "-1d", "1d1", "tomorrow"} {
		if got, err := ParseSpan(text); err == nil {
			t.Errorf("%q is read as %v", text, got)
		}
	}
	for d, want := range map[time.Duration]string{1500 * time.Microsecond: "2ms", 61 * time.Second: "1m1s", 90 * time.Minute: "1h30m", time.Hour - time.Millisecond: "1h00m", 24*time.Hour - time.Second: "1d00h",
		time.Second - time.Microsecond: "1s", time.Minute - time.Millisecond: "1m0s", 49 * time.Hour: "2d01h"} {
		if got := Span(d); got != want {
			t.Errorf("%v is shown as %s", d, got)
		}
	}
}

func TestTimesAreReadAsTheyAreWritten(t *testing.T) {
	for ms, text := range map[int64]string{0: "1970-01-01T00:00:00.000Z", 1795195980123: "2026-11-20T17:33:00.123Z", -1: "-1", 253402300800000: "253402300800000"} {
		if got := RFC3339(ms); got != text {
			t.Errorf("%d is written as %s", ms, got)
		}
		if got, err := ParseTime(text); err != nil || got != ms {
			t.Errorf("%s is read as %d, %v", text, got, err)
		}
	}
	if got, err := ParseTime("tomorrow"); err == nil {
		t.Errorf("tomorrow is read as %d", got)
	}
}

func TestTimesAreReadAsPeopleWriteThem(t *testing.T) {
	now := time.UnixMilli(1795780800000) // 2026-11-27T12:00:00Z
	for text, want := range map[string]int64{
		"now": 0, " 15m ": 900_000, "in 2d": 172_800_000, "-1h": -3_600_000, "1795780801000": 1000,
		"2026-11-27T13:00:00Z": 3_600_000, "2026-11-27T14:00:00+01:00": 3_600_000, "2026-11-27 13:00:00Z": 3_600_000,
		"2026-11-27 12:00:01.5": 1500, "2026-11-27 13:00": 3_600_000, "2026-11-28": 43_200_000,
	} {
		if got, err := ParseAt(text, now); err != nil || got != now.UnixMilli()+want {
			t.Errorf("%q is read as %d, %v", text, got-now.UnixMilli(), err)
		}
	}
	for _, text := range []string{"", "soon", "in", "13:00", "2026-13-01", "2026-11-27T"} {
		if got, err := ParseAt(text, now); err == nil {
			t.Errorf("%q is read as %d", text, got)
		}
	}
}

func TestDueTimesAreToldFromNow(t *testing.T) {
	now := time.UnixMilli(100_000)
	for ms, want := range map[int64]string{100_000: "in 0s", 161_000: "in 1m1s", 98_500: "overdue by 1.5s"} {
		if got := Due(ms, now); got != want {
			t.Errorf("%d: %s", ms, got)
		}
	}
}
