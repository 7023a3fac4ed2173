package testnet

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
)

// Dial connects to a broker that may be killed at any moment. To a client, a connection that ends
// before its first answer looks like a broker that wants TLS, and franz-go then gives up; here it
// is a broker that crashed, so such an end is reported as a reset, after which clients try again.
func Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return crashable{c}, nil
}

type crashable struct{ net.Conn }

func (c crashable) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n == 0 && errors.Is(err, io.EOF) {
		err = &net.OpError{Op: "read", Net: "tcp", Addr: c.RemoteAddr(), Err: syscall.ECONNRESET}
	}
	return n, err
}
