package segment

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/morrowmq/morrow/internal/vfs"
	"github.com/morrowmq/morrow/log/record"
)

// tester is a testing.TB or a *rapid.T.
type tester interface {
	Helper()
	Fatal(args ...any)
}

func ok(t tester, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func options(t tester, fsys vfs.FS) Options {
	t.Helper()
	ok(t, fsys.MkdirAll("log"))
	return Options{FS: fsys, Handles: NewHandles(fsys, 10), Dir: "log", IndexIntervalBytes: 500}
}

// valued is a batch of n records with a value of so many bytes in all.
func valued(offset, timestamp int64, a record.Attributes, n int32, bytes int) record.Batch {
	var w record.Builder
	w.Reset(a, timestamp)
	for i := range n {
		w.Add(i, timestamp, nil, make([]byte, bytes/int(n)))
	}
	b, err := w.Finish()
	if err != nil {
		panic(err)
	}
	b.SetBaseOffset(offset)
	b.SetLeaderEpoch(1)
	return b
}

// model is the groups of a segment.
type model struct {
	groups [][]record.Batch
	base   int64
}

func (m *model) all() (bs []record.Batch) {
	for _, g := range m.groups {
		bs = append(bs, g...)
	}
	return bs
}

func (m *model) end() int64 {
	if bs := m.all(); len(bs) > 0 {
		return bs[len(bs)-1].EndOffset()
	}
	return m.base
}

// draw appends a group to segment and model: mostly small batches, some hidden ones so large that
// they end a span.
func (m *model) draw(t *rapid.T, s *Segment) {
	var g []record.Batch
	offset := m.end()
	pieces := rapid.SampledFrom([]int{1, 1, 1, 2, 3}).Draw(t, "pieces")
	for i := range pieces {
		a := record.Attributes(0)
		size := rapid.SampledFrom([]int{10, 100, 600}).Draw(t, "bytes")
		switch rapid.IntRange(0, 9).Draw(t, "kind") {
		case 0, 1:
			a = record.Hidden
		case 2:
			a, size = record.Hidden, minSpanGap
		}
		if i < pieces-1 {
			a |= record.Continued
		}
		b := valued(offset, rapid.Int64Range(0, 50).Draw(t, "timestamp"), a, rapid.Int32Range(1, 3).Draw(t, "records"), size)
		offset = b.EndOffset()
		g = append(g, b)
	}
	_, err := s.Append(g, 1)
	if err != nil {
		t.Fatal(err)
	}
	m.groups = append(m.groups, g)
}

// compare holds every kind of look-up against the model.
func (m *model) compare(t *rapid.T, s *Segment) {
	bs := m.all()
	if s.End() != m.end() {
		t.Fatalf("end %d, want %d", s.End(), m.end())
	}
	offset := rapid.Int64Range(m.base, m.end()+1).Draw(t, "offset")
	m.compareSlice(t, s, offset)

	var want record.Batch
	for _, b := range bs {
		if want == nil && b.LastOffset() >= offset {
			want = b
		}
	}
	got, err := s.BatchAt(offset, nil)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("batch at %d: got %x, %v, want %x", offset, got, err, want)
	}

	pos, base, err := s.FloorGroup(offset)
	wantPos, wantBase := int64(0), m.base
	for _, g := range m.groups {
		if g[len(g)-1].LastOffset() >= offset {
			break
		}
		for _, b := range g {
			wantPos += int64(len(b))
		}
		wantBase = g[len(g)-1].EndOffset()
	}
	if err != nil || pos != wantPos || base != wantBase {
		t.Fatalf("group of %d: got %d at %d, %v, want %d at %d", offset, base, pos, err, wantBase, wantPos)
	}
	m.compareVisible(t, s, offset)
}

func (m *model) compareSlice(t *rapid.T, s *Segment, offset int64) {
	q := Query{
		Offset: offset, End: rapid.Int64Range(m.base, m.end()).Draw(t, "end"),
		MaxBytes: rapid.Int64Range(1, 5000).Draw(t, "max bytes"), MinOne: rapid.Bool().Draw(t, "min one"),
	}
	f, release, err := s.Hold()
	ok(t, err)
	defer release()
	ranges, n, full, err := s.Slice(nil, f, q)
	ok(t, err)
	var got, want []byte
	for _, r := range ranges {
		b := make([]byte, r.Len)
		ok(t, readFull(f, b, r.Pos))
		got = append(got, b...)
	}
	wantFull := false
	for _, b := range m.all() {
		if b.Hidden() || b.LastOffset() < q.Offset || wantFull {
			continue
		}
		size := int64(len(want) + len(b))
		if b.EndOffset() > q.End || size > q.MaxBytes && !(q.MinOne && len(want) == 0) {
			wantFull = true
			continue
		}
		want = append(want, b...)
	}
	if !bytes.Equal(got, want) || n != int64(len(want)) || wantFull && !full {
		t.Fatalf("%+v: got %d bytes (full %t), want %d (full %t)", q, len(got), full, len(want), wantFull)
	}
}

