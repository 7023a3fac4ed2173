package protocol

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// session is one connection being served: a reader and a writer, and the calls
// between them.
type session struct {
	srv  *Server
	conn *Conn
	nc   net.Conn
	in   *bufio.Reader
	out  sender

	// slots has a token for every call in flight and one for the frame the
	// reader waits for. Invariant: calls is as large as slots, so that sending
	// to it never blocks.
	slots chan struct{}
	calls chan *call

	// stopping is set before the read deadline is moved into the past, so that
	// the reader, which moves it too, can tell who was last.
	stopping     atomic.Bool
	lastActive   atomic.Int64 // unix nanoseconds: last frame read, last answer written
	readDeadline time.Time    // reader only
	clientID     string       // reader only: that of the last request, to share its string
}

// call is a request on its way from the reader to the writer.
type call struct {
	Request
	memory   frame // what Request.frame points to
	route    *route
	flexible bool
	reply    Reply
}

// inBytes is the read buffer of a connection: most requests without payload fit,
// and it is all an idle connection needs. Larger reads bypass it.
const inBytes = 512

// How a session ends, other than by an error of the network or of a handler.
var (
	errStopping = errors.New("server is stopping")
	errIdle     = errors.New("connection was idle for too long")
	errPeerGone = errors.New("peer closed the connection")
)

// panicError is a panic of a handler or a decoder.
type panicError struct {
	key, version int16
	value        any
	stack        []byte
}

func (e *panicError) Error() string { return "panic while handling a request" }

func newSession(srv *Server, conn *Conn, nc net.Conn) *session {
	s := &session{
		srv:   srv,
		conn:  conn,
		nc:    nc,
		in:    bufio.NewReaderSize(nc, inBytes),
		out:   newSender(nc, srv.cfg.WriteTimeout),
		slots: make(chan struct{}, srv.cfg.MaxInFlight),
		calls: make(chan *call, srv.cfg.MaxInFlight),
	}
	s.lastActive.Store(time.Now().UnixNano())
	return s
}

// run serves the connection until it ends, and returns why. It owns the
// session's goroutines and closes the connection. When stopping ends, what has
// been accepted is still answered; when ctx ends, nothing is.
func (s *session) run(ctx, stopping context.Context) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	defer context.AfterFunc(stopping, s.stop)()
	defer context.AfterFunc(ctx, func() { _ = s.nc.Close() })()

	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(s.calls)
		if err := s.read(ctx); !errors.Is(err, errStopping) {
			end(err)
		}
	})
	s.write(ctx, end)
	wg.Wait()
	err := context.Cause(ctx)
	if err == nil {
		s.linger()
		err = errStopping
	}
	_ = s.nc.Close() // answers have been handed over, or are lost already
	return err
}

// stop makes the reader stop before its next frame.
func (s *session) stop() {
	s.stopping.Store(true)
	_ = s.nc.SetReadDeadline(time.Unix(1, 0)) // fails only if the connection is closed
}

// read reads, decodes and starts requests until the connection ends, which is
// always an error.
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
	if err = s.readFrame(pre, c.frame.buf); err == nil {
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
func (s *session) readFrame(pre preamble, buf []byte) error {
	_, _ = s.in.Discard(sizeBytes) // buffered
	for at := 0; at < len(buf); {
		step := buf[at:min(len(buf), at+frameStepBytes)]
		if s.in.Buffered() < len(step) {
			if err := s.armFrame(); err != nil {
				return err
			}
		}
		if _, err := io.ReadFull(s.in, step); err != nil {
			return s.frameError(pre, err)
		}
		at += len(step)
	}
	s.srv.metrics.received.Add(float64(sizeBytes + len(buf)))
	return nil
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
	clientID, body, err := parseHeader(c.frame.buf, c.flexible)
	if err == nil {
		c.ClientID = s.sharedClientID(clientID)
		err = c.route.shape.check(body, c.Version, c.flexible)
	}
	if err == nil {
		err = c.Message.ReadFrom(body)
	}
	if err != nil {
		return &rejectedError{c.Key, c.Version, "malformed", err}
	}
	return nil
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

// write answers calls until there are no more. Once ctx has ended it still
// calls every reply, as the contract of Reply promises, and discards what it
// answers.
func (s *session) write(ctx context.Context, end context.CancelCauseFunc) {
	for {
		c, ok := s.nextCall(end)
		if !ok {
			return
		}
		if err := s.answer(ctx, c); err != nil {
			s.flush(end) // earlier answers are good
			end(err)
		}
		c.Release()
		<-s.slots
	}
}

// nextCall returns the next call. It writes the gathered answers first if it, or
// the call's reply, would have to wait: no answer waits for another request.
func (s *session) nextCall(end context.CancelCauseFunc) (c *call, ok bool) {
	select {
	case c, ok = <-s.calls:
	default:
		s.flush(end)
		c, ok = <-s.calls
	}
	if !ok || c.Ready == nil || !c.Ready() {
		s.flush(end)
	}
	return c, ok
}

// flush writes the gathered answers. The first error given to end counts.
func (s *session) flush(end context.CancelCauseFunc) {
	if err := s.out.flush(); err != nil {
		end(err)
	}
	if s.out.sent > 0 {
		s.lastActive.Store(time.Now().UnixNano())
		s.srv.metrics.sent.Add(float64(s.out.sent))
		s.out.sent = 0
	}
}

// answer finishes c and adds its answer to the gathered ones.
func (s *session) answer(ctx context.Context, c *call) error {
	a, err := c.finish(ctx)
	if a.Body != nil {
		defer a.Body.release()
	}
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	h := responseHeader{correlationID: c.CorrelationID, tags: c.flexible && c.Key != apiVersionsKey}
	switch {
	case a.Message != nil:
		a.Message.SetVersion(c.answerVersion())
		err = s.out.message(h, a.Message)
		c.route.errors.each(a.Message, c.route.metrics.count)
	case a.Body != nil:
		err = s.out.body(h, a.Body)
		for _, code := range a.Errors {
			c.route.metrics.count(code)
		}
	}
	now := time.Now()
	s.lastActive.Store(now.UnixNano())
	c.route.metrics.seconds.Observe(now.Sub(c.Received).Seconds())
	return err
}

// finish calls the reply.
func (c *call) finish(ctx context.Context) (a Answer, err error) {
	if c.reply == nil {
		return Answer{}, nil
	}
	defer c.recovered(&err)
	return c.reply(ctx)
}

// answerVersion is the version an answer is encoded in: the request's, unless
// that is unknown.
func (c *call) answerVersion() int16 {
	if c.route.opaque {
		return 0
	}
	return c.Version
}

// recovered turns a panic into an error. It is to be deferred.
func (c *call) recovered(err *error) {
	if v := recover(); v != nil {
		*err = &panicError{c.Key, c.Version, v, debug.Stack()}
	}
}

// linger closes the sending side and waits a moment for the peer to close its
// own. Closing at once, with requests that were never read in the socket, would
// make the system reset the connection, and the peer might lose the last
// answers.
func (s *session) linger() {
	c, ok := s.nc.(interface{ CloseWrite() error })
	if ok && c.CloseWrite() == nil && s.nc.SetReadDeadline(time.Now().Add(lingerTimeout)) == nil {
		_, _ = io.Copy(io.Discard, s.nc)
	}
}

const lingerTimeout = 500 * time.Millisecond
