package partition

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/morrowmq/morrow/delay"
	"github.com/morrowmq/morrow/log"
	"github.com/morrowmq/morrow/log/record"
	"github.com/morrowmq/morrow/tier/bucket/buckettest"
)

// tiered runs a test on a world with a bucket.
func tiered(t *testing.T, test func(t *testing.T, w *world)) {
	living(t, func(t *testing.T, w *world) {
		w.bucket = buckettest.New()
		w.open()
		test(t, w)
	})
}

// d1 creates the topic of D1: an hour locally, six in all, small segments.
func (w *world) d1(name string, configs ...string) {
	w.create(name, 1, append([]string{
		"remote.storage.enable", "true", "segment.ms", "300000", "segment.bytes", "65536",
		"local.retention.ms", "3600000", "retention.ms", "21600000",
	}, configs...)...)
}

// underway is d1, with the broker at work and a ledger. stop ends it.
func (w *world) underway(configs ...string) (l *ledger, stop func()) {
	w.Helper()
	w.d1("orders", configs...)
	stop = w.start()
	w.awaitLoaded("orders")
	return w.ledger("orders"), stop
}

// ledger is what a producer was told, and what a consumer that never falls behind retention has seen.
type ledger struct {
	w     *world
	name  string
	began time.Time
	due   map[int64]int64 // by ticket, ms; 0: cancelled
	seen  map[int64]int64 // by ticket: the offset of its delivery
	next  int64
	plain int
}

func (w *world) ledger(name string) *ledger {
	return &ledger{w: w, name: name, began: w.clock(), due: map[int64]int64{}, seen: map[int64]int64{}}
}

// schedule produces n delayed records of about 1 KiB.
func (l *ledger) schedule(n int, by time.Duration) (tickets []int64) {
	l.w.Helper()
	for range n {
		now := l.w.clock()
		ticket := l.w.append(l.w.partition(l.name), rec{value: payload(by), headers: []string{delay.HeaderDelay, by.String()}})
		l.due[ticket] = now.Add(by).UnixMilli()
		tickets = append(tickets, ticket)
	}
	return tickets
}

func payload(by time.Duration) string { return by.String() + strings.Repeat(".", 1000) }

// run lets time pass, with a record now and then that makes segments roll, and a consumer.
func (l *ledger) run(d time.Duration) {
	l.w.Helper()
	for end := l.w.clock().Add(d); l.w.clock().Before(end); {
		if _, err := l.w.partition(l.name).Append(l.w.Context(), batch(l.w.clock(), plain("load")), nil, l.w.clock()); err != nil && !errors.Is(err, log.ErrNoSpace) {
			l.w.Fatal(err)
		}
		time.Sleep(time.Minute)
		l.consume()
	}
}

// consume reads what has come since the last time.
func (l *ledger) consume() {
	l.w.Helper()
	p := l.w.partition(l.name)
	for l.next < p.log.Offsets().VisibleEnd {
		wanted := ReadRequest{Offset: l.next, MaxBytes: 1 << 20, MinOne: true, LeaderEpoch: -1, LastFetchedEpoch: -1}
		r, err := p.Read(wanted)
		if isTiered(err) {
			r, err = p.ReadRemote(l.w.Context(), wanted)
		}
		if err != nil {
			l.w.Fatalf("read at %d: %v", l.next, err)
		}
		l.see(r)
		r.Release()
	}
}

func (l *ledger) see(r *Read) {
	l.w.Helper()
	for _, at := range r.Ranges {
		data := make([]byte, at.Len)
		if _, err := at.File.ReadAt(data, at.Pos); err != nil {
			l.w.Fatal(err)
		}
		for len(data) > 0 {
			b, rest, err := record.Next(data)
			if err != nil {
				l.w.Fatal(err)
			}
			records, err := b.Decode()
			if err != nil {
				l.w.Fatal(err)
			}
			for _, one := range records {
				l.seeOne(one)
			}
			data, l.next = rest, b.EndOffset()
		}
	}
}

func (l *ledger) seeOne(r record.Record) {
	headers := map[string]int64{}
	for _, h := range r.Headers {
		headers[h.Key], _ = strconv.ParseInt(string(h.Value), 10, 64)
	}
	ticket, ok := headers[delay.HeaderTicket]
	due, acked := l.due[ticket]
	switch {
	case !ok:
		l.plain++
	case !acked:
		l.w.Errorf("offset %d delivers ticket %d, which nobody was told", r.Offset, ticket)
	case due == 0:
		l.w.Errorf("offset %d delivers ticket %d, which was cancelled", r.Offset, ticket)
	case l.seen[ticket] != 0:
		l.w.Errorf("offset %d delivers ticket %d again, after %d", r.Offset, ticket, l.seen[ticket])
	case r.Timestamp < due || headers[delay.HeaderDue] < due:
		l.w.Errorf("ticket %d was due at %d, delivered at %d", ticket, due, r.Timestamp)
	case !bytes.HasSuffix(r.Value, []byte("....")):
		l.w.Errorf("ticket %d was changed: %q", ticket, r.Value)
	default:
		l.seen[ticket] = r.Offset
	}
}

// settled checks that everything due by now, and nothing else, was delivered.
func (l *ledger) settled() {
	l.w.Helper()
	l.consume()
	now := l.w.clock().Add(-10 * time.Second).UnixMilli()
	for ticket, due := range l.due {
		if at := l.seen[ticket]; due != 0 && due <= now && at == 0 {
			l.w.Errorf("ticket %d, due %d ms ago, was not delivered", ticket, now-due)
		}
	}
}

// waiting counts the records that are not delivered and were not cancelled.
func (l *ledger) waiting() (n int64) {
	for ticket, due := range l.due {
		if due != 0 && l.seen[ticket] == 0 {
			n++
		}
	}
	return n
}

// done is settled, and checks that nothing is left to wait for.
func (l *ledger) done() {
	l.w.Helper()
	l.settled()
	if n := l.waiting(); n != 0 {
		l.w.Errorf("%d wait", n)
	}
}

// evicted fails unless the local log has passed what the ledger waits for, and its payloads lie in
// the tier only: otherwise the test is void.
func (l *ledger) evicted() {
	l.w.Helper()
	p := l.w.partition(l.name)
	last := int64(0)
	for ticket, due := range l.due {
		if due != 0 && l.seen[ticket] == 0 {
			last = max(last, ticket)
		}
	}
	if o := p.log.Offsets(); o.LocalStart <= last {
		l.w.Fatalf("the local log starts at %d, ticket %d waits: the test is void", o.LocalStart, last)
	}
	st := l.w.stats(p)
	if st.Runs == 0 || st.Spilled != l.waiting() {
		l.w.Fatalf("%d wait, %+v: the test is void", l.waiting(), st)
	}
	journal := p.scheduleLog()
	for _, r := range p.schedule.ReadLate(l.w.clock().Add(time.Hour).UnixMilli(), 0) {
		if _, err := journal.log.BatchAt(r.From, nil); !isTiered(err) {
			l.w.Fatalf("records of a run are still local at %d (%v): the test is void", r.From, err)
		}
	}
}

func isTiered(err error) bool {
	_, ok := errors.AsType[*log.TieredError](err)
	return ok
}

// crash kills the broker and starts it again after a time.
func (w *world) crash(stop func(), down time.Duration) (again func()) {
	w.Helper()
	left := w.mem.CrashProcess()
	stop()
	time.Sleep(down)
	w.mem, w.fsys = left, left
	w.open()
	return w.start()
}
