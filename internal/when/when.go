// Package when writes times and spans of time for people, and reads what they write: the same in
// the command line and in the console.
package when

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const day = 24 * time.Hour

// RFC3339 writes a time in UTC wherever the reader is: two of them see the same, and it can be
// given to flags and to the broker's APIs. What RFC 3339 cannot say remains a number.
func RFC3339(ms int64) string {
	const year10000 = 253402300800000
	if ms < 0 || ms >= year10000 {
		return strconv.FormatInt(ms, 10)
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
}

// ParseTime reads an RFC 3339 time, or milliseconds since the epoch. As people write them, date and
// time may have a space between them, and without a zone UTC is meant.
func ParseTime(s string) (ms int64, err error) {
	if ms, err := strconv.ParseInt(s, 10, 64); err == nil {
		return ms, nil
	}
	s = strings.Replace(s, " ", "T", 1)
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UnixMilli(), nil
		}
	}
	return 0, errors.New("must be a time like " + example + ", or milliseconds since 1970")
}

// example is a time as it is written.
const example = "2026-12-24T18:00:00Z"

// ParseAt reads a time as ParseTime does, or one that is told from now: now, 15m, in 2d.
func ParseAt(s string, now time.Time) (ms int64, err error) {
	s = strings.TrimSpace(s)
	if s == "now" {
		return now.UnixMilli(), nil
	}
	if d, err := ParseSpan(strings.TrimPrefix(s, "in ")); err == nil {
		return now.Add(d).UnixMilli(), nil
	}
	if ms, err = ParseTime(s); err != nil {
		return 0, errors.New("must be now, a duration from now like 90s, 15m or 2d, a time like " + example + ", or milliseconds since 1970")
	}
	return ms, nil
}

// ParseSpan is time.ParseDuration that also knows whole days.
func ParseSpan(s string) (time.Duration, error) {
	if days, rest, ok := strings.Cut(s, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n >= 0 && n < 100_000 {
			whole := time.Duration(n) * day
			if rest == "" {
				return whole, nil
			}
			part, err := time.ParseDuration(rest)
			return whole + part, err
		}
	}
	return time.ParseDuration(s)
}

// Due says how far away a due time is.
func Due(ms int64, now time.Time) string {
	d := time.UnixMilli(ms).Sub(now)
	if d < 0 {
		return "overdue by " + Span(-d)
	}
	return "in " + Span(d)
}

// Span is a duration to two units at most.
func Span(d time.Duration) string {
	switch {
	case d < time.Second-time.Millisecond/2:
		return d.Round(time.Millisecond).String()
	case d < time.Minute-50*time.Millisecond:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour-time.Second/2:
		return d.Round(time.Second).String()
	case d < day-time.Minute/2:
		d = d.Round(time.Minute)
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	default:
		d = d.Round(time.Hour)
		return fmt.Sprintf("%dd%02dh", d/day, d%day/time.Hour)
	}
}
