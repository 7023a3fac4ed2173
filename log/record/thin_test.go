package record

import (
	"fmt"
	"slices"
	"testing"
)

// threeRecords is a batch at offset 100, of a producer, with timestamps 1000, 1010 and 1020.
func threeRecords(t *testing.T, a Attributes) Batch {
	t.Helper()
	var w Builder
	w.Reset(a, 1000)
	w.SetProducer(7, 2, 40)
	if a.Has(LogAppendTime) {
		w.maxTimestamp = 5000
	}
	for i := range int32(3) {
		w.Add(i, 1000+10*int64(i), []byte{'a' + byte(i)}, []byte("value"), Header{Key: "h", Value: []byte{byte(i)}})
	}
	b, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	b = slices.Clone(b)
	b.SetBaseOffset(100)
	b.SetLeaderEpoch(9)
	return b
}

func TestThinKeepsOffsetsSequencesAndTimestamps(t *testing.T) {
	for _, a := range []Attributes{0, Transactional, LogAppendTime, Attributes(0).WithCodec(Gzip), Attributes(0).WithCodec(Snappy), Attributes(0).WithCodec(LZ4), Attributes(0).WithCodec(Zstd)} {
		for _, base := range []int64{1000, 987_654_321} {
			b := threeRecords(t, a)
			var w Builder
			thin, err := w.Thin(b, a|DeleteHorizon, base, func(v *View) bool { return v.OffsetDelta != 1 }, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := thin.CheckCRC(); err != nil {
				t.Error(err)
			}
			header := func(b Batch) string {
				return fmt.Sprint(b.BaseOffset(), b.EndOffset(), b.LeaderEpoch(), b.ProducerID(), b.ProducerEpoch(), b.BaseSequence(), b.LastSequence(), b.MaxTimestamp())
			}
			if got, want := header(thin), header(b); got != want {
				t.Errorf("header is %s, was %s", got, want)
			}
			if thin.Attributes() != a|DeleteHorizon || thin.BaseTimestamp() != base || thin.Count() != 2 {
				t.Errorf("attributes %#x, base timestamp %d, %d records", thin.Attributes(), thin.BaseTimestamp(), thin.Count())
			}
			was, err := b.Decode()
			if err != nil {
				t.Fatal(err)
			}
			got, err := thin.Decode()
			if err != nil {
				t.Fatal(err)
			}
			if want := fmt.Sprint([]Record{was[0], was[2]}); fmt.Sprint(got) != want {
				t.Errorf("records are %v, expected %v", got, want)
			}
		}
	}
}

func TestThinOfTheLastRecordsLowersTheMaxTimestamp(t *testing.T) {
	var w Builder
	thin, err := w.Thin(threeRecords(t, 0), 0, 1000, func(v *View) bool { return v.OffsetDelta == 0 }, nil)
	if err != nil || thin.MaxTimestamp() != 1000 || thin.EndOffset() != 103 {
		t.Errorf("max timestamp is %d, end %d, %v", thin.MaxTimestamp(), thin.EndOffset(), err)
	}
	thin, err = w.Thin(threeRecords(t, 0), 0, 1000, func(*View) bool { return false }, nil)
	if err != nil || thin != nil {
		t.Errorf("without records there is %v, %v", thin, err)
	}
}

func TestEmptyBatchTellsWhatItsProducerSent(t *testing.T) {
	b := threeRecords(t, Transactional|Attributes(0).WithCodec(Zstd)|Continued)
	var w Builder
	e := w.Empty(b, Continued, 77)
	if err := e.CheckCRC(); err != nil {
		t.Error(err)
	}
	if e.Attributes() != Hidden|LogAppendTime|Continued || e.Count() != 0 || len(e) != HeaderLen || e.MaxTimestamp() != 77 {
		t.Errorf("attributes %#x, %d records, %d bytes, max timestamp %d", e.Attributes(), e.Count(), len(e), e.MaxTimestamp())
	}
	if e.BaseOffset() != 100 || e.EndOffset() != 103 || e.ProducerID() != 7 || e.BaseSequence() != 40 || e.LastSequence() != 42 {
		t.Errorf("offsets [%d, %d), producer %d, sequences %d to %d", e.BaseOffset(), e.EndOffset(), e.ProducerID(), e.BaseSequence(), e.LastSequence())
	}
	if rs, err := e.Decode(); err != nil || len(rs) != 0 {
		t.Errorf("records are %v, %v", rs, err)
	}
}
