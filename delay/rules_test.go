package delay

import (
	"math"
	"strings"
	"testing"
	"time"
)

// levels are what delay.levels is unless it is set.
var levels = []time.Duration{
	time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 3 * time.Minute, 4 * time.Minute, 5 * time.Minute,
	6 * time.Minute, 7 * time.Minute, 8 * time.Minute, 9 * time.Minute, 10 * time.Minute, 20 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour,
}

// yearMs is what delay.max.ms is unless it is set.
const yearMs = 365 * 24 * 60 * 60 * 1000

func TestRulesAreCheckedAsAWhole(t *testing.T) {
	for _, c := range []struct {
		change func(*RulesConfig)
		want   string
	}{
		{func(c *RulesConfig) { c.MaxMs = 0 }, "delay.max.ms is 0, expected more than 0"},
		{func(c *RulesConfig) { c.DefaultMs = -1 }, "delay.default.ms is -1, expected 0 to delay.max.ms"},
		{func(c *RulesConfig) { c.DefaultMs = yearMs + 1 }, "expected 0 to delay.max.ms, which is 31536000000"},
		{func(c *RulesConfig) { c.MaxPending = -2 }, "delay.max.pending is -2, expected -1 (no limit) or more"},
		{func(c *RulesConfig) { c.Levels = []time.Duration{time.Second, time.Microsecond} }, "delay.levels has the entry 1µs"},
		{func(c *RulesConfig) { c.Levels = nil }, "delay.levels is empty"},
		{func(c *RulesConfig) { c.Dialects = []string{"morrow", "pulsar"} }, `delay.dialects has the entry "pulsar", expected a list of morrow, rocketmq, rabbitmq`},
	} {
		rules := RulesConfig{Enable: true, Dialects: []string{"morrow"}, MaxMs: yearMs, MaxPending: -1, Levels: levels, MaxMessageBytes: 1 << 20}
		c.change(&rules)
		if _, err := ParseRules(rules); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", rules, err, c.want)
		}
	}
}

func TestLatenessIsCountedByBounds(t *testing.T) {
	var r latenessRecorder
	if got := r.snapshot().Quantile(0.5); got != -1 {
		t.Errorf("quantile of nothing is %d", got)
	}
	entries := []Entry{{Due: 0}, {Due: 9_000}, {Due: 9_980}, {Due: 9_995}, {Due: 9_999}, {Due: 10_000}}
	r.observe(entries, []bool{false, false, false, true, false, false}, 10_000)
	got := r.snapshot()
	var want Lateness
	want.Buckets[0], want.Buckets[4], want.Buckets[9], want.Buckets[12] = 2, 1, 1, 1
	want.Count, want.Sum = 5, 10_000+1000+20+1
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if p50, p100 := got.Quantile(0.5), got.Quantile(1); p50 != 20 || p100 != 10_000 {
		t.Errorf("quantiles %d, %d", p50, p100)
	}
}

func TestPinsKnowAFloor(t *testing.T) {
	var p pins
	for ticket := range int64(3 * pinSpan) {
		p.add(2 * ticket)
	}
	for ticket := range int64(pinSpan + 1) {
		p.remove(2 * ticket)
	}
	if got := p.floor(); got != 2*pinSpan {
		t.Errorf("floor is %d, want %d", got, 2*pinSpan)
	}
	// One comes back from below.
	p.add(10)
	if got := p.floor(); got != 10 {
		t.Errorf("floor is %d, want 10", got)
	}
	p.remove(10)
	if end, whole := p.whole(5*pinSpan + 1); !whole || end != math.MaxInt64 {
		t.Errorf("the last span ends at %d, whole: %t", end, whole)
	}
	if end, whole := p.whole(2*pinSpan + 4); whole || end != 4*pinSpan {
		t.Errorf("the first span ends at %d, whole: %t", end, whole)
	}
	for ticket := range int64(3 * pinSpan) {
		if ticket > pinSpan {
			p.remove(2 * ticket)
		}
	}
	if p.add(7); p.floor() != 7 {
		t.Errorf("floor is %d, want 7", p.floor())
	}
}

func TestCacheKeepsWhatWasUsedLast(t *testing.T) {
	c := &cache{maxBytes: 10_000}
	a, b := &shelf{cache: c}, &shelf{cache: c}
	batch := func(base int64, size int) *decoded {
		return &decoded{base: base, end: base + 10, records: make([]byte, size)}
	}
	for i := range int64(4) {
		a.add(batch(10*i, 1800))
	}
	a.add(batch(0, 1700)) // in the place of the one before
	b.add(batch(5, 1800))
	if len(a.find(3).records) != 1700 || a.find(39) == nil || a.find(40) != nil || b.find(4) != nil || b.find(14) == nil {
		t.Error("what was added is not found where it is")
	}
	a.find(12)
	ahead := c.ahead
	b.add(batch(100, 1800)) // those used least recently go, down to three quarters
	if a.find(22) != nil || a.find(12) == nil || c.bytes > c.maxBytes*3/4 || c.ahead >= ahead {
		t.Errorf("%d bytes are kept, %v ahead", c.bytes, c.ahead)
	}
	b.add(batch(200, 9000))
	if b.find(205) != nil {
		t.Error("a batch that would fill the cache is kept")
	}
	a.clear()
	if len(a.items) != 0 || len(b.items) != c.recent.Len() {
		t.Errorf("%d and %d are kept, %d known", len(a.items), len(b.items), c.recent.Len())
	}
}
