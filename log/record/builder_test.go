package record

import (
	"bytes"
	"math"
	"testing"
)

var codecs = []Codec{None, Gzip, Snappy, LZ4, Zstd}

func TestBuildThenCheckAndDecode(t *testing.T) {
	for _, codec := range codecs {
		t.Run(codec.String(), func(t *testing.T) {
			var w Builder
			w.Reset(Attributes(0).WithCodec(codec), 1000)
			w.SetProducer(7, 1, math.MaxInt32)
			for i := range int32(100) {
				w.Add(i, 1000+int64(i), []byte("key"), bytes.Repeat([]byte("v"), int(i)), Header{Key: "h", Value: []byte{byte(i)}}, Header{Key: "null"})
			}
			b, err := w.Finish()
			if err != nil {
				t.Fatal(err)
			}
			if b.LastSequence() != 98 {
				t.Errorf("last sequence is %d", b.LastSequence())
			}
			b, rest, err := Next(b)
			if err != nil || len(rest) != 0 {
				t.Fatal(len(rest), err)
			}
			c, err := Check(b, CheckOptions{BeforeMax: math.MaxInt64, AfterMax: math.MaxInt64}, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			if c.MaxTimestamp != 1099 || b.MaxTimestamp() != 1099 {
				t.Errorf("max timestamp is %d, in the header %d", c.MaxTimestamp, b.MaxTimestamp())
			}
			rs, err := b.Decode()
			if err != nil || len(rs) != 100 {
				t.Fatal(len(rs), err)
			}
			if r := rs[99]; r.Offset != 99 || r.Timestamp != 1099 || len(r.Value) != 99 || r.Headers[0].Value[0] != 99 || r.Headers[1].Value != nil {
				t.Errorf("last record is %+v", r)
			}
		})
	}
}
