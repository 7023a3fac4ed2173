package protocol

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// sender writes answers to a connection. Small ones are gathered until flush.
// It is used by the connection's writer alone. After an error it writes nothing
// more, lest the peer take what follows for the missing part of an answer.
type sender struct {
	nc       net.Conn
	raw      syscall.RawConn // of nc if it is plain TCP, else nil
	timeout  time.Duration
	deadline time.Time

	buf  *[]byte // gathered answers; nil while there are none
	sent int64   // bytes written since the caller last looked
	err  error   // the first one
}

func newSender(nc net.Conn, timeout time.Duration) sender {
	s := sender{nc: nc, timeout: timeout}
	if tcp, ok := nc.(*net.TCPConn); ok {
		s.raw = rawConn(tcp)
	}
	return s
}

const (
	gatherBytes = 64 << 10 // flushed at once from here on
	keepBytes   = 1 << 20  // larger buffers are not kept
	copyBytes   = 64 << 10
)

var gatherPool = sync.Pool{New: func() any { b := make([]byte, 0, 1<<10); return &b }}

// message adds an answer that is to be encoded.
func (s *sender) message(h responseHeader, m kmsg.Response) error {
	if s.err == nil {
		s.err = s.addMessage(h, m)
	}
	return s.err
}

// body writes an encoded answer, and whatever has been gathered before it.
func (s *sender) body(h responseHeader, b *Body) error {
	if s.err == nil {
		s.err = errUnfinished // stays if a file panics
		s.err = s.addBody(h, b)
	}
	return s.err
}

// flush writes what has been gathered.
func (s *sender) flush() error {
	if s.err == nil {
		s.err = s.drain(false)
	}
	return s.err
}

func (s *sender) addMessage(h responseHeader, m kmsg.Response) error {
	s.ensure()
	buf := *s.buf
	start := len(buf)
	buf = h.appendTo(buf)
	buf = m.AppendTo(buf)
	*s.buf = buf
	size := len(buf) - start - sizeBytes
	if size > math.MaxInt32 {
		return fmt.Errorf("answer of %d bytes is too large for a frame", size)
	}
	binary.BigEndian.PutUint32(buf[start:], uint32(size))
	if len(buf) >= gatherBytes {
		return s.drain(false)
	}
	return nil
}

func (s *sender) addBody(h responseHeader, b *Body) error {
	s.ensure()
	buf := *s.buf
	start := len(buf)
	buf = h.appendTo(buf)
	size := int64(len(buf)-start-sizeBytes) + b.size
	if size > math.MaxInt32 {
		return fmt.Errorf("answer of %d bytes is too large for a frame", size)
	}
	binary.BigEndian.PutUint32(buf[start:], uint32(size))
	*s.buf = buf
	for i := range b.parts {
		if err := s.part(&b.parts[i]); err != nil {
			return err
		}
	}
	return nil
}

func (s *sender) part(p *part) error {
	if p.file == nil {
		if s.gathered()+len(p.bytes) < gatherBytes {
			s.ensure()
			*s.buf = append(*s.buf, p.bytes...)
			return nil
		}
		if err := s.drain(true); err != nil {
			return err
		}
		return s.write(p.bytes, false)
	}
	if err := s.drain(true); err != nil {
		return err
	}
	if f, ok := p.file.(osFile); ok && s.raw != nil {
		if file := f.OSFile(); file != nil {
			return s.sendFile(file, p.pos, p.n)
		}
	}
	return s.copyFile(p.file, p.pos, p.n)
}

func (s *sender) gathered() int {
	if s.buf == nil {
		return 0
	}
	return len(*s.buf)
}

func (s *sender) ensure() {
	if s.buf == nil {
		s.buf = gatherPool.Get().(*[]byte)
	}
}

// drain writes what has been gathered. more says that more follows at once, so
// that the system may wait with an incomplete packet.
func (s *sender) drain(more bool) error {
	if s.buf == nil {
		return nil
	}
	err := s.write(*s.buf, more)
	if cap(*s.buf) <= keepBytes {
		*s.buf = (*s.buf)[:0]
		gatherPool.Put(s.buf)
	}
	s.buf = nil
	return err
}

// write writes p in steps, each of which has the whole timeout.
func (s *sender) write(p []byte, more bool) error {
	for len(p) > 0 {
		if err := s.extend(); err != nil {
			return err
		}
		step := p[:min(len(p), frameStepBytes)]
		p = p[len(step):]
		var n int
		var err error
		if s.raw != nil && (more || len(p) > 0) {
			n, err = sendMore(s.raw, step)
		} else {
			n, err = s.nc.Write(step)
		}
		s.sent += int64(n)
		if err != nil {
			return err
		}
	}
	return nil
}

// sendFile sends a range of an open file without reading it.
func (s *sender) sendFile(f *os.File, pos, n int64) error {
	for n > 0 {
		if err := s.extend(); err != nil {
			return err
		}
		sent, err := sendFile(s.raw, f, pos, min(n, frameStepBytes))
		s.sent += sent
		pos, n = pos+sent, n-sent
		if err != nil {
			return fmt.Errorf("send %s at position %d: %w", f.Name(), pos, err)
		}
	}
	return nil
}

var copyPool = sync.Pool{New: func() any { b := make([]byte, copyBytes); return &b }}

// copyFile reads a range of f and writes it.
func (s *sender) copyFile(f io.ReaderAt, pos, n int64) error {
	buf := copyPool.Get().(*[]byte)
	defer copyPool.Put(buf)
	for n > 0 {
		p := (*buf)[:min(n, copyBytes)]
		read, err := f.ReadAt(p, pos)
		if read < len(p) {
			if err == nil || errors.Is(err, io.EOF) {
				err = errShortFile
			}
			return err
		}
		if err := s.write(p, false); err != nil {
			return err
		}
		pos, n = pos+int64(read), n-int64(read)
	}
	return nil
}

var errUnfinished = errors.New("an answer was begun and not finished")

var errShortFile = errors.New("file is shorter than the range that was to be sent")

// extend makes sure that at least half of the timeout is left.
func (s *sender) extend() error {
	now := time.Now()
	if s.deadline.Sub(now) > s.timeout/2 {
		return nil
	}
	s.deadline = now.Add(s.timeout)
	return s.nc.SetWriteDeadline(s.deadline)
}

// responseHeader is what precedes a response body: the size, the correlation id
// and, in flexible versions of all but ApiVersions, a section of tags that is
// always empty.
type responseHeader struct {
	correlationID int32
	tags          bool
}

func (h responseHeader) appendTo(p []byte) []byte {
	p = append(p, 0, 0, 0, 0) // the size, set when it is known
	p = binary.BigEndian.AppendUint32(p, uint32(h.correlationID))
	if h.tags {
		p = append(p, 0)
	}
	return p
}
