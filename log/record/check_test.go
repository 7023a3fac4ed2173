package record

import (
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"testing"
)

// anyTime demands nothing of timestamps.
var anyTime = CheckOptions{BeforeMax: math.MaxInt64, AfterMax: math.MaxInt64}

func put16(pos int, v int16) func(Batch) {
	return func(b Batch) { binary.BigEndian.PutUint16(b[pos:], uint16(v)) }
}

func put32(pos int, v int32) func(Batch) {
	return func(b Batch) { binary.BigEndian.PutUint32(b[pos:], uint32(v)) }
}

func put64(pos int, v int64) func(Batch) {
	return func(b Batch) { binary.BigEndian.PutUint64(b[pos:], uint64(v)) }
}

func TestCheckHeader(t *testing.T) {
	tests := map[string]struct {
		change func(Batch)
		want   error
		text   string
	}{
		"as it is":                   {func(Batch) {}, nil, ""},
		"magic 1":                    {func(b Batch) { b[magicPos] = 1 }, ErrMagic, "before 0.11"},
		"codec 5":                    {put16(attributesPos, 5), ErrCodec, "5"},
		"control":                    {put16(attributesPos, int16(Control)), ErrInvalid, "control"},
		"hidden":                     {put16(attributesPos, int16(Hidden)), ErrInvalid, "0x100"},
		"continued":                  {put16(attributesPos, int16(Continued)), ErrInvalid, "0x200"},
		"delivery":                   {put16(attributesPos, int16(Delivery)), ErrInvalid, "0x400"},
		"delete horizon":             {put16(attributesPos, int16(DeleteHorizon)), ErrInvalid, "0x40"},
		"sign bit":                   {put16(attributesPos, math.MinInt16), ErrInvalid, "0x8000"},
		"base offset":                {put64(0, 5), ErrInvalid, "base offset is 5"},
		"no records":                 {put32(countPos, 0), ErrInvalid, "count is 0"},
		"negative count":             {put32(countPos, -1), ErrInvalid, "count is -1"},
		"count above deltas":         {put32(countPos, 4), ErrInvalid, "delta is 2 with 4"},
		"delta above count":          {put32(lastOffsetDeltaPos, 3), ErrInvalid, "delta is 3 with 3"},
		"negative delta":             {put32(lastOffsetDeltaPos, -1), ErrInvalid, "delta is -1"},
		"producer id":                {put64(producerIDPos, -2), ErrInvalid, "producer id is -2"},
		"producer without sequence":  {put32(baseSequencePos, -1), ErrInvalid, "base sequence is -1"},
		"transaction, no producer":   {put64(producerIDPos, -1), ErrInvalid, "transactional"},
		"leader epoch is overlooked": {put32(leaderEpochPos, 9), nil, ""},
		"max timestamp is corrected": {put64(maxTimestampPos, 1), nil, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := sample(t, None)
			tt.change(b)
			b.seal()
			c, err := Check(b, anyTime, nil, nil)
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			if err != nil {
				if !strings.Contains(err.Error(), tt.text) {
					t.Errorf("%q does not say %q", err, tt.text)
				}
				return
			}
			if want := (Checked{Transactional, 1_700_000_000_500}); c != want {
				t.Errorf("checked %+v, want %+v", c, want)
			}
		})
	}
}

func TestCheckSum(t *testing.T) {
	b := sample(t, None)
	b[len(b)-1] ^= 1
	if _, err := Check(b, anyTime, nil, nil); !errors.Is(err, ErrCRC) {
		t.Error(err)
	}
}

func TestCheckCountsTheRecords(t *testing.T) {
	for _, codec := range codecs {
		for _, count := range []int32{2, 4} {
			b := sample(t, codec)
			put32(countPos, count)(b)
			put32(lastOffsetDeltaPos, count-1)(b)
			b.seal()
			if _, err := Check(b, anyTime, nil, nil); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s: 3 records counted as %d: %v", codec, count, err)
			}
		}
	}
}

func TestCheckOffsetsCountUp(t *testing.T) {
	b := withRecords(2, 12, 0, 0, 0, 1, 1, 0, 12, 0, 0, 4, 1, 1, 0)
	_, err := Check(b, anyTime, nil, nil)
	if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "record 1: offset delta is 2") {
		t.Error(err)
	}
}

func TestCheckKeys(t *testing.T) {
	o := anyTime
	o.KeyRequired = true
	_, err := Check(sample(t, Snappy), o, nil, nil)
	var refused *RecordErrors
	if !errors.As(err, &refused) || refused.Count != 1 || refused.Records[0].Index != 1 || !errors.Is(err, ErrInvalid) {
		t.Errorf("an empty key is a key, null is none: %v", err)
	}
}

