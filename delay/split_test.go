package delay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/morrowmq/morrow/delay/index"
	"github.com/morrowmq/morrow/log/record"
)

// testNow is when the batches of these tests are planned, and testReceive when they are received.
const (
	testNow     = int64(1_800_000_000_000)
	testReceive = testNow + 7
)

var everyDialect = func(c *RulesConfig) { c.Dialects = []string{"morrow", "rocketmq", "rabbitmq"} }

// split plans and stamps a batch against an empty schedule, and returns the stored pieces at offset 0.
func split(r *Rules, b record.Batch) ([]record.Batch, error) {
	sp := r.Splitter(b, testNow)
	defer sp.Release()
	if _, err := record.Check(b, record.CheckOptions{BeforeMax: math.MaxInt64, AfterMax: math.MaxInt64}, nil, sp.Visit()); err != nil {
		return nil, err
	}
	p, err := sp.Plan(b)
	if err != nil {
		return nil, err
	}
	if p.Plain() {
		return []record.Batch{bytes.Clone(b)}, nil
	}
	s := NewSchedule(0)
	if err := p.Prepare(context.Background(), s, nil); err != nil {
		return nil, err
	}
	if err := s.Admit(p); err != nil {
		return nil, err
	}
	var stored []record.Batch
	for _, piece := range p.Stamp(testReceive) {
		stored = append(stored, bytes.Clone(piece))
	}
	return stored, nil
}

// pendingIn lists what a schedule makes of stored batches.
func pendingIn(t interface{ Fatalf(string, ...any) }, batches []record.Batch) map[int64]int64 {
	s := NewSchedule(0)
	for _, b := range batches {
		if err := s.Apply(b); err != nil {
			t.Fatalf("apply: %v", err)
		}
	}
	dues := map[int64]int64{}
	s.near.Ascend(index.First, func(e Entry) bool {
		dues[e.Ticket] = e.Due
		return true
	})
	return dues
}

func TestHeadersSayWhenARecordIsDue(t *testing.T) {
	const never = int64(-1)
	at := func(ms int64) string { return strconv.FormatInt(ms, 10) }
	for _, c := range []struct {
		headers []string
		due     int64 // never: an ordinary record
	}{
		{nil, never},
		{[]string{"other", "10s"}, never},
		{[]string{HeaderDelay, "10s"}, testReceive + 10_000},
		{[]string{HeaderDelay, "1500"}, testReceive + 1500},
		{[]string{HeaderDelay, "365d"}, testReceive + yearMs},
		{[]string{HeaderDelay, "0"}, never},
		{[]string{HeaderDelay, "-5s"}, never},
		{[]string{HeaderDeliverAt, at(testNow + 1)}, testNow + 1},
		{[]string{HeaderDeliverAt, at(testNow)}, never},
		{[]string{HeaderDeliverAt, "2000-01-01T00:00:00Z"}, never},
		{[]string{HeaderDeliverAt, time.UnixMilli(testNow + 5000).UTC().Format(time.RFC3339)}, testNow + 5000},
		{[]string{HeaderDelayLevel, "0"}, never},
		{[]string{HeaderDelayLevel, "1"}, testReceive + 1000},
		{[]string{HeaderDelayLevel, "18"}, testReceive + 2*3600_000},
		{[]string{HeaderDelayLevel, "19"}, testReceive + 2*3600_000},
		{[]string{HeaderDelayLevel, "99999999999999999999999"}, testReceive + 2*3600_000},
		{[]string{"DELAY", "3"}, testReceive + 10_000},
		{[]string{"TIMER_DELAY_SEC", "3"}, testReceive + 3000},
		{[]string{"TIMER_DELAY_MS", "3"}, testReceive + 3},
		{[]string{"TIMER_DELIVER_MS", at(testNow + 9)}, testNow + 9},
		{[]string{"TIMER_DELIVER_MS", "5"}, never},
		{[]string{"x-delay", "40"}, testReceive + 40},
		{[]string{"x-delay", "-1"}, never},
		{[]string{HeaderKey, "name"}, never},
		{[]string{HeaderKey, "name", HeaderDelay, "1s"}, testReceive + 1000},
		{[]string{HeaderKey, "name", HeaderDelay, "-1s"}, testReceive - 1000},
		{[]string{HeaderKey, "name", HeaderDelayLevel, "0"}, testReceive},
		{[]string{HeaderKey, "name", HeaderDeliverAt, "-5"}, 0},
		{[]string{HeaderKey, "name", HeaderDeliverAt, "-9223372036854775807"}, 0},
		{[]string{HeaderKey, "name", HeaderDelay, "-9223372036854775807"}, 0},
		{[]string{HeaderKey, "name", HeaderDeliverAt, "1901-02-03T04:05:06Z"}, 0},
		{[]string{HeaderCancelStrict, "false"}, never},
		{[]string{HeaderTicket, "7", HeaderDue, "8", HeaderProducedAt, "9"}, never},
		{[]string{HeaderTicket, "7", HeaderDelay, "1s"}, testReceive + 1000},
		{[]string{HeaderFinishes, "7@8"}, never},
	} {
		stored, err := split(testRules(t, everyDialect), batchOf(record.None, time.UnixMilli(testNow), with("v", c.headers...)))
		if err != nil {
			t.Errorf("%v: %v", c.headers, err)
			continue
		}
		due, ok := pendingIn(t, stored)[0]
		if !ok {
			due = never
		}
		if due != c.due {
			t.Errorf("%v: due %d, want %d", c.headers, due, c.due)
		}
	}
}

