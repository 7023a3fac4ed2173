package record

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var codecs = []Codec{None, Gzip, Snappy, LZ4, Zstd}

func finish(t testing.TB, w *Builder) Batch {
	t.Helper()
	b, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	if first, rest, err := Next(b); err != nil || len(first) != len(b) || len(rest) != 0 {
		t.Fatalf("built a batch of %d bytes in %d, %v", len(first), len(b), err)
	}
	if err := b.CheckCRC(); err != nil {
		t.Fatal(err)
	}
	return b
}

func decode(t testing.TB, b Batch) []Record {
	t.Helper()
	rs, err := b.Decode()
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

// anyRecords draws records with ascending offsets.
func anyRecords(t *rapid.T) []Record {
	field := rapid.OneOf(rapid.Just([]byte(nil)), rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 200), func(b []byte) []byte { return append([]byte{}, b...) }))
	header := rapid.Custom(func(t *rapid.T) Header {
		return Header{rapid.StringN(0, 80, -1).Draw(t, "key"), field.Draw(t, "value")}
	})
	timestamp := rapid.OneOf(rapid.Int64Range(1_700_000_000_000, 1_700_000_100_000), rapid.Int64Range(0, math.MaxInt64))
	offset := int64(-1)
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Record {
		offset += rapid.OneOf(rapid.Just(int64(1)), rapid.Int64Range(1, 1<<20)).Draw(t, "step")
		return Record{
			Offset:    offset,
			Timestamp: timestamp.Draw(t, "timestamp"),
			Key:       field.Draw(t, "key"),
			Value:     field.Draw(t, "value"),
			Headers:   rapid.SliceOfN(header, 0, 5).Draw(t, "headers"),
		}
	}), 1, 50).Draw(t, "records")
}

func same(a, b []Record) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if len(a[i].Headers) == 0 && len(b[i].Headers) == 0 {
			a[i].Headers, b[i].Headers = nil, nil
		}
		if !reflect.DeepEqual(a[i], b[i]) {
			return false
		}
	}
	return true
}

// TestBuiltBatchesDecodeToTheirRecords also takes each batch apart in pieces at random places.
func TestBuiltBatchesDecodeToTheirRecords(t *testing.T) {
	var w, piece Builder
	rapid.Check(t, func(t *rapid.T) {
		want := anyRecords(t)
		codec := rapid.SampledFrom(codecs).Draw(t, "codec")
		w.Reset(Attributes(codec), rapid.Int64Range(0, 1_700_000_100_000).Draw(t, "base"))
		w.SetProducer(9, 2, math.MaxInt32-10)
		for _, r := range want {
			w.Add(int32(r.Offset), r.Timestamp, r.Key, r.Value, r.Headers...)
		}
		b, err := w.Finish()
		if err != nil {
			t.Fatal(err)
		}
		got, err := b.Decode()
		if err != nil || !same(got, want) {
			t.Fatalf("got %+v, want %+v; %v", got, want, err)
		}
		if b.LastOffset() != want[len(want)-1].Offset {
			t.Fatalf("last offset is %d", b.LastOffset())
		}

		cut := rapid.IntRange(0, len(want)-1).Draw(t, "cut")
		var back []Record
		for _, r := range [][2]int{{0, cut}, {cut, len(want)}} {
			if r[0] < r[1] {
				got := takeApart(t, &piece, b, r[0], r[1])
				back = append(back, got...)
			}
		}
		if !same(back, want) {
			t.Fatalf("pieces cut at %d hold %+v, want %+v", cut, back, want)
		}
	})
}

