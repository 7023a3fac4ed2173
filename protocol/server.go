package protocol

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"
)

// Server serves the Kafka protocol on any number of listeners. It is safe for
// concurrent use.
type Server struct {
	cfg     Config
	routes  []*route // by key; nil if not served
	unknown *route   // ApiVersions in a version not known
	memory  *memory
	metrics *metrics

	conns   *semaphore.Weighted // Config.MaxConnections
	pace    *rate.Limiter       // Config.MaxConnectionRate
	numbers atomic.Uint64       // of connections
	full    rate.Sometimes      // for log lines about refused connections
	ends    endLines

	mu    sync.Mutex
	perIP map[string]int // open connections by address; guarded by mu
}

// route is a Route being served.
type route struct {
	min, max int16
	start    Handler
	shape    shape
	errors   errorPath
	metrics  apiMetrics
	opaque   bool // the body is not decoded
}

// NewServer returns a server for the routes, which must be for different keys
// that kmsg knows in the versions given. ApiVersions is not among them: the
// server answers it from the routes.
func NewServer(cfg Config, routes []Route) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg:     cfg,
		metrics: newMetrics(cfg.Registerer),
		conns:   semaphore.NewWeighted(int64(cfg.MaxConnections)),
		pace:    rate.NewLimiter(rate.Limit(cfg.MaxConnectionRate), cfg.MaxConnectionRate),
		full:    rate.Sometimes{First: 1, Interval: 10 * time.Second},
		ends:    newEndLines(),
		perIP:   make(map[string]int),
	}
	s.memory = newMemory(cfg.QueuedMaxBytes, s.metrics.inFlight)
	versions := &apiVersions{features: cfg.Features, identity: cfg.Identity}
	own := Route{Key: apiVersionsKey, Max: apiVersionsMax, Start: versions.start}
	for _, r := range append(slices.Clone(routes), own) {
		if err := s.addRoute(r); err != nil {
			return nil, err
		}
		versions.add(r)
	}
	unknown := *s.routes[apiVersionsKey]
	unknown.start, unknown.opaque = versions.startUnsupported, true
	s.unknown = &unknown
	return s, nil
}

func (s *Server) addRoute(r Route) error {
	if r.Serve == 0 {
		r.Serve = r.Min
	}
	name := kmsg.NameForKey(r.Key)
	text, ok := shapes[kmsg.Key(r.Key)]
	if !ok {
		return fmt.Errorf("route for key %d: not a request that clients or brokers send", r.Key)
	}
	req := kmsg.RequestForKey(r.Key)
	switch {
	case r.Start == nil:
		return fmt.Errorf("route for %s has no handler", name)
	case r.Min < 0 || r.Min > r.Serve || r.Serve > r.Max || r.Max > req.MaxVersion():
		return fmt.Errorf("route for %s has versions %d to %d, served from %d, expected an ascending range up to %d",
			name, r.Min, r.Max, r.Serve, req.MaxVersion())
	}
	if n := int(r.Key) + 1 - len(s.routes); n > 0 {
		s.routes = append(s.routes, make([]*route, n)...)
	}
	if s.routes[r.Key] != nil {
		return fmt.Errorf("two routes for %s", name)
	}
	s.routes[r.Key] = &route{
		min: r.Serve, max: r.Max, start: r.Start,
		shape: parseShape(text), errors: errorPathOf(req.ResponseKind()), metrics: s.metrics.api(r.Key),
	}
	return nil
}

// route finds the route of a request.
func (s *Server) route(key, version int16) (*route, error) {
	if key < 0 || int(key) >= len(s.routes) || s.routes[key] == nil {
		return nil, errors.New("its key is not served")
	}
	r := s.routes[key]
	switch {
	case version >= r.min && version <= r.max:
		return r, nil
	case key == apiVersionsKey:
		return s.unknown, nil
	}
	return nil, fmt.Errorf("its version is not served, expected %d to %d", r.min, r.max)
}

// Serve accepts connections from l and serves them until ctx ends, then stops
// reading, answers what has been accepted for up to Config.Grace, and returns
// nil when all its goroutines have ended. It closes l. It returns an error if l
// fails for good. listenerName is what Conn.Listener reports.
func (s *Server) Serve(ctx context.Context, listenerName string, l net.Listener) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	sessions, kill := context.WithCancelCause(context.WithoutCancel(ctx))
	defer kill(nil)
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()

	var wg sync.WaitGroup
	err := s.accept(ctx, l, func(nc net.Conn, done func()) {
		conn := &Conn{
			Listener: listenerName, local: nc.LocalAddr(), remote: nc.RemoteAddr(),
			number: s.numbers.Add(1), stopping: ctx.Done(),
		}
		wg.Go(func() {
			defer done()
			s.serveConn(sessions, ctx, conn, nc)
		})
	})
	stop()
	grace := time.AfterFunc(s.cfg.Grace, func() { kill(errGrace) })
	defer grace.Stop()
	wg.Wait()
	return err
}

