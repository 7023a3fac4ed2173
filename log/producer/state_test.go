package producer

import (
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/morrowmq/morrow/log/record"
)

// data is a batch of n records of a producer, or a piece of one.
func data(id int64, epoch int16, seq int32, offset int64, n int32, a record.Attributes) record.Batch {
	var w record.Builder
	w.Reset(a, 1000)
	w.SetProducer(id, epoch, seq)
	for i := range n {
		w.Add(i, 1000, nil, nil)
	}
	return finish(&w, offset)
}

func finish(w *record.Builder, offset int64) record.Batch {
	b, err := w.Finish()
	if err != nil {
		panic(err)
	}
	b.SetBaseOffset(offset)
	return b
}

// end is a transaction marker.
func end(id int64, epoch int16, coordinator byte, offset int64, commit bool) record.Batch {
	var w record.Builder
	w.Reset(record.Transactional|record.Control, 1000)
	w.SetProducer(id, epoch, -1)
	kind := byte(typeAbort)
	if commit {
		kind = typeCommit
	}
	w.Add(0, 1000, []byte{0, 0, 0, kind}, []byte{0, 0, 0, 0, 0, coordinator})
	return finish(&w, offset)
}

func apply(t *testing.T, s *State, b record.Batch) (Completed, bool) {
	t.Helper()
	done, ended, err := s.Apply(b, 0)
	if err != nil {
		t.Fatal(err)
	}
	return done, ended
}

func original(id int64, epoch int16, first, last int32) Original {
	return Original{ProducerID: id, Epoch: epoch, FirstSequence: first, LastSequence: last}
}

func TestSequences(t *testing.T) {
	s := New(0)
	for i := range int32(7) { // batches of two records: sequences 0-1, 2-3, … at offsets 0, 2, …
		apply(t, s, data(1, 3, 2*i, int64(2*i), 2, 0))
	}
	for _, c := range []struct {
		name   string
		o      Original
		stored int64 // offset, if a duplicate
		want   any
	}{
		{"next", original(1, 3, 14, 20), -1, nil},
		{"last again", original(1, 3, 12, 13), 12, nil},
		{"fifth last again", original(1, 3, 4, 5), 4, nil},
		{"sixth last again", original(1, 3, 2, 3), -1, &OutOfOrderError{}},
		{"part of the last", original(1, 3, 12, 12), -1, &OutOfOrderError{}},
		{"gap", original(1, 3, 15, 15), -1, &OutOfOrderError{}},
		{"older epoch", original(1, 2, 14, 14), -1, &FencedError{}},
		{"new epoch from 0", original(1, 4, 0, 0), -1, nil},
		{"new epoch, not from 0", original(1, 4, 14, 14), -1, &OutOfOrderError{}},
		{"unknown producer anywhere", original(2, 0, 77, 77), -1, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, dup, err := s.Check(c.o)
			if fmt.Sprintf("%T", err) != fmt.Sprintf("%T", c.want) {
				t.Fatalf("error %v, want a %T", err, c.want)
			}
			if dup != (c.stored >= 0) || dup && (r.Base != c.stored || r.End() != c.stored+2) {
				t.Fatalf("stored at %+v (%t), want %d", r, dup, c.stored)
			}
		})
	}
}

func TestSequenceWraps(t *testing.T) {
	s := New(0)
	apply(t, s, data(1, 0, math.MaxInt32-1, 0, 4, 0)) // up to sequence 1
	r, dup, err := s.Check(original(1, 0, math.MaxInt32-1, 1))
	if err != nil || !dup || r.End() != 4 {
		t.Fatal(r, dup, err)
	}
	if _, _, err := s.Check(original(1, 0, 2, 2)); err != nil {
		t.Fatal(err)
	}
	var gap *OutOfOrderError
	if _, _, err := s.Check(original(1, 0, 3, 3)); !errors.As(err, &gap) || gap.Expected != 2 {
		t.Fatal(err)
	}
}

// A batch that was split is known by the sequences its producer gave it.
func TestDuplicateOfSplitBatch(t *testing.T) {
	s := New(0)
	apply(t, s, data(1, 0, 0, 10, 2, record.Hidden|record.Continued))
	apply(t, s, data(1, 0, 2, 12, 1, record.Continued))
	apply(t, s, data(1, 0, 3, 13, 2, record.Hidden))
	r, dup, err := s.Check(original(1, 0, 0, 4))
	if err != nil || !dup || r.Base != 10 || r.End() != 15 {
		t.Fatal(r, dup, err)
	}
	if _, dup, err := s.Check(original(1, 0, 0, 1)); dup || err == nil {
		t.Fatal("a piece was taken for a batch", dup, err)
	}
	if s.VisibleEnd() != 13 || s.End() != 15 {
		t.Fatal(s.VisibleEnd(), s.End())
	}
}

