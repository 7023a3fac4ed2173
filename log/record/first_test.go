package record

import "testing"

// Records are found by offset and timestamp together, in the order of the log; timestamps may be in any order.
func TestFirstSince(t *testing.T) {
	var w Builder
	w.Reset(0, 100)
	for i, ts := range []int64{100, 300, 200, 300} {
		w.Add(int32(i), ts, nil, nil)
	}
	b, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	b.SetBaseOffset(10)
	appended := Batch(append([]byte(nil), b...))
	appended.Stamp(LogAppendTime, 500)
	for _, c := range []struct {
		b                 Batch
		from, ts          int64
		offset, timestamp int64
		ok                bool
	}{
		{b, 0, 0, 10, 100, true},
		{b, 0, 200, 11, 300, true},
		{b, 12, 200, 12, 200, true},
		{b, 12, 201, 13, 300, true},
		{b, 0, 301, 0, 0, false},
		{b, 14, 0, 0, 0, false},
		{appended, 12, 301, 12, 500, true},
		{appended, 0, 501, 0, 0, false},
	} {
		offset, timestamp, ok, err := c.b.FirstSince(nil, c.from, c.ts)
		if offset != c.offset || timestamp != c.timestamp || ok != c.ok || err != nil {
			t.Errorf("from %d, since %d: %d, %d, %t, %v", c.from, c.ts, offset, timestamp, ok, err)
		}
	}
}
