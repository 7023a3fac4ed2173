package protocol

import (
	"io"
	"os"
)

// Body is a response body that is already encoded, as bytes and ranges of files
// in order. The zero Body is empty and ready for use; it is filled by one
// goroutine. Once it has been returned in an Answer it belongs to the server,
// which releases it exactly once, whether or not it could be written.
type Body struct {
	parts    []part
	size     int64
	releases []func()
}

// part is bytes, or n bytes of file from pos.
type part struct {
	bytes  []byte
	file   io.ReaderAt
	pos, n int64
}

// osFile is implemented by files that are backed by one of the operating
// system; the file it returns is then read by sendfile. A nil result means
// there is none.
type osFile interface{ OSFile() *os.File }

// Write appends p, which is not copied: it must not change until the body is
// released.
func (b *Body) Write(p []byte) {
	if len(p) > 0 {
		b.parts = append(b.parts, part{bytes: p, n: int64(len(p))})
		b.size += int64(len(p))
	}
}

// File appends the n bytes of f from pos. They must exist and stay unchanged,
// and f open, until the body is released; if f turns out to be shorter the
// connection is closed. On a plain TCP connection the bytes of an f that has a
// method OSFile() *os.File never enter the process.
func (b *Body) File(f io.ReaderAt, pos, n int64) {
	if n > 0 {
		b.parts = append(b.parts, part{file: f, pos: pos, n: n})
		b.size += n
	}
}

// OnRelease has f called when the server is done with the body. Functions are
// called in reverse order, by the connection's writer.
func (b *Body) OnRelease(f func()) { b.releases = append(b.releases, f) }

// Size is the number of bytes appended so far.
func (b *Body) Size() int64 { return b.size }

func (b *Body) release() {
	for i := len(b.releases) - 1; i >= 0; i-- {
		b.releases[i]()
	}
	*b = Body{}
}
