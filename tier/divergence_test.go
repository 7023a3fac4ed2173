package tier

import (
	"testing"
)

func TestDivergenceIsToldByLeaderEpochs(t *testing.T) {
	segment := func(base, end int64) Entry { return Entry{Span: Span{Base: base, End: end, Segments: 1}} }
	for name, c := range map[string]struct {
		remote, local []EpochStart
		tail          []Entry
		logEnd        int64
		dropped       bool
		want          int64
	}{
		"the same":                               {remote: []EpochStart{{0, 0}, {2, 50}}, local: []EpochStart{{0, 0}, {2, 50}, {3, 100}}, logEnd: 100, want: NoOffset},
		"the log goes on":                        {remote: []EpochStart{{0, 0}}, local: []EpochStart{{0, 0}, {1, 120}}, logEnd: 150, want: NoOffset},
		"of the log only the end is known":       {remote: []EpochStart{{0, 0}, {1, 50}}, local: []EpochStart{{1, 80}}, logEnd: 150, want: NoOffset},
		"nothing is known of the log":            {remote: []EpochStart{{0, 0}, {1, 50}}, logEnd: 100, want: NoOffset},
		"an epoch in which nothing was written":  {remote: []EpochStart{{0, 0}, {1, 50}, {2, 50}}, local: []EpochStart{{0, 0}, {2, 50}}, logEnd: 150, want: NoOffset},
		"a restored log":                         {remote: []EpochStart{{0, 0}, {9, 100}}, local: []EpochStart{{0, 0}, {10, 100}}, logEnd: 100, want: NoOffset},
		"the log ends below":                     {remote: []EpochStart{{0, 0}}, local: []EpochStart{{0, 0}}, logEnd: 70, want: 70},
		"remote is of a later epoch":             {remote: []EpochStart{{0, 0}, {1, 50}}, local: []EpochStart{{0, 0}, {1, 70}}, logEnd: 150, want: 50},
		"remote is of an earlier epoch":          {remote: []EpochStart{{0, 0}}, local: []EpochStart{{0, 0}, {1, 70}}, logEnd: 150, want: 70},
		"what the log had of the epoch has gone": {remote: []EpochStart{{0, 0}}, local: []EpochStart{{0, 0}, {1, 70}}, logEnd: 150, dropped: true, want: NoOffset},
		"the end was never uploaded, on record":  {remote: []EpochStart{{0, 0}}, local: []EpochStart{{0, 0}, {1, 60}}, tail: []Entry{segment(0, 60), dropEntry(60, 100)}, logEnd: 150, want: NoOffset},
	} {
		m := &Manifest{Start: 0, End: 100, Epochs: c.remote, Tail: c.tail}
		if m.Tail == nil {
			m.Tail = []Entry{segment(0, 100)}
		}
		if got := divergence(m, c.local, c.logEnd, func(int64, int64) bool { return c.dropped }); got != c.want {
			t.Errorf("%s: %d, expected %d", name, got, c.want)
		}
	}
}
