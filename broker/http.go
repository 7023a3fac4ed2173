package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/morrowmq/morrow/broker/alarms"
	"github.com/morrowmq/morrow/broker/console"
	"github.com/morrowmq/morrow/broker/inflight"
	"github.com/morrowmq/morrow/broker/remote"
	"github.com/morrowmq/morrow/broker/rest"
	"github.com/morrowmq/morrow/broker/schedules"
)

// httpReadTimeout is how long a request may take to arrive with its body. What it asks for may take longer.
const httpReadTimeout = 30 * time.Second

// adminServer serves metrics, health, profiles and the APIs over HTTP.
type adminServer struct {
	server *http.Server
	logger *slog.Logger
}

// newAdminServer makes the server.
func newAdminServer(logger *slog.Logger, routes []rest.Route) *adminServer {
	return &adminServer{
		server: &http.Server{
			// A page of another origin that an operator's browser shows must not cancel anything.
			Handler:           http.NewCrossOriginProtection().Handler(rest.Handler(routes)),
			ReadHeaderTimeout: 10 * time.Second,
			ReadTimeout:       httpReadTimeout,
			IdleTimeout:       2 * time.Minute,
			ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
		},
		logger: logger,
	}
}

// routes are all that is served over HTTP. docs/openapi.yaml describes each.
func (b *broker) routes() []rest.Route {
	metrics := promhttp.HandlerFor(b.registry, promhttp.HandlerOpts{
		ErrorLog:          slog.NewLogLogger(b.logger.Handler(), slog.LevelError),
		EnableOpenMetrics: true,
	})
	get := func(path string, h http.HandlerFunc) rest.Route {
		return rest.Route{Method: http.MethodGet, Path: path, Handler: h}
	}
	return append([]rest.Route{
		get("/{$}", index),
		get("/metrics", metrics.ServeHTTP),
		get("/livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }),
		get("/readyz", b.readyz),
		get("/debug/pprof/", pprof.Index),
		get("/debug/pprof/cmdline", pprof.Cmdline),
		get("/debug/pprof/profile", pprof.Profile),
		get("/debug/pprof/symbol", pprof.Symbol),
		get("/debug/pprof/trace", pprof.Trace),
	}, b.apis()...)
}

// apis are the APIs, and the console over them.
func (b *broker) apis() []rest.Route {
	pending, stored := schedules.New(b.store, b.partitions, b.cfg.Now), remote.New(b.tier, b.cfg.Now)
	held := inflight.New(b.store.Image, b.shares.Statuses, b.coordinates)
	wrong := alarms.New(alarms.Config{
		Image: b.store.Image, Partitions: b.partitions, Shares: b.shares.Statuses, Tier: stored.Status, ClockStep: b.dispatcher.ClockStep, Now: b.cfg.Now,
	})
	pages := console.New(console.Config{
		Broker: &console.Live{
			Build: b.cfg.Version, Started: b.started, Ready: b.readiness, Image: b.store.Image, Partitions: b.partitions, Members: b.groups,
			Shares: b.shares, Now: b.cfg.Now,
		},
		Schedules: pending, Tier: stored, Shares: held, Alarms: wrong, Now: b.cfg.Now, Logger: b.logger,
	})
	return slices.Concat(pending.Routes(), stored.Routes(), held.Routes(), wrong.Routes(), pages.Routes())
}

// index leads browsers to the console, and tells others what there is.
func index(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Vary", "Accept")
	if console.Wanted(r) {
		http.Redirect(w, r, console.Root, http.StatusFound)
		return
	}
	fmt.Fprintln(w, "Morrow. See /console/, /metrics, /livez, /readyz, /api/v1/alarms, /api/v1/schedules, /api/v1/shares/{group}, /api/v1/tier, /debug/pprof/")
}

// coordinates reports whether this broker is the coordinator of a share group.
func (b *broker) coordinates(group string) bool {
	for g := range b.groups.Groups() {
		if g.Group == group && g.Protocol == "share" {
			return true
		}
	}
	return false
}

// readyz says whether the broker serves, and which partitions are offline.
func (b *broker) readyz(w http.ResponseWriter, _ *http.Request) {
	if err := b.readiness(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
	failed := b.partitions.Offline()
	for _, name := range sortedNames(failed) {
		fmt.Fprintf(w, "offline: %s: %v\n", name, failed[name])
	}
}

func sortedNames(m map[string]error) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// Run serves until ctx ends.
func (s *adminServer) Run(ctx context.Context, l net.Listener) error {
	done := make(chan error, 1)
	go func() { done <- s.server.Serve(l) }()
	select {
	case err := <-done:
		return fmt.Errorf("serve http: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := s.server.Shutdown(grace); err != nil {
		_ = s.server.Close() // a profile or a scrape is still running; it does not hold up the end
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve http: %w", err)
	}
	return nil
}