func TestBadHeadersAreRefusedWithHeaderValueAndExpectation(t *testing.T) {
	for _, c := range []struct {
		headers []string
		want    string
	}{
		{[]string{HeaderDelay, "soon"}, `header morrow-delay is "soon", expected milliseconds or a duration`},
		{[]string{HeaderDelay, ""}, `header morrow-delay is ""`},
		{[]string{HeaderDelay, "null"}, `header morrow-delay is "null"`},
		{[]string{HeaderDelay, "9223372036854775808"}, `expected milliseconds or a duration`},
		{[]string{HeaderDelay, "366d"}, "header morrow-delay is 31622400000 ms away, expected at most delay.max.ms, which is 31536000000"},
		{[]string{HeaderDeliverAt, "2080-01-01T00:00:00Z"}, "expected at most delay.max.ms"},
		{[]string{HeaderDeliverAt, "9223372036854775807"}, "expected at most delay.max.ms"},
		{[]string{HeaderDeliverAt, "noon"}, `header morrow-deliver-at is "noon", expected a time`},
		{[]string{HeaderDelayLevel, "-1"}, "expected a level from 0 (no delay) to 18"},
		{[]string{HeaderDelayLevel, "3s"}, "expected a level from 0 (no delay) to 18"},
		{[]string{"TIMER_DELAY_SEC", "9223372036854775807"}, "header TIMER_DELAY_SEC is"},
		{[]string{"x-delay", "10s"}, `header x-delay is "10s", expected milliseconds`},
		{[]string{HeaderDelay, "1s", HeaderDeliverAt, "0"}, "headers morrow-delay and morrow-deliver-at contradict each other"},
		{[]string{HeaderDelay, "1s", "DELAY", "1"}, "headers morrow-delay and DELAY contradict each other"},
		{[]string{HeaderDelay, "1s", HeaderDelay, "1s"}, "contradict each other"},
		{[]string{HeaderCancel, "1", HeaderDelay, "1s"}, "headers morrow-cancel and morrow-delay contradict each other"},
		{[]string{HeaderCancel, "-1"}, `header morrow-cancel is "-1", expected the offset of a delayed record, or "key"`},
		{[]string{HeaderCancel, "all"}, "expected the offset of a delayed record"},
		{[]string{HeaderCancel, "1", HeaderCancel, "2"}, "header morrow-cancel occurs twice"},
		{[]string{HeaderCancel, "key"}, "expected a header morrow-key"},
		{[]string{HeaderCancel, "1", HeaderCancelStrict, "maybe"}, `header morrow-cancel-strict is "maybe", expected true or false`},
		{[]string{HeaderCancel, "1", HeaderFinishes, "1@2"}, "header morrow-finishes is reserved"},
		{[]string{HeaderDelay, "1s", HeaderFinishes, "1@2"}, "header morrow-finishes is reserved"},
		{[]string{HeaderDelay, "1s", HeaderKey, ""}, "header morrow-key has 0 bytes"},
		{[]string{HeaderDelay, "1s", HeaderKey, strings.Repeat("k", maxKeyLen+1)}, "header morrow-key has 1025 bytes"},
		{[]string{HeaderCancel, "7"}, "cannot cancel: no delayed record was stored at offset 7 yet"},
		{[]string{HeaderCancel, "key", HeaderKey, "name"}, `cannot cancel: nothing is pending under the key "name"`},
	} {
		b := batchOf(record.None, time.UnixMilli(testNow), with("good"), with("bad", c.headers...), with("good", HeaderDelay, "1s"), with("bad", c.headers...))
		_, err := split(testRules(t, everyDialect), b)
		var refused *record.RecordErrors
		if !errors.As(err, &refused) || !errors.Is(err, record.ErrInvalid) || refused.Count != 2 || refused.Records[0].Index != 1 || refused.Records[1].Index != 3 {
			t.Errorf("%v: %v", c.headers, err)
			continue
		}
		if got := refused.Records[0].Reason; !strings.Contains(got, c.want) {
			t.Errorf("%v: %q, want %q", c.headers, got, c.want)
		}
	}
}

