package record

import (
	"bytes"
	"errors"
	"testing"
)

// fuzzLimit keeps the fuzzers' decompression small.
const fuzzLimit = 1 << 20

func addSamples(f *testing.F) {
	for _, codec := range codecs {
		b := sample(f, codec)
		f.Add([]byte(b))
		f.Add([]byte(b[:len(b)-1]))
		f.Add(append(bytes.Clone(b), b...))
	}
	f.Add([]byte(compressed(Snappy, xerial(text(100)))))
	f.Add(messageSet(1))
}

// known reports whether err is one that this package promises.
func known(err error) bool {
	for _, want := range []error{ErrTorn, ErrCRC, ErrMagic, ErrInvalid, ErrTooLarge, ErrCodec, ErrTimestamp} {
		if errors.Is(err, want) {
			return true
		}
	}
	return false
}

func FuzzNext(f *testing.F) {
	addSamples(f)
	f.Fuzz(func(t *testing.T, src []byte) {
		for rest := src; len(rest) > 0; {
			b, after, err := Next(rest)
			if err != nil {
				if !known(err) {
					t.Fatal(err)
				}
				return
			}
			if len(b) < HeaderLen || len(b)+len(after) != len(rest) {
				t.Fatalf("%d bytes became %d and %d", len(rest), len(b), len(after))
			}
			rest = after
		}
	})
}

func FuzzWalk(f *testing.F) {
	addSamples(f)
	f.Fuzz(func(t *testing.T, src []byte) {
		b, _, err := Next(src)
		if err != nil {
			return
		}
		d := Decompressor{Limit: fuzzLimit}
		var w Builder
		w.Reset(0, b.BaseTimestamp())
		total, ascending := 0, true
		err = b.Walk(&d, func(v *View) error {
			total += len(v.Raw)
			n := int32(0)
			for range v.Headers {
				n++
			}
			if n != v.HeaderCount {
				t.Fatalf("record %d has %d headers, not %d", v.Index, n, v.HeaderCount)
			}
			ascending = ascending && v.OffsetDelta >= 0 && (v.Index == 0 || v.OffsetDelta > w.last)
			if ascending {
				w.AddEdited(v, v.OffsetDelta, v.CreateTime(), nil)
			}
			return nil
		})
		if err != nil {
			if !known(err) {
				t.Fatal(err)
			}
			return
		}
		if total > fuzzLimit && b.Attributes().Codec() != None {
			t.Fatalf("walked %d bytes, the limit is %d", total, fuzzLimit)
		}
		if ascending && b.Count() > 0 {
			sameAfterwards(t, &w, &d, b)
		}
	})
}

// sameAfterwards compares a batch with one that was built from its records.
func sameAfterwards(t *testing.T, w *Builder, d *Decompressor, b Batch) {
	rebuilt, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	var want [][]byte
	if err := b.Walk(d, func(v *View) error { want = append(want, contents(v)); return nil }); err != nil {
		t.Fatal(err)
	}
	err = rebuilt.Walk(d, func(v *View) error {
		if got := contents(v); !bytes.Equal(got, want[v.Index]) {
			t.Fatalf("record %d was %q, now %q", v.Index, want[v.Index], got)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// contents is a record without what may be spelled in several ways.
func contents(v *View) []byte {
	b := appendField(appendField(nil, v.Key), v.Value)
	for key, value := range v.Headers {
		b = appendField(appendField(b, key), value)
	}
	return b
}

// FuzzCheck seals what it is given, to get beyond the checksum.
func FuzzCheck(f *testing.F) {
	addSamples(f)
	f.Fuzz(func(t *testing.T, src []byte) {
		b, _, err := Next(bytes.Clone(src))
		if err != nil {
			return
		}
		b.seal()
		seen := int32(0)
		o := anyTime
		o.KeyRequired = true
		c, err := Check(b, o, &Decompressor{Limit: fuzzLimit}, func(*View) error { seen++; return nil })
		if err != nil {
			if !known(err) {
				t.Fatal(err)
			}
			return
		}
		if seen != b.Count() || c.Attributes&^KnownFromClients != 0 {
			t.Fatalf("saw %d records of %d, %+v", seen, b.Count(), c)
		}
		rs, err := b.Decode()
		if err != nil || len(rs) != int(b.Count()) || rs[len(rs)-1].Offset != b.LastOffset() {
			t.Fatalf("decoded %d records of %d, %v", len(rs), b.Count(), err)
		}
	})
}

func FuzzXerial(f *testing.F) {
	f.Add(xerial(text(100), text(5)))
	f.Add(append(xerial(text(100)), xerial(nil)...))
	f.Add([]byte("\x82SNAPPY\x00"))
	f.Fuzz(func(t *testing.T, src []byte) {
		d := Decompressor{Limit: fuzzLimit}
		got, err := d.Records(compressed(Snappy, src))
		if err != nil {
			if !known(err) {
				t.Fatal(err)
			}
			return
		}
		if len(got) > fuzzLimit {
			t.Fatalf("became %d bytes", len(got))
		}
		// What was read can be framed again.
		again := bytes.Clone(got)
		if got, err = d.Records(compressed(Snappy, xerial(again))); err != nil || !bytes.Equal(got, again) {
			t.Fatalf("%d bytes became %d, %v", len(again), len(got), err)
		}
	})
}

func FuzzDecompress(f *testing.F) {
	for _, codec := range codecs[1:] {
		payload, err := compress(nil, text(1000), codec, 0)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(byte(codec), payload)
	}
	f.Fuzz(func(t *testing.T, codec byte, src []byte) {
		d := Decompressor{Limit: fuzzLimit}
		got, err := d.Records(compressed(Codec(codec)&7, src))
		if err != nil && !known(err) {
			t.Fatal(err)
		}
		if codec&7 != 0 && (len(got) > fuzzLimit || cap(d.buf) > fuzzLimit+zstdBlock) {
			t.Fatalf("became %d bytes, with room for %d", len(got), cap(d.buf))
		}
	})
}
