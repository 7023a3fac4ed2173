package record

import (
	"fmt"
	"slices"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// compressor holds encoders, which are costly to make; those for another level replace them.
type compressor struct {
	level int
	out   appender
	gzip  *gzip.Writer
	lz4   *lz4.Writer
	zstd  *zstd.Encoder
}

var compressors = sync.Pool{New: func() any { return new(compressor) }}

// appender is an io.Writer that appends.
type appender []byte

func (a *appender) Write(b []byte) (int, error) {
	*a = append(*a, b...)
	return len(b), nil
}

// compress appends src to dst, compressed. Level is as for [Builder.Level]. Snappy is one plain
// block, without Java's framing: all clients, Java included, read both.
func compress(dst, src []byte, codec Codec, level int) ([]byte, error) {
	switch codec {
	case None:
		return append(dst, src...), nil
	case Snappy:
		n := len(dst)
		dst = slices.Grow(dst, s2.MaxEncodedLen(len(src)))
		return dst[:n+len(s2.EncodeSnappy(dst[n:cap(dst)], src))], nil
	}
	c := compressors.Get().(*compressor)
	defer compressors.Put(c)
	if level != c.level {
		*c = compressor{level: level}
	}
	switch codec {
	case Gzip:
		return c.appendGzip(dst, src)
	case LZ4:
		return c.appendLZ4(dst, src)
	case Zstd:
		return c.appendZstd(dst, src)
	default:
		return dst, fmt.Errorf("%w %d", ErrCodec, codec)
	}
}

func (c *compressor) appendGzip(dst, src []byte) (_ []byte, err error) {
	if c.gzip == nil {
		level := c.level
		if level == 0 {
			level = gzip.DefaultCompression
		}
		if c.gzip, err = gzip.NewWriterLevel(nil, level); err != nil {
			return dst, err
		}
	}
	c.out = dst
	c.gzip.Reset(&c.out)
	if _, err = c.gzip.Write(src); err == nil {
		err = c.gzip.Close()
	}
	return c.take(), err
}

// lz4DefaultLevel is Kafka's; like Kafka, it means the fast compressor, and any other level the slow one.
const lz4DefaultLevel = 9

var lz4Levels = [...]lz4.CompressionLevel{
	lz4.Fast, lz4.Level1, lz4.Level2, lz4.Level3, lz4.Level4, lz4.Level5, lz4.Level6, lz4.Level7, lz4.Level8, lz4.Level9,
}

func (c *compressor) appendLZ4(dst, src []byte) ([]byte, error) {
	if c.lz4 == nil {
		level := 0
		if c.level > 0 && c.level != lz4DefaultLevel {
			level = min(c.level, len(lz4Levels)-1)
		}
		c.lz4 = lz4.NewWriter(nil)
		err := c.lz4.Apply(lz4.BlockSizeOption(lz4.Block64Kb), lz4.ChecksumOption(false), lz4.CompressionLevelOption(lz4Levels[level]))
		if err != nil {
			return dst, err
		}
	}
	c.out = dst
	c.lz4.Reset(&c.out)
	_, err := c.lz4.Write(src)
	if err == nil {
		err = c.lz4.Close()
	}
	return c.take(), err
}

const zstdDefaultLevel = 3

func (c *compressor) appendZstd(dst, src []byte) (_ []byte, err error) {
	if c.zstd == nil {
		level := c.level
		if level == 0 {
			level = zstdDefaultLevel
		}
		c.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true),
			zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(level)))
		if err != nil {
			return dst, err
		}
	}
	return c.zstd.EncodeAll(src, dst), nil
}

func (c *compressor) take() []byte {
	out := c.out
	c.out = nil
	return out
}