var errGrace = errors.New("server stopped before all requests had been answered")

// accept hands connections to serve until ctx ends or l fails. serve calls done
// when the connection has ended.
func (s *Server) accept(ctx context.Context, l net.Listener, serve func(nc net.Conn, done func())) error {
	backOff := time.Millisecond
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			backOff = time.Millisecond
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ECONNABORTED), errors.Is(err, syscall.ENOBUFS), errors.Is(err, syscall.ENOMEM):
			s.cfg.Logger.Warn("cannot accept connections, trying again", "addr", l.Addr().String(), "wait", backOff, "err", err)
			if !sleep(ctx, backOff) {
				return nil
			}
			backOff = min(2*backOff, time.Second)
			continue
		default:
			return fmt.Errorf("accept on %s: %w", l.Addr(), err)
		}
		if done := s.admit(ctx, nc); done != nil {
			serve(nc, done)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// admit decides about a new connection. If it may stay it returns what to call
// when it has ended, else it closes it and returns nil. It waits while the
// server has as many connections as it may have, or has just had as many new ones.
func (s *Server) admit(ctx context.Context, nc net.Conn) (done func()) {
	ip := nc.RemoteAddr().String()
	if host, _, err := net.SplitHostPort(ip); err == nil {
		ip = host
	}
	if !s.countIP(ip) {
		s.metrics.refused.WithLabelValues("max.connections.per.ip").Inc()
		s.full.Do(func() {
			s.cfg.Logger.Warn("connection refused: its address has max.connections.per.ip open",
				"ip", ip, "limit", s.cfg.MaxConnectionsPerIP)
		})
		_ = nc.Close()
		return nil
	}
	if s.waitTurn(ctx) != nil {
		s.uncountIP(ip)
		_ = nc.Close()
		return nil
	}
	return func() {
		s.conns.Release(1)
		s.uncountIP(ip)
	}
}

// waitTurn waits until the server may have another connection, which then is counted. It fails when ctx ends.
func (s *Server) waitTurn(ctx context.Context) error {
	if !s.conns.TryAcquire(1) {
		err := s.throttle("max.connections", s.cfg.MaxConnections, func() error { return s.conns.Acquire(ctx, 1) })
		if err != nil {
			return err
		}
	}
	if s.pace.Allow() {
		return nil
	}
	err := s.throttle("max.connection.creation.rate", s.cfg.MaxConnectionRate, func() error { return s.pace.Wait(ctx) })
	if err != nil {
		s.conns.Release(1)
	}
	return err
}

// throttle waits, and says why in log and metrics.
func (s *Server) throttle(config string, limit int, wait func() error) error {
	s.full.Do(func() {
		s.cfg.Logger.Warn("connections wait: a limit is reached", "config", config, "limit", limit)
	})
	began := time.Now()
	err := wait()
	s.metrics.throttled.WithLabelValues(config).Add(time.Since(began).Seconds())
	return err
}

func (s *Server) countIP(ip string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.perIP[ip] >= s.cfg.MaxConnectionsPerIP {
		return false
	}
	s.perIP[ip]++
	return true
}

func (s *Server) uncountIP(ip string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.perIP[ip]--; s.perIP[ip] == 0 {
		delete(s.perIP, ip)
	}
}

// serveConn serves one connection until it has ended, and says why it did.
func (s *Server) serveConn(ctx, stopping context.Context, conn *Conn, nc net.Conn) {
	open := s.metrics.connections.WithLabelValues(conn.Listener)
	open.Inc()
	defer open.Dec()
	err := s.prepare(nc)
	if err == nil {
		err = newSession(s, conn, nc).run(ctx, stopping)
		conn.closed()
	} else {
		_ = nc.Close()
	}
	s.logEnd(conn, err)
}

// prepare sets the options of a TCP connection.
func (s *Server) prepare(nc net.Conn) error {
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return nil
	}
	errs := []error{tcp.SetNoDelay(true)}
	if s.cfg.SendBuffer > 0 {
		errs = append(errs, tcp.SetWriteBuffer(s.cfg.SendBuffer))
	}
	if s.cfg.ReceiveBuffer > 0 {
		errs = append(errs, tcp.SetReadBuffer(s.cfg.ReceiveBuffer))
	}
	if s.cfg.TCPCongestion != "" {
		errs = append(errs, setCongestion(tcp, s.cfg.TCPCongestion))
	}
	return errors.Join(errs...)
}
