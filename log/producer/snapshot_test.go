package producer

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/morrowmq/morrow/log/record"
)

// sample has a producer with two batches, and one with a transaction.
func sample(t testing.TB) *State {
	s := New(0)
	for _, b := range []record.Batch{
		data(1, 3, 0, 0, 2, 0),
		data(1, 3, 2, 2, 1, record.Hidden),
		data(7, 0, 0, 3, 1, record.Transactional),
	} {
		if _, _, err := s.Apply(b, 1234); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// The bytes of a snapshot, as FORMAT.md draws them.
const golden = "4d505331179ad74d" + // magic, crc
	"0000000000000004" + "0000000000000004" + // end, visible end
	"00000001" + "00000002" + // transactions, producers
	"0000000000000007" + "0000000000000003" + "0000000000000002" + "ffffffffffffffff" + // producer, first, visible end, marker
	"0000000000000001" + "0003" + "ffffffff" + "00000000000004d2" + "ffffffffffffffff" + "02" +
	"00000000" + "00000001" + "0000000000000000" + "00000000000003e8" +
	"00000002" + "00000002" + "0000000000000002" + "00000000000003e8" +
	"0000000000000007" + "0000" + "ffffffff" + "00000000000004d2" + "0000000000000003" + "01" +
	"00000000" + "00000000" + "0000000000000003" + "00000000000003e8"

func TestSnapshotBytes(t *testing.T) {
	b := sample(t).Encode()
	if got := hex.EncodeToString(b); got != golden {
		t.Fatalf("got  %s\nwant %s", got, golden)
	}
}

func TestSnapshotOfAnyState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := randomState(t)
		b := s.Encode()
		again, err := Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		if got := again.Encode(); !bytes.Equal(got, b) {
			t.Fatalf("got %x, want %x", got, b)
		}
	})
}

// randomState applies a random history.
func randomState(t *rapid.T) *State {
	s := New(0)
	next := map[int64]int32{}
	for range rapid.IntRange(0, 30).Draw(t, "batches") {
		id := rapid.Int64Range(-1, 4).Draw(t, "id")
		offset := s.End()
		var b record.Batch
		switch {
		case id == 4 && rapid.Bool().Draw(t, "ends"):
			b = end(id, 0, 0, offset, rapid.Bool().Draw(t, "commit"))
		case id == 4:
			b = data(id, 0, next[id], offset, 1, record.Transactional)
			next[id]++
		case id < 0:
			b = data(id, -1, -1, offset, 1, record.Hidden)
		default:
			b = data(id, 0, next[id], offset, 2, 0)
			next[id] += 2
		}
		if _, _, err := s.Apply(b, rapid.Int64Range(0, 1e6).Draw(t, "now")); err != nil {
			t.Fatal(err)
		}
		if rapid.Bool().Draw(t, "advance") {
			s.AdvanceHighWatermark(s.End())
		}
	}
	return s
}

func TestDamagedSnapshot(t *testing.T) {
	b := sample(t).Encode()
	for i := range b {
		if _, err := Decode(b[:i]); !errors.Is(err, ErrSnapshot) {
			t.Fatalf("cut at %d: %v", i, err)
		}
		b[i] ^= 0x10
		if _, err := Decode(b); !errors.Is(err, ErrSnapshot) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
		b[i] ^= 0x10
	}
	if _, err := Decode(append(b, 0)); err == nil {
		t.Fatal("a byte too many was not noticed")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(sample(f).Encode())
	f.Add(New(5).Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Decode(b)
		if err != nil {
			if !errors.Is(err, ErrSnapshot) {
				t.Fatal(err)
			}
			return
		}
		if again := s.Encode(); len(again) != len(b) {
			t.Fatalf("%d bytes became %d", len(b), len(again))
		}
	})
}

func FuzzParseMarker(f *testing.F) {
	f.Add([]byte(end(1, 0, 3, 0, true)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= record.HeaderLen {
			_, _ = ParseMarker(b)
		}
	})
}
