package delay

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/morrowmq/morrow/log/record"
)

// golden compares bytes with hexadecimal text, in which spaces mean nothing.
func golden(t *testing.T, what string, got []byte, want string) {
	t.Helper()
	if w := strings.Join(strings.Fields(want), ""); hex.EncodeToString(got) != w {
		t.Errorf("%s is\n%x, want\n%s", what, got, w)
	}
}

func TestFormatOfStoredRecords(t *testing.T) {
	p := newPartition(testRules(t, func(c *RulesConfig) { c.Dialects = []string{"morrow", "rabbitmq"} }))
	p.now = func() time.Time { return time.UnixMilli(testNow) }
	p.mustSend(t, with("v", HeaderDelay, "1h"))
	p.mustSend(t, with("v", "x-delay", "5", "user", "x"))
	p.mustSend(t, cancelOf(0))
	var headers []string
	for _, b := range p.batches {
		rs, err := b.Decode()
		if err != nil {
			t.Fatal(err)
		}
		line := ""
		for _, h := range rs[0].Headers {
			line += h.Key + "=" + string(h.Value) + " "
		}
		headers = append(headers, line)
	}
	want := []string{
		"morrow-delay=1h ",
		"user=x morrow-delay=5 ",
		"morrow-cancel=0 morrow-finishes=0@1800003600000 ",
	}
	if !reflect.DeepEqual(headers, want) {
		t.Errorf("headers %q, want %q", headers, want)
	}
	golden(t, "hidden batch", p.batches[0], `
		0000000000000000 0000004a ffffffff 02 102a455f 0108 00000000
		000001a3185c5000 000001a3185c5000 ffffffffffffffff ffff ffffffff 00000001
		30 00 00 00 02 6b 02 76 02
		18 6d6f72726f772d64656c6179 04 3168`)
}

func TestFormatOfTheScheduleLog(t *testing.T) {
	h := runHeader{topic: [16]byte{1, 2, 3}, partition: 4}
	golden(t, "run header", h.encode(5, 600), "02 10 01020300000000000000000000000000 08 0a b009")

	info := runInfo{
		from: 100, to: 111, trailer: 110, low: 5, high: 600, count: 3, bytes: 90,
		first: Entry{Due: 1000, Ticket: 7}, last: Entry{Due: 3000, Ticket: 6},
		data:    []dataFence{{due: 1000, ticket: 7, before: 0, offset: 104}, {due: 2000, ticket: 9, before: 1, offset: 105}},
		tickets: []ticketFence{{ticket: 6, offset: 101}},
		keys:    []keyFence{{key: "a", offset: 102}},
		filter:  newFilter(1),
	}
	info.filter.add("a")
	golden(t, "trailer", info.encode(), `
		02 0a b009 06 b401 d00f0e f02e0c
		04 d00f0e0008 d00f040202
		02 0c02
		02 016104
		02 4936`)
	got := runInfo{from: 100, to: 111, trailer: 110}
	if err := got.decode(info.encode()); err != nil || !reflect.DeepEqual(got, info) {
		t.Errorf("trailer reads back as %+v, %v", got, err)
	}
	whole := info.encode()
	info.to, info.trailer, info.gaps = 131, 130, []Range{{103, 104}, {106, 126}}
	golden(t, "what a trailer with gaps ends with", info.encode()[len(whole):], "04 0602 0428")
	got = runInfo{from: 100, to: 131, trailer: 130}
	if err := got.decode(info.encode()); err != nil || !reflect.DeepEqual(got, info) {
		t.Errorf("trailer with gaps reads back as %+v, %v", got, err)
	}
	if parts := info.parts(); !reflect.DeepEqual(parts, []Range{{100, 103}, {104, 106}, {126, 131}}) {
		t.Errorf("parts %v", parts)
	}
	if parts := info.within(Range{103, 127}); !reflect.DeepEqual(parts, []Range{{104, 106}, {126, 127}}) {
		t.Errorf("parts of a part %v", parts)
	}

	p := &progress{
		complete: true, folded: 700, floor: 600, received: 2000, logStart: 50,
		drops: []Range{{10, 20}},
		runs: []runProgress{{from: 100, to: 111, trailer: 110, cursor: Entry{Due: 1000, Ticket: 7}, live: 2,
			exceptions: []Entry{{Due: 2000, Ticket: 9}, {Due: 3000, Ticket: 6}}}},
	}
	golden(t, "progress", p.encode(), `
		02 02 f80a b009 a01f 64
		02 1414
		02 c801 16 14 d00f0e 04 04 a01f12 d00f05`)
	if got, err := decodeProgress(p.encode()); err != nil || !reflect.DeepEqual(got, p) {
		t.Errorf("progress reads back as %+v, %v", got, err)
	}
}