func TestNullDelayIsRefused(t *testing.T) {
	r := record.Record{Headers: []record.Header{{Key: HeaderDelay}}}
	_, err := split(testRules(t, nil), batchOf(record.None, time.UnixMilli(testNow), r))
	if err == nil || !strings.Contains(err.Error(), "header morrow-delay is null") {
		t.Errorf("got %v", err)
	}
}

func TestOnlyDialectsSwitchedOnAreUnderstood(t *testing.T) {
	foreign := with("v", "DELAY", "3", "x-delay", "40", "TIMER_DELAY_MS", "1")
	stored, err := split(testRules(t, nil), batchOf(record.None, time.UnixMilli(testNow), foreign))
	if err != nil || stored[0].Hidden() {
		t.Errorf("foreign headers are not ordinary: %v", err)
	}
	rabbit := testRules(t, func(c *RulesConfig) { c.Dialects = []string{"rabbitmq"} })
	stored, err = split(rabbit, batchOf(record.None, time.UnixMilli(testNow), with("v", HeaderDelay, "nonsense")))
	if err != nil || stored[0].Hidden() {
		t.Errorf("morrow-delay is not ordinary where only rabbitmq is understood: %v", err)
	}
	// In the log our headers mean something whatever the topic's dialects were.
	_, err = split(rabbit, batchOf(record.None, time.UnixMilli(testNow), with("v", HeaderDelay, "1s", "x-delay", "40")))
	if err == nil || !strings.Contains(err.Error(), "header morrow-delay is reserved") {
		t.Errorf("a delayed record with an ordinary morrow-delay: %v", err)
	}
}

func TestDisabledRulesReadNothing(t *testing.T) {
	r := testRules(t, func(c *RulesConfig) { c.Enable = false })
	b := batchOf(record.None, time.UnixMilli(testNow), with("v", HeaderDelay, "nonsense"))
	sp := r.Splitter(b, testNow)
	defer sp.Release()
	if sp.Visit() != nil {
		t.Error("disabled rules visit records")
	}
	if p, err := sp.Plan(b); err != nil || !p.Plain() {
		t.Errorf("disabled rules do not leave a batch plain: %v", err)
	}
}

