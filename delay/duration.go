package delay

import (
	"bytes"
	"math"
	"strconv"
	"time"
)

// LastDue is the latest time a record may be due, in milliseconds since the epoch: the end of the
// year 9999, the last that RFC 3339 can write.
const LastDue = 253402300799999

// parseDelay reads a delay in milliseconds: an integer, or numbers with units from d, h, m, s, ms
// in descending order, each at most once, such as 250ms, 1h30m or 2d. A leading minus negates the
// whole. Whatever does not fit into 64 bits is refused.
func parseDelay(b []byte) (ms int64, ok bool) {
	if ms, ok = parseInt(b); ok {
		return ms, true
	}
	negative := len(b) > 0 && b[0] == '-'
	if negative {
		b = b[1:]
	}
	if len(b) == 0 {
		return 0, false
	}
	for before := int64(math.MaxInt64); len(b) > 0; {
		n, rest, ok := cutDigits(b)
		unit, after := cutUnit(rest)
		if !ok || unit == 0 || unit >= before || n > (math.MaxInt64-ms)/unit {
			return 0, false
		}
		ms += n * unit
		before, b = unit, after
	}
	if negative {
		ms = -ms
	}
	return ms, true
}

func cutDigits(b []byte) (n int64, rest []byte, ok bool) {
	i := 0
	for i < len(b) && '0' <= b[i] && b[i] <= '9' {
		i++
	}
	n, ok = parseInt(b[:i])
	return n, b[i:], ok
}

// cutUnit returns the unit that b begins with, in milliseconds, or 0.
func cutUnit(b []byte) (ms int64, rest []byte) {
	if len(b) == 0 {
		return 0, nil
	}
	switch b[0] {
	case 'd':
		ms = 24 * 60 * 60 * 1000
	case 'h':
		ms = 60 * 60 * 1000
	case 'm':
		if len(b) > 1 && b[1] == 's' {
			return 1, b[2:]
		}
		ms = 60 * 1000
	case 's':
		ms = 1000
	}
	return ms, b[1:]
}

// parseTime reads a time in milliseconds since the epoch: an integer, or RFC 3339. Fractions of a
// millisecond are rounded up, so that nothing is early.
func parseTime(b []byte) (ms int64, ok bool) {
	if ms, ok = parseInt(b); ok {
		return ms, true
	}
	// The standard library lets pass hours of one digit and fractions after a comma.
	if len(b) < len("2006-01-02T15:04:05Z") || b[13] != ':' || bytes.IndexByte(b, ',') >= 0 {
		return 0, false
	}
	var t time.Time
	if err := t.UnmarshalText(b); err != nil {
		return 0, false
	}
	return ceilMs(t), true
}

func ceilMs(t time.Time) int64 {
	return t.Add(time.Millisecond - time.Nanosecond).UnixMilli()
}

// parseInt reads a decimal integer with an optional minus; nothing else, not even a plus.
func parseInt(b []byte) (n int64, ok bool) {
	digits := b
	if len(b) > 0 && b[0] == '-' {
		digits = b[1:]
	}
	if len(digits) == 0 || len(digits) > 19 {
		return 0, false
	}
	var u uint64
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		u = u*10 + uint64(c-'0')
	}
	if u > math.MaxInt64 {
		return 0, false
	}
	if len(digits) < len(b) {
		return -int64(u), true
	}
	return int64(u), true
}

// allDigits reports whether b is a non-negative decimal integer of any length.
func allDigits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(b) > 0
}

// dueAfter adds a delay to a time, within what a due time may be.
func dueAfter(receive, delay int64) int64 {
	if delay > LastDue-receive {
		return LastDue
	}
	return dueAt(receive + delay)
}

// dueAt is a due time as it counts: what is long past is due since 1970.
func dueAt(t int64) int64 { return max(t, 0) }

// appendFinishes writes the value of HeaderFinishes.
func appendFinishes(b []byte, e Entry) []byte {
	b = strconv.AppendInt(b, e.Ticket, 10)
	b = append(b, '@')
	return strconv.AppendInt(b, e.Due, 10)
}

func parseFinishes(b []byte) (ticket, due int64, ok bool) {
	t, d, found := bytes.Cut(b, []byte{'@'})
	if !found {
		return 0, 0, false
	}
	ticket, ok = parseInt(t)
	due, ok2 := parseInt(d)
	return ticket, dueAt(due), ok && ok2
}
