package delay

import (
	"strconv"
	"testing"
	"time"
)

func TestDelayGrammar(t *testing.T) {
	const day = 24 * 60 * 60 * 1000
	for in, want := range map[string]int64{
		"0": 0, "1": 1, "-1": -1, "1500": 1500, "007": 7, "9223372036854775807": 9223372036854775807, "-9223372036854775807": -9223372036854775807,
		"250ms": 250, "15s": 15_000, "15m": 15 * 60_000, "1h30m": 90 * 60_000, "2d": 2 * day, "1d2h3m4s5ms": day + 7_384_005, "-5s": -5000, "0s": 0,
		"90m": 90 * 60_000, "106751991167d": 106751991167 * day,
	} {
		if got, ok := parseDelay([]byte(in)); !ok || got != want {
			t.Errorf("delay %q is %d, %v, want %d", in, got, ok, want)
		}
	}
	for _, in := range []string{
		"", "-", "+1", " 1", "1 ", "1.5h", "h", "1h1h", "30m1h", "1ms1s", "1x", "5S", "1h30", "h1", "--1", "1-", "0x10", "١", "1\x00", "5 s",
		"9223372036854775808", "-9223372036854775808", "99999999999999999999", "106751991168d", "9223372036854775807s", "9223372036854775807ms1ms",
	} {
		if got, ok := parseDelay([]byte(in)); ok {
			t.Errorf("delay %q is accepted as %d", in, got)
		}
	}
}

func TestTimeGrammar(t *testing.T) {
	for in, want := range map[string]int64{
		"0": 0, "-1": -1, "1732126000000": 1732126000000,
		"2030-01-31T15:04:05Z": 1896102245000, "2030-01-31T16:04:05+01:00": 1896102245000, "2030-01-31T15:04:05.25Z": 1896102245250,
		"2030-01-31T15:04:05.2500001Z": 1896102245251, "1969-12-31T23:59:59.9995Z": 0, "9999-12-31T23:59:59.999Z": LastDue,
	} {
		if got, ok := parseTime([]byte(in)); !ok || got != want {
			t.Errorf("time %q is %d, %v, want %d", in, got, ok, want)
		}
	}
	for _, in := range []string{
		"", "tomorrow", "2030-01-31", "2030-01-31T15:04:05", "2030-01-31 15:04:05Z", "2030-02-30T00:00:00Z", "2030-01-31T25:00:00Z",
		"2030-1-31T15:04:05Z", "2030-01-31T5:04:05Z", "2030-01-31T15:04:05,5Z", "99999-01-01T00:00:00Z", "1.5", "9223372036854775808",
	} {
		if got, ok := parseTime([]byte(in)); ok {
			t.Errorf("time %q is accepted as %d", in, got)
		}
	}
}

func FuzzDelay(f *testing.F) {
	for _, s := range []string{"250ms", "1h30m", "-5s", "2d", "9223372036854775807", "1d2h3m4s5ms", "106751991168d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ms, ok := parseDelay([]byte(s))
		if !ok {
			return
		}
		if n, err := strconv.ParseInt(s, 10, 64); err == nil && n != ms {
			t.Errorf("%q is %d", s, ms)
		}
		// Whatever Go can read as a duration means the same to us.
		if d, err := time.ParseDuration(s); err == nil && d.Milliseconds() != ms {
			t.Errorf("%q is %d, Go says %v", s, ms, d)
		}
		again, ok := parseDelay(strconv.AppendInt(nil, ms, 10))
		if !ok || again != ms {
			t.Errorf("%q is %d, which reads back as %d, %v", s, ms, again, ok)
		}
	})
}

func FuzzTime(f *testing.F) {
	for _, s := range []string{"1732126000000", "2030-01-31T15:04:05.25Z", "2030-01-31T16:04:05+01:00", "-1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ms, ok := parseTime([]byte(s))
		if !ok {
			return
		}
		if at, err := time.Parse(time.RFC3339Nano, s); err == nil {
			if got := time.UnixMilli(ms); got.Before(at) || got.Sub(at) >= time.Millisecond {
				t.Errorf("%q is %v", s, got)
			}
		}
	})
}