func TestDefaultDelayAppliesWhereNoHeaderSaysOtherwise(t *testing.T) {
	r := testRules(t, func(c *RulesConfig) { c.DefaultMs = 5000 })
	b := batchOf(record.Zstd, time.UnixMilli(testNow), with("a"), record.Record{Value: []byte("b")}, with("c", HeaderDelay, "1s"), with("d", HeaderDelay, "0"), with("e", HeaderKey, "name"))
	stored, err := split(r, b)
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(pendingIn(t, stored))
	want := fmt.Sprint(map[int64]int64{0: testReceive + 5000, 1: testReceive + 5000, 2: testReceive + 1000, 4: testReceive + 5000})
	if got != want {
		t.Errorf("pending %v, want %v", got, want)
	}
}

func TestRecordThatWouldNotFitWhenDeliveredIsRefused(t *testing.T) {
	rules := testRules(t, func(c *RulesConfig) { c.MaxMessageBytes = 10_000 })
	now := time.UnixMilli(testNow)
	sized := func(total int, codec record.Codec) record.Batch {
		b := batchOf(codec, now, with(strings.Repeat("x", total), HeaderDelay, "1s"))
		if codec == record.None {
			b = batchOf(codec, now, with(strings.Repeat("x", 2*total-len(b)), HeaderDelay, "1s"))
		}
		return b
	}
	if _, err := split(rules, sized(10_000, record.None)); err == nil || !strings.Contains(err.Error(), "max.message.bytes, which is 10000") {
		t.Errorf("a record as large as allowed before delivery headers: %v", err)
	}
	stored, err := split(rules, sized(10_000-addedLen-record.HeaderLen, record.None))
	if err != nil {
		t.Fatal(err)
	}
	var w workspace
	f := &flight{Entries: []Entry{{Due: testReceive + 1000}}}
	if err := w.gather(context.Background(), oneBatch{b: stored[0]}, &shelf{cache: new(cache)}, f, testNow); err != nil {
		t.Fatal(err)
	}
	d := Delivery{flight: f}
	if _, err := w.build(&d, 0, testNow+2000); err != nil || len(d.Batches[0]) > 10_000 {
		t.Errorf("delivered batch has %d bytes, %v", len(d.Batches[0]), err)
	}
	if _, err := split(rules, sized(100_000, record.Zstd)); err != nil {
		t.Errorf("a record that fits compressed: %v", err)
	}
	// A cancel is never delivered.
	if _, err := split(rules, batchOf(record.None, now, with(strings.Repeat("x", 9_900), HeaderCancel, "7", HeaderCancelStrict, "false"))); err != nil {
		t.Errorf("a large cancel: %v", err)
	}
}

func TestTransactionsMayScheduleButNotCancelOrName(t *testing.T) {
	for headers, want := range map[[4]string]string{
		{HeaderDelay, "1s", "a", "b"}:                "",
		{HeaderDelay, "1s", HeaderKey, "name"}:       "header morrow-key within a transaction",
		{HeaderCancel, "1", "a", "b"}:                "header morrow-cancel within a transaction",
		{HeaderCancel, "1", HeaderCancelStrict, "x"}: "header morrow-cancel within a transaction",
	} {
		var w record.Builder
		w.Reset(record.Transactional, testNow)
		w.SetProducer(7, 1, 0)
		r := with("v", headers[:]...)
		w.Add(0, testNow, r.Key, r.Value, r.Headers...)
		b, err := w.Finish()
		if err != nil {
			t.Fatal(err)
		}
		_, err = split(testRules(t, nil), b)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", headers, err, want)
		}
	}
}

func TestBatchOfTooManyPiecesIsRefused(t *testing.T) {
	var rs []record.Record
	for i := range 2*maxPieces + 2 {
		r := record.Record{Value: []byte("v")}
		if i%2 == 0 {
			r.Headers = []record.Header{{Key: HeaderDelay, Value: []byte("1s")}}
		}
		rs = append(rs, r)
	}
	_, err := split(testRules(t, nil), batchOf(record.None, time.UnixMilli(testNow), rs...))
	if err == nil || !strings.Contains(err.Error(), "alternates between delayed and ordinary records") {
		t.Errorf("got %v", err)
	}
}

// oneBatch is a source with one batch.
type oneBatch struct {
	Source
	b record.Batch
}

