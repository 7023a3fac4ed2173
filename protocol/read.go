package protocol

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// read is the session's reader: it reads, decodes and starts requests until the
// connection ends, which is always an error.
func (s *session) read(ctx context.Context) error {
	for {
		select {
		case s.slots <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		c, err := s.next(ctx)
		if err != nil {
			return err
		}
		if err := s.start(ctx, c); err != nil {
			c.Release()
			return err
		}
		s.calls <- c
	}
}

// next returns the next request, decoded.
func (s *session) next(ctx context.Context) (*call, error) {
	if err := s.awaitFrame(); err != nil {
		return nil, err
	}
	pre, err := s.peekPreamble()
	if err != nil {
		return nil, err
	}
	r, err := s.srv.route(pre.key, pre.version)
	if err != nil {
		return nil, pre.reject("unsupported", err)
	}
	c := &call{route: r, Request: Request{
		Key: pre.key, Version: pre.version, CorrelationID: pre.correlationID, Conn: s.conn,
	}}
	if err := s.srv.memory.take(ctx, &c.memory, int(pre.size), pre.key == produceKey); err != nil {
		return nil, err
	}
	c.frame = &c.memory
	if err = s.readFrame(pre, c.frame); err == nil {
		err = s.decode(c)
	}
	if err != nil {
		c.Release()
		return nil, err
	}
	return c, nil
}

// produceKey is the one request with a payload worth recycling the buffer of.
const produceKey = int16(kmsg.Produce)

// awaitFrame waits for the first byte of a frame.
func (s *session) awaitFrame() error {
	for s.in.Buffered() == 0 {
		if err := s.armIdle(); err != nil {
			return err
		}
		// A deadline that passed may have been set before the connection was
		// last active; armIdle finds out.
		if _, err := s.in.Peek(1); err != nil && (s.stopping.Load() || !errors.Is(err, os.ErrDeadlineExceeded)) {
			return s.readError(err)
		}
	}
	return nil
}

// armIdle sets the read deadline for a connection between frames.
func (s *session) armIdle() error {
	limit, now := s.srv.cfg.IdleTimeout, time.Now()
	if limit < 0 {
		return s.arm(time.Time{}, time.Time{})
	}
	since := now
	if busy := len(s.slots) > 1; !busy {
		since = time.Unix(0, s.lastActive.Load())
	}
	due := since.Add(limit)
	if !due.After(now) {
		return errIdle
	}
	return s.arm(now.Add(1), due)
}

// armFrame sets the read deadline within a frame.
func (s *session) armFrame() error {
	limit, now := s.srv.cfg.FrameTimeout, time.Now()
	return s.arm(now.Add(limit/2), now.Add(limit))
}

// arm moves the read deadline to latest unless it is between earliest and
// latest already: moving it costs more than reading a small request.
func (s *session) arm(earliest, latest time.Time) error {
	if d := s.readDeadline; !d.Before(earliest) && !d.After(latest) {
		return nil
	}
	s.readDeadline = latest
	if err := s.nc.SetReadDeadline(latest); err != nil {
		return err
	}
	if s.stopping.Load() {
		return errStopping
	}
	return nil
}

// peekPreamble waits for the first bytes of a frame, which stay in the buffer.
func (s *session) peekPreamble() (preamble, error) {
	none := preamble{key: -1, version: -1}
	p, err := s.peek(sizeBytes)
	if err != nil {
		return none, s.frameError(none, err)
	}
	if err := checkSize(p, s.srv.cfg.RequestMaxBytes); err != nil {
		if s.in.Buffered() >= fixedBytes {
			p, _ = s.in.Peek(fixedBytes)
			none = parsePreamble(p)
		}
		return none, none.reject("size", err)
	}
	if p, err = s.peek(fixedBytes); err != nil {
		return none, s.frameError(none, err)
	}
	return parsePreamble(p), nil
}

func (s *session) peek(n int) ([]byte, error) {
	if s.in.Buffered() < n {
		if err := s.armFrame(); err != nil {
			return nil, err
		}
	}
	return s.in.Peek(n)
}

// readFrame reads a frame, of which the preamble is in the buffer.
func (s *session) readFrame(pre preamble, f *frame) error {
	buf := f.buf
	_, _ = s.in.Discard(sizeBytes) // buffered
	if len(buf) > largeFrame {
		if err := s.readLarge(pre, f); err != nil {
			return err
		}
	} else {
		if s.in.Buffered() < len(buf) {
			if err := s.armFrame(); err != nil {
				return err
			}
		}
		if _, err := io.ReadFull(s.in, buf); err != nil {
			return s.frameError(pre, err)
		}
	}
	s.srv.metrics.received.Add(float64(sizeBytes + len(buf)))
	return nil
}

// A large frame may arrive as slowly as FrameTimeout allows, but not at the cost of others: one
// that has not come with hurryPace, after hurryGrace, is given up if others wait for its memory. It
// looks every hurryCheck.
const (
	hurryPace  = 1 << 20 // bytes a second
	hurryGrace = 5 * time.Second
	hurryCheck = time.Second
)

// readLarge reads a large frame.
func (s *session) readLarge(pre preamble, f *frame) error {
	buf, began := f.buf, time.Now()
	stepDue, step := began.Add(s.srv.cfg.FrameTimeout), 0
	for at := 0; at < len(buf); {
		now := time.Now()
		if err := s.arm(now.Add(hurryCheck/2), now.Add(hurryCheck)); err != nil {
			return err
		}
		n, err := s.in.Read(buf[at:])
		now, at = time.Now(), at+n
		if at/frameStepBytes > step {
			stepDue, step = now.Add(s.srv.cfg.FrameTimeout), at/frameStepBytes
		}
		switch passed := errors.Is(err, os.ErrDeadlineExceeded) && !s.stopping.Load(); {
		case err != nil && !passed, !now.Before(stepDue):
			return s.frameError(pre, cmp.Or(err, os.ErrDeadlineExceeded))
		case at < len(buf) && hurried(at, now.Sub(began)) && s.srv.memory.giveUp(f):
			return pre.reject("slow", fmt.Errorf("other requests wait for memory, and %d of its %d bytes arrived in %s", at, len(buf), now.Sub(began).Round(time.Millisecond)))
		}
	}
	return nil
}

// hurried reports whether a frame of which so much arrived in that time is too slow while others wait.
func hurried(arrived int, took time.Duration) bool {
	return took > hurryGrace+time.Duration(arrived)*time.Second/hurryPace
}

// frameError tells what an error within a frame means.
func (s *session) frameError(pre preamble, err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) && !s.stopping.Load() {
		return pre.reject("slow", fmt.Errorf("a MiB of it, or all, did not arrive within %s", s.srv.cfg.FrameTimeout))
	}
	return s.readError(err)
}