func takeApart(t *rapid.T, w *Builder, b Batch, first, end int) []Record {
	w.ResetLike(b)
	err := b.Walk(nil, func(v *View) error {
		if int(v.Index) >= first && int(v.Index) < end {
			w.AddView(v)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	p.SetBaseOffset(b.BaseOffset() + p.BaseOffset())
	if want := AddSequence(b.BaseSequence(), int32(p.BaseOffset()-b.BaseOffset())); p.BaseSequence() != want || p.ProducerID() != b.ProducerID() {
		t.Fatalf("piece has base sequence %d, want %d", p.BaseSequence(), want)
	}
	rs, err := p.Decode()
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

func TestPiecesKeepEveryRecordAsItWas(t *testing.T) {
	b := sample(t, Zstd)
	var w Builder
	w.Reset(0, 0) // left over from before
	w.Add(0, 0, nil, nil)
	finish(t, &w)

	w.ResetLike(b)
	w.SetAttributes(b.Attributes().WithCodec(None) | Hidden)
	var raw [][]byte
	err := b.Walk(nil, func(v *View) error {
		if v.Index > 0 {
			w.AddView(v)
			raw = append(raw, bytes.Clone(v.tail()))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	piece := finish(t, &w)
	if piece.BaseOffset() != 1 || piece.LastOffset() != 2 || piece.Count() != 2 {
		t.Errorf("%d records at %d..%d", piece.Count(), piece.BaseOffset(), piece.LastOffset())
	}
	if piece.ProducerID() != 4711 || piece.ProducerEpoch() != 3 || piece.BaseSequence() != 101 || !piece.Transactional() || !piece.Hidden() {
		t.Errorf("producer %d, epoch %d, sequence %d, attributes %#x", piece.ProducerID(), piece.ProducerEpoch(), piece.BaseSequence(), piece.Attributes())
	}
	if piece.BaseTimestamp() != b.BaseTimestamp() || piece.MaxTimestamp() != b.BaseTimestamp()+500 {
		t.Errorf("timestamps from %d to %d", piece.BaseTimestamp(), piece.MaxTimestamp())
	}
	err = piece.Walk(nil, func(v *View) error {
		if v.OffsetDelta != v.Index || !bytes.Equal(v.tail(), raw[v.Index]) {
			t.Errorf("record %d has delta %d: %x, was %x", v.Index, v.OffsetDelta, v.tail(), raw[v.Index])
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestPieceOfALogAppendTimeBatch(t *testing.T) {
	b := sample(t, None)
	b.Stamp(b.Attributes()|LogAppendTime, 42)
	var w Builder
	w.ResetLike(b)
	if err := b.Walk(nil, func(v *View) error { w.AddView(v); return nil }); err != nil {
		t.Fatal(err)
	}
	if piece := finish(t, &w); !bytes.Equal(piece, b) {
		t.Errorf("rebuilding changed %x\nto %x", []byte(b), []byte(piece))
	}
}

func TestAddEdited(t *testing.T) {
	var w Builder
	w.Reset(0, 1000)
	w.Add(0, 1000, []byte("k"), nil, Header{"a", []byte("1")}, Header{"drop", nil}, Header{"b", nil}, Header{"drop", []byte("2")})
	source := bytes.Clone(finish(t, &w))

	dropped := func(key []byte) bool { return string(key) == "drop" }
	tests := map[string]struct {
		drop  func([]byte) bool
		extra []Header
		want  string
	}{
		"drop and add": {dropped, []Header{{"x", []byte("9")}, {"y", nil}}, `a="1" b=nil x="9" y=nil`},
		"drop":         {dropped, nil, `a="1" b=nil`},
		"add":          {nil, []Header{{"x", []byte("9")}}, `a="1" drop=nil b=nil drop="2" x="9"`},
		"neither":      {nil, nil, `a="1" drop=nil b=nil drop="2"`},
		"drop all":     {func([]byte) bool { return true }, nil, ``},
	}
	for name, tt := range tests {
		w.Reset(Delivery, 5000)
		err := Batch(source).Walk(nil, func(v *View) error {
			w.AddEdited(v, 7, 5000, tt.drop, tt.extra...)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		b := finish(t, &w)
		r := decode(t, b)[0]
		if r.Offset != 7 || r.Timestamp != 5000 || string(r.Key) != "k" || r.Value != nil || b.BaseOffset() != 7 {
			t.Errorf("%s: %+v", name, r)
		}
		var got []string
		for _, h := range r.Headers {
			value := "nil"
			if h.Value != nil {
				value = fmt.Sprintf("%q", h.Value)
			}
			got = append(got, h.Key+"="+value)
		}
		if got := strings.Join(got, " "); got != tt.want {
			t.Errorf("%s: headers are %s, want %s", name, got, tt.want)
		}
	}
}

func TestLoadedViewsCanBeEdited(t *testing.T) {
	b := sample(t, LZ4)
	var kept [][]byte
	if err := b.Walk(nil, func(v *View) error { kept = append(kept, bytes.Clone(v.Raw)); return nil }); err != nil {
		t.Fatal(err)
	}
	var w Builder
	w.Reset(0, b.BaseTimestamp())
	for i, raw := range kept {
		var v View
		if err := v.Load(raw, b.BaseTimestamp()); err != nil {
			t.Fatal(err)
		}
		w.AddEdited(&v, int32(i), v.CreateTime(), nil)
	}
	if got := decode(t, finish(t, &w)); !same(got, decode(t, b)) {
		t.Errorf("got %+v", got)
	}
	var v View
	for _, bad := range [][]byte{nil, kept[0][:5], append(bytes.Clone(kept[0]), 0)} {
		if err := v.Load(bad, 0); !errors.Is(err, ErrInvalid) {
			t.Errorf("%x: %v", bad, err)
		}
	}
}

func TestRecompressKeepsEverythingElse(t *testing.T) {
	for _, from := range codecs {
		for _, to := range codecs {
			b := sample(t, from)
			b.SetBaseOffset(1234)
			b.SetLeaderEpoch(5)
			var w Builder
			got, err := w.Recompress(b, to, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := got.CheckCRC(); err != nil {
				t.Error(err)
			}
			if got.Attributes() != b.Attributes().WithCodec(to) || !bytes.Equal(got[baseTimestampPos:HeaderLen], b[baseTimestampPos:HeaderLen]) ||
				got.BaseOffset() != 1234 || got.LeaderEpoch() != 5 || got.LastOffsetDelta() != 2 || !same(decode(t, got), decode(t, b)) {
				t.Errorf("%s to %s changed %x\nto %x", from, to, []byte(b), []byte(got))
			}
			if from == to && to == None && !bytes.Equal(got, b) {
				t.Error("nothing to do, but the batch changed")
			}
		}
	}
	var w Builder
	if _, err := w.Recompress(compressed(Gzip, []byte("no")), None, nil); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	if _, err := w.Recompress(sample(t, None), 6, nil); !errors.Is(err, ErrCodec) {
		t.Error(err)
	}
}

func TestBuilderCountsBytesAndRecords(t *testing.T) {
	var w Builder
	w.Reset(0, 0)
	if w.Count() != 0 || w.Len() != HeaderLen {
		t.Errorf("%d records, %d bytes", w.Count(), w.Len())
	}
	if _, err := w.Finish(); err == nil {
		t.Error("finished a batch without records")
	}
	w.Add(0, 0, nil, []byte("v"))
	w.Add(1, 0, nil, []byte("v"))
	if b := finish(t, &w); w.Count() != 2 || w.Len() != len(b) {
		t.Errorf("%d records, %d bytes of %d", w.Count(), w.Len(), len(b))
	}
}

func TestOffsetsMustAscend(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("accepted an offset twice")
		}
	}()
	var w Builder
	w.Reset(0, 0)
	w.Add(3, 0, nil, nil)
	w.Add(3, 0, nil, nil)
}

func TestBuildersReuseTheirBuffers(t *testing.T) {
	value := make([]byte, 1000)
	for _, codec := range []Codec{None, Snappy} { // the others' encoders come from a pool
		var w Builder
		build := func() {
			w.Reset(Attributes(codec), 0)
			for i := range int32(100) {
				w.Add(i, 0, nil, value)
			}
			finish(t, &w)
		}
		build()
		if n := testing.AllocsPerRun(50, build); n > 1 {
			t.Errorf("%s: %v allocations per batch", codec, n)
		}
	}
}
