package share

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/morrowmq/morrow/broker/coord"
	"github.com/morrowmq/morrow/internal/script"
)

// examples are one record of every kind, with every fate.
func examples() []struct {
	name string
	r    coord.Record
} {
	k := Key{Group: "g", Topic: [16]byte{0: 0xaa, 15: 1}, Partition: 2}
	r := newRuns(100)
	for _, x := range []run{
		{100, 102, fate{count: 1}},
		{102, 105, fate{state: done}},
		{105, 106, fate{state: waiting, count: 2, at: 1_700_000_000_000}},
		{106, 110, fate{state: waiting, count: 3, at: 1_700_000_002_000}},
		{110, 111, fate{state: exhausted, count: 5}},
		{111, 112, fate{state: rejected, count: 1}},
		{112, 412, fate{state: acquired, count: 4, member: "m", at: 1_700_000_030_000}},
		{412, 413, fate{}},
	} {
		r.set(x.first, x.end, x.fate)
	}
	empty := newRuns(1 << 40)
	return []struct {
		name string
		r    coord.Record
	}{
		{"snapshot", snapshot(k, &r)},
		{"snapshot of one that just begins", snapshot(k, &empty)},
		{"end", tombstone(k)},
		{"update", delta(k, 100, []run{{100, 102, fate{state: done}}, {110, 112, fate{state: done}}})},
	}
}

func TestRecordsHaveTheirBytes(t *testing.T) {
	var b strings.Builder
	for _, e := range examples() {
		fmt.Fprintf(&b, "%s\n  key   %x\n", e.name, e.r.Key)
		if e.r.Value != nil {
			fmt.Fprintf(&b, "  value %x\n", e.r.Value)
		}
	}
	script.Golden(t, "testdata/records.golden", b.String())
}

// A snapshot that was replayed is written again with the same bytes, but for who held what.
func TestSnapshotsSurviveReplay(t *testing.T) {
	for _, e := range examples()[:2] {
		w := newWorld()
		if err := w.machine.Replay(e.r); err != nil {
			t.Fatalf("%s: %v", e.name, err)
		}
		_, k, _ := readKey(e.r.Key)
		if again := snapshot(k, &w.machine.parts[k].runs); !bytes.Equal(again.Value, e.r.Value) {
			t.Errorf("%s: replayed and written again\n%x, want\n%x", e.name, again.Value, e.r.Value)
		}
		for n := range e.r.Value {
			if err := newWorld().machine.Replay(coord.Record{Key: e.r.Key, Value: e.r.Value[:n]}); err == nil {
				t.Errorf("%s: cut to %d bytes it is accepted", e.name, n)
			}
		}
	}
}

func TestUnknownRecords(t *testing.T) {
	good := examples()[0].r
	changed := func(i int, b byte) coord.Record {
		v := slices.Clone(good.Value)
		v[i] = b
		return coord.Record{Key: good.Key, Value: v}
	}
	for name, r := range map[string]coord.Record{
		"value version": changed(1, 9),
		"state":         changed(21, 9),
		"trailing byte": {Key: good.Key, Value: append(slices.Clone(good.Value), 0)},
		"short key":     {Key: good.Key[:8], Value: good.Value},
		"deliveries":    delta(testKey, 0, []run{{0, 1, fate{count: -1}}}),
	} {
		if err := newWorld().machine.Replay(r); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	later := coord.Record{Key: append([]byte{0, 7}, good.Key[2:]...), Value: []byte{0, 9}}
	if err := newWorld().machine.Replay(later); err != nil {
		t.Errorf("a kind of a later version: %v", err)
	}
	if err := newWorld().machine.Replay(coord.Record{Producer: &coord.Producer{ID: 7}, End: coord.Abort}); err != nil {
		t.Errorf("a marker: %v", err)
	}
}

func FuzzReplay(f *testing.F) {
	for _, e := range examples() {
		f.Add(e.r.Key, e.r.Value)
	}
	f.Fuzz(func(t *testing.T, key, value []byte) {
		w := newWorld()
		for _, e := range examples()[:2] {
			if err := w.machine.Replay(e.r); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.machine.Replay(coord.Record{Key: key, Value: value}); err != nil {
			return
		}
		for k, p := range w.machine.parts {
			if err := p.check(); err != nil {
				t.Fatal(err)
			}
			p.status(k)
		}
	})
}