func TestNewEpochForgetsSequences(t *testing.T) {
	s := New(0)
	apply(t, s, data(1, 0, 5, 0, 1, 0))
	apply(t, s, data(1, 1, 0, 1, 1, 0))
	if _, dup, err := s.Check(original(1, 1, 0, 0)); !dup || err != nil {
		t.Fatal(dup, err)
	}
	if _, _, err := s.Check(original(1, 0, 6, 6)); !errors.As(err, new(*FencedError)) {
		t.Fatal(err)
	}
	// A marker of a higher epoch does the same (KIP-890).
	apply(t, s, end(1, 2, 0, 2, true))
	if _, _, err := s.Check(original(1, 2, 0, 3)); err != nil {
		t.Fatal(err)
	}
}

// TestLastStable goes through two transactions that overlap; hidden batches count for neither visible end.
func TestLastStable(t *testing.T) {
	s := New(0)
	want := func(offset, visible int64, ok bool) {
		t.Helper()
		if o, v, k := s.FirstUnstable(); k != ok || k && (o != offset || v != visible) {
			t.Fatalf("first unstable %d, visible end %d, %t; want %d, %d, %t", o, v, k, offset, visible, ok)
		}
	}
	apply(t, s, data(-1, -1, -1, 0, 2, 0))
	want(0, 0, false)
	apply(t, s, data(-1, -1, -1, 2, 1, record.Hidden))
	apply(t, s, data(7, 0, 0, 3, 1, record.Transactional))
	want(3, 2, true)
	apply(t, s, data(8, 0, 0, 4, 1, record.Transactional|record.Hidden))
	apply(t, s, data(7, 0, 1, 5, 1, record.Transactional))
	want(3, 2, true)
	if first, open := s.OpenTransaction(7); !open || first != 3 {
		t.Fatal(first, open)
	}

	done, ended := apply(t, s, end(7, 0, 0, 6, false))
	if wantDone := (Completed{ProducerID: 7, First: 3, Last: 6, LastStable: 4, Aborted: true}); !ended || done != wantDone {
		t.Fatalf("%+v, want %+v", done, wantDone)
	}
	want(3, 2, true) // until the marker is committed
	if s.AdvanceHighWatermark(6) {
		t.Fatal("the marker is not below the high watermark")
	}
	if !s.AdvanceHighWatermark(7) {
		t.Fatal("the transaction was not decided")
	}
	want(4, 4, true)
	done, ended = apply(t, s, end(8, 0, 0, 7, true))
	if wantDone := (Completed{ProducerID: 8, First: 4, Last: 7, LastStable: 8}); !ended || done != wantDone {
		t.Fatalf("%+v, want %+v", done, wantDone)
	}
	s.AdvanceHighWatermark(8)
	want(0, 0, false)
	if _, ended := apply(t, s, end(8, 0, 0, 8, true)); ended {
		t.Fatal("ended a transaction that was not open")
	}
}

func TestFencedCoordinator(t *testing.T) {
	s := New(0)
	apply(t, s, data(7, 1, 0, 0, 1, record.Transactional))
	apply(t, s, end(7, 1, 4, 1, true))
	for _, c := range []struct {
		m    Marker
		want any
	}{
		{Marker{ProducerID: 7, Epoch: 1, CoordinatorEpoch: 4}, nil},
		{Marker{ProducerID: 7, Epoch: 1, CoordinatorEpoch: 3}, &CoordinatorFencedError{}},
		{Marker{ProducerID: 7, Epoch: 0, CoordinatorEpoch: 5}, &FencedError{}},
		{Marker{ProducerID: 9}, nil},
	} {
		if err := s.CheckMarker(c.m, false); fmt.Sprintf("%T", err) != fmt.Sprintf("%T", c.want) {
			t.Errorf("%+v: %v, want a %T", c.m, err, c.want)
		}
	}
}

func TestExpire(t *testing.T) {
	s := New(0)
	for id, at := range map[int64]int64{1: 5000, 2: 6000} {
		if _, _, err := s.Apply(data(id, 0, 0, id, 1, 0), at); err != nil {
			t.Fatal(err)
		}
	}
	apply(t, s, data(3, 0, 0, 5, 1, record.Transactional))
	if n := s.Expire(6000); n != 1 {
		t.Fatalf("%d expired", n)
	}
	ids := ""
	for _, p := range s.Producers() {
		ids += fmt.Sprint(p.ProducerID, " ")
	}
	if ids != "2 3 " { // 3 has a transaction open
		t.Fatal(ids)
	}
}

func TestMarkerThatIsNone(t *testing.T) {
	var w record.Builder
	w.Reset(record.Control|record.Transactional, 0)
	w.SetProducer(1, 0, -1)
	w.Add(0, 0, []byte{0, 0, 0, 9}, []byte{0, 0, 0, 0, 0, 0})
	b := finish(&w, 0)
	if _, err := ParseMarker(b); err == nil {
		t.Fatal("control record of type 9 was taken for a marker")
	}
	if _, err := ParseMarker(b[:record.HeaderLen+3]); err == nil {
		t.Fatal("marker that is cut short was read")
	}
}
