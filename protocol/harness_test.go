package protocol

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pipes is a listener whose connections are in-memory pipes, so that a test can
// run on the clock of testing/synctest.
type pipes struct {
	accepted chan net.Conn
	closed   chan struct{}
	once     sync.Once
	dialed   atomic.Int64
}

func newPipes() *pipes {
	return &pipes{accepted: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.accepted:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipes) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipes) Addr() net.Addr { return pipeAddr{1} }

func (l *pipes) dial(t testing.TB) net.Conn {
	t.Helper()
	client, server := net.Pipe()
	select {
	case l.accepted <- namedPipe{server, int(l.dialed.Add(1))}:
	case <-l.closed:
		t.Fatal("dial: listener is closed")
	}
	return client
}

// namedPipe is a pipe with a peer that looks like one of the network.
type namedPipe struct {
	net.Conn
	port int
}

func (c namedPipe) RemoteAddr() net.Addr { return pipeAddr{c.port} }

type pipeAddr struct{ port int }

func (pipeAddr) Network() string { return "tcp" }
func (a pipeAddr) String() string {
	return (&net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: a.port}).String()
}

// broker is a server under test, on pipes unless said otherwise.
type broker struct {
	*Server
	t        testing.TB
	log      *logLines
	registry *prometheus.Registry
	dial     func(testing.TB) net.Conn
	stop     context.CancelFunc
	done     chan error // what Serve returned
}

// start serves routes on pipes. The test's end stops the server.
func start(t testing.TB, cfg Config, routes ...Route) *broker {
	l := newPipes()
	b := startOn(t, l, cfg, routes...)
	b.dial = l.dial
	return b
}

// startTCP is start on a TCP port of the loopback interface.
func startTCP(t testing.TB, cfg Config, routes ...Route) *broker {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := startOn(t, l, cfg, routes...)
	b.dial = func(t testing.TB) net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	return b
}

func startOn(t testing.TB, l net.Listener, cfg Config, routes ...Route) *broker {
	t.Helper()
	b := &broker{t: t, log: &logLines{}, registry: prometheus.NewRegistry(), done: make(chan error, 1)}
	cfg.Logger = slog.New(slog.NewTextHandler(b.log, nil)) // Info and above
	cfg.Registerer = b.registry
	var err error
	if b.Server, err = NewServer(cfg, routes); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	b.stop = stop
	go func() {
		b.done <- b.Serve(ctx, "TEST", l)
		close(b.done)
	}()
	t.Cleanup(func() {
		stop()
		if err := <-b.done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return b
}

// wait waits until Serve has returned.
func (b *broker) wait() {
	for range b.done { // what it returned is the cleanup's or the test's to judge
	}
}

// connect returns a client of its own connection.
func (b *broker) connect() *client {
	b.t.Helper()
	c := &client{t: b.t, Conn: b.dial(b.t)}
	b.t.Cleanup(func() { c.Close() })
	return c
}

// metric is the sum of a metric's series that have all the label values given.
func (b *broker) metric(name string, values ...string) float64 {
	b.t.Helper()
	families, err := b.registry.Gather()
	if err != nil {
		b.t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
	series:
		for _, m := range f.GetMetric() {
			for _, v := range values {
				found := false
				for _, l := range m.GetLabel() {
					found = found || l.GetValue() == v
				}
				if !found {
					continue series
				}
			}
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return sum
}

// client is a connection as a client sees it.
type client struct {
	net.Conn
	t    testing.TB
	last int32 // correlation id
}

// frame encodes a request, with its size.
func frameOf(req kmsg.Request, correlationID int32) []byte {
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID("tester")).AppendRequest(nil, req, correlationID)
}

// send sends a request and returns its correlation id.
func (c *client) send(req kmsg.Request) int32 {
	c.t.Helper()
	c.last++
	c.write(frameOf(req, c.last))
	return c.last
}

func (c *client) write(p []byte) {
	c.t.Helper()
	if _, err := c.Write(p); err != nil {
		c.t.Fatalf("write: %v", err)
	}
}

// receive reads an answer to a request of req's key and version, which must
// have the correlation id.
func (c *client) receive(req kmsg.Request, correlationID int32) kmsg.Response {
	c.t.Helper()
	id, p := c.read()
	if id != correlationID {
		c.t.Fatalf("answer to request %d, want %d", id, correlationID)
	}
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	if resp.IsFlexible() && resp.Key() != apiVersionsKey {
		if p[0] != 0 {
			c.t.Fatalf("response header has tags %x", p[0])
		}
		p = p[1:]
	}
	if err := resp.ReadFrom(p); err != nil {
		c.t.Fatalf("answer %x: %v", p, err)
	}
	return resp
}

// read reads an answer: its correlation id and what follows.
func (c *client) read() (int32, []byte) {
	c.t.Helper()
	id, p, err := c.tryRead()
	if err != nil {
		c.t.Fatalf("read: %v", err)
	}
	return id, p
}

func (c *client) tryRead() (int32, []byte, error) {
	var head [8]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return 0, nil, err
	}
	p := make([]byte, binary.BigEndian.Uint32(head[:])-4)
	_, err := io.ReadFull(c, p)
	return int32(binary.BigEndian.Uint32(head[4:])), p, err
}

// call sends a request and reads its answer.
func (c *client) call(req kmsg.Request) kmsg.Response {
	c.t.Helper()
	return c.receive(req, c.send(req))
}

// wantClosed checks that the server closes the connection without a further
// answer.
func (c *client) wantClosed() {
	c.t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
		c.t.Fatalf("read %d bytes, error %v, want the connection closed", n, err)
	} else if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
		c.t.Fatalf("connection is still open: %v", err)
	}
}