func TestSplitKeepsEveryRecordAtItsOffset(t *testing.T) {
	rules := testRules(t, everyDialect)
	rapid.Check(t, func(t *rapid.T) {
		b, rs := drawBatch(t)
		original := bytes.Clone(b)
		stored, err := split(rules, b)
		if err != nil {
			t.Fatalf("refused: %v", err)
		}
		checkPieces(t, original, stored)
		checkRecords(t, original, stored, rs)
		if len(stored) == 1 && !stored[0].Hidden() && !bytes.Equal(stored[0], original) {
			t.Fatal("a batch without delays was changed")
		}
	})
}

// drawn is a record of a random batch and what must become of it.
type drawn struct {
	record.Record
	hidden, rewritten bool
	due               int64
}

func drawRecord(t *rapid.T) drawn {
	r := drawn{Record: record.Record{
		Timestamp: testNow - rapid.Int64Range(0, 1000).Draw(t, "age"),
		Key:       rapid.SampledFrom([][]byte{nil, {}, []byte("key")}).Draw(t, "key"),
		Value:     rapid.SampledFrom([][]byte{nil, {}, []byte("value"), bytes.Repeat([]byte("long"), 100)}).Draw(t, "value"),
	}}
	for range rapid.IntRange(0, 2).Draw(t, "headers") {
		r.Headers = append(r.Headers, record.Header{Key: rapid.SampledFrom([]string{"", "m", "trace", "morrow-ticket", "DELAYED"}).Draw(t, "name"), Value: []byte("x")})
	}
	ms := rapid.Int64Range(1, 100_000).Draw(t, "ms")
	h := record.Header{}
	number := strconv.FormatInt(ms, 10)
	switch rapid.IntRange(0, 7).Draw(t, "kind") {
	case 0, 1, 2:
		return r
	case 3, 4:
		h = record.Header{Key: HeaderDelay, Value: []byte(number)}
		r.hidden, r.due = true, testReceive+ms
	case 5:
		h = record.Header{Key: HeaderDeliverAt, Value: strconv.AppendInt(nil, testNow+ms, 10)}
		r.hidden, r.due = true, testNow+ms
	case 6:
		h = record.Header{Key: "x-delay", Value: []byte(number)}
		r.hidden, r.rewritten, r.due = true, true, testReceive+ms
	case 7:
		h = record.Header{Key: HeaderDelay, Value: []byte("-" + number)}
	}
	i := rapid.IntRange(0, len(r.Headers)).Draw(t, "position")
	r.Headers = append(r.Headers[:i], append([]record.Header{h}, r.Headers[i:]...)...)
	return r
}

func drawBatch(t *rapid.T) (record.Batch, []drawn) {
	rs := rapid.SliceOfN(rapid.Custom(drawRecord), 1, 40).Draw(t, "records")
	if rapid.Bool().Draw(t, "all delayed") {
		for i := range rs {
			if !rs[i].hidden {
				rs[i] = drawn{Record: with("late", HeaderDelay, "9s"), hidden: true, due: testReceive + 9000}
				rs[i].Timestamp = testNow
			}
		}
	}
	var w record.Builder
	a := record.Attributes(0).WithCodec(rapid.SampledFrom([]record.Codec{record.None, record.Gzip, record.Snappy, record.LZ4, record.Zstd}).Draw(t, "codec"))
	if rapid.Bool().Draw(t, "transactional") {
		a |= record.Transactional
	}
	w.Reset(a, rs[0].Timestamp)
	if a.Has(record.Transactional) || rapid.Bool().Draw(t, "idempotent") {
		w.SetProducer(99, 3, rapid.SampledFrom([]int32{0, 5, math.MaxInt32, math.MaxInt32 - 3}).Draw(t, "sequence"))
	}
	for i, r := range rs {
		w.Add(int32(i), r.Timestamp, r.Key, r.Value, r.Headers...)
	}
	b, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(b), rs
}

