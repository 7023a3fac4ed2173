package protocol

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestStoppingServerAnswersWhatItAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, Config{Grace: 10 * time.Second}, routeFor(kmsg.Heartbeat, sleeping(time.Second)))
		busy, idle, half := b.connect(), b.connect(), b.connect()
		for range 3 {
			busy.send(heartbeat(""))
		}
		half.write(frameOf(heartbeat(""), 1)[:10])
		synctest.Wait()
		b.stop()
		for id := range int32(3) {
			busy.receive(heartbeat(""), id+1)
		}
		for _, c := range []*client{busy, idle, half} {
			c.wantClosed()
		}
		if err := <-b.done; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if lines := b.log.lines(); len(lines) > 0 {
			t.Errorf("log has %q", lines)
		}
	})
}

func TestStoppingServerWaitsForItsGracePeriodOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, Config{Grace: 10 * time.Second}, routeFor(kmsg.Heartbeat, sleeping(time.Hour)))
		c := b.connect()
		c.send(heartbeat(""))
		synctest.Wait()
		began := time.Now()
		b.stop()
		c.wantClosed()
		b.wait()
		if d := time.Since(began); d != 10*time.Second {
			t.Errorf("stopped after %s, want 10 s", d)
		}
		b.wantLine("level=WARN", "before all requests had been answered")
	})
}

func TestLongPollCanEndWhenTheServerStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, Config{}, routeFor(kmsg.Heartbeat, func(_ context.Context, r *Request) Reply {
			return func(context.Context) (Answer, error) {
				<-r.Conn.Stopping()
				return Answer{Message: r.Message.ResponseKind()}, nil
			}
		}))
		c := b.connect()
		c.send(heartbeat(""))
		synctest.Wait()
		began := time.Now()
		b.stop()
		c.receive(heartbeat(""), 1)
		if d := time.Since(began); d != 0 {
			t.Errorf("answered after %s", d)
		}
	})
}

// A client that keeps sending gets all the answers to what was accepted, and
// not a reset that makes its system forget them.
func TestStoppingServerLosesNoAnswerToAClientThatGoesOn(t *testing.T) {
	started := make(chan struct{}, 1<<20) // more than there will be
	b := startTCP(t, Config{MaxInFlight: 8}, routeFor(kmsg.Produce, func(ctx context.Context, r *Request) Reply {
		started <- struct{}{}
		return sleeping(time.Millisecond)(ctx, r)
	}))
	c := b.connect()
	go func() {
		for id := int32(0); ; id++ {
			if _, err := c.Write(frameOf(produce(10_000), id)); err != nil {
				return
			}
		}
	}()
	for range 20 {
		<-started
	}
	b.stop()
	eventually(t, "all answered", func() bool {
		return b.metric("morrow_request_seconds") == float64(20+len(started))
	})
	answers := 0
	for {
		if _, _, err := c.tryRead(); err != nil {
			break
		}
		answers++
	}
	_ = c.Close()
	b.wait()
	if n := 20 + len(started); answers != n {
		t.Errorf("%d answers to %d accepted requests", answers, n)
	}
}

// failing is a listener that fails.
type failing struct {
	*pipes
	errs []error
}

func (l *failing) Accept() (net.Conn, error) {
	if len(l.errs) == 0 {
		return l.pipes.Accept()
	}
	err := l.errs[0]
	l.errs = l.errs[1:]
	return nil, err
}

func TestServeReportsAListenerThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := NewServer(Config{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		broken := errors.New("broken")
		if err := s.Serve(t.Context(), "X", &failing{newPipes(), []error{broken}}); !errors.Is(err, broken) {
			t.Errorf("Serve: %v", err)
		}
	})
}

func TestServeOutlivesAShortageOfDescriptors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipes()
		b := startOn(t, &failing{l, []error{syscall.EMFILE, syscall.EMFILE, syscall.ECONNABORTED}}, Config{}, routeFor(kmsg.Heartbeat, empty))
		b.dial = l.dial
		b.connect().call(heartbeat(""))
		if lines := b.log.lines(); len(lines) != 3 {
			t.Errorf("log has %q, want a line for each failure", lines)
		}
	})
}

