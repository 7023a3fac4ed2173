package record

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// DefaultLimit bounds what one batch may decompress to, in bytes. Everything that accepts batches must use
// a limit no higher than everything that reads them back.
const DefaultLimit = 128 << 20

// keepBuffer is the largest buffer that a pooled Decompressor or Builder keeps.
const keepBuffer = 4 << 20

var (
	// ErrTooLarge means that a batch decompresses to more than the limit.
	ErrTooLarge = errors.New("batch decompresses to more than the limit")
	// ErrCodec means that the attributes name a compression that does not exist.
	ErrCodec = errors.New("unknown compression")
)

// Decompressor decompresses batches, within a limit, into a buffer that it reuses. The zero value is ready.
// It is not safe for concurrent use; [GetDecompressor] takes one from a pool.
type Decompressor struct {
	// Limit is the most bytes a batch may decompress to; 0 means DefaultLimit. The
	// buffer does not grow beyond it (by more than one block of the codec's).
	Limit int

	// gated and large: whether a large buffer needs a place, and whether it has one.
	gated, large bool

	buf  []byte
	src  bytes.Reader
	gzip *gzip.Reader
	lz4  *lz4.Reader
	zstd *zstd.Decoder
	// view is the one Walk hands out, here so that it need not be allocated.
	view View
}

var decompressors = sync.Pool{New: func() any { return new(Decompressor) }}

// GetDecompressor takes a Decompressor with the default limit from the pool.
func GetDecompressor() *Decompressor { return decompressors.Get().(*Decompressor) }

// largeOfClients has a place for every large buffer that batches of clients may fill at a time. A
// batch of a few kilobytes can ask for DefaultLimit; more of them than processors would only wait
// for each other, each with its memory.
var largeOfClients = make(chan struct{}, max(2, runtime.GOMAXPROCS(0)))

// ForClient takes a Decompressor for a batch that a client sent. It waits in [Decompressor.Records]
// and [Batch.Walk] while many others have large buffers, so its user must not need a second one
// before it releases the first.
func ForClient() *Decompressor {
	d := GetDecompressor()
	d.gated = true
	return d
}

// Release gives d back to the pool. Slices obtained through it are invalid from now on.
func (d *Decompressor) Release() {
	if cap(d.buf) > keepBuffer {
		d.buf = nil
	}
	if d.large {
		<-largeOfClients
	}
	d.Limit, d.gated, d.large = 0, false, false
	d.src.Reset(nil)
	d.view = View{}
	decompressors.Put(d)
}

func (d *Decompressor) limit() int {
	if d.Limit > 0 {
		return d.Limit
	}
	return DefaultLimit
}

// Records returns the uncompressed records of a batch: its own bytes if it is not compressed, else bytes
// that are valid until d is used again. Errors wrap ErrTooLarge, ErrCodec, or ErrInvalid for damaged data.
func (d *Decompressor) Records(b Batch) ([]byte, error) {
	codec, src := b.Attributes().Codec(), b.Payload()
	if codec == None {
		return src, nil
	}
	err := d.decompress(codec, src)
	switch {
	case err == nil:
		return d.buf, nil
	case errors.Is(err, ErrTooLarge), errors.Is(err, ErrCodec):
		return nil, err
	default:
		return nil, fmt.Errorf("%w: decompressing %s: %w", ErrInvalid, codec, err)
	}
}

func (d *Decompressor) decompress(codec Codec, src []byte) error {
	d.buf = d.buf[:0]
	d.src.Reset(src)
	switch codec {
	case Gzip:
		return d.gunzip()
	case Snappy:
		return d.unsnappy(src)
	case LZ4:
		if d.lz4 == nil {
			d.lz4 = lz4.NewReader(nil)
		}
		d.lz4.Reset(&d.src)
		return d.readAll(d.lz4)
	case Zstd:
		return d.unzstd(src)
	default:
		return fmt.Errorf("%w %d", ErrCodec, codec)
	}
}

func (d *Decompressor) gunzip() (err error) {
	if d.gzip == nil {
		d.gzip, err = gzip.NewReader(&d.src)
	} else {
		err = d.gzip.Reset(&d.src)
	}
	if err != nil {
		d.gzip = nil
		return err
	}
	return d.readAll(d.gzip)
}

// zstdBlock is the room that any block of zstd fits into, with what the decoder likes to have beyond the end.
const zstdBlock = 128<<10 + 256

// unzstd decodes into the room that there is, and starts again with four times as much if that was
// too little: frames that were made as a stream, as Java does, do not tell their size. Unlike a
// stream decoder, DecodeAll needs no memory for the window a frame asks for, and it can be kept to
// the room given; but the error then depends on the block that did not fit.
func (d *Decompressor) unzstd(src []byte) (err error) {
	if d.zstd == nil {
		d.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			return err
		}
	}
	size := 4 * len(src)
	var h zstd.Header
	if err := h.Decode(src); err == nil && h.HasFCS {
		if h.FrameContentSize > uint64(d.limit()) {
			return d.tooLarge()
		}
		size = int(h.FrameContentSize)
	}
	most := d.limit() + zstdBlock
	for {
		d.grow(size+zstdBlock, most)
		buf, err := d.zstd.DecodeAll(src, d.buf)
		full := cap(d.buf)-len(buf) < zstdBlock || errors.Is(err, zstd.ErrDecoderSizeExceeded)
		switch {
		case len(buf) > d.limit(), err != nil && full && cap(d.buf) >= most:
			return d.tooLarge()
		case err == nil:
			d.buf = buf
			return nil
		case !full:
			return err
		}
		size = 4 * cap(d.buf)
	}
}

func (d *Decompressor) tooLarge() error {
	return fmt.Errorf("%w of %d bytes", ErrTooLarge, d.limit())
}

// readAll fills the buffer from r, growing it up to one byte above the limit.
func (d *Decompressor) readAll(r io.Reader) error {
	d.grow(4*d.src.Len(), d.limit()+1)
	for {
		if len(d.buf) == cap(d.buf) {
			d.grow(2*cap(d.buf), d.limit()+1)
		}
		n, err := r.Read(d.buf[len(d.buf):cap(d.buf)])
		d.buf = d.buf[:len(d.buf)+n]
		if len(d.buf) > d.limit() {
			return d.tooLarge()
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// grow makes room for size bytes in all, at least a few and at most so many.
func (d *Decompressor) grow(size, most int) {
	size = min(max(size, 4<<10), most)
	if size <= cap(d.buf) {
		return
	}
	if d.gated && !d.large && size > keepBuffer {
		largeOfClients <- struct{}{}
		d.large = true
	}
	buf := make([]byte, len(d.buf), size)
	copy(buf, d.buf)
	d.buf = buf
}

func (c Codec) String() string {
	switch c {
	case None:
		return "none"
	case Gzip:
		return "gzip"
	case Snappy:
		return "snappy"
	case LZ4:
		return "lz4"
	case Zstd:
		return "zstd"
	default:
		return fmt.Sprintf("codec %d", uint8(c))
	}
}