// logLines collects a log.
type logLines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logLines) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.FieldsFunc(l.buf.String(), func(r rune) bool { return r == '\n' })
}

// wantLine waits until the server has stopped and checks that it has logged one
// line, containing all the parts.
func (b *broker) wantLine(parts ...string) {
	b.t.Helper()
	b.stop()
	b.wait()
	lines := b.log.lines()
	if len(lines) != 1 {
		b.t.Fatalf("log has %d lines, want one:\n%s", len(lines), strings.Join(lines, "\n"))
	}
	for _, p := range parts {
		if !strings.Contains(lines[0], p) {
			b.t.Errorf("log line lacks %q: %s", p, lines[0])
		}
	}
}

// Handlers.

// answering answers at once.
func answering(resp func(*Request) kmsg.Response) Handler {
	return func(_ context.Context, r *Request) Reply {
		return func(context.Context) (Answer, error) { return Answer{Message: resp(r)}, nil }
	}
}

// empty answers with a response without content.
var empty = answering(func(r *Request) kmsg.Response { return r.Message.ResponseKind() })

// route is a route for all versions of a key.
func routeFor(key kmsg.Key, h Handler) Route {
	return Route{Key: int16(key), Max: kmsg.RequestForKey(int16(key)).MaxVersion(), Start: h}
}

// heartbeat is a small request; its group tells handlers what to do.
func heartbeat(group string) *kmsg.HeartbeatRequest {
	r := kmsg.NewPtrHeartbeatRequest()
	r.Version, r.Group = 4, group
	return r
}

// produce is a request with a payload of n bytes.
func produce(n int) *kmsg.ProduceRequest {
	r := kmsg.NewPtrProduceRequest()
	r.Version, r.Acks, r.TimeoutMillis = 9, -1, 1000
	p := kmsg.NewProduceRequestTopicPartition()
	p.Records = bytes.Repeat([]byte{0xaa}, n)
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic, topic.Partitions = "t", append(topic.Partitions, p)
	r.Topics = append(r.Topics, topic)
	return r
}

// eventually waits until f holds, on real time.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}
