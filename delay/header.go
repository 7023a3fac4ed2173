package delay

import (
	"fmt"

	"github.com/morrowmq/morrow/log/record"
)

// Headers that clients send.
const (
	// HeaderDelay is a duration or integer milliseconds, counted from the time the broker received the record.
	HeaderDelay = "morrow-delay"
	// HeaderDeliverAt is an RFC 3339 time or integer milliseconds since the epoch.
	HeaderDeliverAt = "morrow-deliver-at"
	// HeaderDelayLevel is an index into delay.levels, from 1; 0 means no delay.
	HeaderDelayLevel = "morrow-delay-level"
	// HeaderKey is the client's own name for a schedule, unique within the partition.
	HeaderKey = "morrow-key"
	// HeaderCancel is a ticket offset, or "key".
	HeaderCancel = "morrow-cancel"
	// HeaderCancelStrict is "true" (the default) or "false".
	HeaderCancelStrict = "morrow-cancel-strict"
)

// Headers that the broker adds to what it delivers, all decimal. On a produce they are ordinary headers.
const (
	// HeaderTicket is the offset at which the delayed record was stored.
	HeaderTicket = "morrow-ticket"
	// HeaderDue is the time it was due, in milliseconds since the epoch.
	HeaderDue = "morrow-due"
	// HeaderProducedAt is the timestamp its producer gave it, in milliseconds since the epoch.
	HeaderProducedAt = "morrow-produced-at"
)

// HeaderFinishes is the broker's own note on a hidden record, "<ticket>@<due>": the schedule that
// this record cancels or replaces. It is decided before the record is stored, so that reading the
// log needs no look-up. Clients may not send it on records that become hidden.
const HeaderFinishes = "morrow-finishes"

// addedLen bounds the bytes that delivery headers add to a record: three names, three values of up to
// 20 digits, and the growth of length fields.
const addedLen = len(HeaderTicket) + len(HeaderDue) + len(HeaderProducedAt) + 3*20 + 3*2 + 2*5

// isDelayHeader reports whether a header of a hidden record is about its schedule, and so is not delivered.
func isDelayHeader(key []byte) bool {
	if len(key) < len(HeaderKey) || key[0] != 'm' {
		return false
	}
	switch string(key) {
	case HeaderDelay, HeaderDeliverAt, HeaderDelayLevel, HeaderKey, HeaderCancel, HeaderCancelStrict, HeaderFinishes:
		return true
	}
	return false
}

// stored is what a hidden record in the log says. Reading it takes no configuration, so that it
// means the same for ever.
type stored struct {
	// scheduled says that the record waits for due; otherwise it is a cancel, or nothing any more.
	scheduled bool
	due       int64
	// key is the schedule's name, nil without one. It aliases the record.
	key []byte
	// finishes is the schedule that this record ends, if ends is set.
	ends     bool
	finishes Entry
}

// readStored reads the record v of a hidden batch that was received at receive.
func readStored(v *record.View, receive int64) (stored, error) {
	var s stored
	cancel := false
	for key, value := range v.Headers {
		if len(key) < len(HeaderKey) || key[0] != 'm' {
			continue
		}
		ok := true
		switch string(key) {
		case HeaderDelay:
			var d int64
			d, ok = parseDelay(value)
			s.scheduled, s.due = true, dueAfter(receive, d)
		case HeaderDeliverAt:
			var at int64
			at, ok = parseTime(value)
			s.scheduled, s.due = true, dueAt(at)
		case HeaderKey:
			s.key = value
		case HeaderCancel:
			cancel = true
		case HeaderFinishes:
			s.finishes.Ticket, s.finishes.Due, ok = parseFinishes(value)
			s.ends = true
		}
		if !ok {
			return s, fmt.Errorf("hidden record has header %s with unreadable value %.40q", key, value)
		}
	}
	if cancel {
		s.scheduled = false
	}
	return s, nil
}

// delivered reads from a delivered record which schedule it finishes: the last headers of those names
// are the broker's.
func delivered(v *record.View) (Entry, error) {
	var e Entry
	var ticket, due bool
	for key, value := range v.Headers {
		if len(key) < len(HeaderDue) || key[0] != 'm' {
			continue
		}
		switch string(key) {
		case HeaderTicket:
			e.Ticket, ticket = parseInt(value)
		case HeaderDue:
			e.Due, due = parseInt(value)
			e.Due = dueAt(e.Due)
		}
	}
	if !ticket || !due {
		return e, fmt.Errorf("delivered record without readable %s and %s", HeaderTicket, HeaderDue)
	}
	return e, nil
}
