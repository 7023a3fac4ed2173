package main

import (
	"bufio"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/morrowmq/morrow/internal/when"
	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/log/segment"
)

// attributes are the marks of a batch, in words.
func attributes(a record.Attributes) []string {
	marks := []string{}
	for _, m := range []struct {
		bit  record.Attributes
		name string
	}{
		{record.LogAppendTime, "log-append-time"},
		{record.Transactional, "transactional"},
		{record.Control, "control"},
		{record.DeleteHorizon, "delete-horizon"},
		{record.Hidden, "hidden"},
		{record.Continued, "continued"},
		{record.Delivery, "delivery"},
	} {
		if a.Has(m.bit) {
			marks = append(marks, m.name)
		}
	}
	return marks
}

// textDump is for people.
type textDump struct {
	w       *bufio.Writer
	records bool
}

func (t textDump) batch(b record.Batch, pos int64) error {
	fmt.Fprintf(t.w, "offsets %d-%d  position %d  %d bytes  %s", b.BaseOffset(), b.LastOffset(), pos, len(b), plural(int64(b.Count()), "record"))
	fmt.Fprintf(t.w, "  %s  epoch %d", b.Attributes().Codec(), b.LeaderEpoch())
	if b.BaseTimestamp() == b.MaxTimestamp() {
		fmt.Fprintf(t.w, "  %s", when.RFC3339(b.MaxTimestamp()))
	} else {
		fmt.Fprintf(t.w, "  %s to %s", when.RFC3339(b.BaseTimestamp()), when.RFC3339(b.MaxTimestamp()))
	}
	if b.ProducerID() >= 0 {
		fmt.Fprintf(t.w, "  producer %d epoch %d", b.ProducerID(), b.ProducerEpoch())
	}
	if b.BaseSequence() >= 0 {
		fmt.Fprintf(t.w, " sequences %d-%d", b.BaseSequence(), b.LastSequence())
	}
	if marks := attributes(b.Attributes()); len(marks) > 0 {
		fmt.Fprintf(t.w, "  %s", strings.Join(marks, " "))
	}
	return t.w.WriteByte('\n')
}

func (t textDump) record(b record.Batch, v *record.View) error {
	fmt.Fprintf(t.w, "  %d  %s  key %s  value %s", b.BaseOffset()+int64(v.OffsetDelta), when.RFC3339(v.CreateTime()), shownBytes(v.Key), shownBytes(v.Value))
	for k, val := range v.Headers {
		name := string(k)
		if !plainName(name) {
			name = shownBytes(k)
		}
		fmt.Fprintf(t.w, "  %s=%s", name, shownBytes(val))
	}
	return t.w.WriteByte('\n')
}

func (t textDump) index(e segment.IndexEntry) error {
	fmt.Fprintf(t.w, "offset %d", e.Offset)
	if e.BatchPos != segment.None {
		fmt.Fprintf(t.w, "  position %d", e.BatchPos)
	}
	if e.Timestamp != segment.None {
		fmt.Fprintf(t.w, "  %s", when.RFC3339(e.Timestamp))
	}
	if a := e.Aborted; a != nil {
		fmt.Fprintf(t.w, "  producer %d aborted offsets %d-%d  last stable offset %d", a.ProducerID, a.FirstOffset, a.LastOffset, a.LastStable)
	}
	return t.w.WriteByte('\n')
}

func (t textDump) damage(p segment.Piece, reason error) error {
	_, err := fmt.Fprintf(t.w, "damaged  position %d  %d bytes  %v\n", p.Pos, p.EndPos-p.Pos, reason)
	return err
}

// shownBytes is text in quotes, hex, or null.
func shownBytes(b []byte) string {
	switch {
	case b == nil:
		return "null"
	case printable(b):
		return strconv.Quote(string(b))
	}
	return fmt.Sprintf("%#x", b)
}

func printable(b []byte) bool {
	return utf8.Valid(b) && strings.IndexFunc(string(b), func(r rune) bool { return !unicode.IsPrint(r) && !unicode.IsSpace(r) }) < 0
}

// plainName reports whether a header's key needs no quotes.
func plainName(s string) bool {
	return s != "" && printable([]byte(s)) && !strings.ContainsAny(s, "=\"' \t\n\r")
}