func (m *model) compareVisible(t *rapid.T, s *Segment, from int64) {
	var got, want []int64
	ok(t, s.Visible(from, func(b record.Batch, _ int64) bool {
		got = append(got, b.BaseOffset())
		return true
	}))
	last, largest := int64(None), int64(None)
	for _, b := range m.all() {
		if b.Hidden() {
			continue
		}
		if b.LastOffset() >= from {
			want = append(want, b.BaseOffset())
		}
		largest = max(largest, b.MaxTimestamp())
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("visible from %d: got %v, want %v", from, got, want)
	}
	below := m.base // where some batch ends
	for _, b := range m.all() {
		if b.EndOffset() > from {
			break
		}
		if below = b.EndOffset(); !b.Hidden() {
			last = below
		}
	}
	end, err := s.LastVisible(below)
	if err != nil || end != last {
		t.Fatalf("last visible below %d: got %d, %v, want %d", below, end, err, last)
	}
	if i := s.Info(); i.MaxTimestamp != largest {
		t.Fatalf("max timestamp %d, want %d", i.MaxTimestamp, largest)
	}
	ts := rapid.Int64Range(-1, largest).Draw(t, "timestamp")
	floor, err := s.FloorTime(ts)
	ok(t, err)
	for _, b := range m.all() {
		if !b.Hidden() && b.MaxTimestamp() >= ts {
			if floor > b.LastOffset() {
				t.Fatalf("look-up of timestamp %d begins at %d, behind offset %d", ts, floor, b.LastOffset())
			}
			break
		}
	}
}

// TestSegment appends at random, reopens with and without what is beside the log file, whole and
// damaged, truncates, and compares every look-up with a plain list.
func TestSegment(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		fsys := vfs.NewMem()
		o := options(t, fsys)
		m := &model{base: 1000}
		s, err := Create(o, m.base, 0)
		ok(t, err)
		store := func() {
			c, err := s.Checkpoint()
			ok(t, err)
			ok(t, c.Store())
		}
		reopen := func() {
			ok(t, s.Sync())
			s.Close()
			var tail Tail
			s, tail, err = Open(o, m.base, math.MaxInt64)
			ok(t, err)
			if tail.Damage != nil || tail.Offset != m.end() {
				rt.Fatalf("tail %+v, want %d", tail, m.end())
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				for range rapid.IntRange(1, 10).Draw(t, "groups") {
					m.draw(t, s)
				}
			},
			"checkpoint": func(*rapid.T) { store() },
			"reopen":     func(*rapid.T) { reopen() },
			"damage": func(t *rapid.T) {
				suffix := rapid.SampledFrom([]string{IndexSuffix, TimeSuffix, SummarySuffix}).Draw(t, "file")
				name := "log/" + FileName(m.base, suffix)
				b, err := vfs.ReadFile(fsys, name)
				if err != nil || len(b) == 0 {
					t.Skip("no file")
				}
				s.Close()
				if rapid.Bool().Draw(t, "remove") {
					ok(t, fsys.Remove(name))
				} else {
					b[rapid.IntRange(0, len(b)-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
					ok(t, vfs.WriteFile(fsys, name, b))
				}
				reopen()
			},
			"truncate": func(t *rapid.T) {
				offset := rapid.Int64Range(m.base, m.end()).Draw(t, "to")
				pos, _, err := s.FloorGroup(offset)
				ok(t, err)
				for n := len(m.groups); n > 0; n-- {
					if g := m.groups[n-1]; g[len(g)-1].EndOffset() <= offset {
						break
					}
					m.groups = m.groups[:n-1]
				}
				ok(t, s.Sync())
				ok(t, s.Truncate(pos))
			},
			"": func(t *rapid.T) { m.compare(t, s) },
		})
	})
}

// However visible and hidden batches alternate, the spans stay few.
func TestSpansStayFew(t *testing.T) {
	s := newSegment(options(t, vfs.NewMem()), 0)
	pos, offset := int64(0), int64(0)
	for i := range int64(20 * maxSpans) {
		s.addSpanLocked(Span{Start: offset, End: offset + 1, Pos: pos, EndPos: pos + 100, Pure: true})
		offset, pos = offset+2, pos+100+minSpanGap*(1+i*i%101)
	}
	if len(s.spans) > maxSpans || len(s.spans) < maxSpans/4 {
		t.Fatalf("%d spans", len(s.spans))
	}
	last := s.spans[len(s.spans)-1]
	if s.spans[0].Start != 0 || last.End != offset-1 || s.spans[0].Pure {
		t.Fatal("spans do not cover the segment")
	}
	for i, p := range s.spans[1:] {
		if before := s.spans[i]; p.Start < before.End || p.Pos < before.EndPos {
			t.Fatalf("%+v after %+v", p, before)
		}
	}
}