// readError tells what an error of a read means.
func (s *session) readError(err error) error {
	switch {
	case s.stopping.Load():
		return errStopping
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.ErrClosedPipe):
		return errPeerGone
	}
	return err
}

// decode decodes the frame of c.
func (s *session) decode(c *call) (err error) {
	c.Received = time.Now()
	s.lastActive.Store(c.Received.UnixNano())
	c.route.metrics.requests.Inc()
	if c.route.opaque {
		return nil
	}
	defer c.recovered(&err)
	c.Message = kmsg.RequestForKey(c.Key)
	c.Message.SetVersion(c.Version)
	c.flexible = c.Message.IsFlexible()
	if err := s.parse(c); err != nil {
		return &rejectedError{c.Key, c.Version, "malformed", err}
	}
	if c.Key != produceKey {
		// It may wait for long, for data or for other members, and must not keep
		// those out. Its frame is not recycled: slices of it stay good.
		c.Release()
	}
	return nil
}

func (s *session) parse(c *call) error {
	clientID, body, err := parseHeader(c.frame.buf, c.flexible)
	if err != nil {
		return err
	}
	c.ClientID = s.sharedClientID(clientID)
	elements, err := c.route.shape.check(body, c.Version, c.flexible)
	if err != nil {
		return err
	}
	// The frame's memory is others' too: not to be kept while waiting.
	if !s.elements.TryAcquire(int64(elements)) {
		return fmt.Errorf("its arrays and those of the connection's unanswered requests have more than %d elements", maxElements)
	}
	c.elements = int64(elements)
	return c.Message.ReadFrom(body)
}

// sharedClientID returns id as a string, that of the last request if they are
// equal, which they always are in practice.
func (s *session) sharedClientID(id []byte) string {
	if string(id) != s.clientID {
		s.clientID = string(id)
	}
	return s.clientID
}

func (s *session) start(ctx context.Context, c *call) (err error) {
	defer c.recovered(&err)
	c.reply = c.route.start(ctx, &c.Request)
	return nil
}
