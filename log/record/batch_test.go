package record

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// sample is a small batch that uses every field.
func sample(t testing.TB, codec Codec) Batch {
	t.Helper()
	var w Builder
	w.Reset(Transactional.WithCodec(codec), 1_700_000_000_000)
	w.SetProducer(4711, 3, 100)
	w.Add(0, 1_700_000_000_000, []byte("key"), []byte("value"))
	w.Add(1, 1_700_000_000_500, nil, []byte{}, Header{Key: "h", Value: []byte("x")}, Header{Key: "", Value: nil})
	w.Add(2, 1_699_999_999_000, []byte{}, nil)
	b, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// golden is sample(None), byte for byte.
const golden = `
	0000000000000000 00000056 ffffffff 02 2c9f1584 0010 00000002
	0000018bcfe56800 0000018bcfe569f4 0000000000001267 0003 00000064 00000003
	1c 00 00 00 066b6579 0a76616c7565 00
	1a 00 e807 02 01 00 04 0268 0278 00 01
	0e 00 cf0f 04 00 01 00`

func TestGoldenBytes(t *testing.T) {
	want, err := hex.DecodeString(strings.Join(strings.Fields(golden), ""))
	if err != nil {
		t.Fatal(err)
	}
	if got := sample(t, None); hex.EncodeToString(got) != hex.EncodeToString(want) {
		t.Errorf("got  %x\nwant %x", []byte(got), want)
	}
}

// TestBytesAreThoseOfFranzGo encodes the sample with franz-go's codec.
func TestBytesAreThoseOfFranzGo(t *testing.T) {
	records := []kmsg.Record{
		{Key: []byte("key"), Value: []byte("value")},
		{TimestampDelta64: 500, OffsetDelta: 1, Value: []byte{}, Headers: []kmsg.Header{{Key: "h", Value: []byte("x")}, {}}},
		{TimestampDelta64: -1000, OffsetDelta: 2, Key: []byte{}},
	}
	var encoded []byte
	for _, r := range records {
		r.Length = int32(len(r.AppendTo(nil)) - 1) // all lengths here fit into one byte
		encoded = r.AppendTo(encoded)
	}
	kb := kmsg.RecordBatch{
		Length:               int32(HeaderLen - LengthEnd + len(encoded)),
		PartitionLeaderEpoch: -1,
		Magic:                2,
		Attributes:           int16(Transactional),
		LastOffsetDelta:      2,
		FirstTimestamp:       1_700_000_000_000,
		MaxTimestamp:         1_700_000_000_500,
		ProducerID:           4711,
		ProducerEpoch:        3,
		FirstSequence:        100,
		NumRecords:           3,
		Records:              encoded,
	}
	want := Batch(kb.AppendTo(nil))
	want.seal()
	got := sample(t, None)
	if hex.EncodeToString(got) != hex.EncodeToString(want) {
		t.Errorf("got  %x\nwant %x", []byte(got), []byte(want))
	}
	var back kmsg.RecordBatch
	if err := back.ReadFrom(got); err != nil {
		t.Fatal(err)
	}
	if back.CRC != int32(got.CRC()) || back.NumRecords != got.Count() || back.ProducerEpoch != got.ProducerEpoch() ||
		back.FirstSequence != got.BaseSequence() || back.PartitionLeaderEpoch != got.LeaderEpoch() {
		t.Errorf("franz-go reads %+v", back)
	}
}

func TestPlacingKeepsTheChecksum(t *testing.T) {
	b := sample(t, None)
	b.SetBaseOffset(1 << 40)
	b.SetLeaderEpoch(7)
	if err := b.CheckCRC(); err != nil {
		t.Error(err)
	}
	if b.BaseOffset() != 1<<40 || b.LeaderEpoch() != 7 || b.LastOffset() != 1<<40+2 || b.EndOffset() != 1<<40+3 {
		t.Errorf("placed at %d..%d, epoch %d", b.BaseOffset(), b.LastOffset(), b.LeaderEpoch())
	}
}

func TestStamp(t *testing.T) {
	b := sample(t, LZ4)
	b.Stamp(b.Attributes()|Hidden|Continued|LogAppendTime, 42)
	if err := b.CheckCRC(); err != nil {
		t.Error(err)
	}
	if !b.Hidden() || !b.Continued() || b.Delivery() || b.Control() || !b.Transactional() || b.Attributes().Codec() != LZ4 {
		t.Errorf("attributes are %#x", b.Attributes())
	}
	rs, err := b.Decode()
	if err != nil || rs[0].Timestamp != 42 {
		t.Errorf("consumers see %v, %v", rs, err)
	}
}

// Stamp does not read the records again, so its checksum has to be that of the whole, at any
// length, and one that was wrong has to stay so.
func TestStampKeepsTheChecksumTrueOrFalse(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for n := range 2000 {
		b := make(Batch, stampedEnd+rng.IntN(1<<rng.IntN(18)))
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		b.seal()
		b.Stamp(Attributes(rng.Uint32()), rng.Int64())
		if err := b.CheckCRC(); err != nil {
			t.Fatalf("round %d, %d bytes: %v", n, len(b), err)
		}
		b[attributesPos+rng.IntN(len(b)-attributesPos)] ^= 1 << rng.IntN(8)
		b.Stamp(Attributes(rng.Uint32()), rng.Int64())
		if err := b.CheckCRC(); !errors.Is(err, ErrCRC) {
			t.Fatalf("round %d: a flipped bit is not seen any more", n)
		}
	}
}

func TestNextSplitsBatches(t *testing.T) {
	one, two := sample(t, None), sample(t, Zstd)
	all := append(append([]byte(nil), one...), two...)
	first, rest, err := Next(all)
	if err != nil || len(first) != len(one) || len(rest) != len(two) {
		t.Fatal(len(first), len(rest), err)
	}
	if cap(first) != len(first) {
		t.Error("appending to the first batch would overwrite the second")
	}
	if _, rest, err = Next(rest); err != nil || len(rest) != 0 {
		t.Error(len(rest), err)
	}
}

func TestNextAtEveryCut(t *testing.T) {
	b := sample(t, Snappy)
	for n := range b {
		if _, _, err := Next(b[:n]); !errors.Is(err, ErrTorn) {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
}

func TestEveryFlippedBitIsNoticed(t *testing.T) {
	b := sample(t, None)
	for i := magicPos; i < len(b); i++ {
		for bit := range 8 {
			b[i] ^= 1 << bit
			next, _, err := Next(b)
			if err == nil {
				err = next.CheckCRC()
			}
			if !errors.Is(err, ErrCRC) && !errors.Is(err, ErrMagic) {
				t.Errorf("bit %d of byte %d: %v", bit, i, err)
			}
			b[i] ^= 1 << bit
		}
	}
}

func TestNextRefuses(t *testing.T) {
	tests := map[string]struct {
		b    []byte
		want error
	}{
		"short length":     {lengthOf(sample(t, None), HeaderLen-LengthEnd-1), ErrInvalid},
		"negative length":  {lengthOf(sample(t, None), -1), ErrInvalid},
		"lowest length":    {lengthOf(sample(t, None), math.MinInt32), ErrInvalid},
		"longest":          {lengthOf(sample(t, None), MaxLen-LengthEnd), ErrTorn},
		"too long":         {lengthOf(sample(t, None), MaxLen-LengthEnd+1), ErrInvalid},
		"highest length":   {lengthOf(sample(t, None), math.MaxInt32), ErrInvalid},
		"magic 0":          {messageSet(0), ErrMagic},
		"magic 1":          {messageSet(1), ErrMagic},
		"magic 3":          {messageSet(3), ErrMagic},
		"zeros":            {make([]byte, 100), ErrMagic},
		"too few to tell":  {make([]byte, LengthEnd-1), ErrTorn},
		"nothing":          {nil, ErrTorn},
		"no magic, length": {lengthOf(sample(t, None), 3)[:magicPos], ErrInvalid},
	}
	for name, tt := range tests {
		if _, _, err := Next(tt.b); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func lengthOf(b Batch, n int32) []byte {
	binary.BigEndian.PutUint32(b[lengthPos:], uint32(n))
	return b
}

// messageSet is a set of one short message in an old format: offset, size, checksum, magic, …
func messageSet(magic byte) []byte {
	b := make([]byte, 34)
	b[lengthPos+3] = 22
	b[magicPos] = magic
	return b
}

func TestSequencesWrap(t *testing.T) {
	tests := []struct{ seq, delta, want int32 }{
		{0, 0, 0}, {5, 3, 8}, {math.MaxInt32, 1, 0}, {math.MaxInt32, 0, math.MaxInt32}, {math.MaxInt32 - 1, 5, 3},
	}
	for _, tt := range tests {
		if got := AddSequence(tt.seq, tt.delta); got != tt.want {
			t.Errorf("%d + %d is %d, want %d", tt.seq, tt.delta, got, tt.want)
		}
	}
	b := sample(t, None)
	if got := b.LastSequence(); got != 102 {
		t.Errorf("last sequence is %d", got)
	}
	var w Builder
	w.Reset(0, 0)
	w.Add(0, 0, nil, nil)
	b, err := w.Finish()
	if err != nil || b.LastSequence() != -1 {
		t.Errorf("last sequence without a producer is %d, %v", b.LastSequence(), err)
	}
}