func checkPieces(t *rapid.T, original record.Batch, stored []record.Batch) {
	next := int64(0)
	for i, b := range stored {
		if err := b.CheckCRC(); err != nil {
			t.Fatal(err)
		}
		if b.BaseOffset() != next {
			t.Fatalf("piece %d begins at %d, want %d", i, b.BaseOffset(), next)
		}
		sequence := int32(-1)
		if original.BaseSequence() >= 0 {
			sequence = record.AddSequence(original.BaseSequence(), int32(next))
		}
		if b.BaseSequence() != sequence || b.ProducerID() != original.ProducerID() || b.ProducerEpoch() != original.ProducerEpoch() {
			t.Fatalf("piece %d has producer %d, epoch %d, sequence %d; want sequence %d", i, b.ProducerID(), b.ProducerEpoch(), b.BaseSequence(), sequence)
		}
		if b.Continued() != (i+1 < len(stored)) || b.Transactional() != original.Transactional() || b.Attributes().Codec() != original.Attributes().Codec() {
			t.Fatalf("piece %d of %d has attributes %b", i, len(stored), b.Attributes())
		}
		if i > 0 && b.Hidden() == stored[i-1].Hidden() {
			t.Fatalf("pieces %d and %d are not one", i-1, i)
		}
		if b.Hidden() && (b.MaxTimestamp() != testReceive || !b.Attributes().Has(record.LogAppendTime)) {
			t.Fatalf("hidden piece %d is not stamped with the receive time", i)
		}
		next = b.EndOffset()
	}
	if next != original.EndOffset() {
		t.Fatalf("pieces end at %d, want %d", next, original.EndOffset())
	}
}