func TestProgressRecordsFoldOneAfterAnother(t *testing.T) {
	p := &progress{complete: true, folded: 1, runs: []runProgress{
		{from: 1, exceptions: []Entry{{Due: 1}}}, {from: 2, exceptions: []Entry{{Due: 2}}},
	}}
	p.fold(&progress{folded: 5, floor: 3, runs: []runProgress{{from: 2, cursor: Entry{Due: 1}, live: 9, exceptions: []Entry{{Due: 7}}}}})
	want := &progress{complete: true, folded: 5, floor: 3, runs: []runProgress{
		{from: 2, cursor: Entry{Due: 1}, live: 9, exceptions: []Entry{{Due: 2}, {Due: 7}}},
	}}
	if !reflect.DeepEqual(p, want) {
		t.Errorf("got %+v, want %+v", p, want)
	}
}

func FuzzScheduleLog(f *testing.F) {
	p := &progress{complete: true, runs: []runProgress{{from: 1, exceptions: []Entry{{Due: 1, Ticket: 2}, {Due: 3, Ticket: 4}}}}, drops: []Range{{1, 2}}}
	f.Add(p.encode())
	info := runInfo{data: []dataFence{{1, 2, 3, 4}}, tickets: []ticketFence{{1, 2}}, keys: []keyFence{{"a", 2}}, filter: newFilter(3)}
	f.Add(info.encode())
	info.gaps = []Range{{2, 4}}
	f.Add(info.encode())
	f.Add([]byte{2, 2, 2, 4})
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := decodeProgress(b); err == nil {
			if again, err := decodeProgress(p.encode()); err != nil || !reflect.DeepEqual(again, p) {
				t.Errorf("%x: %+v, then %+v, %v", b, p, again, err)
			}
		}
		var r runInfo
		if err := r.decode(b); err == nil {
			var again runInfo
			if err := again.decode(r.encode()); err != nil || !bytes.Equal(again.encode(), r.encode()) {
				t.Errorf("%x: %+v, then %+v, %v", b, r, again, err)
			}
			r.filter.mayContain("key")
		}
		_ = readTickets(b, func(Entry) error { return nil })
		_ = readKeys(b, func([]byte, Entry) error { return nil })
	})
}

func TestFilterKnowsItsKeysAndFewOthers(t *testing.T) {
	const n = 10_000
	f := newFilter(n)
	key := func(i int) string { return strings.Repeat("k", i%7) + time.UnixMilli(int64(i)).String() }
	for i := range n {
		f.add(key(i))
	}
	others := 0
	for i := range n {
		if !f.mayContain(key(i)) {
			t.Fatalf("filter does not know key %d", i)
		}
		if f.mayContain(key(n + i)) {
			others++
		}
	}
	if others > n/50 {
		t.Errorf("%d of %d other keys pass", others, n)
	}
	if filter(nil).mayContain("a") {
		t.Error("an empty filter lets keys pass")
	}
}

func TestApplyRefusesWhatItCannotRead(t *testing.T) {
	s := NewSchedule(0)
	for _, c := range []struct {
		a       record.Attributes
		headers []string
	}{
		{record.Hidden | record.LogAppendTime, []string{HeaderDelay, "soon"}},
		{record.Hidden | record.LogAppendTime, []string{HeaderCancel, "1", HeaderFinishes, "1"}},
		{record.Delivery, []string{HeaderTicket, "1"}},
		{record.Delivery, nil},
		{record.Control | record.Transactional, nil},
	} {
		var w record.Builder
		w.Reset(c.a, testNow)
		r := with("v", c.headers...)
		w.Add(0, testNow, nil, r.Value, r.Headers...)
		b, err := w.Finish()
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Apply(b); err == nil || !strings.Contains(err.Error(), "batch at offset 0: ") {
			t.Errorf("attributes %b, headers %v: %v", c.a, c.headers, err)
		}
	}
	if s.End() != 0 || s.Stats(0) != NewSchedule(0).Stats(0) {
		t.Error("what was refused left traces")
	}
}
