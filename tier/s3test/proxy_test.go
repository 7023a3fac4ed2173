package s3test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// fault is what a proxy does to a request.
type fault string

const (
	refuse    fault = "503 at once"
	internal  fault = "500 at once"
	denied    fault = "403 at once"
	loseReply fault = "the connection breaks after the store has answered"
	breakBody fault = "the connection breaks in the middle of the body"
	truncate  fault = "the store gets half of it, the client a 200"
	notFound  fault = "404 although it is there"
	stall     fault = "nothing happens for a minute"
	keepMum   fault = "the store keeps it, and nothing is heard for a minute"
	failAfter fault = "500 after it was done"
	errorBody fault = "200 with an error in its body"
)

// proxy stands between the client and the gateway.
type proxy struct {
	*httptest.Server
	forward *httputil.ReverseProxy

	mu    sync.Mutex
	rules []*rule // guarded by mu; the first that matches decides
	watch func(r *http.Request, done bool) (cut bool)
}

// rule makes requests fail.
type rule struct {
	fault   fault
	left    int // so many faults to come
	matches func(*http.Request) bool
	fired   int
}

func startProxy(t *testing.T, addr string) *proxy {
	target, err := url.Parse("http://" + addr)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{}
	p.forward = &httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host },
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	p.Server = httptest.NewServer(p)
	t.Cleanup(func() {
		p.CloseClientConnections()
		p.Close()
	})
	return p
}

// inject makes the next times requests that match fail. The function it returns tells how many have.
func (p *proxy) inject(f fault, times int, matches func(*http.Request) bool) (happened func() int) {
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

// heal ends all faults.
func (p *proxy) heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = nil
}

func (p *proxy) take(r *http.Request) (fault, bool) {
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

// ServeHTTP hurts the request, or not. Watch, if set, sees those that are not hurt, before and after; it may have the connection cut.
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f, ok := p.take(r); ok {
		p.hurt(f, w, r)
		return
	}
	if p.watch != nil && p.watch(r, false) {
		hangUp(w)
		return
	}
	answer := &answered{ResponseWriter: w}
	p.forward.ServeHTTP(answer, r)
	if p.watch != nil && answer.status/100 == 2 {
		p.watch(r, true)
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

func (p *proxy) hurt(f fault, w http.ResponseWriter, r *http.Request) {
	switch f {
	case stall:
		sleep(r)
		hangUp(w)
	case keepMum:
		p.forward.ServeHTTP(httptest.NewRecorder(), r)
		sleep(r)
		hangUp(w)
	case refuse:
		w.WriteHeader(http.StatusServiceUnavailable)
	case internal:
		w.WriteHeader(http.StatusInternalServerError)
	case denied:
		w.WriteHeader(http.StatusForbidden)
	case notFound:
		w.WriteHeader(http.StatusNotFound)
	case loseReply:
		p.forward.ServeHTTP(httptest.NewRecorder(), r)
		hangUp(w)
	case breakBody:
		_, _ = io.CopyN(io.Discard, r.Body, r.ContentLength/2)
		hangUp(w)
	case failAfter:
		p.forward.ServeHTTP(httptest.NewRecorder(), r)
		w.WriteHeader(http.StatusInternalServerError)
	case errorBody:
		w.WriteHeader(http.StatusOK)
		_, _ = io.WriteString(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>InternalError</Code><Message>try again</Message></Error>`)
	case truncate:
		w.Header().Set("ETag", p.storeHalf(r))
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

// storeHalf does what a broken store would: it keeps half of the body, with a checksum that fits the half. Since the
// signature covers the checksum, the half goes to the gateway as a request of its own.
func (p *proxy) storeHalf(r *http.Request) (etag string) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return ""
	}
	half := body[:len(body)/2]
	key := strings.TrimPrefix(r.URL.Path, "/"+bucketName+"/")
	if q := r.URL.Query(); q.Has("uploadId") {
		return putPartDirectly(key, q.Get("uploadId"), q.Get("partNumber"), half)
	}
	putDirectly(key, half, r.Header.Get("If-None-Match"), r.Header.Get("If-Match"))
	return `"0123"`
}