// The bytes of the side files, as FORMAT.md draws them.
func TestSideFileBytes(t *testing.T) {
	fsys := vfs.NewMem()
	o := options(t, fsys)
	o.IndexIntervalBytes = 1
	s, err := Create(o, 100, 0)
	ok(t, err)
	_, err = s.Append([]record.Batch{
		valued(100, 16, 0, 2, 20), valued(102, 32, 0, 1, 10), valued(103, 48, record.Hidden, 1, minSpanGap), valued(104, 24, 0, 1, 10),
	}, 64)
	ok(t, err)
	s.AddAborted(AbortedTxn{ProducerID: 7, FirstOffset: 102, LastOffset: 104, LastStable: 105})
	c, err := s.Checkpoint()
	ok(t, err)
	ok(t, c.Store())
	for _, c := range []struct{ suffix, want string }{
		{IndexSuffix, "" + // relative last offset, position
			"00000002" + "0000005f" +
			"00000003" + "000000ad" +
			"00000004" + "000100f5"},
		{TimeSuffix, "" + // timestamp, relative offset
			"0000000000000020" + "00000002"},
		{TxnSuffix, "" + // version, producer id, first and last offset, last stable offset
			"0000" + "0000000000000007" + "0000000000000066" + "0000000000000068" + "0000000000000069"},
		{SummarySuffix, "" +
			"4d535331" + "a6f70dca" + // magic, crc
			"0000000000000064" + "0000000000010143" + "0000000000000069" + // base, size, end
			"0000000000000020" + "0000000000000066" + "0000000000000030" + // max timestamp, its offset, max received
			"0000000000000069" + "0000000000010048" + // last visible end, hidden bytes
			"0000000000000010" + "0000000000000040" + // first timestamp, created
			"000000000000004e" + "0000000000000020" + "01165800d27bb319" + "0000000000000000" + // unindexed bytes, indexed timestamp, generation, span gap
			"00000003" + "ae36f031" + "00000001" + "d1f370fd" + "00000001" + "2f694f21" + // entries and crc of index, time index, transaction index
			"00000001" + "00000002" + // epochs, spans
			"00000001" + "0000000000000064" +
			"0000000000000064" + "0000000000000067" + "0000000000000000" + "00000000000000ad" + "01" +
			"0000000000000068" + "0000000000000069" + "00000000000100f5" + "0000000000010143" + "01"},
	} {
		b, err := vfs.ReadFile(fsys, "log/"+FileName(100, c.suffix))
		ok(t, err)
		if got := hex.EncodeToString(b); got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.suffix, got, c.want)
		}
	}
}

// No damage to a summary is believed.
func TestDamagedSummary(t *testing.T) {
	fsys, _ := checkedSegment(t)
	b, err := vfs.ReadFile(fsys, "log/"+FileName(100, SummarySuffix))
	ok(t, err)
	s := newSegment(options(t, fsys), 100)
	ok(t, s.decode(b))
	ok(t, s.decode(append(b, "left over"...)))
	for i := range b {
		if err := s.decode(b[:i]); !errors.Is(err, errSummary) {
			t.Fatalf("cut at %d: %v", i, err)
		}
		b[i] ^= 2
		if err := s.decode(b); !errors.Is(err, errSummary) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
		b[i] ^= 2
	}
	if err := newSegment(s.o, 101).decode(b); !errors.Is(err, errSummary) {
		t.Fatal("summary of another segment", err)
	}
}

// A summary that goes beyond what is known to be durable is not believed.
func TestSummaryBeyondTrust(t *testing.T) {
	fsys, _ := checkedSegment(t)
	for trusted, covered := range map[int64]int64{100: 100, 108: 100, 109: 109} {
		s, tail, err := Open(options(t, fsys), 100, trusted)
		ok(t, err)
		if tail.Covered != covered || tail.Offset != 109 || s.End() != 109 {
			t.Errorf("trusting up to %d: %+v", trusted, tail)
		}
	}
}

