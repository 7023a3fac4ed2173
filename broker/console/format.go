package console

import (
	"fmt"
	"html/template"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/morrowmq/morrow/broker/schedules"
	"github.com/morrowmq/morrow/internal/when"
)

// functions are what pages call.
var functions = template.FuncMap{
	"count": count[int64], "countInt": count[int], "size": size[int64], "text": text, "bytes": shown,
	"time": clock, "due": when.Due, "span": span,
	"size32": size[int32], "offset": offset,
	"plural": plural, "topicPath": topicPath, "recordPath": recordPath, "groupPath": groupPath, "linkOf": linkOf, "segmentsPath": segmentsPath,
}

// span writes a number of milliseconds.
func span(ms int64) string { return when.Span(time.Duration(ms) * time.Millisecond) }

// count writes a number with its digits in groups.
func count[N int | int64](n N) string {
	digits := strconv.FormatInt(int64(n), 10)
	first := 0
	if n < 0 {
		first = 1
	}
	for i := len(digits) - 3; i > first; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// offset is an offset that may not be known.
func offset(n int64) string {
	if n < 0 {
		return "–"
	}
	return count(n)
}

// plural is a count of something: 1 record, 2 records.
func plural(n int64, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + one + "s"
}

// size writes a number of bytes.
func size[N int32 | int64](n N) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n)/1024, 0
	for v >= 1023.95 && unit < len(units)-1 {
		v, unit = v/1024, unit+1
	}
	return fmt.Sprintf("%.1f %ciB", v, units[unit])
}

// clock is a time in UTC, to the second.
func clock(ms int64) string {
	s := when.RFC3339(ms)
	if i := strings.LastIndexByte(s, '.'); i > 0 {
		s = strings.Replace(s[:i], "T", " ", 1)
	}
	return s
}

// text is what a client chose, as a person can read it: quoted if it is empty, not UTF-8, or has
// characters that cannot be seen.
func text(s string) string {
	invisible := func(r rune) bool { return !unicode.IsPrint(r) }
	if s == "" || !utf8.ValidString(s) || strings.ContainsFunc(s, invisible) || strings.HasPrefix(s, " ") || strings.HasSuffix(s, " ") {
		return quoted(s)
	}
	return s
}

func quoted(s string) string { return strconv.QuoteToGraphic(s) }

// maxShown is how much of a key or value is shown.
const maxShown = 4096

// shown is a key or a value. Text may have lines.
func shown(b *schedules.Bytes) string {
	if b == nil {
		return "null"
	}
	s, left := string(*b), ""
	if len(s) > maxShown {
		s, left = s[:maxShown], fmt.Sprintf(" … and %s more", plural(int64(len(s)-maxShown), "byte"))
		for !utf8.ValidString(s) && len(s) > maxShown-utf8.UTFMax {
			s = s[:len(s)-1] // it was cut in a character
		}
	}
	unreadable := func(r rune) bool { return !unicode.IsPrint(r) && r != '\n' && r != '\t' }
	if s == "" || !utf8.ValidString(s) || strings.ContainsFunc(s, unreadable) {
		s = quoted(s)
	}
	return s + left
}
