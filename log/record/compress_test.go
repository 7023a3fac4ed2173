package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/twmb/franz-go/pkg/kgo"
)

// compressed makes a batch of a payload that some other library compressed.
func compressed(codec Codec, payload []byte) Batch {
	b := withRecords(1, payload...)
	binary.BigEndian.PutUint16(b[attributesPos:], uint16(codec))
	b.seal()
	return b
}

// text compresses well, noise does not.
func text(n int) []byte { return bytes.Repeat([]byte("a delayed message. "), n/19+1)[:n] }

func noise(n int) []byte {
	rnd := rand.NewChaCha8([32]byte{1})
	b := make([]byte, n)
	_, _ = rnd.Read(b)
	return b
}

var kgoCodecs = map[Codec]kgo.CompressionCodec{
	Gzip: kgo.GzipCompression(), Snappy: kgo.SnappyCompression(), LZ4: kgo.Lz4Compression(), Zstd: kgo.ZstdCompression(),
}

// TestCodecsOfFranzGo decompresses with each library what the other compressed.
func TestCodecsOfFranzGo(t *testing.T) {
	for codec, kgoCodec := range kgoCodecs {
		for _, want := range [][]byte{{}, text(1), text(100_000), noise(3_000_000)} {
			c, err := kgo.DefaultCompressor(kgoCodec)
			if err != nil {
				t.Fatal(err)
			}
			theirs, _ := c.Compress(new(bytes.Buffer), want)
			var d Decompressor
			if got, err := d.Records(compressed(codec, theirs)); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: got %d bytes instead of %d, %v", codec, len(got), len(want), err)
			}
			ours, err := compress(nil, want, codec, 0)
			if err != nil {
				t.Fatal(err)
			}
			got, err := kgo.DefaultDecompressor().Decompress(ours, kgo.CompressionCodecType(codec))
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: franz-go got %d bytes instead of %d, %v", codec, len(got), len(want), err)
			}
		}
	}
}

func TestEveryLevel(t *testing.T) {
	want := append(text(50_000), noise(50_000)...)
	levels := map[Codec][]int{Gzip: {-1, 0, 1, 9}, LZ4: {0, 1, 9, 10, 17}, Zstd: {-131072, -1, 0, 1, 3, 22}, Snappy: {0, 7}, None: {0, 7}}
	var d Decompressor
	for codec, levels := range levels {
		for _, level := range levels {
			payload, err := compress([]byte("before"), want, codec, level)
			if err != nil {
				t.Fatal(codec, level, err)
			}
			if got, err := d.Records(compressed(codec, payload[len("before"):])); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s, level %d: got %d bytes, %v", codec, level, len(got), err)
			}
		}
	}
	if _, err := compress(nil, want, Gzip, 10); err == nil {
		t.Error("gzip has no level 10")
	}
	if _, err := compress(nil, want, 5, 0); !errors.Is(err, ErrCodec) {
		t.Error(err)
	}
}

func xerial(blocks ...[]byte) []byte {
	b := append([]byte("\x82SNAPPY\x00"), 0, 0, 0, 1, 0, 0, 0, 1)
	for _, block := range blocks {
		e := s2.EncodeSnappy(nil, block)
		b = binary.BigEndian.AppendUint32(b, uint32(len(e)))
		b = append(b, e...)
	}
	return b
}

func TestXerialFraming(t *testing.T) {
	one, two := text(40_000), noise(10_000)
	all := append(append([]byte(nil), one...), two...)
	tests := map[string]struct{ src, want []byte }{
		"no block":            {xerial(), nil},
		"an empty block":      {xerial(nil), nil},
		"two blocks":          {xerial(one, two), all},
		"two streams":         {append(xerial(one), xerial(two)...), all},
		"a plain block":       {s2.EncodeSnappy(nil, all), all},
		"an empty plain one":  {s2.EncodeSnappy(nil, nil), nil},
		"a smaller plain one": {s2.EncodeSnappyBetter(nil, all), all},
		"only a magic of one": {s2.EncodeSnappy(nil, xerialMagic), xerialMagic},
	}
	for name, tt := range tests {
		var d Decompressor
		if got, err := d.Records(compressed(Snappy, tt.src)); err != nil || !bytes.Equal(got, tt.want) {
			t.Errorf("%s: got %d bytes instead of %d, %v", name, len(got), len(tt.want), err)
		}
	}
}