// What a failed write left behind is taken back.
func TestFailedWriteIsUndone(t *testing.T) {
	fault := vfs.NewFault(vfs.NewMem())
	o := options(t, fault)
	s, err := Create(o, 0, 0)
	ok(t, err)
	_, err = s.Append([]record.Batch{valued(0, 1, 0, 1, 100)}, 1)
	ok(t, err)
	size := s.Size()
	fault.Add(vfs.Rule{Ops: vfs.OpWrite, Partial: true})
	_, err = s.Append([]record.Batch{valued(1, 1, 0, 1, 1000)}, 1)
	var failed *WriteError
	if !errors.As(err, &failed) || !failed.Undone || s.Size() != size {
		t.Fatal(err, s.Size())
	}
	st, err := fault.Stat(s.Name())
	ok(t, err)
	if st.Size != size {
		t.Fatalf("the file has %d bytes, want %d", st.Size, size)
	}
	_, err = s.Append([]record.Batch{valued(1, 1, 0, 1, 10)}, 1)
	ok(t, err)
	fault.Add(vfs.Rule{Ops: vfs.OpWrite | vfs.OpTruncate, Times: 2})
	if _, err = s.Append([]record.Batch{valued(2, 1, 0, 1, 10)}, 1); !errors.As(err, &failed) || failed.Undone {
		t.Fatal(err)
	}
}

// Several batches, of which some are too large to be copied together, are written in order.
func TestGatheredWrites(t *testing.T) {
	s, err := Create(options(t, vfs.NewMem()), 0, 0)
	ok(t, err)
	var group []record.Batch
	var want []byte
	offset := int64(0)
	for _, size := range []int{10, gatherMax / 2, gatherMax / 2, 10, gatherMax + 1, 10, 2 * gatherMax} {
		b := valued(offset, 1, 0, 1, size)
		offset++
		group = append(group, b)
		want = append(want, b...)
	}
	_, err = s.Append(group, 1)
	ok(t, err)
	f, release, err := s.Hold()
	ok(t, err)
	defer release()
	got := make([]byte, len(want))
	ok(t, readFull(f, got, 0))
	if !bytes.Equal(got, want) || s.Size() != int64(len(want)) {
		t.Fatal("batches were mixed up")
	}
}

// Preallocated space is no part of the segment, and goes when it is sealed.
func TestPreallocation(t *testing.T) {
	fsys := vfs.NewMem()
	o := options(t, fsys)
	s, err := Create(o, 0, 10_000)
	ok(t, err)
	_, err = s.Append([]record.Batch{valued(0, 1, 0, 1, 100)}, 1)
	ok(t, err)
	fileSize := func() int64 {
		st, err := fsys.Stat(s.Name())
		ok(t, err)
		return st.Size
	}
	if fileSize() != 10_000 {
		t.Fatal(fileSize())
	}
	again, tail, err := Open(o, 0, 0)
	ok(t, err)
	if tail.Damage == nil || tail.Offset != 1 {
		t.Fatalf("%+v", tail)
	}
	for pos, want := range map[int64]bool{tail.Pos: true, 0: false} {
		if zero, err := again.ZeroFrom(pos); zero != want || err != nil {
			t.Fatalf("zeros from position %d: %t, %v", pos, zero, err)
		}
	}
	s.Seal()
	c, err := s.Checkpoint()
	ok(t, err)
	ok(t, c.Store())
	if fileSize() != s.Size() {
		t.Fatalf("sealed file has %d bytes of %d", fileSize(), s.Size())
	}
}

func FuzzSummary(f *testing.F) {
	s, err := Create(options(f, vfs.NewMem()), 7, 0)
	ok(f, err)
	f.Add(s.encodeLocked())
	_, err = s.Append([]record.Batch{valued(7, 5, 0, 1, 10), valued(8, 5, record.Hidden, 1, 10)}, 1)
	ok(f, err)
	f.Add(s.encodeLocked())
	f.Fuzz(func(t *testing.T, b []byte) {
		s := newSegment(Options{}, 7)
		if s.decode(b) == nil && !bytes.HasPrefix(b, s.encodeLocked()) {
			t.Fatal("decoded to something else")
		}
	})
}

// Any bytes can be opened and read; at worst they are damage.
func FuzzOpen(f *testing.F) {
	whole := append(append([]byte{}, valued(0, 5, record.Hidden|record.Continued, 1, 10)...), valued(1, 6, 0, 2, 10)...)
	f.Add(whole)
	f.Add(whole[:100])
	f.Add(append(whole[:80:80], make([]byte, 100)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		fsys := vfs.NewMem()
		o := options(t, fsys)
		ok(t, vfs.WriteFile(fsys, "log/"+FileName(0, LogSuffix), b))
		s, tail, err := Open(o, 0, 0)
		ok(t, err)
		if tail.Pos > int64(len(b)) || tail.Damage == nil && tail.Pos != int64(len(b)) {
			t.Fatalf("%+v of %d bytes", tail, len(b))
		}
		if err := s.Scan(0, math.MaxInt64, func(record.Batch, int64) error { return nil }); err != nil {
			t.Fatal(err)
		}
	})
}
