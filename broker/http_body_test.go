package broker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/morrowmq/morrow/broker/rest"
)

// oneConn is a listener with a single connection.
type oneConn struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *oneConn) Close() error   { close(l.closed); return nil }
func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }

// serve gives f the client's end of a connection to a server of one route.
func serve(t *testing.T, answer func(*http.Request) (any, error), f func(net.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		l := &oneConn{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
		l.conns <- server
		s := newAdminServer(slog.New(slog.DiscardHandler), []rest.Route{rest.Kinds{}.Route(http.MethodPost, "/", answer)})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.Run(ctx, l) }()
		f(client)
		stop()
		if err := errors.Join(client.Close(), <-ended); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Second) // for who sends to find out
	})
}

// trickle sends a request with a body of which a byte arrives each second, until that fails.
func trickle(c net.Conn) {
	_, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
	for err == nil {
		_, err = io.WriteString(c, " ")
		time.Sleep(time.Second)
	}
}

func TestBodyThatTricklesIsGivenUp(t *testing.T) {
	decode := func(r *http.Request) (any, error) { return nil, rest.Decode(r, new(int)) }
	serve(t, decode, func(c net.Conn) {
		began := time.Now()
		go trickle(c)
		answer, err := io.ReadAll(c) // to the end of the connection
		if err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != httpReadTimeout {
			t.Errorf("it took %s", took)
		}
		for _, want := range []string{"HTTP/1.1 408", "Connection: close", `{"error":"too_slow","message":"the body did not arrive in time"}`} {
			if !strings.Contains(string(answer), want) {
				t.Errorf("no %q in %s", want, answer)
			}
		}
	})
}

// The server reads what a handler leaves, for the sake of the next request on the connection.
func TestBodyThatNobodyAskedForDoesNotKeepTheConnection(t *testing.T) {
	serve(t, func(*http.Request) (any, error) { return "done", nil }, func(c net.Conn) {
		began := time.Now()
		go trickle(c)
		answer, err := io.ReadAll(c)
		if err != nil || !strings.Contains(string(answer), `"done"`) {
			t.Errorf("%s, %v", answer, err)
		}
		if took := time.Since(began); took > httpReadTimeout {
			t.Errorf("it took %s", took)
		}
	})
}

func TestHandlerMayTakeLongerThanItsRequest(t *testing.T) {
	wait := func(r *http.Request) (any, error) {
		var n int
		if err := rest.Decode(r, &n); err != nil {
			return nil, err
		}
		select {
		case <-time.After(10 * httpReadTimeout):
			return n, nil
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	serve(t, wait, func(c net.Conn) {
		in := bufio.NewReader(c)
		for n := range 2 { // on one connection
			go fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n%d", n)
			answer, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(answer.Body)
			if err := errors.Join(err, answer.Body.Close()); err != nil || string(body) != fmt.Sprintln(n) {
				t.Errorf("%s %q, %v", answer.Status, body, err)
			}
		}
	})
}