func TestConnectionsOfOneAddressAreBounded(t *testing.T) {
	b := startTCP(t, Config{MaxConnectionsPerIP: 2}, routeFor(kmsg.Heartbeat, empty))
	first, second := b.connect(), b.connect()
	first.call(heartbeat(""))
	second.call(heartbeat(""))
	b.connect().wantClosed()
	if n := b.metric("morrow_connections_refused_total", "max.connections.per.ip"); n != 1 {
		t.Errorf("%v connections refused, want 1", n)
	}
	first.Close()
	eventually(t, "a connection closed", func() bool { return b.metric("morrow_connections") == 1 })
	eventually(t, "its place free", func() bool { b.mu.Lock(); defer b.mu.Unlock(); return b.perIP["127.0.0.1"] == 1 })
	b.connect().call(heartbeat(""))
	if lines := b.log.lines(); len(lines) != 1 || !strings.Contains(lines[0], "max.connections.per.ip") {
		t.Errorf("log has %q, want one line", lines)
	}
}

func TestConnectionsBeyondTheMaximumWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, Config{MaxConnections: 2}, routeFor(kmsg.Heartbeat, empty))
		first, second, third := b.connect(), b.connect(), b.connect()
		first.call(heartbeat(""))
		second.call(heartbeat(""))
		go func() { third.send(heartbeat("")) }()
		synctest.Wait()
		if n := b.metric("morrow_connections"); n != 2 {
			t.Errorf("%v connections served, want 2", n)
		}
		first.Close()
		third.receive(heartbeat(""), 1)
	})
}

func TestConnectionsThatComeTooFastWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, Config{MaxConnectionRate: 10}, routeFor(kmsg.Heartbeat, empty))
		began := time.Now()
		for i := range 30 {
			b.connect().call(heartbeat(""))
			if i == 9 && time.Since(began) > 0 {
				t.Errorf("a second's worth took %s", time.Since(began))
			}
		}
		if took := time.Since(began); took < 1900*time.Millisecond || took > 2100*time.Millisecond {
			t.Errorf("30 connections at 10 a second, a second's worth at once, took %s", took)
		}
		if waited := b.metric("morrow_connections_throttled_seconds_total", "max.connection.creation.rate"); waited < 1.9 || waited > 2.1 {
			t.Errorf("connections waited %v s", waited)
		}
		b.wantLine("level=WARN", "config=max.connection.creation.rate", "limit=10")
	})
}

func TestConnectionThatWaitsForItsTurnEndsWithTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, Config{MaxConnectionRate: 1, MaxConnections: 5}, routeFor(kmsg.Heartbeat, empty))
		b.connect().call(heartbeat(""))
		waits := b.connect()
		synctest.Wait()
		b.stop()
		waits.wantClosed()
	})
}

func TestManyListenersShareAServer(t *testing.T) {
	var names []string
	b := startTCP(t, Config{}, routeFor(kmsg.Heartbeat, func(ctx context.Context, r *Request) Reply {
		names = append(names, r.Conn.Listener)
		return empty(ctx, r)
	}))
	l := tlsListener(t)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Serve(ctx, "SECURE", l) }()

	secure := &client{t: t, Conn: dialTLS(t, l.Addr().String())}
	secure.call(heartbeat(""))
	b.connect().call(heartbeat(""))
	if strings.Join(names, " ") != "SECURE TEST" {
		t.Errorf("listeners %q", names)
	}
	stop()
	secure.wantClosed()
	_ = secure.Close()
	if err := <-done; err != nil {
		t.Errorf("Serve: %v", err)
	}
	b.connect().call(heartbeat("")) // the other listener goes on
}

// tlsListener is a TLS listener with a certificate nobody should trust.
func tlsListener(t testing.TB) net.Listener {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{cert}, PrivateKey: key}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func dialTLS(t testing.TB, addr string) net.Conn {
	t.Helper()
	c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