func TestCheckTimestamps(t *testing.T) {
	const now = 1_700_000_000_000 // the sample has records at now, now+500 and now-1000
	tests := map[string]struct {
		o    CheckOptions
		want []int32
	}{
		"any":                 {CheckOptions{Now: now, BeforeMax: math.MaxInt64, AfterMax: math.MaxInt64}, nil},
		"bounds are allowed":  {CheckOptions{Now: now, BeforeMax: 1000, AfterMax: 500}, nil},
		"too late":            {CheckOptions{Now: now, BeforeMax: math.MaxInt64, AfterMax: 499}, []int32{1}},
		"too early":           {CheckOptions{Now: now, BeforeMax: 999, AfterMax: math.MaxInt64}, []int32{2}},
		"both":                {CheckOptions{Now: now}, []int32{1, 2}},
		"almost any":          {CheckOptions{Now: now, BeforeMax: math.MaxInt64 - 1, AfterMax: math.MaxInt64 - 1}, nil},
		"the broker's anyway": {CheckOptions{Now: now, LogAppendTime: true}, nil},
	}
	for name, tt := range tests {
		_, err := Check(sample(t, None), tt.o, nil, nil)
		var refused *RecordErrors
		if errors.As(err, &refused) {
			if !errors.Is(err, ErrTimestamp) || errors.Is(err, ErrInvalid) {
				t.Errorf("%s: %v", name, err)
			}
		} else {
			refused = &RecordErrors{}
		}
		if len(refused.Records) != len(tt.want) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for i, r := range refused.Records {
			if r.Index != tt.want[i] {
				t.Errorf("%s: %v", name, &r)
			}
		}
	}
}

func TestNoTimestampIsInBounds(t *testing.T) {
	var w Builder
	w.Reset(0, -1)
	w.Add(0, -1, nil, nil)
	b, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	c, err := Check(b, CheckOptions{Now: 1_700_000_000_000}, nil, nil)
	if err != nil || c.MaxTimestamp != -1 {
		t.Errorf("max timestamp %d, %v", c.MaxTimestamp, err)
	}
}

func TestProducersCannotSetLogAppendTime(t *testing.T) {
	b := sample(t, None)
	b.Stamp(b.Attributes()|LogAppendTime, 42)
	c, err := Check(b, anyTime, nil, nil)
	if err != nil || c.Attributes.Has(LogAppendTime) || c.MaxTimestamp != 1_700_000_000_500 {
		t.Errorf("on a CreateTime topic: %+v, %v", c, err)
	}
	o := anyTime
	o.LogAppendTime = true
	if _, err := Check(b, o, nil, nil); !errors.Is(err, ErrTimestamp) {
		t.Errorf("on a LogAppendTime topic: %v", err)
	}
}

func TestVisitorsRefuseRecords(t *testing.T) {
	visit := func(v *View) error {
		if v.Index != 1 {
			return &RecordError{v.Index, "bad header"}
		}
		return nil
	}
	_, err := Check(sample(t, None), anyTime, nil, visit)
	var refused *RecordErrors
	if !errors.As(err, &refused) || refused.Count != 2 || refused.Records[1].Index != 2 || !errors.Is(refused.Err, ErrInvalid) {
		t.Fatal(err)
	}
	if want := "invalid batch: 2 records refused, the first: record 0: bad header"; err.Error() != want {
		t.Errorf("says %q", err)
	}
	// A timestamp decides the error of the whole batch, wherever it is.
	_, err = Check(sample(t, None), CheckOptions{Now: 1_700_000_000_000, BeforeMax: 2000}, nil, visit)
	if !errors.As(err, &refused) || refused.Count != 3 || !errors.Is(err, ErrTimestamp) {
		t.Error(err)
	}
	stop := errors.New("stop")
	if _, err := Check(sample(t, None), anyTime, nil, func(*View) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
}

func TestRecordErrorsAreBounded(t *testing.T) {
	var w Builder
	w.Reset(Attributes(Zstd), 0)
	for i := range int32(5 * MaxRecordErrors) {
		w.Add(i, 0, nil, nil)
	}
	b, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	o := anyTime
	o.KeyRequired = true
	_, err = Check(b, o, nil, nil)
	var refused *RecordErrors
	if !errors.As(err, &refused) || refused.Count != 5*MaxRecordErrors || len(refused.Records) != MaxRecordErrors {
		t.Error(err)
	}
}
