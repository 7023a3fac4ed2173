package protocol

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
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

	// elements bounds what the decoded requests in flight hold, all together: a
	// frame may have maxElements in its arrays, and each takes many times the
	// bytes it had in the frame.
	elements *semaphore.Weighted

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
	elements int64 // taken from session.elements
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

		elements: semaphore.NewWeighted(maxElements),
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
	wg.Go(func() { // the reader; this goroutine is the writer
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
			_ = s.out.flush() // earlier answers are good; err is the reason in any case
			end(err)
		}
		c.Release()
		s.elements.Release(c.elements)
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
	if !ok {
		s.flush(end)
		return nil, false
	}
	ready, err := c.ready()
	if !ready {
		s.flush(end)
	}
	if err != nil {
		end(err)
	}
	return c, true
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
func (s *session) answer(ctx context.Context, c *call) (err error) {
	defer c.recovered(&err)
	var a Answer
	if c.reply != nil {
		a, err = c.reply(ctx)
	}
	if a.Body != nil {
		defer a.Body.release()
	}
	if err := cmp.Or(err, ctx.Err()); err != nil {
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

// ready reports whether the reply would not wait.
func (c *call) ready() (ready bool, err error) {
	defer c.recovered(&err)
	return c.Ready != nil && c.Ready(), nil
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