func TestXerialAtEveryCut(t *testing.T) {
	src := xerial(text(50), text(70))
	whole := map[int]bool{16: true, len(xerial(text(50))): true} // after the header or a block
	for n := range src {
		var d Decompressor
		_, err := d.Records(compressed(Snappy, src[:n]))
		if (err == nil) != whole[n] || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
}

func TestLZ4FramesOfOthers(t *testing.T) {
	want := append(text(300_000), noise(300_000)...)
	options := map[string][]lz4.Option{
		"64 KiB blocks":  {lz4.BlockSizeOption(lz4.Block64Kb)},
		"4 MiB blocks":   {lz4.BlockSizeOption(lz4.Block4Mb)},
		"block checksum": {lz4.BlockChecksumOption(true)},
		"no checksum":    {lz4.ChecksumOption(false)},
		"size":           {lz4.SizeOption(600_000)},
	}
	for name, o := range options {
		var src bytes.Buffer
		w := lz4.NewWriter(&src)
		if err := w.Apply(o...); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(want); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		var d Decompressor
		if got, err := d.Records(compressed(LZ4, src.Bytes())); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: got %d bytes, %v", name, len(got), err)
		}
	}
}

// TestZstdStreams decompresses what a streaming encoder writes, as Java's does: without the size,
// with a window.
func TestZstdStreams(t *testing.T) {
	want := append(text(3_000_000), noise(3_000_000)...)
	for _, window := range []int{1 << 10, 1 << 20, 8 << 20, 128 << 20} {
		var src bytes.Buffer
		w, err := zstd.NewWriter(&src, zstd.WithWindowSize(window), zstd.WithEncoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(want); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		var d Decompressor
		if got, err := d.Records(compressed(Zstd, src.Bytes())); err != nil || !bytes.Equal(got, want) {
			t.Errorf("window %d: got %d bytes, %v", window, len(got), err)
		}
	}
}

func TestDamagedDataIsInvalid(t *testing.T) {
	var d Decompressor
	for _, codec := range codecs[1:] {
		good, err := compress(nil, text(10_000), codec, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range [][]byte{nil, noise(100), good[:len(good)/2]} {
			err := compressed(codec, bad).Walk(&d, func(*View) error { return nil })
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%s, %d bytes: %v", codec, len(bad), err)
			}
			if got, err := d.Records(compressed(codec, good)); err != nil || !bytes.Equal(got, text(10_000)) {
				t.Errorf("%s after damaged data: %d bytes, %v", codec, len(got), err)
			}
		}
	}
	if _, err := d.Records(compressed(5, nil)); !errors.Is(err, ErrCodec) {
		t.Error(err)
	}
}

// bombs are small and become 32 MiB.
func bombs(t *testing.T) map[string]Batch {
	const size = 32 << 20
	zeros := make([]byte, size)
	bs := map[string]Batch{}
	for _, codec := range codecs[1:] {
		payload, err := compress(nil, zeros, codec, 0)
		if err != nil {
			t.Fatal(err)
		}
		bs[codec.String()] = compressed(codec, payload)
	}
	blocks := make([][]byte, 32)
	for i := range blocks {
		blocks[i] = zeros[:1<<20]
	}
	bs["xerial"] = compressed(Snappy, xerial(blocks...))

	var stream bytes.Buffer
	w, err := zstd.NewWriter(&stream, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	for range 32 {
		_, _ = w.Write(zeros[:1<<20])
		_ = w.Flush()
	}
	_ = w.Close()
	bs["zstd stream"] = compressed(Zstd, stream.Bytes())

	one, err := compress(nil, zeros[:4<<20], Zstd, 0)
	if err != nil {
		t.Fatal(err)
	}
	bs["zstd frames"] = compressed(Zstd, bytes.Repeat(one, 8))

	var member bytes.Buffer
	gz := gzip.NewWriter(&member)
	_, _ = gz.Write(zeros[:4<<20])
	_ = gz.Close()
	bs["gzip members"] = compressed(Gzip, bytes.Repeat(member.Bytes(), 8))
	return bs
}

func TestBombsAreBounded(t *testing.T) {
	const limit = 8 << 20
	for name, b := range bombs(t) {
		d := Decompressor{Limit: limit}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := d.Records(b)
		runtime.ReadMemStats(&after)
		if !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
		if cap(d.buf) > limit+limit/4 {
			t.Errorf("%s: the buffer has %d bytes", name, cap(d.buf))
		}
		// Growing leaves buffers behind, half as large each; the codecs have some of their own.
		if got := after.TotalAlloc - before.TotalAlloc; got > 3*limit {
			t.Errorf("%s: allocated %d bytes", name, got)
		}
		d.Limit = 32 << 20
		if got, err := d.Records(b); err != nil || len(got) != 32<<20 {
			t.Errorf("%s: within the limit: %d bytes, %v", name, len(got), err)
		}
	}
}

func TestSnappyIsNotBelievedWhatItCannotHold(t *testing.T) {
	claim := binary.AppendUvarint(nil, 100<<20)
	d := Decompressor{}
	if _, err := d.Records(compressed(Snappy, claim)); !errors.Is(err, ErrInvalid) || cap(d.buf) > 0 {
		t.Errorf("%d bytes allocated, %v", cap(d.buf), err)
	}
}
