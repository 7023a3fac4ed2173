package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
)

// withRecords makes a batch of raw records, sealed, with a count that is given.
func withRecords(count int32, records ...byte) Batch {
	b := make(Batch, HeaderLen, HeaderLen+len(records))
	b[magicPos] = Magic
	binary.BigEndian.PutUint64(b[producerIDPos:], math.MaxUint64)
	binary.BigEndian.PutUint32(b[countPos:], uint32(count))
	binary.BigEndian.PutUint32(b[lastOffsetDeltaPos:], uint32(count-1))
	b = append(b, records...)
	binary.BigEndian.PutUint32(b[lengthPos:], uint32(len(b)-LengthEnd))
	b.seal()
	return b
}

func TestWalkRefusesMalformedRecords(t *testing.T) {
	long := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0x01} // a varint of six bytes
	tests := map[string]struct {
		count   int32
		records []byte
		want    error
	}{
		"fine":                          {1, []byte{12, 0, 0, 0, 1, 1, 0}, nil},
		"fine, with headers":            {1, []byte{22, 0, 0, 0, 1, 1, 4, 0, 1, 2, 'k', 0}, nil},
		"nothing":                       {1, nil, errCut},
		"fewer than counted":            {2, []byte{12, 0, 0, 0, 1, 1, 0}, errCut},
		"more than counted":             {1, []byte{12, 0, 0, 0, 1, 1, 0, 12, 0, 0, 0, 1, 1, 0}, errCount},
		"bytes after the last":          {1, []byte{12, 0, 0, 0, 1, 1, 0, 0}, errCount},
		"records where none is counted": {0, []byte{12, 0, 0, 0, 1, 1, 0}, errCount},
		"length 0":                      {1, []byte{0}, errCut},
		"negative length":               {1, []byte{1, 0, 0, 0, 1, 1, 0}, errNegative},
		"length beyond the end":         {1, []byte{14, 0, 0, 0, 1, 1, 0}, errCut},
		"length too short":              {1, []byte{10, 0, 0, 0, 1, 1, 0}, errLength},
		"length too long":               {1, []byte{14, 0, 0, 0, 1, 1, 0, 0}, errLength},
		"length varint too long":        {1, append(slices.Clone(long), 0, 0, 0, 1, 1, 0), errCut},
		"length varint cut":             {1, []byte{0x80}, errCut},
		"delta varint too long":         {1, append([]byte{24, 0, 0}, append(slices.Clone(long), 1, 1, 0, 0, 0)...), errLength},
		"timestamp varlong too long":    {1, []byte{34, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01, 0, 1, 1, 0, 0, 0}, errLength},
		"key longer than the record":    {1, []byte{12, 0, 0, 0, 20, 1, 0}, errLength},
		"key length below null":         {1, []byte{12, 0, 0, 0, 3, 1, 0}, errLength},
		"value longer than the record":  {1, []byte{12, 0, 0, 0, 1, 20, 0}, errLength},
		"value length below null":       {1, []byte{12, 0, 0, 0, 1, 3, 0}, errLength},
		"negative header count":         {1, []byte{12, 0, 0, 0, 1, 1, 1}, errHeaders},
		"more headers than bytes":       {1, []byte{12, 0, 0, 0, 1, 1, 2}, errHeaders},
		"null header key":               {1, []byte{16, 0, 0, 0, 1, 1, 2, 1, 1}, errHeaders},
		"header key too long":           {1, []byte{16, 0, 0, 0, 1, 1, 2, 8, 1}, errHeaders},
		"header value too long":         {1, []byte{16, 0, 0, 0, 1, 1, 2, 0, 8}, errHeaders},
		"header value below null":       {1, []byte{16, 0, 0, 0, 1, 1, 2, 0, 3}, errHeaders},
		"bytes after the headers":       {1, []byte{18, 0, 0, 0, 1, 1, 2, 0, 1, 0}, errLength},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := withRecords(tt.count, tt.records...).Walk(nil, func(*View) error { return nil })
			if !errors.Is(err, tt.want) || (err != nil) != errors.Is(err, ErrInvalid) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestNullAndEmptyAreNotTheSame(t *testing.T) {
	rs, err := sample(t, None).Decode()
	if err != nil {
		t.Fatal(err)
	}
	if rs[1].Key != nil || rs[1].Value == nil || rs[2].Key == nil || rs[2].Value != nil || rs[1].Headers[1].Value != nil {
		t.Errorf("decoded %+v", rs)
	}
}

func TestHeaders(t *testing.T) {
	var w Builder
	w.Reset(0, 0)
	w.Add(0, 0, nil, nil, Header{"a", []byte("1")}, Header{"b", nil}, Header{"a", []byte("2")})
	b, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	err = b.Walk(nil, func(v *View) error {
		var got []string
		for k, val := range v.Headers {
			got = append(got, fmt.Sprintf("%s=%q", k, val))
		}
		if want := []string{`a="1"`, `b=""`, `a="2"`}; !slices.Equal(got, want) {
			t.Errorf("headers are %v", got)
		}
		for range v.Headers {
			break
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestWalkStopsAtTheVisitorsError(t *testing.T) {
	stop := errors.New("stop")
	n := 0
	err := sample(t, Gzip).Walk(nil, func(v *View) error {
		n++
		if v.Index == 1 {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || n != 2 {
		t.Errorf("visited %d records, %v", n, err)
	}
}

func TestWalkingAllocatesNothing(t *testing.T) {
	for _, codec := range codecs {
		b := sample(t, codec)
		var d Decompressor
		bytes := 0
		allocs := testing.AllocsPerRun(100, func() {
			err := b.Walk(&d, func(v *View) error {
				for k, val := range v.Headers {
					bytes += len(k) + len(val)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			o := CheckOptions{BeforeMax: math.MaxInt64, AfterMax: math.MaxInt64}
			if _, err := Check(b, o, &d, func(*View) error { return nil }); err != nil {
				t.Fatal(err)
			}
		})
		if allocs > 0 {
			t.Errorf("%s: %v allocations", codec, allocs)
		}
	}
}
