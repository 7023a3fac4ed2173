// Package protocol is Morrow's Kafka wire server: it accepts connections, cuts
// their bytes into request frames, decodes the frames with kmsg, hands them to
// the handler its routes table names, and writes the answers back in order.
//
// It is not the meaning of any request: handlers live in protocol/api. The one
// request answered here is ApiVersions (key 18), because its answer is the
// routes table.
//
// # Goroutines
//
// Serve owns one goroutine that accepts and two for every connection. The
// reader reads a frame, decodes it and calls the route's Handler, in order of
// arrival. The writer calls, in the same order, the Reply each Handler
// returned, and writes what it answers. So a produce can be appended while the
// one before it still waits for its commit, and answers leave in order without
// anything being sorted.
//
// # Bounds
//
// A connection has at most Config.MaxInFlight requests between the two
// goroutines, and then its reader stops reading and TCP pushes back; their arrays
// have at most a million elements together. All frames of all connections together
// hold at most Config.QueuedMaxBytes, taken before the memory is allocated, first
// come, first served, except that frames above a MiB leave a quarter to the
// others: few connections that send them slowly stop each other, not everyone, and
// when memory is short as many of them are disconnected as must be. A peer that
// sends a frame too slowly, or does not read its answers, is disconnected anyway.
package protocol

import (
	"context"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Route is one API key served.
type Route struct {
	Key int16
	// Min and Max are the versions advertised in ApiVersions, inclusive.
	Min, Max int16
	// Serve is the lowest version really served, where that is higher than
	// Min; zero means Min. Produce advertises 0 and serves from 3, because
	// librdkafka concludes from a higher minimum that the broker is too old
	// for features it has (KAFKA-18659). A request between Min and Serve closes
	// the connection like any other unsupported version.
	Serve int16
	// Start handles the requests of this key.
	Start Handler
}

// Handler starts a request. The connection's reader calls it, one request at a
// time, in order of arrival: what must happen in that order (a produce's
// append) happens here. It must not wait for durability or for anything
// remote, since the connection reads nothing meanwhile.
//
// The Reply it returns does the rest; a nil Reply answers nothing. A request
// that has no early part does all its work in the Reply and then sees Kafka's
// strict order per connection.
type Handler func(ctx context.Context, r *Request) Reply

// Reply finishes a request. The connection's writer calls it once all earlier
// answers of the connection have been written, so it may block: for a commit, a
// long poll, a rebalance.
//
// ctx ends when the connection is gone or when the server has been stopping for
// longer than its grace period; a Reply must then return soon, and what it
// returns is discarded. Every Reply is called, also on a connection that broke
// after its request had been accepted.
//
// An error closes the connection and is logged once, here.
type Reply func(ctx context.Context) (Answer, error)

// Answer is what goes back to the client: a Message or a Body, not both. The
// zero Answer writes nothing (a produce with acks=0).
type Answer struct {
	// Message is encoded in the version of the request. Its error codes are
	// found and counted by the server.
	Message kmsg.Response
	// Body is a response body that is already encoded in the version of the
	// request, without response header.
	Body *Body
	// Errors are the Kafka error codes within Body, for the metrics only; zeros
	// are ignored. It is not looked at when Message is set.
	Errors []int16
}

// Request is one decoded request.
type Request struct {
	Key, Version  int16
	CorrelationID int32
	// ClientID is empty if the client sent none.
	ClientID string
	Conn     *Conn
	// Message is the decoded body. Its strings are copies; its byte slices
	// alias the frame. Those of a produce are valid until Release is called or,
	// without that, until the answer has been written; what is kept longer must be
	// copied. Those of other requests keep the whole frame.
	Message kmsg.Request
	// Received is when the last byte of the frame had been read.
	Received time.Time

	// Ready may be set by the Handler. It reports whether the Reply would
	// answer without waiting; then earlier answers need not be written before
	// the Reply is called, and leave together with this one. Pipelined produces
	// that one commit finishes are answered by a single write this way, which
	// is worth a quarter of their throughput when they are small. The writer
	// calls it; a nil Ready means that the Reply may wait.
	Ready func() bool

	frame *frame // nil once released
}

// Release gives the memory of a produce's frame back before the answer is
// written. No byte slice of Message may be touched afterwards. A handler that
// has consumed its payload and goes on to wait for the commit should call it, or
// else requests that wait for others could hold the memory those others need. It
// may be called once or never, by the goroutine that runs the handler or its
// reply. Frames of other requests are given back once they are decoded.
func (r *Request) Release() {
	if f := r.frame; f != nil {
		r.frame = nil
		f.release()
	}
}

// Conn is what is known of a client's connection. It is safe for concurrent
// use. Handlers keep nothing in it: state that must outlive a request belongs
// to whoever the request is about.
type Conn struct {
	// Listener is the name of the listener that accepted the connection.
	Listener string

	local, remote net.Addr
	number        uint64
	software      atomic.Pointer[software]
	stopping      <-chan struct{}

	mu     sync.Mutex        // guards atEnd
	atEnd  map[uint64]func() // by the order of registration
	atNext uint64
}

// software is how a client introduced itself (KIP-511).
type software struct{ name, version string }

// ID names the connection in Kafka's form, local-remote-number. No two
// connections of a server have the same ID.
func (c *Conn) ID() string {
	return c.local.String() + "-" + c.remote.String() + "-" + strconv.FormatUint(c.number, 10)
}

// RemoteAddr is the client's address.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// LocalAddr is the address the client reached.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// SoftwareName is the client library's name, learned from ApiVersions v3 or
// newer (KIP-511); empty if unknown.
func (c *Conn) SoftwareName() string {
	if s := c.software.Load(); s != nil {
		return s.name
	}
	return ""
}

// SoftwareVersion is the client library's version, learned as SoftwareName is.
func (c *Conn) SoftwareVersion() string {
	if s := c.software.Load(); s != nil {
		return s.version
	}
	return ""
}

// Stopping is closed when the server begins to stop. A long poll should then
// answer with what it has instead of using up the grace period.
func (c *Conn) Stopping() <-chan struct{} { return c.stopping }

// OnClose has f called when the connection is gone and every reply of it has
// returned: on the connection's goroutine, so that the server stops only after it.
// What is called must not wait for long. cancel takes it back.
func (c *Conn) OnClose(f func()) (cancel func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.atEnd == nil {
		c.atEnd = map[uint64]func(){}
	}
	c.atNext++
	n := c.atNext
	c.atEnd[n] = f
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.atEnd, n)
	}
}

// closed calls what waits for the end of the connection.
func (c *Conn) closed() {
	c.mu.Lock()
	atEnd := c.atEnd
	c.atEnd = nil
	c.mu.Unlock()
	for _, n := range slices.Sorted(maps.Keys(atEnd)) {
		atEnd[n]()
	}
}
