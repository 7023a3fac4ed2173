// Package proxytest stands between a client and an S3 server, and makes requests fail as networks,
// proxies and stores do. It is for tests of the real client, whose retries are part of what is
// tested; tier/bucket/buckettest has a bucket in memory.
//
// A Proxy may be used by any number of goroutines. It has those of its HTTP server.
package proxytest

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
	"time"
)

// Fault is what a proxy does to a request.
type Fault string

// The faults.
const (
	Refuse    Fault = "503 at once"
	Internal  Fault = "500 at once"
	Denied    Fault = "403 at once"
	LoseReply Fault = "the connection breaks after the store has answered"
	BreakBody Fault = "the connection breaks in the middle of the body"
	Truncate  Fault = "the store gets half of it, the client a 200"
	NotFound  Fault = "404 although it is there"
	Stall     Fault = "nothing happens for a minute"
	KeepMum   Fault = "the store keeps it, and nothing is heard for a minute"
	FailAfter Fault = "500 after it was done"
	ErrorBody Fault = "200 with an error in its body"
	Slow      Fault = "it takes a second"
	Flip      Fault = "a bit of the body is wrong"
)

// Proxy stands between clients and a store.
type Proxy struct {
	*httptest.Server
	forward *httputil.ReverseProxy

	// Watch, if set, sees those that are not hurt, before and after; it may have the connection cut.
	Watch func(r *http.Request, done bool) (cut bool)
	// StoreHalf does for Truncate what a broken store would: it keeps half of the body, with a
	// checksum that fits the half, and returns the ETag it would answer. Since the signature covers
	// the checksum, the half cannot be forwarded.
	StoreHalf func(r *http.Request) (etag string)

	mu    sync.Mutex
	rules []*rule // guarded by mu; the first that matches decides
}

// rule makes requests fail.
type rule struct {
	fault   Fault
	left    int // so many faults to come
	matches func(*http.Request) bool
	fired   int
}

// Start begins to stand before the store at host:port addr, until the test ends.
func Start(tb testing.TB, addr string) *Proxy {
	tb.Helper()
	p := &Proxy{}
	target := &url.URL{Scheme: "http", Host: addr}
	p.forward = &httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host },
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	p.Server = httptest.NewServer(p)
	tb.Cleanup(func() {
		p.CloseClientConnections()
		p.Close()
	})
	return p
}

// Inject makes the next times requests that match fail. The function it returns tells how many have.
func (p *Proxy) Inject(f Fault, times int, matches func(*http.Request) bool) (happened func() int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	x := &rule{fault: f, left: times, matches: matches}
	p.rules = append(p.rules, x)
	return func() int {
		p.mu.Lock()
		defer p.mu.Unlock()
		return x.fired
	}
}

// Heal ends all faults.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = nil
}

func (p *Proxy) take(r *http.Request) (Fault, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, x := range p.rules {
		if x.left > 0 && x.matches(r) {
			x.left--
			x.fired++
			return x.fault, true
		}
	}
	return "", false
}

// ServeHTTP hurts the request, or not.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f, ok := p.take(r); ok {
		p.hurt(f, w, r)
		return
	}
	if p.Watch != nil && p.Watch(r, false) {
		hangUp(w)
		return
	}
	answer := &answered{ResponseWriter: w}
	p.forward.ServeHTTP(answer, r)
	if p.Watch != nil && answer.status/100 == 2 {
		p.Watch(r, true)
	}
}

// answered remembers the status of an answer.
type answered struct {
	http.ResponseWriter
	status int
}

func (a *answered) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

func (a *answered) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (p *Proxy) hurt(f Fault, w http.ResponseWriter, r *http.Request) {
	switch f {
	case Stall:
		sleep(r)
		hangUp(w)
	case KeepMum:
		p.forward.ServeHTTP(httptest.NewRecorder(), r)
		sleep(r)
		hangUp(w)
	case Refuse:
		w.WriteHeader(http.StatusServiceUnavailable)
	case Internal:
		w.WriteHeader(http.StatusInternalServerError)
	case Denied:
		w.WriteHeader(http.StatusForbidden)
	case NotFound:
		w.WriteHeader(http.StatusNotFound)
	case LoseReply:
		p.forward.ServeHTTP(httptest.NewRecorder(), r)
		hangUp(w)
	case BreakBody:
		_, _ = io.CopyN(io.Discard, r.Body, r.ContentLength/2)
		hangUp(w)
	case FailAfter:
		p.forward.ServeHTTP(httptest.NewRecorder(), r)
		w.WriteHeader(http.StatusInternalServerError)
	case ErrorBody:
		w.WriteHeader(http.StatusOK)
		_, _ = io.WriteString(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>InternalError</Code><Message>try again</Message></Error>`)
	case Slow:
		select {
		case <-r.Context().Done():
		case <-time.After(time.Second):
		}
		p.forward.ServeHTTP(w, r)
	case Flip:
		if body, err := io.ReadAll(r.Body); err == nil {
			if len(body) > 0 {
				body[len(body)/2] ^= 1
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			p.forward.ServeHTTP(w, r)
		}
	case Truncate:
		w.Header().Set("ETag", p.StoreHalf(r))
		w.WriteHeader(http.StatusOK)
	}
}

// sleep lasts until the client has had enough, a minute at most.
func sleep(r *http.Request) {
	select {
	case <-r.Context().Done():
	case <-time.After(time.Minute):
	}
}

func hangUp(w http.ResponseWriter) {
	c, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	c.Close()
}
