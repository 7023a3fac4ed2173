package bucket

import (
	"context"
	"fmt"
	"io"

	"github.com/morrowmq/morrow/internal/pace"
)

// Verify reads r to its end and compares it with size and sum: ErrCorrupt if it is something else.
func Verify(r io.Reader, size int64, sum Checksum) error {
	h := sum.Algorithm.New()
	n, err := io.Copy(h, r)
	if err != nil {
		return err
	}
	if n != size {
		return fmt.Errorf("%w: %d bytes instead of %d", ErrCorrupt, n, size)
	}
	if got := sumOf(sum.Algorithm, h); got != sum {
		return fmt.Errorf("%w: checksum %v instead of %v", ErrCorrupt, got, sum)
	}
	return nil
}

// withContext ends a stream when ctx ends.
func withContext(ctx context.Context, r io.Reader) io.Reader { return contextReader{ctx, r} }

type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r contextReader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(b[:min(len(b), copyBytes)])
}

// paced reads a body at the pace it wants to be sent with.
func paced(ctx context.Context, body Body) io.Reader {
	r := withContext(ctx, io.NewSectionReader(body.At, 0, body.Size))
	if body.Pace == nil {
		return r
	}
	return pace.NewReader(ctx, r, body.Pace)
}

// exactReader turns an early end into an error.
type exactReader struct {
	r    io.Reader
	left int64
}

func (r *exactReader) Read(b []byte) (int, error) {
	n, err := r.r.Read(b)
	r.left -= int64(n)
	if err == io.EOF && r.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

type readCloser struct {
	io.Reader
	io.Closer
}
