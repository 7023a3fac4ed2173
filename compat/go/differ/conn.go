package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// answerTimeout is how long an answer is awaited; one that does not come is an outcome like others. It
	// is long, as the machine may be busy with other suites.
	answerTimeout = 30 * time.Second

	maxAnswer = 64 << 20
)

// errClosed says that the broker closed the connection instead of answering.
var errClosed = errors.New("the connection is closed")

// conn is a connection to a broker with at most one request under way.
type conn struct {
	net.Conn

	correlation int32
	formatter   *kmsg.RequestFormatter
}

func dial(ctx context.Context, addr string) (*conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, formatter: kmsg.NewRequestFormatter(kmsg.FormatterClientID("differ"))}, nil
}

func (c *conn) close() { _ = c.Close() }

// ask sends a request and waits for its answer.
func (c *conn) ask(req kmsg.Request) (kmsg.Response, error) {
	if err := c.send(req); err != nil {
		return nil, err
	}
	body, err := c.receive()
	if err != nil {
		return nil, err
	}
	if req.IsFlexible() && req.Key() != kmsg.ApiVersions.Int16() {
		if body, err = skipTags(body); err != nil {
			return nil, err
		}
	}
	resp := req.ResponseKind()
	if err := resp.ReadFrom(body); err != nil {
		return nil, fmt.Errorf("an answer that cannot be read: %w", err)
	}
	return resp, nil
}

// send sends a request without waiting for anything.
func (c *conn) send(req kmsg.Request) error {
	c.correlation++
	_ = c.SetDeadline(time.Now().Add(answerTimeout))
	_, err := c.Write(c.formatter.AppendRequest(nil, req, c.correlation))
	return closed(err)
}

// frame sends any bytes as a request of a key and version, header included, and waits for an answer.
func (c *conn) frame(key, version int16, flexible bool, body []byte) ([]byte, error) {
	c.correlation++
	b := binary.BigEndian.AppendUint16(nil, uint16(key))
	b = binary.BigEndian.AppendUint16(b, uint16(version))
	b = binary.BigEndian.AppendUint32(b, uint32(c.correlation))
	b = binary.BigEndian.AppendUint16(b, 0xffff) // no client id
	if flexible {
		b = append(b, 0)
	}
	b = append(b, body...)
	_ = c.SetDeadline(time.Now().Add(answerTimeout))
	if _, err := c.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)); err != nil {
		return nil, closed(err)
	}
	return c.receive()
}

// receive returns the next answer, without its correlation id.
func (c *conn) receive() ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, closed(err)
	}
	n := binary.BigEndian.Uint32(size[:])
	if n < 4 || n > maxAnswer {
		return nil, fmt.Errorf("an answer of %d bytes", n)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(c, body); err != nil {
		return nil, closed(err)
	}
	if got := int32(binary.BigEndian.Uint32(body)); got != c.correlation {
		return nil, fmt.Errorf("the answer to request %d instead of %d", got, c.correlation)
	}
	return body[4:], nil
}

// versions asks what the broker serves.
func (c *conn) versions() (*kmsg.ApiVersionsResponse, error) {
	req := kmsg.NewPtrApiVersionsRequest()
	req.Version = 3
	req.ClientSoftwareName, req.ClientSoftwareVersion = "differ", "1"
	resp, err := c.ask(req)
	if err != nil {
		return nil, err
	}
	return resp.(*kmsg.ApiVersionsResponse), nil
}

// closed is errClosed for all the ways in which a peer can end a connection.
func closed(err error) error {
	if timeout, ok := errors.AsType[net.Error](err); err == nil || ok && timeout.Timeout() {
		return err
	}
	return errClosed
}

// skipTags skips the tagged fields of an answer's header.
func skipTags(body []byte) ([]byte, error) {
	r := kbin.Reader{Src: body}
	for range r.Uvarint() {
		r.Uvarint()
		r.Span(int(r.Uvarint()))
	}
	return r.Src, r.Complete()
}
