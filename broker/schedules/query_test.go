package schedules

import (
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/morrowmq/morrow/broker/rest"
	"github.com/morrowmq/morrow/delay"
)

func TestCursorsAreReadAsTheyWereWritten(t *testing.T) {
	for _, p := range []position{{}, {1, 2, 3}, {delay.LastDue, math.MaxInt32, math.MaxInt64 - 1}} {
		if got, err := parseCursor(p.String()); err != nil || got != p {
			t.Errorf("%v is read as %v, %v", p, got, err)
		}
	}
	for _, s := range []string{"1", "1.2", "1.2.3.4", "-1.0.0", "0.zzzzzzzzz.0", "é.0.0"} {
		if _, err := parseCursor(s); err == nil {
			t.Errorf("cursor %q is accepted", s)
		}
	}
}

// A list of several partitions goes on where it stood: what lies at or behind a position is the
// same seen as a whole and partition by partition.
func TestPositionsMeanTheSameInEveryPartition(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	random := func() position { return position{rng.Int64N(4), rng.Int32N(4), rng.Int64N(4)} }
	for range 10_000 {
		at, record := random(), random()
		from := at.in(record.partition)
		behind := record.due > from.Due || record.due == from.Due && record.ticket >= from.Ticket
		if behind == record.less(at) {
			t.Fatalf("%v from %v on: %v, in its partition %+v", record, at, behind, from)
		}
	}
}

func TestTimelinesAreSplitWithoutGapsAtRoundTimes(t *testing.T) {
	at := func(clock string) int64 {
		when, err := time.Parse(time.RFC3339, "2026-11-27T"+clock+"Z")
		if err != nil {
			t.Fatal(err)
		}
		return when.UnixMilli()
	}
	for _, c := range []struct {
		from, until int64
		n           int
		want        []int64
	}{
		{0, 10, 3, []int64{0, 5, 10}},
		{0, 10, 1, []int64{0, 10}},
		{5, 6, 24, []int64{5, 6}},
		{0, 100, 2, []int64{0, 50, 100}},
		{at("17:45:23"), at("20:10:00"), 4, []int64{at("17:45:23"), at("18:00:00"), at("19:00:00"), at("20:00:00"), at("20:10:00")}},
		{at("17:45:23"), at("18:00:00"), 2, []int64{at("17:45:23"), at("17:50:00"), at("18:00:00")}},
	} {
		if got := split(c.from, c.until, bucketWidth(c.from, c.until, c.n)); !slices.Equal(got, c.want) {
			t.Errorf("%d until %d in %d: %v, expected %v", c.from, c.until, c.n, got, c.want)
		}
	}
}

func TestTimelinesHaveNoMoreBucketsThanAskedFor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from := rapid.Int64Range(0, delay.LastDue-1).Draw(t, "from")
		until := from + 1 + rapid.Int64Range(0, min(1<<rapid.IntRange(0, 48).Draw(t, "bits"), delay.LastDue-from-1)).Draw(t, "length")
		n := rapid.IntRange(1, maxBuckets).Draw(t, "n")
		bounds := split(from, until, bucketWidth(from, until, n))
		if len(bounds)-1 > n || bounds[0] != from || bounds[len(bounds)-1] != until || !slices.IsSorted(bounds) {
			t.Fatalf("%d bounds from %d until %d", len(bounds), bounds[0], bounds[len(bounds)-1])
		}
	})
}

// Nothing is due so late, and the end of such a timeline could not be found.
func TestTimelinesDoNotBeginBehindAllDueTimes(t *testing.T) {
	a := &API{now: time.Now}
	for _, from := range []int64{-1, delay.LastDue, delay.LastDue + 1, math.MaxInt64} {
		_, err := a.Timeline("orders", url.Values{"from": {strconv.FormatInt(from, 10)}})
		if e, ok := errors.AsType[*rest.Error](err); !ok || e.Status != http.StatusBadRequest {
			t.Errorf("from %d: %v", from, err)
		}
	}
	if until, err := behindLast(nil, delay.LastDue-1); err != nil || until != delay.LastDue {
		t.Errorf("from the last millisecond on: %d, %v", until, err)
	}
}

func TestMovesLieInTheFuture(t *testing.T) {
	ms := func(n int64) *int64 { return &n }
	const now = 1000
	for _, c := range []struct {
		m    Move
		want int64
	}{
		{Move{DueMs: ms(5)}, now + 1},
		{Move{DueMs: ms(now + 7)}, now + 7},
		{Move{DelayMs: ms(0)}, now + 1},
		{Move{DelayMs: ms(-3)}, now + 1},
		{Move{DelayMs: ms(9)}, now + 9},
	} {
		if got, err := c.m.due(now); err != nil || got != c.want {
			t.Errorf("%+v: %d, %v, expected %d", c.m, got, err, c.want)
		}
	}
	for _, m := range []Move{{}, {DueMs: ms(1), DelayMs: ms(1)}, {DelayMs: ms(math.MaxInt64)}} {
		if at, err := m.due(now); err == nil {
			t.Errorf("%+v is due at %d", m, at)
		}
	}
}

func TestBytesAreTextIfTheyAreUTF8(t *testing.T) {
	for _, c := range []struct {
		in   []byte
		want string
	}{
		{nil, `null`},
		{[]byte{}, `{"text":""}`},
		{[]byte("é"), `{"text":"é"}`},
		{[]byte{0xff, 0}, `{"base64":"/wA="}`},
	} {
		got, err := json.Marshal(nullable(c.in))
		if err != nil || string(got) != c.want {
			t.Errorf("%q: %s, %v", c.in, got, err)
		}
		var back *Bytes
		if err := json.Unmarshal(got, &back); err != nil || (back == nil) != (c.in == nil) || back != nil && string(*back) != string(c.in) {
			t.Errorf("%s is read as %v, %v", got, back, err)
		}
	}
}
