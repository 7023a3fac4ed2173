package schedules

import (
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/morrowmq/morrow/broker/rest"
	"github.com/morrowmq/morrow/delay"
)

// filter reads the parameters from, until and prefix.
func filter(q url.Values) (f delay.Filter, err error) {
	f.KeyPrefix = q.Get("prefix")
	if f.From, err = timeParameter(q, "from", 0); err != nil {
		return f, err
	}
	if f.Until, err = timeParameter(q, "until", math.MaxInt64); err != nil {
		return f, err
	}
	return f, checkRange(f)
}

// checkRange refuses a range of due times in which nothing can lie: it was meant otherwise.
func checkRange(f delay.Filter) error {
	if f.From < f.Until || f.From == 0 { // without a beginning it is just over
		return nil
	}
	return rest.BadRequest("what is due from %d until %d (ms) is nothing: until must be later", f.From, f.Until)
}

// timeParameter reads an RFC 3339 time or milliseconds since the epoch.
func timeParameter(q url.Values, name string, without int64) (int64, error) {
	s := q.Get(name)
	if s == "" {
		return without, nil
	}
	if ms, err := strconv.ParseInt(s, 10, 64); err == nil {
		return ms, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return 0, rest.BadRequest("%s is %q, expected an RFC 3339 time or milliseconds since the epoch", name, s)
	}
	return t.UnixMilli(), nil
}

// intParameter reads a number from 1 to at most.
func intParameter(q url.Values, name string, without, most int) (int, error) {
	s := q.Get(name)
	if s == "" {
		return without, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > most {
		return 0, rest.BadRequest("%s is %q, expected a number from 1 to %d", name, s, most)
	}
	return n, nil
}

// position is a place in the list of a whole topic, which is in the order of due time, partition and ticket.
type position struct {
	due       int64
	partition int32
	ticket    int64
}

func (p position) less(q position) bool {
	switch {
	case p.due != q.due:
		return p.due < q.due
	case p.partition != q.partition:
		return p.partition < q.partition
	default:
		return p.ticket < q.ticket
	}
}

// in is the position in one partition.
func (p position) in(partition int32) delay.Entry {
	switch {
	case partition < p.partition:
		return delay.Entry{Due: p.due + 1}
	case partition > p.partition:
		return delay.Entry{Due: p.due}
	default:
		return delay.Entry{Due: p.due, Ticket: p.ticket}
	}
}

// String is the position as a cursor.
func (p position) String() string {
	return strconv.FormatInt(p.due, 36) + "." + strconv.FormatInt(int64(p.partition), 36) + "." + strconv.FormatInt(p.ticket, 36)
}

func parseCursor(s string) (p position, err error) {
	if s == "" {
		return p, nil
	}
	var fields [3]int64
	parts := strings.Split(s, ".")
	if len(parts) != len(fields) {
		return p, rest.BadRequest("cursor is %q, expected what an earlier page gave as next", s)
	}
	for i, part := range parts {
		bits := 64
		if i == 1 {
			bits = 32
		}
		if fields[i], err = strconv.ParseInt(part, 36, bits); err != nil || fields[i] < 0 || fields[i] == math.MaxInt64 {
			return p, rest.BadRequest("cursor is %q, expected what an earlier page gave as next", s)
		}
	}
	return position{fields[0], int32(fields[1]), fields[2]}, nil
}
