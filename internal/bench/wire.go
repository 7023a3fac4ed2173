package bench

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	clientID = "morrow-bench"
	// readBuffer is what is read at once. Smaller ones make the sender of a large answer wait more often.
	readBuffer = 1 << 20
)

// wire is a bare Kafka connection: frames go out as they were encoded, and what comes back is
// looked at as little as possible. Sending and receiving may happen at the same time, each from one
// goroutine.
type wire struct {
	conn net.Conn
	in   *bufio.Reader
	stop func() bool // detaches it from its context

	body []byte // of the last answer
}

// dial connects. When ctx ends, everything under way on the wire fails at once.
func dial(ctx context.Context, addr, congestion string) (*wire, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if err := setCongestion(conn, congestion); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return &wire{
		conn: conn,
		in:   bufio.NewReaderSize(conn, readBuffer),
		stop: context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }),
	}, nil
}

// linger has what is under way when ctx ends fail only after a while.
func (w *wire) linger(ctx context.Context, d time.Duration) {
	w.stop()
	w.stop = context.AfterFunc(ctx, func() { _ = w.conn.SetDeadline(time.Now().Add(d)) })
}

func (w *wire) close() {
	w.stop()
	_ = w.conn.Close()
}

// encode makes a frame of a request: its length, header and body.
func encode(req kmsg.Request, version int16) []byte {
	req.SetVersion(version)
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID(clientID)).AppendRequest(nil, req, 0)
}

// version returns the highest version of a key that both the broker and we (up to highest) speak.
func (w *wire) version(key kmsg.Key, highest int16) (int16, error) {
	req := kmsg.NewPtrApiVersionsRequest()
	if _, err := w.conn.Write(encode(req, 0)); err != nil {
		return 0, err
	}
	resp := kmsg.NewPtrApiVersionsResponse()
	if err := w.receive(resp); err != nil {
		return 0, err
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return 0, err
	}
	for _, k := range resp.ApiKeys {
		if k.ApiKey == int16(key) && k.MinVersion <= highest {
			return min(highest, k.MaxVersion), nil
		}
	}
	return 0, fmt.Errorf("the broker does not offer %s in a version up to %d", key.Name(), highest)
}

// frame reads the length of the next answer and its correlation id, and returns how many bytes follow.
func (w *wire) frame() (int, error) {
	head, err := w.in.Peek(8)
	if err != nil {
		return 0, err
	}
	n := int(binary.BigEndian.Uint32(head)) - 4
	if n < 0 {
		return 0, errors.New("the answer is shorter than its header")
	}
	_, err = w.in.Discard(8)
	return n, err
}

// receive reads the next answer. What resp refers to is valid until the next call.
func (w *wire) receive(resp kmsg.Response) error {
	n, err := w.frame()
	if err != nil {
		return err
	}
	if cap(w.body) < n {
		w.body = make([]byte, n)
	}
	body := w.body[:n]
	if _, err := io.ReadFull(w.in, body); err != nil {
		return err
	}
	if resp.IsFlexible() && resp.Key() != int16(kmsg.ApiVersions) {
		b := kbin.Reader{Src: body}
		kmsg.SkipTags(&b)
		body = b.Src
	}
	return resp.ReadFrom(body)
}
