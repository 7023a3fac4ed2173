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
)

// proxy stands between the client and the gateway.
type proxy struct {
	*httptest.Server
	forward *httputil.ReverseProxy

	mu      sync.Mutex
	matches func(*http.Request) bool // guarded by mu; nil: no faults
	fault   fault
	left    int // so many faults to come
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
	t.Cleanup(p.Close)
	return p
}

// inject makes the next times requests that match fail.
func (p *proxy) inject(f fault, times int, matches func(*http.Request) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault, p.left, p.matches, p.fired = f, times, matches, 0
}

func (p *proxy) happened() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fired
}

func (p *proxy) take(r *http.Request) (fault, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left == 0 || p.matches == nil || !p.matches(r) {
		return "", false
	}
	p.left--
	p.fired++
	return p.fault, true
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f, ok := p.take(r)
	if !ok {
		p.forward.ServeHTTP(w, r)
		return
	}
	switch f {
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
	case truncate:
		p.storeHalf(r)
		w.Header().Set("ETag", `"0123"`)
		w.WriteHeader(http.StatusOK)
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
func (p *proxy) storeHalf(r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	half := body[:len(body)/2]
	key := strings.TrimPrefix(r.URL.Path, "/"+bucketName+"/")
	putDirectly(key, half, r.Header.Get("If-None-Match"), r.Header.Get("If-Match"))
}