func checkRecords(t *rapid.T, original record.Batch, stored []record.Batch, rs []drawn) {
	rewritten := false
	for _, b := range stored {
		err := b.Walk(nil, func(v *record.View) error {
			r := rs[b.BaseOffset()+int64(v.OffsetDelta)]
			rewritten = rewritten || r.rewritten
			if b.Hidden() != r.hidden || !sameBytes(v.Key, r.Key) || !sameBytes(v.Value, r.Value) || v.CreateTime() != r.Timestamp {
				t.Fatalf("record %v became %q %q at %d, hidden %v", r, v.Key, v.Value, v.CreateTime(), b.Hidden())
			}
			if r.hidden {
				if s, err := readStored(v, b.MaxTimestamp()); err != nil || !s.scheduled || s.due != r.due {
					t.Fatalf("record %v is due at %d, %v", r, s.due, err)
				}
			}
			if !r.rewritten {
				i := 0
				for k, val := range v.Headers {
					if r.Headers[i].Key != string(k) || !sameBytes(r.Headers[i].Value, val) {
						t.Fatalf("header %d of %v became %q %q", i, r, k, val)
					}
					i++
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(stored) == 1 && !rewritten && !bytes.Equal(stored[0].Payload(), original.Payload()) {
		t.Fatal("the payload of a batch that needs no change was changed")
	}
}

func sameBytes(a, b []byte) bool { return bytes.Equal(a, b) && (a == nil) == (b == nil) }

func FuzzSplit(f *testing.F) {
	f.Add(HeaderDelay, "10s", HeaderKey, "name", uint8(0))
	f.Add(HeaderDeliverAt, "2030-01-31T15:04:05Z", "x-delay", "5", uint8(4))
	f.Add(HeaderCancel, "key", HeaderKey, "name", uint8(1))
	f.Add("DELAY", "3", HeaderCancelStrict, "false", uint8(3))
	f.Add(HeaderDelay, "1", HeaderFinishes, "1@2", uint8(2))
	rules := testRules(f, everyDialect)
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2 string, codec uint8) {
		b := batchOf(record.Codec(codec%5), time.UnixMilli(testNow), with("plain"), with("v", k1, v1, k2, v2), with("w", k1, v1), with("x", k2, v2, HeaderDelay, "1"))
		stored, err := split(rules, b)
		if err != nil {
			if !errors.Is(err, record.ErrInvalid) {
				t.Fatalf("%v", err)
			}
			return
		}
		for ticket, due := range pendingIn(t, stored) {
			if ticket < 1 || ticket > 3 || due > testReceive+yearMs {
				t.Fatalf("ticket %d is due at %d", ticket, due)
			}
		}
		if stored[len(stored)-1].EndOffset() != 4 {
			t.Fatalf("stored up to %d", stored[len(stored)-1].EndOffset())
		}
	})
}

func BenchmarkSplit(b *testing.B) {
	rules := testRules(b, nil)
	off := testRules(b, func(c *RulesConfig) { c.Enable = false })
	for _, c := range []struct {
		name    string
		rules   *Rules
		records int
		headers []string
		mixed   bool
		codec   record.Codec
	}{
		{"check alone, no headers", nil, 1000, nil, false, record.None},
		{"no headers", rules, 1000, nil, false, record.None},
		{"disabled", off, 1000, nil, false, record.None},
		{"check alone, other headers", nil, 1000, []string{"traceparent", "00-0af7651916cd43dd8448eb211c80319c", "content-type", "json"}, false, record.None},
		{"other headers", rules, 1000, []string{"traceparent", "00-0af7651916cd43dd8448eb211c80319c", "content-type", "json"}, false, record.None},
		{"all delayed", rules, 1000, []string{HeaderDelay, "10s"}, false, record.None},
		{"all delayed, lz4", rules, 1000, []string{HeaderDelay, "10s"}, false, record.LZ4},
		{"half delayed, lz4", rules, 1000, []string{HeaderDelay, "10s"}, true, record.LZ4},
	} {
		b.Run(c.name, func(b *testing.B) {
			var rs []record.Record
			for i := range c.records {
				r := with(strings.Repeat("x", 100), c.headers...)
				if c.mixed && i < c.records/2 {
					r.Headers = nil
				}
				rs = append(rs, r)
			}
			batch := batchOf(c.codec, time.UnixMilli(testNow), rs...)
			fresh := bytes.Clone(batch)
			s := NewSchedule(0)
			d := record.GetDecompressor()
			b.ReportAllocs()
			b.SetBytes(int64(len(batch)))
			for b.Loop() {
				copy(batch, fresh)
				o := record.CheckOptions{BeforeMax: math.MaxInt64, AfterMax: math.MaxInt64}
				if c.rules == nil {
					if _, err := record.Check(batch, o, d, nil); err != nil {
						b.Fatal(err)
					}
					continue
				}
				sp := c.rules.Splitter(batch, testNow)
				if _, err := record.Check(batch, o, d, sp.Visit()); err != nil {
					b.Fatal(err)
				}
				p, err := sp.Plan(batch)
				if err != nil {
					b.Fatal(err)
				}
				if !p.Plain() {
					if err := p.Prepare(context.Background(), s, nil); err != nil {
						b.Fatal(err)
					}
					p.Stamp(testReceive)
				}
				sp.Release()
			}
			b.ReportMetric(float64(b.N)*float64(c.records)/b.Elapsed().Seconds()/1e6, "Mrecords/s")
		})
	}
}

func (o oneBatch) BatchAt(context.Context, int64, []byte) (record.Batch, error) { return o.b, nil }

func TestBatchMayBeRecompressedBeforeItIsDivided(t *testing.T) {
	rules := testRules(t, nil)
	b := batchOf(record.None, time.UnixMilli(testNow), with("plain"), with("late", HeaderDelay, "1s"))
	sp := rules.Splitter(b, testNow)
	defer sp.Release()
	if _, err := record.Check(b, record.CheckOptions{BeforeMax: math.MaxInt64, AfterMax: math.MaxInt64}, nil, sp.Visit()); err != nil {
		t.Fatal(err)
	}
	var w record.Builder
	z, err := w.Recompress(b, record.Zstd, nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := sp.Plan(z)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Prepare(t.Context(), NewSchedule(0), nil); err != nil {
		t.Fatal(err)
	}
	for i, piece := range p.Stamp(testReceive) {
		if piece.Attributes().Codec() != record.Zstd || piece.Hidden() != (i == 1) {
			t.Errorf("piece %d has attributes %b", i, piece.Attributes())
		}
	}
}
