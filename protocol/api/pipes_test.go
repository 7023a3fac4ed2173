package api

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kerr"
)

// pipes is a listener whose connections are in-memory pipes.
type pipes struct {
	accepted chan net.Conn
	closed   chan struct{}
	once     sync.Once
	dialed   atomic.Int64
}

func newPipes() *pipes { return &pipes{accepted: make(chan net.Conn), closed: make(chan struct{})} }

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.accepted:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipes) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipes) Addr() net.Addr { return pipeAddr(0) }

func (l *pipes) dial() (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.accepted <- pipeEnd{server, pipeAddr(l.dialed.Add(1))}:
		return client, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// pipeEnd is the server's end of a pipe, from a peer that looks like one of the network.
type pipeEnd struct {
	net.Conn
	remote pipeAddr
}

func (c pipeEnd) RemoteAddr() net.Addr { return c.remote }

type pipeAddr int

func (pipeAddr) Network() string { return "tcp" }
func (a pipeAddr) String() string {
	return (&net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: int(a)}).String()
}

// codeName is a Kafka error code as people know it.
func codeName(code int16) string {
	if e, ok := errors.AsType[*kerr.Error](kerr.ErrorForCode(code)); ok {
		return e.Message
	}
	return "NONE"
}
